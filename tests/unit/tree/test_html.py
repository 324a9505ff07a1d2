"""Finding the links of a page, wherever it is cut."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ksproxyd.tree.html import LINK_ATTRIBUTES, LINK_HEAD_BYTES, HtmlRewriter


def mark(value: bytes) -> bytes:
    """A rewriting that shows exactly which bytes were taken for a link."""
    return b"{" + value + b"}"


def rewrite(page: bytes, *cuts: int) -> bytes:
    rewriter = HtmlRewriter(mark)
    edges = [0, *sorted(cuts), len(page)]
    pieces = [rewriter.feed(page[a:b]) for a, b in pairwise(edges)]
    return b"".join(pieces) + rewriter.end()


# As given and as rewritten; the braces in the second column mark what is a link, so the first column is the second
# without them.
PAGES = [
    # The three ways to write a value, and none.
    b'<a href="{/x}">t</a>',
    b"<a href='{/x}'>",
    b"<a href={/x}>",
    b"<a href={/x/}>",
    b"<a href={/x} class=y>",
    b'<a href="{}">',
    b"<a href=>",
    b"<a href>",
    b'<a  href \n=\t "{/x}" >',
    b"<a href\n=\n{/x}\n>",
    b'<A HREF="{/x}">',
    b'<a href="{/x}"href=\'{/y}\'>',
    b'<a/href="{/x}">',
    b'<a///href="{/x}"/>',
    b"<a href=\"/x'>",
    b'<a href="{/x>y}">',
    b'<a title="<a href=/x>" href="{/y}">',
    b"<a title='\"' href={/y}>",
    b'<a title=">" href="{/y}">',
    b'<a title=a"b href="{/y}">',
    b'<a b"c="d" href="{/y}">',
    b"<a b'c>'<a href={/y}>",
    b'<a =x href="{/y}">',
    b'<a = href="{/y}">',
    b'<a =href="/x">',
    b'<a href={="/x"} src="/y">',
    b"<a\nhref='{/a}'\n\n\ntitle=x\r\n>",
    b"<a\x0chref={/x}\x0c>",
    b'<a data-href="/x" xhref="/x" href-x="/x" href="{/y}">',
    b'<img src="{/a.png}" srcset="/b.png 2x" alt="/c">',
    b'<input formaction="{/a}" src="{/b}" usemap="{#c}" value="/d">',
    b'<object data="{/a}" classid="{b}" codebase="{/c}" usemap="{#d}" type="/e"></object>',
    b'<video poster="{/a}" src="{/b}"><source src="{/c}"><track src="/d"></video>',
    b'<html manifest="{/m}"><head profile="{/p}"><base href="{/}"><link rel=icon href="{/i}">',
    b'<form action="{/f}" method=post><button formaction="{/g}">',
    b'<q cite="{/a}"><del cite="{/b}"><ins cite="{/c}"><blockquote cite="{/d}">',
    # Not links: other elements, end tags, text.
    b'<div href="/x" src="/y">',
    b'<abbr href="/x"><articles href="/x"><a-b href="/x"><a:b href="/x">',
    b'</a href="/x">',
    b'< a href="/x">',
    b'<3 a href="/x">',
    b"a < b <a href={/x}>",
    b"<<a href={/x}>",
    b'<><a href="{/x}">',
    b'</><a href="{/x}">',
    b'</ a><a href="{/x}">',
    b"<1><a href={/x}>",
    # Comments and other declarations.
    b'<!-- <a href="/x"> --><a href="{/y}">',
    b'<!--><a href="{/y}">',
    b'<!---><a href="{/y}">',
    b'<!----><a href="{/y}">',
    b'<!-- --!><a href="{/y}">',
    b'<!--!> <a href="/x"> --><a href="{/y}">',
    b'<!---!> <a href="/x"> --><a href="{/y}">',
    b'<!----!><a href="{/y}">',
    b'<!-- -- > <a href="/x"> -- --->' + b'<a href="{/y}">',
    b'<!-- <!-- --> <a href="{/y}"> -->',
    b'<!DOCTYPE html><a href="{/y}">',
    b'<!DOCTYPE html PUBLIC "-//W3C//DTD" "http://w3.org/x.dtd"><a href="{/y}">',
    b'<!x <a href="/x"><a href="{/y}">',
    b'<!- <a href="/x"><a href="{/y}">',
    b'<?xml version="1.0"?><a href="{/y}">',
    b'<?php <a href="/x"> ?><a href="{/y}">',
    b'</- <a href="/x"><a href="{/y}">',
    b'<![CDATA[ <a href="/x"> ]]> <a href="{/y}">',
    # Raw text.
    b'<style>a <a href="/x"></style><a href="{/y}">',
    b'<title><a href="/x"></title><a href="{/y}">',
    b'<textarea><a href="/x"></textarea ><a href="{/y}">',
    b'<TextArea></a></textareas></TEXTAREA\n><a href="{/y}">',
    b'<xmp><a href="/x"></xmp/><a href="{/y}">',
    b'<iframe src="{/f}"><a href="/x"></iframe><a href="{/y}">',
    b'<noembed><a href="/x"></noembed><noframes><a href="/x"></noframes><a href="{/y}">',
    b'<noscript><img src="{/x}"></noscript>',
    b'<style/><a href="/x"></style><a href="{/y}">',
    b'<plaintext><a href="/x"></plaintext><a href="/x">',
    b'<style><a href="/x"></styl</style x><a href="{/y}">',
    # Scripts and their escaped states.
    b'<script src="{/s}">"<a href=\\"/x\\">"</script><a href="{/y}">',
    b'<script>if (a<b) c = "</scripts>"; <a href="/x"></SCRIPT><a href="{/y}">',
    b'<script><!-- <a href="/x"> </script><a href="{/y}">',
    b'<script><!-- <script> </script> <a href="/x"> --></script><a href="{/y}">',
    b'<script><!-- <script> </script> <a href="/x"> </script><a href="{/y}">',
    b'<script><!-- <script> --> </script><a href="{/y}">',
    b'<script><!--<script></script></script><a href="{/y}">',
    b'<script><!--><script></script><a href="{/y}">',
    b'<script><!---><script></script><a href="{/y}">',
    b'<script><!-- <scripts> </script><a href="{/y}">',
    b'<script>--><script></script><a href="{/y}">',
    b'<script><!-- <script><script></script><a href="/x"></script><a href="{/y}">',
    # SVG and MathML: no raw text, but CDATA.
    b'<svg><title/><style/><a href="{/x}"></a></svg><a href="{/y}">',
    b'<svg><![CDATA[ <a href="/x"> ]] ]]]><a href="{/y}"></svg>',
    b'<svg/><style><a href="/x"></style>',
    b'<svg></svg><style><a href="/x"></style><a href="{/y}">',
    b'<math></svg></math><title><a href="/x"></title>',
    b'<svg><svg></svg><style><a href="{/x}"></style></svg><style><a href="/y">',
    b'<svg a="/"><title/></svg><title><a href="/y">',
    # Pages that break off.
    b"<",
    b"<a",
    b"<a href",
    b"<a href=",
    b'<a href="/x',
    b"<a href='/x",
    b"<a href=/x",
    b"<!-",
    b"<!--x-",
    b"<script></scrip",
    b"<svg><![CDAT",
    # Charsets in which ASCII is ASCII.
    "<a title=é href='{/é}'>ü".encode(),
    "<a title=é href='{/é}'>ü".encode("latin-1"),
    "<a title='表' href='{/表示}'>".encode("shift-jis"),
    b"<a\0b href=/x><a href={/\0}>",
]


@pytest.mark.parametrize("expected", PAGES)
def test_what_is_a_link(expected: bytes) -> None:
    page = expected.replace(b"{", b"").replace(b"}", b"")
    assert rewrite(page) == expected
    assert rewrite(page, *range(1, len(page))) == expected, "byte by byte"
    for cut in range(1, len(page)):
        assert rewrite(page, cut) == expected, f"cut at {cut}"


def test_every_listed_attribute_is_found() -> None:
    for element, attributes in LINK_ATTRIBUTES.items():
        for attribute in attributes:
            page = b'<%b x="/1" %b="/2">' % (element, attribute)
            assert rewrite(page) == page.replace(b"/2", b"{/2}")


FRAGMENTS = st.sampled_from(
    b"""< > / = " ' - ! ? & <a <A <img <div <svg </svg> <math> </math> <script> </script> <script </script <style>
    </style> <title> </title> <textarea> </textarea> <plaintext> href src href= src=" href=' ="/x" ='/x' <!-- -->
    --!> <!- <![CDATA[ ]]> <!DOCTYPE <?xml ?> /x /login http://h/ text \0 \xc3\xa9 /> a b x""".split()
)
SPACES = st.sampled_from([b" ", b"\n", b"\t", b"\x0c", b"\r\n", b""])
MARKUP = st.lists(st.one_of(FRAGMENTS, SPACES, st.binary(max_size=3)), max_size=40).map(b"".join)


@given(MARKUP, st.lists(st.integers(0, 200), max_size=8))
@settings(max_examples=600, deadline=None)
@example(b"<svg><![CDATA[]]]>", [15])
def test_output_does_not_depend_on_where_the_page_is_cut(page: bytes, cuts: list[int]) -> None:
    whole = rewrite(page)
    assert rewrite(page, *range(1, len(page))) == whole
    assert rewrite(page, *[cut for cut in cuts if cut <= len(page)]) == whole


@given(MARKUP)
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_or_added_but_the_marks(page: bytes) -> None:
    rewritten = rewrite(page)
    assert rewritten.translate(None, b"{}") == page.translate(None, b"{}")


@given(st.one_of(MARKUP, st.binary()))
@settings(max_examples=300, deadline=None)
def test_a_page_whose_links_stay_is_unchanged(page: bytes) -> None:
    rewriter = HtmlRewriter(lambda value: value)
    assert rewriter.feed(page) + rewriter.end() == page


def test_little_is_held_back() -> None:
    picture = b'<img src="data:image/png;base64,' + b"A" * 300_000 + b'" alt="x"><a href="/x">'
    rewriter = HtmlRewriter(mark)
    sent = 0
    for start in range(0, len(picture), 1000):
        sent += len(rewriter.feed(picture[start : start + 1000]))
        assert start + 1000 - sent <= LINK_HEAD_BYTES
    for stuff in (b"<a " + b"x" * 100_000, b"<" + b"y" * 100_000, b"<!--" + b"-" * 100_000, b"<a " + b" " * 100_000):
        rewriter = HtmlRewriter(mark)
        assert len(rewriter.feed(stuff)) >= len(stuff) - 4


def test_only_the_first_part_of_a_long_value_decides() -> None:
    seen: list[bytes] = []

    def link(value: bytes) -> bytes:
        seen.append(value)
        return b"/p" + value

    value = b"/" + b"x" * (LINK_HEAD_BYTES * 2)
    for size in (1, 100, LINK_HEAD_BYTES - 1, LINK_HEAD_BYTES, LINK_HEAD_BYTES + 1, 10**6):
        for quote in (b'"', b"'", b""):
            rewriter = HtmlRewriter(link)
            page = b"<a href=" + quote + value + quote + b">t"
            out = b"".join(rewriter.feed(page[i : i + size]) for i in range(0, len(page), size)) + rewriter.end()
            assert out == b"<a href=" + quote + b"/p" + value + quote + b">t"
    assert {len(value) for value in seen} == {LINK_HEAD_BYTES}


@pytest.mark.parametrize(
    "page",
    [
        b'<a x="' * 30_000,
        b"<a " * 60_000,
        b"<!--" * 50_000,
        b"<" * 200_000,
        b"<script>" + b"<!--" * 50_000,
        b"<script>" + b"</script" * 25_000,
        b"<title>" + b"</titl" * 30_000,
        b"<svg>" + b"<![CDATA[" * 20_000,
        b"<div" + b' a="b"' * 30_000 + b"\x01",
        b"<a" + b" b" * 100_000,
        b"-" * 200_000,
        b"<!--" + b"-" * 200_000,
    ],
)
def test_time_grows_with_the_page_only(page: bytes) -> None:
    started = time.process_time()
    rewriter = HtmlRewriter(mark)
    for start in range(0, len(page), 7):
        rewriter.feed(page[start : start + 7])
    rewriter = HtmlRewriter(mark)
    rewriter.feed(page)
    # Linear takes some tens of milliseconds; quadratic would take minutes.
    assert time.process_time() - started < 5

"""Rewriting under a content coding."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksproxyd.tree.recode import STEP_BYTES, BodyRewriter
from ksproxyd.upstream.errors import UpstreamError


class Upper:
    """A rewriter that can be seen to have worked, and that holds the last byte back."""

    def __init__(self) -> None:
        self.held = b""
        self.largest = 0

    def feed(self, data: bytes) -> bytes:
        self.largest = max(self.largest, len(data))
        text = self.held + data
        self.held = text[-1:]
        return text[:-1].upper()

    def end(self) -> bytes:
        return self.held.upper()


def raw_deflate(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(data) + compress.flush()


ENCODE = {b"": bytes, b"identity": bytes, b"gzip": gzip.compress, b"x-gzip": gzip.compress, b"deflate": zlib.compress}
DECODE = {
    b"": bytes,
    b"identity": bytes,
    b"gzip": gzip.decompress,
    b"x-gzip": gzip.decompress,
    b"deflate": zlib.decompress,
}


def through(body: bytes, coding: bytes, *cuts: int) -> bytes:
    rewriter = BodyRewriter(Upper(), coding)
    edges = [0, *sorted(cuts), len(body)]
    return b"".join(data for a, b in pairwise(edges) for data in rewriter.steps(body[a:b])) + rewriter.end()


@given(
    coding=st.sampled_from(sorted(ENCODE)),
    data=st.binary(max_size=2000),
    cuts=st.lists(st.integers(0, 2100), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_undone_rewritten_and_done_again(coding: bytes, data: bytes, cuts: list[int]) -> None:
    body = ENCODE[coding](data)
    assert DECODE[coding](through(body, coding, *[cut for cut in cuts if cut <= len(body)])) == data.upper()


@given(st.binary(max_size=500))
def test_deflate_without_its_header_is_understood_and_sent_with_it(data: bytes) -> None:
    assert zlib.decompress(through(raw_deflate(data), b"deflate")) == data.upper()


def test_several_members_of_gzip_become_one() -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"two ") + gzip.compress(b"three")
    for cuts in ([], range(1, len(body))):
        assert gzip.decompress(through(body, b"gzip", *cuts)) == b"ONE TWO THREE"


def test_what_has_come_can_be_read_at_once() -> None:
    source = zlib.compressobj(wbits=31)
    rewriter = BodyRewriter(Upper(), b"gzip")
    reader = zlib.decompressobj(31)
    pieces = [
        reader.decompress(b"".join(rewriter.steps(source.compress(text) + source.flush(zlib.Z_SYNC_FLUSH))))
        for text in (b"first piece.", b"second piece.")
    ]
    # Up to the byte that the rewriter holds back.
    assert pieces == [b"FIRST PIECE", b".SECOND PIECE"]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", b"plain text"),
        (b"gzip", gzip.compress(b"x") + b"junk"),
        (b"deflate", b"\xff\xff\xff\xff"),
        (b"deflate", zlib.compress(b"x") + b"junk"),
        (b"gzip", gzip.compress(b"x" * 1000)[:-1]),
        (b"gzip", gzip.compress(b"x")[:5]),
        (b"deflate", zlib.compress(b"x" * 1000)[:-2]),
        (b"gzip", gzip.compress(b"x") + gzip.compress(b"x")[:-3]),
        (b"gzip", gzip.compress(b"x" * 100)[:-8] + b"\0" * 8),
    ],
)
def test_a_body_that_is_not_what_it_says_is_an_error(coding: bytes, body: bytes) -> None:
    with pytest.raises(UpstreamError):
        through(body, coding)
    with pytest.raises(UpstreamError):
        through(body, coding, *range(1, len(body)))


@pytest.mark.parametrize("coding", ENCODE)
def test_an_empty_body_is_an_empty_page(coding: bytes) -> None:
    assert DECODE[coding](through(b"", coding)) == b""


def test_a_small_body_that_expands_a_lot_takes_little_memory() -> None:
    body = gzip.compress(b"a" * (64 << 20), 9)
    upper = Upper()
    rewriter = BodyRewriter(upper, b"gzip")
    tracemalloc.start()
    steps = size = 0
    for step in rewriter.steps(body):
        steps += 1
        size += len(step)
    size += len(rewriter.end())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert upper.largest <= STEP_BYTES and steps >= (64 << 20) // STEP_BYTES
    assert peak < 2 << 20 and size < 1 << 20


def test_a_plain_body_is_taken_in_steps_too() -> None:
    upper = Upper()
    rewriter = BodyRewriter(upper)
    steps = list(rewriter.steps(b"a" * (STEP_BYTES * 3 + 1)))
    assert len(steps) == 4 and upper.largest == STEP_BYTES
    assert b"".join(steps) + rewriter.end() == b"A" * (STEP_BYTES * 3 + 1)

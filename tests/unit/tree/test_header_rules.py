"""headerUp and headerDown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.tree.header_rules import PROTECTED, HeaderRules, compile_header_rules

Pairs = list[tuple[str, str]]


def items(pairs: Pairs) -> list[tuple[bytes, bytes, bytes]]:
    return [(name.lower().encode(), name.encode(), value.encode()) for name, value in pairs]


def applied(rules: list[str], pairs: Pairs) -> Pairs:
    compiled, _ = compile_header_rules(list(enumerate(rules)))
    found = compiled.apply(items(pairs))
    assert all(key == name.lower() for key, name, _ in found)
    return [(name.decode(), value.decode()) for _, name, value in found]


def problems(*rules: str) -> list[tuple[int, str]]:
    return compile_header_rules(list(enumerate(rules)))[1]


REQUEST = [("X-A", "1"), ("X-A", "2"), ("X-B", "3"), ("Authorization", "Bearer t")]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["-Authorization"], REQUEST[:3]),
        (["-x-a"], REQUEST[2:]),
        (["X-A 9"], [*REQUEST[2:], ("X-A", "9")]),
        (["+X-A 9"], [*REQUEST, ("X-A", "9")]),
        (['X-C "a b"'], [*REQUEST, ("X-C", "a b")]),
        (["X-C"], REQUEST),
        (["-X-*"], REQUEST[3:]),
        (["-x-*"], REQUEST[3:]),
        (["-A*"], REQUEST[:3]),
        (["-*"], []),
        (["X-Forwarded-For 9.9.9.9"], [*REQUEST, ("X-Forwarded-For", "9.9.9.9")]),
        (["X-Remote-User root"], [*REQUEST, ("X-Remote-User", "root")]),
        # the rule language
        (["X-C a b c"], [*REQUEST, ("X-C", "a b c")]),
        (['X-C "a'], [*REQUEST, ("X-C", '"a')]),
        (['X-C a"'], [*REQUEST, ("X-C", 'a"')]),
        (['X-C ""'], [*REQUEST, ("X-C", "")]),
        (['X-C "'], [*REQUEST, ("X-C", "")]),
        (['X-C ""a""'], [*REQUEST, ("X-C", '"a"')]),
        (["X-C  x"], [*REQUEST, ("X-C", "x")]),
        (["X-C "], [*REQUEST, ("X-C", "")]),
        (["X-C {env.HOME}"], [*REQUEST, ("X-C", "{env.HOME}")]),
        (["X-C é\ty"], [*REQUEST, ("X-C", "é\ty")]),
        (["+X-C"], REQUEST),
        ([""], REQUEST),
        ([], REQUEST),
        # one after the other
        (["-Authorization", 'X-K "a b"', "+X-K c"], [*REQUEST[:3], ("X-K", "a b"), ("X-K", "c")]),
        (["X-A 8", "+X-A 9"], [*REQUEST[2:], ("X-A", "8"), ("X-A", "9")]),
        (["+X-A 8", "X-A 9"], [*REQUEST[2:], ("X-A", "9")]),
        (["+X-C 1", "-x-c"], REQUEST),
        (["+X-C 1", "-*", "+X-D 2"], [("X-D", "2")]),
        (["-X-*", "X-A 9"], [REQUEST[3], ("X-A", "9")]),
    ],
)
def test_rules(rules: list[str], expected: Pairs) -> None:
    assert applied(rules, REQUEST) == expected


def test_response_rules() -> None:
    backend = [("Server", "b"), ("Content-Type", "text/html"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    rules = ["-Server", "Content-Type image/jpeg", "+X-N 1"]
    assert applied(rules, backend) == [*backend[2:], ("Content-Type", "image/jpeg"), ("X-N", "1")]


def test_a_prefix_is_not_a_suffix() -> None:
    sent = [("X-Pre-One", "1"), ("x-pre-two", "2"), ("X-Pre-", "3"), ("Z-X-Pre-", "suffix"), ("X-Pr", "4")]
    assert applied(["-X-Pre-*"], sent) == sent[3:]


FRAMING = [
    (name, "x") for name in ("Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Trailer")
]


def test_nothing_touches_the_framing() -> None:
    for name, _ in FRAMING:
        for rule in (f"{name} evil", f"+{name} evil", f"-{name}", f"{name.lower()} evil"):
            assert applied([rule], FRAMING) == FRAMING
            assert len(problems(rule)) == 1
    assert applied(["-*"], [*FRAMING, *REQUEST]) == FRAMING
    assert applied(["-T*", "-h*", "-Content-*"], [*FRAMING, ("Trace", "1"), ("Content-Type", "a")]) == FRAMING


@pytest.mark.parametrize(
    "rule",
    [
        "X-A a\r\nX-Evil: 1",
        "X-A a\nb",
        "X-A a\0b",
        "X-A a\x7f",
        "X\r\nEvil: 1",
        "X\n y",
        "X: y",
        " y",
        "-",
        "+",
        "- X-A",
        "-X-A b",
        "-X A*",
        "X-A",
        "+X-A",
        "Ünï y",
        "-Ünï",
        "(a) b",
        "X-A \ud800",
    ],
)
def test_ignored_and_reported(rule: str) -> None:
    assert applied([rule], REQUEST) == REQUEST
    found = problems("-Fine", rule)
    assert [number for number, _ in found] == [1]
    assert found[0][1]


def test_without_rules_nothing_is_copied() -> None:
    rules, _ = compile_header_rules([])
    fields = items(REQUEST)
    assert not rules
    assert rules.apply(fields) is fields
    assert not HeaderRules()
    assert all(compile_header_rules([(0, rule)])[0] for rule in ("-X-A", "-X-*", "+X-A 1"))


def test_the_fields_given_are_not_changed() -> None:
    fields = items(REQUEST)
    compile_header_rules([(0, "-X-*"), (1, "X-A 1"), (2, "-Authorization")])[0].apply(fields)
    assert fields == items(REQUEST)


NAMES = st.sampled_from(["X-A", "x-b", "Host", "Connection", "content-length", "Y", "Y*", "*", "X-*", "", "b c"])
RULES = st.lists(
    st.builds("{}{}{}".format, st.sampled_from(["", "+", "-"]), NAMES, st.sampled_from(["", " 1", ' "2"', " "]))
)


def one_by_one(rules: list[str], pairs: Pairs) -> Pairs:
    """What the rules mean, applied to the fields one after the other."""
    for rule in rules:
        if problems(rule) or not rule:
            continue
        name, _, value = rule.lstrip("+-").partition(" ")
        value = value.removeprefix('"').removesuffix('"') if value == '"2"' else value.strip()
        key = name.lower()
        if rule.startswith("-") and key.endswith("*"):
            pairs = [p for p in pairs if p[0].lower().encode() in PROTECTED or not p[0].lower().startswith(key[:-1])]
            continue
        if not rule.startswith("+"):
            pairs = [p for p in pairs if p[0].lower() != key]
        if not rule.startswith("-"):
            pairs = [*pairs, (name, value)]
    return pairs


@given(RULES)
def test_compiled_rules_mean_what_they_mean_one_by_one(rules: list[str]) -> None:
    sent = [("X-A", "s"), ("Host", "h"), ("x-B", "s"), ("Y", "s"), ("Content-Length", "1"), ("Z", "s")]
    assert applied(rules, sent) == one_by_one(rules, sent)


@given(st.lists(st.text(max_size=20)))
def test_no_rule_breaks_a_message(rules: list[str]) -> None:
    for name, value in applied(rules, FRAMING):
        assert re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name)
        assert not re.search(r"[\0-\x08\x0a-\x1f\x7f]", value) and value == value.strip(" \t")
    assert [pair for pair in applied(rules, FRAMING) if pair[0].lower().encode() in PROTECTED] == FRAMING

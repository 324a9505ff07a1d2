"""RE2 with the meaning it has in Go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.patterns import MAX_PROGRAM, TooMuchWork, compile_re2, find_all, parse_template


def replace_all(pattern: str, template: str, text: str) -> str:
    """Go's ``ReplaceAllString``."""
    compiled = compile_re2(pattern, latin1=True)
    raw = text.encode()
    done, at = b"", 0
    for match in find_all(compiled, raw):
        done += raw[at : match.start()]
        at = match.end()
        for part in parse_template(template, compiled):
            done += part.encode() if isinstance(part, str) else match.group(part) or b""
    return (done + raw[at:]).decode()


@pytest.mark.parametrize(
    ("pattern", "template", "text", "expected"),
    [
        (".*", "x", "abc", "x"),
        ("b*", "-", "abc", "-a-c-"),
        ("", "-", "ab", "-a-b-"),
        ("a*?", "-", "aa", "-a-a-"),
        ("$", "!", "ab", "ab!"),
        ("^", "!", "ab", "!ab"),
        ("a|ab", "x", "ab", "xb"),
        ("(a)(b)?", "[$1$2]", "aab", "[a][ab]"),
        ("(a)", "$1x", "a", ""),
        ("(a)", "${1}x", "a", "ax"),
        ("(a)", "$1-x", "a", "a-x"),
        ("(a)", "$0$2$9", "a", "a"),
        ("(a)", "$01", "a", ""),
        ("(?P<n>a)", "$n.${n}.$nn", "a", "a.a."),
        ("(?<n>a)", "$n", "a", "a"),
        ("a", "$$1", "a", "$1"),
        ("a", "$", "a", "$"),
        ("a", "${", "a", "${"),
        ("a", "${}$(", "a", "${}$("),
        ("a", "\\1\\n", "a", "\\1\\n"),
        ("(?i)A", "x", "a", "x"),
        ("a(?i)b", "x", "aB", "x"),
        (r"\z", "!", "a", "a!"),
        ("a$", "!", "a\n", "a\n"),
        (r"[[:alpha:]]\pL", "x", "ab1", "x1"),
        (r"\Qa.b\E", "x", "a.b", "x"),
        (r"\w", "x", "é", "é"),
        ("é", "e", "café", "cafe"),
        ("(?U)a+", "x", "aa", "xx"),
        ("a{,3}", "x", "a{,3}", "x"),
    ],
)
def test_replaces_as_go_does(pattern: str, template: str, text: str, expected: str) -> None:
    assert replace_all(pattern, template, text) == expected


@pytest.mark.parametrize(
    "pattern", ["(?=x)", "(?!x)", r"\1", "a++", "(?>a)", r"\Z", "(", "[", "a{1001}", "((a{100}){10}){2}"]
)
def test_what_re2_does_not_have(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compile_re2(pattern)


def test_programs_are_bounded() -> None:
    with pytest.raises(ValueError, match="too large"):
        compile_re2("a{1000}" * 3)
    with pytest.raises(ValueError, match="too large"):
        compile_re2(r"\pL{1000}")
    assert compile_re2("a{1000}").programsize <= MAX_PROGRAM


def test_work_is_bounded() -> None:
    compiled = compile_re2("(x.*y)|x")
    assert len(find_all(compiled, b"x" * 300)) == 300
    with pytest.raises(TooMuchWork):
        find_all(compiled, b"x" * 10000)
    with pytest.raises(TooMuchWork):
        find_all(compile_re2("a{1000}b"), b"a" * 10000)


@given(
    st.text(max_size=12), st.text(st.sampled_from("ab$1{}n"), max_size=10), st.text(st.sampled_from("ab1"), max_size=12)
)
def test_any_pattern_and_template(pattern: str, template: str, text: str) -> None:
    try:
        compile_re2(pattern, latin1=True)
    except ValueError:
        return
    replace_all(pattern, template, text)


@given(st.text(st.sampled_from("$1{}ab"), max_size=12))
def test_a_template_without_dollar_is_text(template: str) -> None:
    compiled = compile_re2("(x)")
    if "$" not in template:
        assert "".join(map(str, parse_template(template, compiled))) == template
    assert replace_all("x", template.replace("$", "$$"), "x") == template

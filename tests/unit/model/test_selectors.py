"""Label and field selectors: grammar, meaning, and that what is written out reads the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.selectors import (
    FieldSelector,
    LabelSelector,
    Requirement,
    is_label_key,
    is_label_value,
    parse_fields,
    parse_labels,
)

POD = {"app": "web", "tier": "front", "empty": "", "rank": "7", "example.io/in": "in"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("   ", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web", True),
        ("app\t=\nweb ", True),
        ("app=api", False),
        ("nothing=x", False),
        ("app!=api", True),
        ("app!=web", False),
        ("nothing!=x", True),
        ("app in (web, api)", True),
        ("app in(web)", True),
        ("app in (api)", False),
        ("nothing in (,)", False),
        ("empty in (,)", True),
        ("empty in (x,)", True),
        ("app notin (api,db)", True),
        ("app notin (web)", False),
        ("nothing notin (a)", True),
        ("app", True),
        ("nothing", False),
        ("!nothing", True),
        ("! nothing", True),
        ("!app", False),
        ("empty=", True),
        ("empty=,app=web", True),
        ("app=", False),
        ("app=web,tier=front,!nothing", True),
        ("app=web,tier=back", False),
        ("rank>6", True),
        ("rank>7", False),
        ("rank<8", True),
        ("rank<7", False),
        ("app>1", False),
        ("nothing<1", False),
        ("example.io/in=in", True),
        ("example.io/in in (in,notin)", True),
    ],
)
def test_labels(text: str, selected: bool) -> None:
    assert parse_labels(text).matches(POD) is selected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (",", "a label key"),
        (",a", "a label key"),
        ("a,", "a label key"),
        ("a,,b", "a label key"),
        ("=b", "a label key"),
        ("!", "a label key"),
        ("!!a", "a label key"),
        ("in=x", "a label key"),
        ("notin", "a label key"),
        ("!a=b", "','"),
        ("a b", "one of"),
        ("a in", r"'\('"),
        ("a in b", r"'\('"),
        ("a in (", "a value"),
        ("a in ()", "at least one value"),
        ("a in (b", "',' or"),
        ("a in (b c)", "',' or"),
        ("a in ((b)", "a value"),
        ("a=b c", "','"),
        ("a==", None),
        ("a===b", "a value"),
        ("a=b=c", "','"),
        ("a=!b", "a value"),
        ("a!b", "one of"),
        ("a=(b)", "a value"),
        ("a>x", "not an integer"),
        ("a>", "not an integer"),
        ("a<1.5", "not an integer"),
        ("-a=b", "not a label key"),
        ("a/b/c=d", "not a label key"),
        ("/a=b", "not a label key"),
        ("A.io/a=b", "not a label key"),
        ("a" * 64, "not a label key"),
        ("a=-", "not a label value"),
        ("a=b/c", "not a label value"),
        ("a=" + "b" * 64, "not a label value"),
        ("a=é", "not a label value"),
        ("a\u00a0=b", "not a label key"),
        ("a=b\n\0", "not a label value|','"),
    ],
)
def test_bad_labels(text: str, expected: str | None) -> None:
    if expected is None:
        assert parse_labels(text) == LabelSelector((Requirement("a", "=", ("",)),))
        return
    with pytest.raises(ValueError, match="invalid label selector") as caught:
        parse_labels(text)
    assert caught.match(expected)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a == b ,c", "a=b,c"),
        ("a in (c,b,b)", "a in (b,c)"),
        ("a in (,)", "a in (,)"),
        ("a notin (x,)", "a notin (,x)"),
        (" ! a , b != c", "!a,b!=c"),
        ("a>5,b<6", "a>5,b<6"),
        ("", ""),
    ],
)
def test_labels_are_written_in_one_way(text: str, written: str) -> None:
    assert str(parse_labels(text)) == written


def test_exact_label() -> None:
    selector = parse_labels("a!=x,b in (c),a==y,a=z")
    assert (selector.exact("a"), selector.exact("b"), selector.exact("c")) == ("y", None, None)
    assert not parse_labels("")
    assert parse_labels("a")


def test_names() -> None:
    assert all(map(is_label_key, ("a", "A_b.c-d1", "example.io/a", "a-1.b/C" + "x" * 62)))
    assert not any(map(is_label_key, ("", "a.", "a/", "/a", "-a", "a b", "x." * 130 + "x/a", "a\n", "a..b/c", "é")))
    assert all(map(is_label_value, ("", "a", "a.b_c-1", "x" * 63)))
    assert not any(map(is_label_value, (".a", "a-", "a/b", "x" * 64, "a\n")))


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        (",,", True),
        ("metadata.name=web", True),
        ("metadata.name==web", True),
        ("metadata.name!=web", False),
        ("metadata.name=web,status.phase!=Failed", True),
        ("metadata.name=web,,status.phase=Failed", False),
        ("absent=", True),
        ("absent!=", False),
        ("absent!=x", True),
        (r"odd=a\,b\=c\\d", True),
        (r"odd!=a\,b\=c\\d", False),
    ],
)
def test_fields(text: str, selected: bool) -> None:
    fields = {"metadata.name": "web", "status.phase": "Running", "odd": r"a,b=c\d"}
    assert parse_fields(text).matches(fields) is selected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "neither field=value"),
        ("=b", "neither field=value"),
        ("!=b", "neither field=value"),
        ("a!b", "neither field=value"),
        ("a=b=c", "unescaped '='"),
        ("a===b", "unescaped '='"),
        ("a!==b", "unescaped '='"),
        ("a=b\\", "invalid escape"),
        ("a=\\b", "invalid escape"),
        ("a=b,c", "'c' is neither"),
    ],
)
def test_bad_fields(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="invalid field selector") as caught:
        parse_fields(text)
    assert caught.match(expected)


def test_exact_field() -> None:
    selector = parse_fields("metadata.name!=x,metadata.name=y,metadata.name=z")
    assert (selector.exact("metadata.name"), selector.exact("metadata.namespace")) == ("y", None)
    assert not parse_fields("")


# -- properties ------------------------------------------------------------------------------------------------

NAME = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?", fullmatch=True)
PREFIX = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,9}[a-z0-9])?(\.[a-z0-9]{1,5}){0,3}", fullmatch=True)
KEY = st.one_of(NAME, st.builds("{}/{}".format, PREFIX, NAME)).filter(lambda key: key not in ("in", "notin"))
VALUE = st.one_of(st.just(""), NAME)
NUMBER = st.integers(0, 10**17).map(str)
REQUIREMENT = st.one_of(
    st.builds(Requirement, KEY, st.sampled_from(["exists", "!"])),
    st.builds(Requirement, KEY, st.sampled_from(["=", "!="]), st.tuples(VALUE)),
    st.builds(Requirement, KEY, st.sampled_from([">", "<"]), st.tuples(NUMBER)),
    st.builds(
        Requirement,
        KEY,
        st.sampled_from(["in", "notin"]),
        st.sets(VALUE, min_size=1, max_size=4).map(lambda values: tuple(sorted(values))),
    ),
)
LABELS = st.builds(LabelSelector, st.lists(REQUIREMENT, max_size=5).map(tuple))
TERM = st.tuples(st.from_regex(r"[A-Za-z.]{1,20}", fullmatch=True), st.booleans(), st.text(max_size=10))
FIELDS = st.builds(FieldSelector, st.lists(TERM, max_size=4).map(tuple))
OBJECT = st.dictionaries(KEY, VALUE, max_size=4)


@given(LABELS)
def test_label_selectors_read_as_they_are_written(selector: LabelSelector) -> None:
    assert parse_labels(str(selector)) == selector


@given(FIELDS)
def test_field_selectors_read_as_they_are_written(selector: FieldSelector) -> None:
    assert parse_fields(str(selector)) == selector


@given(REQUIREMENT, OBJECT)
def test_a_requirement_and_its_opposite(requirement: Requirement, labels: dict[str, str]) -> None:
    opposite = {"exists": "!", "!": "exists", "=": "!=", "!=": "=", "in": "notin", "notin": "in"}.get(
        requirement.operator
    )
    if opposite is not None:
        other = Requirement(requirement.key, opposite, requirement.values)
        assert requirement.matches(labels) is not other.matches(labels)


@given(st.text(st.sampled_from("ab1=!<>(),. \t/-\\in"), max_size=20))
def test_any_text_is_a_selector_or_a_clear_error(text: str) -> None:
    for parse in (parse_labels, parse_fields):
        try:
            selector = parse(text)
        except ValueError as error:
            assert str(error).startswith("invalid ")
        else:
            assert parse(str(selector)) == selector

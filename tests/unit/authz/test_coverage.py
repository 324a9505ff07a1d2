"""Whether rules cover rules."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.authz.coverage import Coverage, TooMany, missing, uncovered
from ksproxyd.authz.rules import ALL, Rule
from ksproxyd.model.request_info import RequestInfo

Atom = tuple[str, ...]


def rule(verbs: str, groups: str = "", resources: str = "", names: str = "", urls: str = "") -> Rule:
    """Lists written with spaces; the core group is ``core``."""
    core = tuple("" if each == "core" else each for each in groups.split())
    return Rule(tuple(verbs.split()), core, tuple(resources.split()), tuple(names.split()), tuple(urls.split()))


# -- written out, as the specification has it ------------------------------------------------------------------


def atoms(rules: Iterable[Rule]) -> Iterator[Atom]:
    for each in rules:
        yield from product(each.groups, each.resources, each.verbs, each.names or ("any name",))
        yield from product(each.urls, each.verbs)


def covers(held: Rule, atom: Atom) -> bool:
    if len(atom) == 2:
        url, verb = atom
        return (verb in held.verbs or "*" in held.verbs) and any(
            url == each or (each.endswith("*") and url.rstrip("*").startswith(each.rstrip("*"))) for each in held.urls
        )
    group, resource, verb, name = atom
    return (
        (group in held.groups or "*" in held.groups)
        and (verb in held.verbs or "*" in held.verbs)
        and (not held.names or name in held.names)
        and any(
            each in ("*", resource) or ("/" in resource and each == "*/" + resource.split("/", 1)[1])
            for each in held.resources
        )
    )


def naively_missing(wanted: Iterable[Rule], held: list[Rule]) -> set[Atom]:
    return {atom for atom in atoms(wanted) if not any(covers(each, atom) for each in held)}


def some(*values: str, least: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=4).map(tuple)


RULES = st.lists(
    st.builds(
        Rule,
        some("get", "list", "*"),
        some("", "apps", "*"),
        some("pods", "pods/log", "nodes/log", "*/log", "*"),
        some("a", "b"),
        some("/a", "/a/b", "/a/*", "/a*", "/*", "*", "/a**"),
    ),
    max_size=4,
)


@given(RULES, RULES)
def test_what_is_missing_is_what_a_list_of_all_atoms_says(wanted: list[Rule], held: list[Rule]) -> None:
    found = uncovered(wanted, held)
    assert set(atoms(found)) == naively_missing(wanted, held)
    assert len(missing(wanted, held)) == len(found)


@given(RULES, RULES, st.data())
def test_what_is_covered_allows_nothing_new(wanted: list[Rule], held: list[Rule], data: st.DataObject) -> None:
    if uncovered(wanted, held):
        return
    draw = data.draw
    info = RequestInfo(
        path=draw(st.sampled_from(["/a", "/a/b", "/a/bc", "/ab", "/", "/c"])),
        verb=draw(st.sampled_from(["get", "list", "watch"])),
        is_resource=draw(st.booleans()),
        api_group=draw(st.sampled_from(["", "apps", "batch"])),
        resource=draw(st.sampled_from(["pods", "nodes", "things"])),
        subresource=draw(st.sampled_from(["", "log", "exec"])),
        name=draw(st.sampled_from(["", "a", "b", "c"])),
    )
    if any(each.covers(info) for each in wanted):
        assert any(each.covers(info) for each in held)


# -- examples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        (rule("get list", "core apps", "pods secrets"), rule("*", "*", "*")),
        (rule("*", "*", "*"), rule("*", "*", "*")),
        (rule("get", "core", "pods/log"), rule("get", "core", "*/log")),
        (rule("get", "core", "pods", "a"), rule("get", "core", "pods")),
        (rule("GET", urls="/foo/*"), rule("*", urls="*")),
        (rule("GET", urls="/foo/bar*"), rule("GET", urls="/foo/*")),
        (rule("get"), rule("list")),
    ],
)
def test_covered(wanted: Rule, held: Rule) -> None:
    assert missing([wanted], [held]) == []


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        (rule("*", "core", "pods"), rule("get list watch create update patch delete", "core", "pods")),
        (rule("get", "core", "*"), rule("get", "core", "pods")),
        (rule("get", "core", "pods/log"), rule("get", "core", "pods")),
        (rule("get", "core", "pods"), rule("get", "core", "pods", "a")),
        (rule("get", "core", "pods", "a b"), rule("get", "core", "pods", "a")),
        (rule("get", "core", "pods/log"), rule("get", "core", "pods/*")),
        (rule("GET", urls="*"), rule("GET", urls="/*")),
        (rule("GET", urls="/foo"), rule("GET", urls="/foo/*")),
        (rule("GET", urls="/foo"), rule("get", "*", "*")),
    ],
)
def test_not_covered(wanted: Rule, held: Rule) -> None:
    assert missing([wanted], [held])


def test_each_part_may_be_covered_by_another_rule_but_no_part_by_two_together() -> None:
    halves = [rule("get", "core", "pods"), rule("get", "apps", "deployments"), rule("list", "core", "deployments")]
    assert missing([rule("get", "core", "pods"), rule("get", "apps", "deployments")], halves) == []
    assert missing([rule("get list", "core apps", "pods deployments")], halves) == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}',
        '{APIGroups:[""], Resources:["deployments"], Verbs:["get"]}',
        '{APIGroups:["apps"], Resources:["pods"], Verbs:["get", "list"]}',
        '{APIGroups:["apps"], Resources:["deployments"], Verbs:["list"]}',
    ]


def test_names_and_urls_are_named() -> None:
    assert missing([rule("get", "core", "secrets", "a b", "/metrics")], [rule("get", "core", "secrets", "a")]) == [
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}',
        '{NonResourceURLs:["/metrics"], Verbs:["get"]}',
    ]


def test_long_lists_take_no_time() -> None:
    many = tuple(f"x{number}" for number in range(2000))
    wanted = Rule(many, many, many, many, many)
    begin = time.perf_counter()
    assert uncovered([wanted], ALL) == []
    assert len(uncovered([wanted], [rule("get", "core", "pods")])) == 2
    assert time.perf_counter() - begin < 1.0


def test_rules_that_are_held_later_count_from_then_on() -> None:
    cover = Coverage()
    pods, urls = rule("get", "core", "pods"), Rule(("get",), urls=("/a/*",))
    deeper = Rule(("get",), urls=("/a/b/*", "/a/c"))
    assert not cover.covers(pods) and not cover.covers(deeper)
    cover.add(pods)
    cover.add(pods)
    assert cover.covers(pods) and not cover.covers(deeper)
    cover.add(urls)
    assert cover.covers(pods) and cover.covers(deeper) and cover.covers(urls)
    assert not cover.covers(rule("list", "core", "pods"))
    values = tuple(f"x{number}" for number in range(300))
    for each in values:
        cover.add(Rule((each,), (each,), values, values))
    assert not cover.covers(Rule(values, values, values, values)), "too long to compare"
    assert cover.covers(pods), "what took too long does not count against others"


def test_what_would_take_too_long_is_not_answered() -> None:
    values = tuple(f"x{number}" for number in range(300))
    finely = [Rule((each,), (each,), values, values) for each in values]
    with pytest.raises(TooMany, match="20000 parts"):
        missing([Rule(values, values, values, values)], finely)


def test_as_many_patterns_of_urls_as_a_role_may_have_are_compared_by_their_lengths() -> None:
    held = [rule("get list", urls=f"/a/{number}/*") for number in range(1000)]
    wanted = [rule("get", urls=f"/a/{number}/b/*") for number in range(1000)]
    assert uncovered(wanted, held) == []
    assert uncovered([*wanted, rule("get", urls="/a/1000/*")], held) == [rule("get", urls="/a/1000/*")]


def test_rules_that_are_held_as_they_are_or_by_who_holds_all_take_no_steps() -> None:
    many = [rule("get list watch", f"g{number}", f"a{number} b{number}", urls=f"/{number}") for number in range(5000)]
    for held in (many, ALL):
        cover = Coverage(held)
        assert not any(cover.gaps(each) for each in many)
        assert cover._steps == 0


def test_who_holds_every_resource_of_some_names_or_groups_does_not_hold_all() -> None:
    pods = rule("get", "core", "pods", urls="/a")
    for held in (rule("*", "*", "*", "a"), rule("*", "core", "nodes", urls="*"), rule("get", "apps", "*", urls="*")):
        assert missing([rule("get", "core", "pods")], [held]), held
    assert uncovered([pods], ALL[:1]) == [rule("get", urls="/a")]
    assert uncovered([pods], ALL[1:]) == [rule("get", "core", "pods")]


def test_looking_at_one_rule_is_bounded_where_there_are_many_of_them() -> None:
    values = tuple(f"x{number}" for number in range(1000))
    cover = Coverage([Rule(values, ("",), values[:-1]), Rule(values, ("",), values[-1:])])
    assert not cover.covers(Rule(values, ("",), values)), "too long to compare"
    assert cover.gaps(Rule(values, ("",), values)) == []

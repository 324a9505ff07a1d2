"""Rules for extension objects: each alone, sets with collisions, and objects of any shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.state import validation
from ksproxyd.state.validation import (
    API_SERVICE,
    EXTENSION_ENTRY,
    JS_BUNDLE,
    KINDS,
    REVERSE_PROXY,
    Problem,
    content_source,
    default_link,
    link_problem,
    object_problems,
    precedence,
    set_problems,
)

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def make(name: str, spec: Any, created: str = OLD, *, status: Any = None, labels: Any = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "creationTimestamp": created}
    if labels is not None:
        metadata["labels"] = labels
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def bad_endpoint(spec: Any) -> str | None:
    return None if isinstance(spec, dict) and spec.get("url") else "no url"


def reserved(group: str, version: str) -> bool:
    return group == "iam.kubesphere.io" and version == "v1beta1"


def alone(kind: str, value: dict[str, Any]) -> list[tuple[str, bool]]:
    found = object_problems(kind, value, bad_endpoint, reserved)
    assert all(p.kind == kind and p.name == value["metadata"]["name"] and p.message for p in found)
    return [(p.field, p.fatal) for p in found]


def together(kind: str, *values: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(p.name, p.field, p.fatal) for p in set_problems(kind, values)]


URL = "http://b.test"


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({"group": "g.io", "version": "v1", "url": URL}, []),
        ({"group": "iam.kubesphere.io", "version": "v2", "url": URL}, []),
        ({"group": "iam.kubesphere.io", "version": "v1beta1", "url": URL}, ["spec.group"]),
        ({"version": "v1", "url": URL}, ["spec.group"]),
        ({"group": "a/b", "version": "v1", "url": URL}, ["spec.group"]),
        ({"group": "..", "version": "v1", "url": URL}, ["spec.group"]),
        ({"group": "g.io", "url": URL}, ["spec.version"]),
        ({"group": "g.io", "version": 1, "url": URL}, ["spec.version"]),
        ({"group": "g.io", "version": "v1/x", "url": URL}, ["spec.version"]),
        ({"group": "g.io", "version": "v1"}, ["spec"]),
        ({}, ["spec.group", "spec"]),
        (None, ["spec.group", "spec"]),
    ],
)
def test_an_api_service(spec: Any, wrong: list[str]) -> None:
    assert alone(API_SERVICE, make("a", spec)) == [(field, True) for field in wrong]


def test_one_api_service_a_version() -> None:
    spec = {"group": "g.io", "version": "v1"}
    objects = [
        make("b", spec, NEW),
        make("c", spec, OLD),
        make("a", spec, NEW),
        make("d", spec | {"version": "v2"}),
        make("e", {}),
        make("f", {}),
    ]
    assert together(API_SERVICE, *objects) == [("a", "spec.group", True), ("b", "spec.group", True)]
    assert "g.io/v1 is served by APIService c" in str(set_problems(API_SERVICE, objects)[0])


def matcher(path: Any, method: Any = "GET") -> dict[str, Any]:
    return {"matcher": {"path": path, "method": method}, "upstream": {"url": URL}}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (matcher("/proxy/x/*", "*"), []),
        (matcher("/proxyfoo"), []),
        (matcher("/res/x/*"), ["spec.matcher.path"]),
        (matcher(7), ["spec.matcher.path"]),
        (matcher("/proxy/x", ""), ["spec.matcher.method"]),
        (matcher("/proxy/x", "get"), ["spec.matcher.method"]),
        (matcher("/proxy/x", None), ["spec.matcher.method"]),
        ({"matcher": [], "upstream": {"url": URL}}, ["spec.matcher.path", "spec.matcher.method"]),
        (matcher("/proxy/x") | {"upstream": []}, ["spec.upstream"]),
    ],
)
def test_a_reverse_proxy(spec: Any, wrong: list[str]) -> None:
    assert alone(REVERSE_PROXY, make("a", spec)) == [(field, True) for field in wrong]
    assert not alone(REVERSE_PROXY, make("a", spec, labels={validation.PROXY_TARGET: "ks-console"}))


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        (("/proxy/a/*", "GET"), ("/proxy/a/*", "GET"), [("new", "spec.matcher", True)]),
        (("/proxy/a/*", "GET"), ("/proxy/a/**", "GET"), [("new", "spec.matcher", True)]),
        (("/proxy/a", "GET"), ("/proxy/a", "POST"), []),
        (("/proxy/a", "GET"), ("/proxy/a*", "GET"), [("old", "spec.matcher", False)]),
        (("/proxy/a*", "GET"), ("/proxy/a", "GET"), [("new", "spec.matcher", False)]),
        (("/proxy/a*", "*"), ("/proxy/a/b", "GET"), [("new", "spec.matcher", False)]),
        (("/proxy/a*", "GET"), ("/proxy/a/b", "*"), []),
        (("/proxy/a/*", "GET"), ("/proxy/b/*", "GET"), []),
        (("/proxy/a/*", "GET"), ("/proxy/a/b/*", "GET"), [("new", "spec.matcher", False)]),
        (("/proxy/a/b/*", "GET"), ("/proxy/a/*", "GET"), [("old", "spec.matcher", False)]),
    ],
)
def test_colliding_matchers(first: tuple[str, str], second: tuple[str, str], found: list[Any]) -> None:
    assert together(REVERSE_PROXY, make("new", matcher(*second), NEW), make("old", matcher(*first))) == found


def test_a_matcher_of_the_console_collides_with_nothing() -> None:
    ours = make("a", matcher("/proxy/a"))
    console = make("b", matcher("/proxy/a"), labels={validation.PROXY_TARGET: "ks-console"})
    assert not together(REVERSE_PROXY, ours, console)


def test_the_wider_matcher_is_found_behind_others() -> None:
    paths = ["/proxy/a/*", "/proxy/a/b/*", "/proxy/a/c", "/proxy/a/b/x", "/proxy/ab"]
    methods = ["*", "POST", "GET", "GET", "GET"]
    objects = [make(f"p{i}", matcher(p, m)) for i, (p, m) in enumerate(zip(paths, methods, strict=True))]
    found = {p.name: p.message for p in set_problems(REVERSE_PROXY, objects)}
    assert found.keys() == {"p1", "p2", "p3"}
    assert "/proxy/a/* of ReverseProxy p0" in found["p3"]


@pytest.mark.parametrize(
    ("link", "extension", "allowed"),
    [
        ("/dist/e/index.js", "e", True),
        ("/dist/e/index.js", "", True),
        ("/dist/x", "", True),
        ("/dist/dev", "dev", True),
        ("/dist/dev/a//b.js", "dev", True),
        ("/dist/devops/index.js", "dev", False),
        ("/dist/devops", "dev", False),
        ("/dist/", "", False),
        ("/dist", "", False),
        ("/distant/x", "", False),
        ("/proxy/x", "", False),
        ("dist/e/index.js", "e", False),
        ("/dist/e/../f/index.js", "e", False),
        ("/dist/e/..", "e", False),
        ("/dist/e\\..\\f", "", False),
        ("/dist/e/./x", "e", False),
        ("/dist/e/\0", "e", False),
        ("/dist/e/" + "x" * 2048, "e", False),
        ("", "", False),
        (None, "", False),
        (["/dist/e"], "", False),
    ],
)
def test_links(link: Any, extension: str, allowed: bool) -> None:
    assert (link_problem(link, extension) is None) is allowed


@pytest.mark.parametrize(
    ("value", "link"),
    [
        (make("b", {}, labels={validation.EXTENSION_REF: "e"}), "/dist/e/index.js"),
        (make("b", {}, labels={validation.EXTENSION_REF: ""}), "/dist/b/index.js"),
        (make("b", {}, labels=[]), "/dist/b/index.js"),
        (make("b", {}), "/dist/b/index.js"),
    ],
)
def test_default_link(value: dict[str, Any], link: str) -> None:
    assert default_link(value) == link


REFERENCE = {"name": "n", "namespace": "s", "key": "k"}


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"raw": "eA==", "rawFrom": {"url": URL}}, "raw"),
        ({"raw": "", "rawFrom": {"url": URL}}, "endpoint"),
        ({"rawFrom": {"configMapKeyRef": REFERENCE, "secretKeyRef": REFERENCE}}, "configMapKeyRef"),
        ({"rawFrom": {"secretKeyRef": REFERENCE, "url": URL}}, "secretKeyRef"),
        ({"rawFrom": {"service": {}}}, "endpoint"),
        ({"rawFrom": {"url": ""}}, "endpoint"),
        ({"rawFrom": {"url": None}}, None),
        ({"rawFrom": {}}, None),
        ({"rawFrom": []}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_first_source_wins(spec: Any, kind: str | None) -> None:
    source = content_source(spec)
    assert (source and source.kind) == kind


@pytest.mark.parametrize(
    ("spec", "status", "wrong"),
    [
        ({"raw": "eA=="}, {"link": "/dist/e/index.js"}, []),
        ({"raw": "eA=="}, {}, []),
        ({"raw": 5}, {}, [("spec.raw", True)]),
        ({"raw": "eA=="}, {"link": "/dist/devops/index.js"}, [("status.link", True)]),
        ({"raw": "eA=="}, {"link": 3}, [("status.link", True)]),
        ({}, {}, [("spec", True)]),
        ({"rawFrom": {"service": {}}}, {}, [("spec.rawFrom", True)]),
        ({"rawFrom": {"secretKeyRef": {"key": "k"}}}, {}, [
            ("spec.rawFrom.secretKeyRef.name", True),
            ("spec.rawFrom.secretKeyRef.namespace", True),
        ]),
        ({"raw": "eA==", "assets": {"style": {"link": "/dist/e/a.css", "url": URL}, "files": []}}, {}, []),
        ({"raw": "eA==", "assets": {"style": {"url": URL}, "files": {}}}, {}, [
            ("spec.assets.style.link", False),
        ]),
        ({"raw": "eA==", "assets": {"style": 1, "files": [{"link": "/dist/f/x", "url": URL}, None]}}, {}, [
            ("spec.assets.style.link", False),
            ("spec.assets.style", False),
            ("spec.assets.files[0].link", False),
            ("spec.assets.files[1].link", False),
            ("spec.assets.files[1]", False),
        ]),
    ],
)  # fmt: skip
def test_a_bundle(spec: Any, status: Any, wrong: list[tuple[str, bool]]) -> None:
    value = make("b", spec, status=status, labels={validation.EXTENSION_REF: "e"})
    assert alone(JS_BUNDLE, value) == wrong


def bundle(name: str, link: str, style: str = "", files: tuple[str, ...] = (), created: str = OLD) -> dict[str, Any]:
    assets: dict[str, Any] = {"files": [{"link": file} for file in files]}
    if style:
        assets["style"] = {"link": style}
    return make(name, {"assets": assets}, created, status={"link": link})


def test_colliding_links() -> None:
    found = together(
        JS_BUNDLE,
        bundle("b", "/dist/x/1", "/dist/x/2", ("/dist/x/3", "/dist/x/3")),
        bundle("a", "/dist/x/1", "", ("/dist/x/2", "/dist/x/4"), NEW),
        # A script's link wins over an older bundle's file.
        bundle("c", "/dist/x/4", "/dist/x/3", (), NEW),
    )
    assert sorted(found) == [
        ("a", "spec.assets.files[0].link", False),
        ("a", "spec.assets.files[1].link", False),
        ("a", "status.link", True),
        ("b", "spec.assets.files[0].link", False),
        ("b", "spec.assets.files[1].link", False),
    ]


def test_a_link_without_a_right_to_it_takes_nothing() -> None:
    thief = bundle("a", "/dist/devops/index.js")
    thief["metadata"]["labels"] = {validation.EXTENSION_REF: "dev"}
    assert not together(JS_BUNDLE, thief, bundle("b", "/dist/devops/index.js", created=NEW))


def entries(name: str, *found: Any, created: str = OLD) -> dict[str, Any]:
    return make(name, {"entries": list(found)}, created)


def test_menu_entries() -> None:
    good = entries("a", {"name": "x", "link": "/x"}, {"name": "y"})
    assert not alone(EXTENSION_ENTRY, good)
    bad = entries("b", {"name": ""}, {"name": 3, "link": 4}, "entry")
    assert [field for field, _ in alone(EXTENSION_ENTRY, bad)] == [
        "spec.entries[0].name",
        "spec.entries[1].name",
        "spec.entries[1].link",
        "spec.entries[2].name",
    ]
    twice = entries("c", {"name": "y"}, {"name": "z", "link": "/x"}, {"name": "z"}, created=NEW)
    assert together(EXTENSION_ENTRY, twice, good) == [
        ("c", "spec.entries[0].name", True),
        ("c", "spec.entries[1].link", True),
        ("c", "spec.entries[2].name", True),
    ]


def test_other_kinds_have_no_problems() -> None:
    assert not object_problems("Secret", make("a", None), bad_endpoint, reserved)
    assert not set_problems("Secret", [make("a", None)])


def test_objects_without_a_time_come_last() -> None:
    ordered = [make("b", {}, OLD), make("a", {}, NEW), make("a", {}, ""), {}]
    ordered.reverse()
    assert sorted(ordered, key=precedence) == [ordered[3], ordered[2], {}, ordered[1]]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def shaped(like: Any) -> st.SearchStrategy[Any]:
    """Values like ``like``, with anything at all in any place."""
    if isinstance(like, dict):
        inner = st.fixed_dictionaries({}, optional={key: shaped(value) for key, value in like.items()})
        return inner | json_values
    if isinstance(like, list):
        return st.lists(shaped(like[0]), max_size=3) | json_values
    return st.sampled_from(like) | json_values


STRINGS = ("/dist/e/x", "/dist/..", "/proxy/*", "/proxy/a", "GET", "*", "e", "v1", "")
endpoints = {"url": STRINGS, "service": {"name": STRINGS}}
objects = st.fixed_dictionaries(
    {},
    optional={
        "metadata": shaped(
            {
                "name": STRINGS,
                "creationTimestamp": (OLD, NEW),
                "labels": {validation.EXTENSION_REF: STRINGS, validation.PROXY_TARGET: ("ks-console",)},
            }
        ),
        "spec": shaped(
            {
                "group": STRINGS,
                "version": STRINGS,
                "matcher": {"path": STRINGS, "method": STRINGS},
                "upstream": endpoints,
                "raw": STRINGS,
                "rawFrom": {"secretKeyRef": {"key": STRINGS}, **endpoints},
                "assets": {"style": {"link": STRINGS}, "files": [{"link": STRINGS}]},
                "entries": [{"name": STRINGS, "link": STRINGS}],
            }
        ),
        "status": shaped({"link": STRINGS, "state": STRINGS}),
    },
)


@given(st.sampled_from(KINDS), st.lists(objects, max_size=5))
def test_any_shape_gives_problems_and_never_an_error(kind: str, values: list[dict[str, Any]]) -> None:
    for value in values:
        for problem in object_problems(kind, value, bad_endpoint, reserved):
            assert isinstance(problem, Problem) and problem.message and str(problem)
        assert default_link(value).endswith("/index.js")
    found = set_problems(kind, values)
    assert all(isinstance(problem, Problem) and problem.message for problem in found)
    # The order in which objects are stored does not matter.
    assert found == set_problems(kind, reversed(values)) or len({precedence(v) for v in values}) < len(values)

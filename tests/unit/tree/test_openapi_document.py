"""OpenAPI documents: taken apart, merged, put together; and what no document may do."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.tree import openapi_document
from ksproxyd.tree.openapi_document import (
    PIECE_LIMIT,
    Document,
    DocumentError,
    Merge,
    Version,
    parse,
)


def v2(**parts: Any) -> Document:
    return parse(json.dumps({"swagger": "2.0", **parts}).encode(), "v2")


def v3(**parts: Any) -> Document:
    return parse(json.dumps({"openapi": "3.0.3", **parts}).encode(), "v3")


def merged(*documents: Document) -> dict[str, Any]:
    version = documents[0].version if documents else "v2"
    own = v2() if version == "v2" else v3()
    merge = Merge({"info": {"title": "t"}}, own)
    assert all(merge.add(document) for document in documents)
    result = json.loads(merge.render())
    # Whatever is merged can be taken apart again.
    parse(json.dumps({"swagger": "2.0", "openapi": "3.0.3", **result}).encode(), version)
    return result


def get(reference: str, section: str = "definitions") -> dict[str, Any]:
    return {"get": {"responses": {"200": {"schema": {"$ref": f"#/{section}/{reference}"}}}}}


@pytest.mark.parametrize(
    ("data", "version", "message"),
    [
        (b"", "v2", "truncated"),
        (b"<html>", "v2", "malformed"),
        (b"[]", "v2", "Expected `object`"),
        (b"{}", "v2", 'no "swagger": "2.0"'),
        (b'{"openapi": "3.0.0"}', "v2", 'no "swagger": "2.0"'),
        (b'{"swagger": "2.0"}', "v3", 'no "openapi": "3.x"'),
        (b'{"openapi": 3}', "v3", 'no "openapi": "3.x"'),
        (b'{"swagger": "2.0", "paths": []}', "v2", "Expected `object`"),
        (b'{"swagger": "2.0", "paths": {"/x": 1}}', "v2", "a path is no object"),
        (b'{"swagger": "2.0", "definitions": 5}', "v2", "Expected `object`"),
        (b'{"openapi": "3.1.0", "components": {"schemas": []}}', "v3", "Expected `object`"),
        (b'{"swagger": "2.0", "paths": {"/x": {"a": "\xff"}}}', "v2", "does not parse"),
        (b'{"swagger": "2.0", "paths": {"/x": ' + b"[" * 9999 + b"]" * 9999 + b"}}", "v2", "recursion"),
        (b'{"swagger": "2.0", "definitions": {"x": "' + b"x" * PIECE_LIMIT + b'"}}', "v2", "more than"),
    ],
)
def test_what_is_no_document(data: bytes, version: Version, message: str) -> None:
    with pytest.raises(DocumentError) as refused:
        parse(data, version)
    assert message in str(refused.value)


def test_nothing_in_it() -> None:
    assert merged(v2()) == {"info": {"title": "t"}, "tags": [], "paths": {}}
    assert merged(v3()) == {"info": {"title": "t"}, "tags": [], "paths": {}, "components": {}}


def test_paths_that_are_none_are_left_out() -> None:
    assert merged(v2(paths={"/x": {}, "x-vendor": {}, "": {}}))["paths"] == {"/x": {}}


def test_a_path_that_is_there_wins() -> None:
    one = v2(paths={"/x": {"get": {"summary": "one"}}})
    two = v2(paths={"/x": {"get": {"summary": "two"}}, "/y": {}})
    assert merged(one, two)["paths"] == {"/x": {"get": {"summary": "one"}}, "/y": {}}


def test_only_needed_definitions_come_along() -> None:
    document = v2(
        paths={"/x": get("A")},
        definitions={"A": {"items": {"$ref": "#/definitions/B"}}, "B": {"$ref": "#/definitions/A"}, "C": {}},
    )
    assert merged(document)["definitions"].keys() == {"A", "B"}
    assert "definitions" not in merged(v2(paths={"/x": {}}, definitions={"C": {}}))


def test_equal_definitions_are_shared_whatever_their_key_order() -> None:
    one = v2(paths={"/x": get("A")}, definitions={"A": {"type": "object", "title": "a"}})
    two = v2(paths={"/y": get("A")}, definitions={"A": {"title": "a", "type": "object"}})
    assert merged(one, two)["definitions"] == {"A": {"type": "object", "title": "a"}}


def test_different_definitions_are_renamed() -> None:
    documents = [v2(paths={f"/{i}": get("A")}, definitions={"A": {"title": str(i % 3)}}) for i in range(6)]
    result = merged(*documents)
    assert result["definitions"] == {"A": {"title": "0"}, "A_v2": {"title": "1"}, "A_v3": {"title": "2"}}
    expected = ["A", "A_v2", "A_v3"] * 2
    assert [result["paths"][f"/{i}"] for i in range(6)] == [get(name) for name in expected]


def test_a_new_name_spreads_to_what_refers_to_it() -> None:
    def document(path: str, title: str) -> Document:
        top = {"properties": {"m": {"$ref": "#/definitions/M"}, "s": {"$ref": "#/definitions/S"}}}
        definitions = {
            "T": top,
            "M": {"items": {"$ref": "#/definitions/L"}},
            "L": {"title": title},
            "S": {"title": "same"},
        }
        return v2(paths={path: get("T")}, definitions=definitions)

    result = merged(document("/a", "a"), document("/b", "b"), document("/c", "b"), document("/d", "a"))
    assert result["definitions"].keys() == {"T", "M", "L", "S", "T_v2", "M_v2", "L_v2"}
    assert result["definitions"]["T_v2"]["properties"] == {
        "m": {"$ref": "#/definitions/M_v2"},
        "s": {"$ref": "#/definitions/S"},
    }
    assert [result["paths"][p] for p in ("/a", "/b", "/c", "/d")] == [get(n) for n in ("T", "T_v2", "T_v2", "T")]


def test_definitions_in_a_circle_are_renamed_together() -> None:
    def document(path: str, title: str) -> Document:
        node = {"title": title, "items": {"$ref": "#/definitions/Edge"}}
        return v2(paths={path: get("Node")}, definitions={"Node": node, "Edge": {"$ref": "#/definitions/Node"}})

    result = merged(document("/a", "a"), document("/b", "b"), document("/c", "b"))
    assert result["definitions"].keys() == {"Node", "Edge", "Node_v2", "Edge_v2"}
    assert result["definitions"]["Edge_v2"] == {"$ref": "#/definitions/Node_v2"}
    assert result["paths"]["/c"] == get("Node_v2")


def test_a_new_name_is_none_that_the_document_uses_itself() -> None:
    one = v2(paths={"/a": get("A")}, definitions={"A": {"title": "1"}})
    two = v2(
        paths={"/b": {"get": get("A"), "put": get("A_v2")}},
        definitions={"A": {"title": "2"}, "A_v2": {"title": "its own"}},
    )
    result = merged(one, two)
    assert result["definitions"] == {"A": {"title": "1"}, "A_v2": {"title": "its own"}, "A_v3": {"title": "2"}}
    assert result["paths"]["/b"] == {"get": get("A_v3"), "put": get("A_v2")}


def test_names_that_need_escapes_in_a_reference() -> None:
    def document(path: str, title: str) -> Document:
        return v2(paths={path: get("a~1b~0%20c/properties/x")}, definitions={"a/b~ c": {"title": title}})

    result = merged(document("/1", "1"), document("/2", "2"))
    assert result["definitions"].keys() == {"a/b~ c", "a/b~ c_v2"}
    assert result["paths"]["/2"] == get("a~1b~0%20c_v2/properties/x")


@pytest.mark.parametrize("section", ["parameters", "responses"])
def test_other_sections_of_v2(section: str) -> None:
    one, two = (v2(paths={f"/{i}": get("P", section)}, **{section: {"P": {"name": i}}}) for i in "12")
    result = merged(one, two)
    assert result[section] == {"P": {"name": "1"}, "P_v2": {"name": "2"}}
    assert result["paths"]["/2"] == get("P_v2", section)


@pytest.mark.parametrize("section", ["schemas", "responses", "parameters", "requestBodies", "headers", "links"])
def test_sections_of_v3(section: str) -> None:
    where = f"components/{section}"
    one, two = (v3(paths={f"/{i}": get("P", where)}, components={section: {"P": {"x": i}}}) for i in "12")
    result = merged(one, two)
    assert result["components"] == {section: {"P": {"x": "1"}, "P_v2": {"x": "2"}}}
    assert result["paths"]["/2"] == get("P_v2", where)


def test_discriminators_follow_their_schemas() -> None:
    def document(path: str, title: str) -> Document:
        mapping = {"cat": "Cat", "dog": "#/components/schemas/Dog", "far": "https://x.test/y", "odd": 1}
        pet = {"discriminator": {"propertyName": "kind", "mapping": mapping}}
        schemas = {"Pet": pet, "Cat": {"title": title}, "Dog": {"title": title}}
        return v3(paths={path: get("Pet", "components/schemas")}, components={"schemas": schemas})

    result = merged(document("/a", "a"), document("/b", "b"))["components"]["schemas"]
    mapping = {"cat": "Cat_v2", "dog": "#/components/schemas/Dog_v2", "far": "https://x.test/y", "odd": 1}
    assert result["Pet_v2"]["discriminator"]["mapping"] == mapping


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_security_is_the_documents_own(version: Version) -> None:
    def document(path: str, url: str) -> Document:
        scheme = {"Login": {"type": "oauth2", "url": url}}
        operations = {"get": {}, "put": {"security": []}, "post": {"security": [{"Login": ["x"]}, "odd"]}}
        parts: dict[str, Any] = {"paths": {path: operations}, "security": [{"Login": []}]}
        if version == "v2":
            return v2(**parts, securityDefinitions=scheme)
        return v3(**parts, components={"securitySchemes": scheme})

    result = merged(document("/a", "a"), document("/b", "b"))
    schemes = result["securityDefinitions"] if version == "v2" else result["components"]["securitySchemes"]
    assert schemes.keys() == {"Login", "Login_v2"}
    assert result["paths"]["/a"]["get"] == {"security": [{"Login": []}]}
    assert result["paths"]["/b"] == {
        "get": {"security": [{"Login_v2": []}]},
        "put": {"security": []},
        "post": {"security": [{"Login_v2": ["x"]}, "odd"]},
    }
    assert "security" not in result


def test_a_schema_may_have_members_named_like_keywords() -> None:
    odd = {"properties": {"$ref": {"type": "string"}, "security": {"type": "array"}, "discriminator": {"x": 1}}}
    document = v2(paths={"/x": get("A")}, definitions={"A": odd})
    assert merged(document)["definitions"]["A"] == odd


def test_media_types_and_base_path_of_v2_are_written_into_operations() -> None:
    operations = {"get": {}, "post": {"consumes": ["text/x"]}, "parameters": [], "put": "odd"}
    for base in ("/base/", "base", "/base"):
        document = v2(basePath=base, paths={"/x": operations}, consumes=["a/a"], produces=["b/b"])
        assert merged(document)["paths"] == {
            "/base/x": {
                "get": {"consumes": ["a/a"], "produces": ["b/b"]},
                "post": {"consumes": ["text/x"], "produces": ["b/b"]},
                "parameters": [],
                "put": "odd",
            }
        }
    assert merged(v2(basePath="/", paths={"/x": {}}))["paths"] == {"/x": {}}


def test_tags() -> None:
    one = v2(paths={"/a": {}}, tags=[{"name": "b", "description": "1"}, "odd", {"name": 5}])
    two = v2(paths={"/b": {}}, tags=[{"name": "b", "description": "2"}, {"name": "a"}])
    assert merged(one, two)["tags"] == [{"name": "a"}, {"name": "b", "description": "1"}]


def test_a_reference_into_nothing_stays() -> None:
    assert merged(v2(paths={"/x": get("Missing")}))["paths"]["/x"] == get("Missing")


def test_our_own_names_are_kept_though_nothing_refers_to_them() -> None:
    own = v2(paths={"/x": {"get": {}}}, definitions={"A": {"title": "ours"}})
    merge = Merge({}, own)
    other = v2(paths={"/x": {}, "/y": get("A")}, definitions={"A": {"title": "theirs"}})
    assert merge.add(other)
    result = json.loads(merge.render())
    assert result["paths"] == {"/x": {"get": {}}, "/y": get("A_v2")}
    assert result["definitions"] == {"A": {"title": "ours"}, "A_v2": {"title": "theirs"}}


def test_what_would_be_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_document, "MERGED_LIMIT", 200)
    merge = Merge({}, v2())
    big = v2(paths={"/big": {"x": "x" * 200}}, tags=[{"name": "big"}])
    small = v2(paths={"/small": {"x": "x" * 100}})
    assert not merge.add(big)
    assert merge.add(small)
    assert not merge.add(v2(paths={"/more": {"x": "x" * 100}}))
    # What is there already takes no room.
    assert merge.add(small)
    assert json.loads(merge.render()) == {"tags": [], "paths": {"/small": {"x": "x" * 100}}}


def test_the_result_does_not_depend_on_the_order_of_keys() -> None:
    paths = {f"/{i}": get(f"D{i}") for i in range(20)}
    definitions = {f"D{i}": {"title": str(i)} for i in range(20)}
    backwards = v2(
        paths=dict(reversed(paths.items())),
        definitions=dict(reversed(definitions.items())),
    )
    one, two = Merge({}, v2()), Merge({}, v2())
    assert one.add(v2(paths=paths, definitions=definitions)) and two.add(backwards)
    assert one.render() == two.render()


def dereferenced(document: dict[str, Any], value: Any, seen: tuple[str, ...] = ()) -> Any:
    """``value`` with references followed: what a reader of the document sees, whatever things are called."""
    if isinstance(value, list):
        return [dereferenced(document, item, seen) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("$ref")
    if isinstance(name, str):
        if name in seen:
            return "again " + str(len(seen) - seen.index(name))
        target = document.get("definitions", {}).get(name.removeprefix("#/definitions/"), "missing")
        return dereferenced(document, target, (*seen, name))
    return {key: dereferenced(document, item, seen) for key, item in value.items()}


names = st.sampled_from(["A", "B", "C", "A_v2"])
references = names.map(lambda name: {"$ref": f"#/definitions/{name}"})
bodies = st.fixed_dictionaries({}, optional={"title": st.sampled_from("xy"), "items": references, "not": references})
sources = st.fixed_dictionaries(
    {
        "swagger": st.just("2.0"),
        "paths": st.dictionaries(st.sampled_from(["/a", "/b", "/c", "/d"]), references, max_size=3),
        # Every name is defined: a reference into nothing may well find something after a merge.
        "definitions": st.fixed_dictionaries(dict.fromkeys(["A", "B", "C", "A_v2"], bodies)),
    }
)


@given(st.lists(sources, min_size=1, max_size=4))
def test_a_merge_changes_names_and_nothing_else(documents: list[dict[str, Any]]) -> None:
    result = merged(*(parse(json.dumps(document).encode(), "v2") for document in documents))
    expected: dict[str, Any] = {}
    for document in documents:
        for path, item in document["paths"].items():
            expected.setdefault(path, dereferenced(document, item))
    assert {path: dereferenced(result, item) for path, item in result["paths"].items()} == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
members = ["swagger", "openapi", "paths", "definitions", "components", "security", "tags", "basePath", "consumes"]
odd_documents = st.dictionaries(st.sampled_from(members), json_values | st.just({"/x": {"$ref": "#/definitions/x"}}))


@given(st.one_of(st.binary(), odd_documents.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_a_document_or_a_document_error(data: bytes) -> None:
    for version, head in (("v2", b'{"swagger":"2.0",'), ("v3", b'{"openapi":"3.0.0",')):
        for sent in (data, head + data[1:]):
            try:
                document = parse(sent, version)  # type: ignore[arg-type]
            except DocumentError:
                continue
            merge = Merge({}, v2() if version == "v2" else v3())
            assert merge.add(document)
            json.loads(merge.render())


def test_a_long_chain_of_definitions() -> None:
    count = 5000
    chain = {f"D{i}": {"title": "1", "items": {"$ref": f"#/definitions/D{i + 1}"}} for i in range(count)}
    one = v2(paths={"/1": get("D0")}, definitions=chain)
    two = v2(paths={"/2": get("D0")}, definitions=chain | {f"D{count}": {"title": "2"}})
    three = v2(paths={"/3": get("D0")}, definitions=chain | {f"D{count}": {"title": "3"}})
    assert len(merged(one, two, three)["definitions"]) == 2 * count + 2


def test_pieces_are_nothing_for_the_garbage_collector() -> None:
    document = v2(definitions={"A": {"$ref": "#/definitions/B"}})
    piece = document.definitions["definitions/A"]
    gc.collect()
    assert not gc.is_tracked(piece) and not gc.is_tracked(piece.refers)

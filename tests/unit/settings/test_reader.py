"""Nodes and their places, the ConfigMap form, and texts that are not configuration files."""

from __future__ import annotations

import time

import pytest

from ksproxyd.settings.nodes import Mapping, Node, Position, Scalar, Sequence
from ksproxyd.settings.reader import MAX_BYTES, MAX_DEPTH, MAX_VALUES, read


def plain(node: Node | None) -> object:
    """The node as Python values: text, lists and dicts; None for null."""
    match node:
        case Scalar():
            return None if node.is_null else node.text
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {entry.key: plain(entry.value) for entry in node.entries}
    return None


def good(text: str | bytes) -> Mapping:
    root, problems = read(text, "x.yaml")
    assert not problems, [str(problem) for problem in problems]
    return root


def bad(text: str | bytes) -> list[str]:
    _, problems = read(text, "x.yaml")
    return [str(problem) for problem in problems]


def at(root: Mapping, *path: str) -> Position:
    node: Node | None = root
    for step in path:
        assert isinstance(node, Mapping)
        node = node.get(step)
    assert node is not None
    return node.position


def test_values_know_their_places() -> None:
    root = good('a: 1\nb:\n  c: "x"\n  d: [1,\n    {e: f}]\n')
    assert plain(root) == {"a": "1", "b": {"c": "x", "d": ["1", {"e": "f"}]}}
    assert at(root, "a") == Position("x.yaml", 1, 4)
    assert at(root, "b") == Position("x.yaml", 3, 3)
    assert at(root, "b", "c") == Position("x.yaml", 3, 6)
    items = root.get("b").get("d").items  # type: ignore[union-attr]
    assert [item.position for item in items] == [Position("x.yaml", 4, 7), Position("x.yaml", 5, 5)]
    assert [entry.position.line for entry in root.entries] == [1, 2]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~", "null\n", "---\n---\n", "{}"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert plain(good(text)) == {}


@pytest.mark.parametrize(
    ("text", "null"),
    [("", True), ("~", True), ("null", True), ("Null", True), ('""', False), ("'null'", False), ("!!str", False)],
)
def test_null_has_no_quotes(text: str, null: bool) -> None:
    value = good(f"a: {text}\n").get("a")
    assert isinstance(value, Scalar) and value.is_null is null


@pytest.mark.parametrize("text", ["yes", "010", "1.10", "0x1F", "2024-01-01", "on", "1_000", "1:30"])
def test_scalars_stay_the_text_they_are(text: str) -> None:
    assert plain(good(f"a: {text}\n")) == {"a": text}


@pytest.mark.parametrize("tag", ["!!int", "!!bool", "!!float", "!!null"])
def test_tags_of_plain_kinds_change_nothing(tag: str) -> None:
    value = good(f'a: {tag} "5"\n').get("a")
    assert isinstance(value, Scalar) and value.plain


@pytest.mark.parametrize("text", ["a: !!binary aGk=", "a: !python/object:x y", "a: !!set {x}", "a: !t [1]"])
def test_other_tags_are_refused(text: str) -> None:
    assert len(bad(text)) == 1
    assert bad(text)[0].startswith('x.yaml:1: found the YAML tag "')


def test_anchors_and_merge_keys() -> None:
    root = good("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 0\nd: *a\ne: {<<: *a}\n")
    assert plain(root.get("c")) == {"x": "0", "y": "2", "z": "4"}
    assert root.get("d") is root.get("a")
    assert plain(root.get("e")) == {"x": "1", "y": "2"}
    assert at(root, "c", "z").line == 2


def test_a_quoted_merge_key_is_a_key() -> None:
    assert plain(good('a: {"<<": 1}')) == {"a": {"<<": "1"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", 'x.yaml:3: found the key "a" again, expected it once (it is also in line 1)'),
        ("a: *b\n", 'x.yaml:1: found the alias "b", expected an anchor that is defined, complete, before it'),
        ("a: &a [*a]\n", 'x.yaml:1: found the alias "a", expected an anchor that is defined, complete, before it'),
        ("a: {<<: 1}\n", "x.yaml:1: found 1 to merge, expected a mapping or a list of mappings"),
        ("? [a]\n: 1\n", "x.yaml:1: found a list as a key, expected a name"),
        ("[a]", "x.yaml:1: found a list, expected sections such as kubernetes: and ksproxyd:"),
        ("hello", 'x.yaml:1: found "hello", expected sections such as kubernetes: and ksproxyd:'),
        (
            "a: 1\n---\nb: 1\n",
            "x.yaml:3: found 2 documents, expected one document, or exactly one ConfigMap with the data key "
            "kubesphere.yaml among them",
        ),
        (
            "a: b: c\n",
            "x.yaml:1: found a syntax error in column 5 (mapping values are not allowed in this context), "
            "expected valid YAML",
        ),
        (
            "a: \x01\n",
            "x.yaml:1: found text that YAML does not allow (control characters are not allowed), expected valid YAML",
        ),
        (b"a: 1\nb: \xff\n", "x.yaml:2: found bytes that are not UTF-8, expected text in UTF-8"),
        ("a: 1\nb: \ud800\n", "x.yaml:2: found half a surrogate pair, expected text in UTF-8"),
    ],
)
def test_what_is_wrong_is_said(text: str | bytes, problem: str) -> None:
    assert bad(text) == [problem]


def test_duplicates_in_one_file_are_all_reported() -> None:
    assert [line.split(":")[1] for line in bad("a: 1\na: 2\nb: {c: 1, c: 2}\na: 3\n")] == ["3", "2", "4"]


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    assert plain(good(b"\xef\xbb\xbfa: 1\n")) == {"a": "1"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # Newer parsers have a limit of their own, which is met first.
        ("[" * 1_000_000, "nest"),
        ("a: " + "{a: " * 200_000, f"values nested more than {MAX_DEPTH} deep"),
        ("- " * 300_000, f"values nested more than {MAX_DEPTH} deep"),
        ("[" + "a," * 200_000 + "]", f"more than {MAX_VALUES} values"),
        ("a: " + "x" * MAX_BYTES, f"more than {MAX_BYTES} bytes"),
        ("a: " + "\u00e4" * (MAX_BYTES // 2), f"more than {MAX_BYTES} bytes"),
    ],
)
def test_reading_is_bounded(text: str, found: str) -> None:
    started = time.process_time()
    assert any(found in problem for problem in bad(text))
    assert time.process_time() - started < 5


def test_a_bomb_of_aliases_expands_to_nothing() -> None:
    levels = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    levels += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    started = time.process_time()
    good("\n".join(levels))
    assert time.process_time() - started < 5


def test_a_bomb_of_merge_keys_ends() -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(1000))
    text = f"a: &a {{{keys}}}\n" + "".join(f"m{n}: {{<<: [{', '.join(['*a'] * 50)}]}}\n" for n in range(100))
    assert any(f"more than {MAX_VALUES} values" in problem for problem in bad(text))


MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: some-config
data:
  kubesphere.yaml: |
    authentication:
      multipleLogin: true

    ksproxyd:
      limits: {headBytes: abc}
"""


def test_lines_in_a_config_map_are_those_of_the_manifest() -> None:
    root = good(MANIFEST)
    assert plain(root) == {
        "authentication": {"multipleLogin": "true"},
        "ksproxyd": {"limits": {"headBytes": "abc"}},
    }
    assert at(root, "authentication", "multipleLogin") == Position("x.yaml", 8, 22)
    assert at(root, "ksproxyd", "limits", "headBytes") == Position("x.yaml", 11, 27)


@pytest.mark.parametrize("header", ["|", "|-", "|+", "|2", "| # comment", "&a |", "!!str |"])
def test_lines_do_not_depend_on_the_header_of_the_block(header: str) -> None:
    text = f"kind: ConfigMap\napiVersion: v1\ndata:\n  kubesphere.yaml: {header}\n\n    a: 1\n    b: 2\n"
    root = good(text)
    assert at(root, "b") == Position("x.yaml", 7, 8)


def test_a_quoted_text_in_a_config_map_has_the_line_it_begins_on() -> None:
    root = good('kind: ConfigMap\napiVersion: v1\ndata:\n  kubesphere.yaml: "a: 1\\nb:\\n  c: 2\\n"\n')
    assert plain(root) == {"a": "1", "b": {"c": "2"}}
    assert at(root, "b", "c").line == 4


def test_problems_in_a_config_map_have_its_lines() -> None:
    text = MANIFEST.replace("abc}", "abc")
    assert bad(text)[0].startswith("x.yaml:12: found a syntax error in column 5 ")
    assert bad(MANIFEST + "    authentication: {}\n") == [
        'x.yaml:12: found the key "authentication" again, expected it once (it is also in line 7)'
    ]


def test_the_config_map_may_be_one_of_several_documents() -> None:
    root = good(
        f"---\nkind: Service\napiVersion: v1\n---\n{MANIFEST}---\nkind: ConfigMap\napiVersion: v1\ndata: {{}}\n"
    )
    assert at(root, "authentication", "multipleLogin").line == 12


def test_two_config_maps_are_one_too_many() -> None:
    assert "2 documents" in bad(f"{MANIFEST}---\n{MANIFEST}")[0]


@pytest.mark.parametrize(
    "data", ["", "data: {}\n", "data: {other.yaml: x}\n", "data: 1\n", "data: {kubesphere.yaml: []}\n"]
)
def test_a_config_map_needs_the_key(data: str) -> None:
    assert bad(f"kind: ConfigMap\napiVersion: v1\n{data}") == [
        "x.yaml:1: found a ConfigMap without that key, expected the data key kubesphere.yaml"
    ]


def test_an_empty_text_in_a_config_map_is_an_empty_file() -> None:
    assert plain(good('kind: ConfigMap\napiVersion: v1\ndata: {kubesphere.yaml: ""}\n')) == {}

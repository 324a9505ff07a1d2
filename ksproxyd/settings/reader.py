"""YAML text becomes nodes that know their places.

The nodes are built from the parser's events, not by recursion: depth, number of values and the work done for merge keys
are bounded whatever the text is, and an alias is the anchored node itself, never a copy of it.

A ConfigMap manifest whose data holds ``kubesphere.yaml`` is read as the text in it, with the lines of the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import yaml

from ksproxyd.settings.nodes import Entry, Mapping, Node, Position, Scalar, Sequence, describe, quote
from ksproxyd.settings.problems import Problem

#: Bytes of a configuration file. A Kubernetes object, and with it a ConfigMap, holds less.
MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_VALUES = 50_000
#: The key of the ConfigMap that ks-apiserver's configuration is delivered in.
DATA_KEY = "kubesphere.yaml"

_STANDARD = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({"!", f"{_STANDARD}str"})
_PLAIN_TAGS = frozenset(f"{_STANDARD}{kind}" for kind in ("int", "float", "bool", "null", "merge"))
_COLLECTION_TAGS = frozenset({"!", f"{_STANDARD}map", f"{_STANDARD}seq"})

_LITERAL_HEADER = re.compile(r"(?:[&!]\S*[ \t]+)*\|")

#: Turns line and column of the parsed text, both from 0, into a position in the file.
Locate = Callable[[int, int], Position]


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been reached; a mapping's keys and values alternate in ``children``."""

    position: Position
    anchor: str | None
    is_mapping: bool
    children: list[Node] = field(default_factory=list)


class _Unreadable(Exception):
    """A bound was passed or the text is not text; reading stops here."""

    def __init__(self, position: Position, found: str, wanted: str) -> None:
        super().__init__(found)
        self.position, self.found, self.wanted = position, found, wanted


def read(text: str | bytes, name: str) -> tuple[Mapping, list[Problem]]:
    """Parse the text of a configuration file.

    ``name`` is how problems call the file. Returns the root mapping (as far as it could be read; an empty file is an
    empty mapping) and the problems found; raises nothing.
    """
    composer = _Composer(lambda line, column: Position(name, line + 1, column + 1))
    root = _choose(composer, composer.documents(text), name)
    if root is None or not _is_config_map(root):
        return root or Mapping((), Position(name)), composer.problems
    inner, problems = _read_config_map(root, text, name)
    return inner, composer.problems + problems


def _choose(composer: _Composer, documents: list[Node], name: str) -> Mapping | None:
    """The document that holds the configuration: the only one, or the only ConfigMap with our data key."""
    documents = [each for each in documents if not (isinstance(each, Scalar) and each.is_null)]
    if len(documents) > 1:
        maps = [each for each in documents if isinstance(each, Mapping) and _is_config_map(each) and _data(each)]
        if len(maps) != 1:
            composer.report(
                documents[1].position,
                f"{len(documents)} documents",
                f"one document, or exactly one ConfigMap with the data key {DATA_KEY} among them",
            )
            return None
        documents = list(maps)
    if not documents:
        return None
    root = documents[0]
    if not isinstance(root, Mapping):
        composer.report(root.position, describe(root), "sections such as kubernetes: and ksproxyd:")
        return None
    return root


def _is_config_map(root: Mapping) -> bool:
    kind, version = root.get("kind"), root.get("apiVersion")
    return isinstance(kind, Scalar) and kind.text == "ConfigMap" and isinstance(version, Scalar)


def _data(root: Mapping) -> Scalar | None:
    data = root.get("data")
    value = data.get(DATA_KEY) if isinstance(data, Mapping) else None
    return value if isinstance(value, Scalar) else None


def _read_config_map(root: Mapping, outer: str | bytes, name: str) -> tuple[Mapping, list[Problem]]:
    embedded = _data(root)
    if embedded is None:
        problem = Problem(name, root.position.line, "", "a ConfigMap without that key", f"the data key {DATA_KEY}")
        return Mapping((), root.position), [problem]
    composer = _Composer(_embedded_lines(embedded, outer))
    inner = _choose(composer, composer.documents(embedded.text), name)
    return inner or Mapping((), embedded.position), composer.problems


def _embedded_lines(embedded: Scalar, outer: str | bytes) -> Locate:
    """Positions in a text that is itself a value.

    Line *n* of a literal block scalar (``|``) is line *n* below its header, indented. Quoted and folded scalars do not
    keep their lines, so everything in them is at the line the scalar begins.
    """
    start = embedded.position
    lines = (outer if isinstance(outer, str) else outer.decode("utf-8")).splitlines()
    header = lines[start.line - 1][start.column - 1 :] if start.line <= len(lines) else ""
    if _LITERAL_HEADER.match(header) is None:
        return lambda line, column: start
    first = next((text for text in embedded.text.split("\n") if text.strip()), "")
    first_outer = next((text for text in lines[start.line :] if text.strip()), first)
    indent = max(len(first_outer.rstrip()) - len(first.rstrip()), 0)
    return lambda line, column: Position(start.file, start.line + 1 + line, indent + column + 1)


class _Composer:
    """Builds nodes from the events of one text, collecting what is wrong on the way."""

    def __init__(self, locate: Locate) -> None:
        self.problems: list[Problem] = []
        self._locate = locate
        self._values = 0
        self._anchors: dict[str, Node] = {}

    def report(self, position: Position, found: str, wanted: str) -> None:
        self.problems.append(Problem(position.file, position.line, "", found, wanted))

    def documents(self, text: str | bytes) -> list[Node]:
        """The documents of a text; whatever cannot be read is reported, and nothing after it is read."""
        documents: list[Node] = []
        try:
            self._read_documents(_decode(text, self._locate), documents)
        except _Unreadable as error:
            self.report(error.position, error.found, error.wanted)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            position = self._locate(mark.line, mark.column) if mark else self._locate(0, 0)
            detail = " ".join(part for part in (error.context, error.problem) if part)
            self.report(position, f"a syntax error in column {position.column} ({detail})", "valid YAML")
        except yaml.YAMLError as error:
            reason = getattr(error, "reason", "unreadable text")
            self.report(self._locate(0, 0), f"text that YAML does not allow ({reason})", "valid YAML")
        return documents

    def _read_documents(self, text: str, documents: list[Node]) -> None:
        stack: list[_Open] = []
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            match event:
                case yaml.DocumentStartEvent():
                    self._anchors.clear()
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._begin(event, stack)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    closed = stack.pop()
                    node = self._mapping(closed) if closed.is_mapping else self._sequence(closed)
                    self._add(node, closed.anchor, stack, documents)
                case yaml.ScalarEvent():
                    self._add(self._scalar(event), event.anchor, stack, documents)
                case yaml.AliasEvent():
                    self._add(self._alias(event), None, stack, documents)

    def _add(self, node: Node, anchor: str | None, stack: list[_Open], documents: list[Node]) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        self._count(node.position)
        if stack:
            stack[-1].children.append(node)
        else:
            documents.append(node)

    def _count(self, position: Position) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _Unreadable(position, f"more than {MAX_VALUES} values", "a configuration file")

    def _position(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        assert mark is not None, "the C parser marks every event"
        return self._locate(mark.line, mark.column)

    def _begin(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, stack: list[_Open]) -> None:
        position = self._position(event)
        if len(stack) >= MAX_DEPTH:
            raise _Unreadable(position, f"values nested more than {MAX_DEPTH} deep", "a configuration file")
        if event.tag is not None and event.tag not in _COLLECTION_TAGS:
            self.report(position, f"the YAML tag {quote(event.tag)}", "a plain mapping or list")
        stack.append(_Open(position, event.anchor, isinstance(event, yaml.MappingStartEvent)))

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        position = self._position(event)
        plain = not event.style and event.tag not in _TEXT_TAGS
        if event.tag in _PLAIN_TAGS:
            plain = True
        elif event.tag is not None and event.tag not in _TEXT_TAGS:
            self.report(position, f"the YAML tag {quote(event.tag)}", "a plain value")
        return Scalar(event.value, position, plain)

    def _alias(self, event: yaml.AliasEvent) -> Node:
        """The anchored node. An anchor that is still open, or of another document, is as good as undefined."""
        name = event.anchor or ""
        node = self._anchors.get(name)
        if node is None:
            position = self._position(event)
            self.report(position, f"the alias {quote(name)}", "an anchor that is defined, complete, before it")
            return Scalar("", position, plain=True)
        return node

    def _sequence(self, opened: _Open) -> Sequence:
        return Sequence(tuple(opened.children), opened.position)

    def _mapping(self, opened: _Open) -> Mapping:
        own: dict[str, Entry] = {}
        merged: list[Node] = []
        for key, value in zip(opened.children[::2], opened.children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.report(key.position, f"{describe(key)} as a key", "a name")
            elif key.plain and key.text == "<<":
                merged.extend(value.items if isinstance(value, Sequence) else (value,))
            elif key.text in own:
                line = own[key.text].position.line
                self.report(key.position, f"the key {quote(key.text)} again", f"it once (it is also in line {line})")
            else:
                own[key.text] = Entry(key.text, key.position, value)
        for node in merged:
            self._merge(node, own)
        return Mapping(tuple(own.values()), opened.position)

    def _merge(self, node: Node, own: dict[str, Entry]) -> None:
        """``<<`` as in YAML 1.1: keys of the mapping itself win, then those of the earlier merged one."""
        if not isinstance(node, Mapping):
            self.report(node.position, f"{describe(node)} to merge", "a mapping or a list of mappings")
            return
        for entry in node.entries:
            self._count(entry.position)
            own.setdefault(entry.key, entry)


def _decode(text: str | bytes, locate: Locate) -> str:
    """UTF-8 within the size bound, as text; without a byte order mark."""
    if len(text) > MAX_BYTES:
        raise _Unreadable(locate(0, 0), f"more than {MAX_BYTES} bytes", "a configuration file")
    try:
        data = text.encode("utf-8") if isinstance(text, str) else text
        if len(data) > MAX_BYTES:
            raise _Unreadable(locate(0, 0), f"more than {MAX_BYTES} bytes", "a configuration file")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        column = error.start - (before.rfind(b"\n") + 1)
        raise _Unreadable(locate(before.count(b"\n"), column), "bytes that are not UTF-8", "text in UTF-8") from error
    except UnicodeEncodeError as error:
        line = error.object.count("\n", 0, error.start)
        raise _Unreadable(locate(line, 0), "half a surrogate pair", "text in UTF-8") from error

"""OpenAPI documents taken apart, merged and put together again, as JSON in pieces.

A document is a set of named pieces: one a path, one a definition. Most pieces of a merge are passed on as the
bytes they came as; only those whose names collide with other content are decoded and changed. All of this is made
for a thread beside the reactor: between pieces it lets the reactor have the interpreter (:func:`_breathe`), and no
single step works on more than :data:`PIECE_LIMIT` bytes.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec

Version = Literal["v2", "v3"]
_Item = TypeVar("_Item")

#: Largest path or definition, in bytes of JSON. Real ones have some thousands.
PIECE_LIMIT = 512 * 1024
#: Largest merged document, in bytes. Documents that do not fit any more are left out.
MERGED_LIMIT = 16 * 1024 * 1024

_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
# What a document says once for all of its operations, and each operation may say for itself.
_INHERITED = ("security", "consumes", "produces")
_V2_REFERENCE = re.compile(r"#/(definitions|parameters|responses)/([^/]+)(/.*)?", re.DOTALL)
_V3_REFERENCE = re.compile(r"#/components/([A-Za-z]+)/([^/]+)(/.*)?", re.DOTALL)
_V2_SECTIONS = ("definitions", "parameters", "responses", "securityDefinitions")


class DocumentError(Exception):
    """What a service answered is no OpenAPI document of the wanted version; the message says why."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One path or definition: canonical JSON, and the keys of the definitions that it refers to.

    There may be very many; none is looked at by the garbage collector.
    """

    json: bytes
    refers: tuple[str, ...]


class Document(NamedTuple):
    """A document in pieces.

    Definitions go by their key, ``<section>/<name>``: ``definitions/Pod``, ``schemas/Pod``, ``securitySchemes/Basic``.
    ``tags`` are their descriptions, by name.
    """

    version: Version
    paths: Mapping[str, Piece]
    definitions: Mapping[str, Piece]
    tags: Mapping[str, bytes]


class _Outline(msgspec.Struct):
    """The top level of a document; what is inside stays as it is until its turn."""

    swagger: Any = None
    openapi: Any = None
    paths: dict[str, msgspec.Raw] = {}
    definitions: dict[str, msgspec.Raw] = {}
    parameters: dict[str, msgspec.Raw] = {}
    responses: dict[str, msgspec.Raw] = {}
    securityDefinitions: dict[str, msgspec.Raw] = {}
    components: dict[str, msgspec.Raw] = {}
    security: msgspec.Raw = msgspec.Raw(b"")
    consumes: msgspec.Raw = msgspec.Raw(b"")
    produces: msgspec.Raw = msgspec.Raw(b"")
    tags: list[msgspec.Raw] = []
    basePath: str = ""


_outline = msgspec.json.Decoder(_Outline)
_section = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode = msgspec.json.decode


def _encode(value: Any) -> bytes:
    # Sorted keys: equal content makes equal bytes, so pieces are compared without being decoded.
    return msgspec.json.encode(value, order="sorted")


def parse(data: bytes, version: Version) -> Document:
    """Take the JSON document ``data`` apart.

    What the document says for all operations (security, media types, base path) is written into them, because the
    merged document says something else.

    :raises DocumentError: if it is not JSON, not an object of the right form, or has an oversized piece.
    """
    try:
        return _parse(data, version)
    except (msgspec.MsgspecError, UnicodeError, OverflowError, RecursionError) as error:
        raise DocumentError(f"it does not parse: {error}") from error


def _parse(data: bytes, version: Version) -> Document:
    outline = _outline.decode(data)
    if version == "v2" and outline.swagger != "2.0":
        raise DocumentError('it has no "swagger": "2.0"')
    if version == "v3" and not (isinstance(outline.openapi, str) and outline.openapi.startswith("3.")):
        raise DocumentError('it has no "openapi": "3.x"')
    inherited = {
        key: _decode(raw)
        for key in (_INHERITED if version == "v2" else _INHERITED[:1])
        if (raw := getattr(outline, key))
    }
    base = outline.basePath.strip("/") if version == "v2" else ""
    base = "/" + base if base else ""
    reader = _Reader(version, inherited)
    paths = {base + path: reader.path(raw) for path, raw in _slowly(outline.paths.items()) if path.startswith("/")}
    definitions = {
        f"{section}/{name}": reader.piece(raw)
        for section, found in _sections(outline, version)
        for name, raw in _slowly(found.items())
    }
    tags = {name: _encode(tag) for name, tag in _named(outline.tags)}
    return Document(version, paths, definitions, tags)


def _sections(outline: _Outline, version: Version) -> Iterator[tuple[str, dict[str, msgspec.Raw]]]:
    if version == "v2":
        for section in _V2_SECTIONS:
            yield section, getattr(outline, section)
    else:
        for section, raw in outline.components.items():
            if not section.startswith("x-"):
                yield section, _section.decode(raw)


def _named(raws: list[msgspec.Raw]) -> Iterator[tuple[str, Any]]:
    for raw in raws:
        tag = _decode(raw)
        if isinstance(tag, dict) and isinstance(tag.get("name"), str):
            yield tag["name"], tag


class _Reader:
    """Decodes pieces of one document, and writes them in canonical form."""

    def __init__(self, version: Version, inherited: dict[str, Any]) -> None:
        self._version = version
        self._inherited = inherited

    def path(self, raw: msgspec.Raw) -> Piece:
        item = self._open(raw)
        if not isinstance(item, dict):
            raise DocumentError("a path is no object")
        for method in _METHODS & item.keys():
            operation = item[method]
            if isinstance(operation, dict):
                for key, value in self._inherited.items():
                    operation.setdefault(key, value)
        return self._close(item)

    def piece(self, raw: msgspec.Raw) -> Piece:
        return self._close(self._open(raw))

    def _open(self, raw: msgspec.Raw) -> Any:
        if len(memoryview(raw)) > PIECE_LIMIT:
            raise DocumentError(f"a path or definition has more than {PIECE_LIMIT} bytes")
        return _decode(raw)

    def _close(self, value: Any) -> Piece:
        refers: set[str] = set()

        def note(key: str) -> str:
            refers.add(key)
            return ""

        _visit(value, self._version, note)
        return Piece(_encode(value), tuple(sorted(refers)))


def _visit(value: Any, version: Version, suffix: Callable[[str], str]) -> None:
    """Append ``suffix(key)`` to every reference inside ``value``, in place."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                _visit(item, version, suffix)
        return
    for key, item in value.items() if isinstance(value, dict) else ():
        if key == "$ref" and isinstance(item, str):
            value[key] = _renamed(item, version, suffix)
        elif key == "security" and isinstance(item, list):
            scheme = "securityDefinitions" if version == "v2" else "securitySchemes"
            value[key] = [
                {name + suffix(f"{scheme}/{name}"): scopes for name, scopes in need.items()}
                if isinstance(need, dict)
                else need
                for need in item
            ]
        elif key == "discriminator" and isinstance(item, dict) and isinstance(item.get("mapping"), dict):
            item["mapping"] = {k: _mapped(v, version, suffix) for k, v in item["mapping"].items()}
        elif isinstance(item, dict | list):
            _visit(item, version, suffix)


def _renamed(reference: str, version: Version, suffix: Callable[[str], str]) -> str:
    match = (_V2_REFERENCE if version == "v2" else _V3_REFERENCE).fullmatch(reference)
    if match is None:
        return reference
    section, token, rest = match.groups("")
    # RFC 6901, 4 and 6: "~" and "/" are escaped in a pointer, and the whole of it for the URL.
    name = unquote(token).replace("~1", "/").replace("~0", "~")
    start = match.start(2)
    return reference[:start] + token + suffix(f"{section}/{name}") + rest


def _mapped(value: Any, version: Version, suffix: Callable[[str], str]) -> Any:
    """A value of a discriminator's mapping: a reference, or the bare name of a schema."""
    if not isinstance(value, str):
        return value
    if "/" in value or value.startswith("#"):
        return _renamed(value, version, suffix)
    return value + suffix(f"schemas/{value}")


class Merge:
    """Documents joined into one. Those added first keep their paths and names."""

    def __init__(self, head: Mapping[str, Any], own: Document) -> None:
        """Begin with the whole of ``own``; ``head`` is what the result says besides: version, info, security."""
        self._version = own.version
        self._head = head
        self._paths = {path: piece.json for path, piece in own.paths.items()}
        self._definitions = {key: piece.json for key, piece in own.definitions.items()}
        self._tags = dict(own.tags)
        self._size = 0

    def add(self, document: Document) -> bool:
        """Add what is new in ``document``; False, and nothing added, if the whole would become too large.

        A path that is there already wins. Definitions come along as far as added paths need them. One whose name
        is taken by different content becomes ``<name>_v2``, ``_v3``... and so do those that refer to it; content
        that is there already under one of these names is shared.
        """
        wanted = {path: piece for path, piece in document.paths.items() if path not in self._paths}
        needed = _closure(document, wanted.values())
        suffixes = self._choose_suffixes(document, needed)
        paths = {path: self._render(piece, suffixes) for path, piece in _slowly(wanted.items())}
        definitions = {
            new: self._render(document.definitions[key], suffixes)
            for key in _slowly(needed)
            if (new := key + suffixes.get(key, "")) not in self._definitions
        }
        size = self._size + sum(map(len, paths.values())) + sum(map(len, definitions.values()))
        if size > MERGED_LIMIT:
            return False
        self._size = size
        self._paths |= paths
        self._definitions |= definitions
        if paths:
            self._tags = {**document.tags, **self._tags}
        return True

    def _choose_suffixes(self, document: Document, needed: list[str]) -> dict[str, str]:
        """What to append to the names of ``needed`` definitions; those that keep their names are not in it.

        Definitions that refer to each other in a circle get the same suffix: only together can they be compared
        with what is there. What a circle refers to beyond itself has its suffixes by then.
        """
        suffixes: dict[str, str] = {}
        used = set(needed)
        for circle in _circles(needed, lambda key: document.definitions[key].refers):
            for suffix in _numbers():
                keys = [key + suffix for key in circle]
                if suffix:
                    if not used.isdisjoint(keys):
                        continue
                    suffixes.update(dict.fromkeys(circle, suffix))
                if all(
                    self._definitions.get(new) in (None, self._render(document.definitions[key], suffixes))
                    for key, new in _slowly(zip(circle, keys, strict=True))
                ):
                    break
            used.update(keys)
        return suffixes

    def _render(self, piece: Piece, suffixes: Mapping[str, str]) -> bytes:
        if suffixes.keys().isdisjoint(piece.refers):
            return piece.json
        value = _decode(piece.json)
        _visit(value, self._version, lambda key: suffixes.get(key, ""))
        return _encode(value)

    def render(self) -> bytes:
        """The merged document as JSON, its names in sorted order."""
        sections: dict[str, dict[str, bytes]] = {}
        for key, json in _slowly(self._definitions.items()):
            section, _, name = key.partition("/")
            sections.setdefault(section, {})[name] = json
        parts = {key: _encode(value) for key, value in self._head.items()}
        parts["tags"] = b"[" + b",".join(json for _, json in sorted(self._tags.items())) + b"]"
        parts["paths"] = _joined(self._paths)
        defined = {section: _joined(found) for section, found in sections.items()}
        if self._version == "v2":
            parts |= defined
        else:
            parts["components"] = _joined(defined, ordered=True)
        return _joined(parts, ordered=True)


def _closure(document: Document, pieces: Iterable[Piece]) -> list[str]:
    """The definitions of ``document`` that ``pieces`` need, directly or not, in sorted order."""
    found: set[str] = set()
    waiting = [key for piece in pieces for key in piece.refers]
    while waiting:
        _breathe()
        key = waiting.pop()
        if key not in found and key in document.definitions:
            found.add(key)
            waiting += document.definitions[key].refers
    return sorted(found)


def _circles(keys: list[str], refers: Callable[[str], Iterable[str]]) -> Iterator[tuple[str, ...]]:
    """The strongly connected components of ``keys``, each after all that it refers to (Tarjan's algorithm)."""
    among = frozenset(keys)
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_: dict[str, None] = {}
    for root in keys:
        if root in order:
            continue
        # A stack of our own: chains of definitions may be longer than Python's.
        walk: list[tuple[str, Iterator[str]]] = []
        entering: str | None = root
        while entering is not None or walk:
            _breathe()
            if entering is not None:
                order[entering] = lowest[entering] = len(order)
                open_[entering] = None
                walk.append((entering, iter(refers(entering))))
                entering = None
            key, rest = walk[-1]
            for other in rest:
                if other in among and other not in order:
                    entering = other
                    break
                if other in open_:
                    lowest[key] = min(lowest[key], order[other])
            if entering is not None:
                continue
            walk.pop()
            if walk:
                parent = walk[-1][0]
                lowest[parent] = min(lowest[parent], lowest[key])
            if lowest[key] == order[key]:
                circle: list[str] = []
                while not circle or circle[-1] != key:
                    circle.append(open_.popitem()[0])
                yield tuple(circle)


def _numbers() -> Iterator[str]:
    yield ""
    for number in itertools.count(2):
        yield f"_v{number}"


def _joined(parts: Mapping[str, bytes], ordered: bool = False) -> bytes:
    names = parts if ordered else sorted(parts)
    return b"{" + b",".join(_encode(name) + b":" + parts[name] for name in _slowly(names)) + b"}"


def _slowly(items: Iterable[_Item]) -> Iterator[_Item]:
    for item in items:
        _breathe()
        yield item


class _Breath(threading.local):
    """When this thread let go of the interpreter last."""

    at = 0.0


_breath = _Breath()


def _breathe() -> None:
    """Let another thread, the reactor's, have the interpreter after a millisecond, not its switch interval of 5.

    ``sleep(0)`` would not do: it takes the lock back before a waiting thread has woken up.
    """
    if time.perf_counter() - _breath.at > 0.001:
        time.sleep(0.00002)
        _breath.at = time.perf_counter()

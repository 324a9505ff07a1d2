"""The ``rewrite``, ``replace`` and ``pathRegexp`` rules of a ReverseProxy, compiled.

A rule is one string, split at every single space: the first word is what to look for, the second what comes instead,
more words are ignored. Rules work on the path and query as they were sent; only what a rule inserts is encoded, the
rest keeps its bytes. What is inserted from a request is data, never part of a pattern or template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from ksproxyd.model.patterns import TooMuchWork, compile_re2, find_all, parse_template
from ksproxyd.model.percent import PATH_SAFE, QUERY_SAFE, UNRESERVED, quote, requote, well_formed
from ksproxyd.tree.path_pattern import PathPattern
from ksproxyd.tree.placeholders import PATH, QUERY, Fixed, Placeholder, Settled, Surroundings, parse
from ksproxyd.tree.raw_path import cleaned, decoded, located

#: The longest path or query that rules may make, in bytes.
MAX_LENGTH = 65536

#: The longest rule, in characters.
MAX_RULE = 4096

Query = bytes | None
Form = TypeVar("Form", bytes, "Insert")

# These two are known to one part of a rewrite target each.
_TARGET_PATH = "http.request.uri.path"
_TARGET_QUERY = "http.request.uri.query"

_KNOWN = frozenset({PATH, QUERY})
_PERCENT = frozenset(b"%")


class Rule(Protocol):
    """One compiled rule."""

    def apply(self, path: bytes, query: Query) -> tuple[bytes, Query]:
        """The path and query (None: there is none) after the rule.

        Raises :class:`~ksproxyd.model.patterns.TooMuchWork` if they would become too long or it would take too long.
        """
        ...


class Insert(NamedTuple):
    """Something to put in, by where it goes."""

    #: Into an encoded path, if the whole is well-formed then: escapes that a rule has are escapes.
    path: bytes
    #: Into a path whatever is around it.
    quoted: bytes
    #: Into a query.
    query: bytes

    @classmethod
    def written(cls, text: str) -> Insert:
        """What stands in the rule."""
        raw = text.encode()
        return cls(quote(raw, PATH_SAFE | _PERCENT), quote(raw), quote(raw, QUERY_SAFE | _PERCENT))

    @classmethod
    def data(cls, raw: bytes) -> Insert:
        """What a placeholder stands for."""
        return cls(quote(raw), quote(raw), quote(raw, QUERY_SAFE))


class _Values:
    """What placeholders stand for at one request."""

    __slots__ = ("_path", "_query", "_surroundings")

    def __init__(self, surroundings: Surroundings, path: bytes, query: Query) -> None:
        self._surroundings = surroundings
        self._path = path
        self._query = query or b""

    def raw(self, name: str) -> bytes:
        if name in (PATH, _TARGET_PATH):
            return self._path
        if name in (QUERY, _TARGET_QUERY):
            return self._query
        return self._surroundings.at(name).encode()

    def plain(self, name: str) -> bytes:
        return decoded(self._path) if name == PATH else self.raw(name)

    def form(self, name: str) -> bytes:
        return _form(self.plain(name))

    def insert(self, name: str) -> Insert:
        raw = self.raw(name)
        if name in (PATH, _TARGET_PATH):
            return Insert(raw, raw, requote(raw, QUERY_SAFE))
        if name in (QUERY, _TARGET_QUERY):
            escaped = requote(raw, PATH_SAFE)
            return Insert(escaped, escaped, raw)
        return Insert.data(raw)

    def inserts(self, pieces: Iterable[Insert | Placeholder]) -> list[Insert]:
        return [piece if isinstance(piece, Insert) else self.insert(piece.name) for piece in pieces]


class Rewrite:
    """``<path pattern> <target>``: a new path, a new query, or both, if the pattern matches the path.

    The target is ``[path][?query][#fragment]``; a part that is not there leaves its counterpart alone, a bare ``?``
    clears the query, the fragment is dropped. As the key of a pair ``{query}`` is the query as it is; everything else
    in the query is form-encoded. Pairs that come out empty are left out.
    """

    def __init__(self, text: str, surroundings: Surroundings, report: Callable[[str], None]) -> None:
        pattern, target = _words(text)
        self._surroundings = surroundings
        parts = surroundings.settle(parse(pattern), _KNOWN, report)
        self._pattern = PathPattern([part.value if isinstance(part, Fixed) else part for part in parts])
        path, question, query = target.partition("#")[0].partition("?")
        if not path and not question:
            raise ValueError("the target has neither a path nor a query (are there two spaces before it?)")
        self._path: list[bytes | Placeholder] | None = None
        self._pairs: list[list[list[bytes | Placeholder]]] | None = None
        if path:
            settled = surroundings.settle(parse(path), _KNOWN | {_TARGET_PATH}, report)
            self._path = _each(settled, lambda text: requote(text.encode()), quote)
        if question:
            self._pairs = _pairs(surroundings.settle(parse(query), _KNOWN | {_TARGET_QUERY}, report))

    def apply(self, path: bytes, query: Query) -> tuple[bytes, Query]:
        """See :class:`Rule`."""
        values = _Values(self._surroundings, path, query)
        if not self._pattern.matches(path, values.plain):
            return path, query
        if self._path is not None:
            path = _join(p if isinstance(p, bytes) else values.insert(p.name).path for p in self._path) or b"/"
        if self._pairs is not None:
            pairs = (_pair(components, values) for components in self._pairs)
            query = _join(pair + b"&" for pair in pairs if pair)[:-1] or None
        return path, query


class Replace:
    """``<find> <replacement>``: all occurrences in the encoded path and in the query, case as it is.

    The path is cleaned first, whether something is found or not; repeated slashes stay if the rule looks for some.
    """

    def __init__(self, text: str, surroundings: Surroundings, report: Callable[[str], None]) -> None:
        find, replacement = _words(text)
        if not find:
            raise ValueError("there is nothing to find")
        self._surroundings = surroundings
        self._merge = "//" not in find
        self._find = _each(surroundings.settle(parse(find), _KNOWN, report), str.encode, bytes)
        settled = surroundings.settle(parse(replacement), _KNOWN, report)
        self._replacement = _each(settled, Insert.written, Insert.data)

    def apply(self, path: bytes, query: Query) -> tuple[bytes, Query]:
        """See :class:`Rule`."""
        values = _Values(self._surroundings, path, query)
        find = _join(part if isinstance(part, bytes) else values.raw(part.name) for part in self._find)
        path = cleaned(path, self._merge)
        if not find:
            return path, query
        inserts = values.inserts(self._replacement)
        if find in path:
            replaced = _replaced(path, find, _join(insert.path for insert in inserts))
            if not well_formed(replaced):
                replaced = _replaced_decoded(path, find, _join(insert.quoted for insert in inserts))
            path = replaced or b"/"
        if query and find in query:
            query = _replaced(query, find, _join(insert.query for insert in inserts)) or None
        return path, query


class PathRegexp:
    """``<RE2 regular expression> <replacement>``: all matches in the encoded path, not cleaned; the query stays."""

    def __init__(self, text: str, surroundings: Surroundings, report: Callable[[str], None]) -> None:
        pattern, replacement = _words(text)
        if not pattern:
            raise ValueError("the regular expression is empty")
        self._surroundings = surroundings
        self._regexp = compile_re2(pattern, latin1=True)
        names = {name.decode() for name in self._regexp.groupindex}

        def is_group(before: str, name: str) -> bool:
            return before.endswith("$") and (name.isdigit() or name in names)

        self._pieces: list[Insert | int | Placeholder] = []
        for part in surroundings.settle(parse(replacement, is_group), _KNOWN, report):
            if isinstance(part, str):
                template = parse_template(part, self._regexp)
                self._pieces += (Insert.written(piece) if isinstance(piece, str) else piece for piece in template)
            else:
                self._pieces.append(Insert.data(part.value.encode()) if isinstance(part, Fixed) else part)

    def apply(self, path: bytes, query: Query) -> tuple[bytes, Query]:
        """See :class:`Rule`."""
        matches = find_all(self._regexp, path)
        if not matches:
            return path, query
        values = _Values(self._surroundings, path, query)
        pieces = [values.insert(piece.name) if isinstance(piece, Placeholder) else piece for piece in self._pieces]
        replaced = _substituted(path, matches, range(len(path) + 1), pieces, _WRITTEN)
        if not well_formed(replaced):
            text, positions = located(path)
            replaced = _substituted(path, find_all(self._regexp, text), positions, pieces, _QUOTED)
        return replaced or b"/", query


#: Which form of an :class:`Insert` a substitution takes.
_WRITTEN, _QUOTED = 0, 1


def _words(text: str) -> tuple[str, str]:
    if len(text) > MAX_RULE:
        raise ValueError(f"the rule has more than {MAX_RULE} characters")
    words = text.split(" ")
    if len(words) < 2:
        raise ValueError(f"{text!r} has no second word")
    return words[0], words[1]


def _each(parts: Settled, written: Callable[[str], Form], data: Callable[[bytes], Form]) -> list[Form | Placeholder]:
    """``parts`` with texts as ``written`` makes them and settled values as ``data`` does."""
    return [
        written(part) if isinstance(part, str) else data(part.value.encode()) if isinstance(part, Fixed) else part
        for part in parts
    ]


def _pairs(parts: Settled) -> list[list[list[bytes | Placeholder]]]:
    """The query of a target as its pairs, each as what stands between its ``=``."""
    pairs: list[list[list[bytes | Placeholder]]] = [[[]]]
    for part in parts:
        if isinstance(part, str):
            for token in re.split("([&=])", part):
                if token == "&":
                    pairs.append([[]])
                elif token == "=":
                    pairs[-1].append([])
                elif token:
                    pairs[-1][-1].append(requote(token.encode(), QUERY_SAFE))
        else:
            pairs[-1][-1].append(_form(part.value.encode()) if isinstance(part, Fixed) else part)
    return pairs


def _pair(components: list[list[bytes | Placeholder]], values: _Values) -> bytes:
    key, *rest = components
    pieces = [part if isinstance(part, bytes) else _key(part.name, values) for part in key]
    for component in rest:
        pieces.append(b"=")
        pieces += (part if isinstance(part, bytes) else values.form(part.name) for part in component)
    return _join(pieces)


def _key(name: str, values: _Values) -> bytes:
    return values.raw(name) if name in (QUERY, _TARGET_QUERY) else values.form(name)


def _form(raw: bytes) -> bytes:
    return quote(raw, _FORM).replace(b" ", b"+")


_FORM = UNRESERVED | frozenset(b" ")


def _join(pieces: Iterable[bytes]) -> bytes:
    found = list(pieces)
    if sum(map(len, found)) > MAX_LENGTH:
        raise TooMuchWork
    return b"".join(found)


def _replaced(text: bytes, find: bytes, replacement: bytes) -> bytes:
    if len(text) + text.count(find) * (len(replacement) - len(find)) > MAX_LENGTH:
        raise TooMuchWork
    return text.replace(find, replacement)


def _replaced_decoded(path: bytes, find: bytes, replacement: bytes) -> bytes:
    """As :func:`_replaced`, where ``find`` is looked for in the decoded path."""
    text, positions = located(path)
    pieces: list[bytes] = []
    at = 0
    while (start := text.find(find, at)) >= 0:
        pieces += (path[positions[at] : positions[start]], replacement)
        at = start + len(find)
    pieces.append(path[positions[at] :])
    return _join(pieces)


def _substituted(
    path: bytes, matches: list[Any], positions: Sequence[int], pieces: list[Insert | int], form: int
) -> bytes:
    """``path`` with what ``matches`` cover replaced; a match at ``i`` is at ``positions[i]`` in ``path``."""
    done: list[bytes] = []
    at = 0
    for match in matches:
        start, end = match.span()
        done.append(path[positions[at] : positions[start]])
        at = end
        for piece in pieces:
            if isinstance(piece, int):
                first, last = match.span(piece)
                done.append(path[positions[first] : positions[last]] if first >= 0 else b"")
            else:
                done.append(piece[form])
    done.append(path[positions[at] :])
    return _join(done)

"""Label and field selectors in the grammar of Kubernetes.

A selector is parsed once (:func:`parse_labels`, :func:`parse_fields`) and asked often. ``str()`` of one is text that
parses to an equal selector.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

EQUALS = "="
NOT_EQUALS = "!="
IN = "in"
NOT_IN = "notin"
EXISTS = "exists"
NOT_EXISTS = "!"
GREATER = ">"
LESS = "<"


class Requirement(msgspec.Struct, frozen=True):
    """One condition on one label. ``values`` is empty for existence tests, sorted for ``in`` and ``notin``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether ``labels`` satisfy this; a label that is not there satisfies ``!=`` and ``notin``."""
        operator = self.operator
        found = labels.get(self.key)
        if operator in (EQUALS, IN):
            return found is not None and found in self.values
        if operator in (NOT_EQUALS, NOT_IN):
            return found is None or found not in self.values
        if operator == EXISTS:
            return found is not None
        if operator == NOT_EXISTS:
            return found is None
        if found is None or not _INTEGER.fullmatch(found):
            return False
        limit = int(self.values[0])
        return int(found) > limit if operator == GREATER else int(found) < limit

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return self.key
        if self.operator == NOT_EXISTS:
            return f"!{self.key}"
        if self.operator in (IN, NOT_IN):
            # An empty value is written by its comma; "()" would be no value at all.
            values = "," if self.values == ("",) else ",".join(self.values)
            return f"{self.key} {self.operator} ({values})"
        return f"{self.key}{self.operator}{self.values[0]}"


class LabelSelector(msgspec.Struct, frozen=True):
    """All of its requirements must hold; without any it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def exact(self, key: str) -> str | None:
        """The value of the first ``key=value`` requirement on ``key``, None if there is none."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator == EQUALS:
                return requirement.values[0]
        return None

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


class FieldSelector(msgspec.Struct, frozen=True):
    """``terms`` are ``(field, equal, value)``: the field must (``equal``) or must not have the value."""

    terms: tuple[tuple[str, bool, str], ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object with these fields is selected; a field that is not there counts as empty."""
        return all((fields.get(field, "") == value) is equal for field, equal, value in self.terms)

    def exact(self, field: str) -> str | None:
        """The value that the first term on ``field`` demands, None if there is no such term."""
        for name, equal, value in self.terms:
            if equal and name == field:
                return value
        return None

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __str__(self) -> str:
        return ",".join(
            f"{field}{'=' if equal else '!='}{_SPECIAL.sub(_backslashed, value)}" for field, equal, value in self.terms
        )


def parse_labels(text: str) -> LabelSelector:
    """A label selector: ``a=b``, ``a==b``, ``a!=b``, ``a in (b,c)``, ``a notin (b)``, ``a``, ``!a``, ``a>1``, ``a<1``,
    joined by commas. Empty text selects everything. Raises ``ValueError`` with what was found and expected.
    """
    tokens = _Tokens(text)
    if tokens.peek() == "":
        return LabelSelector()
    requirements = [_requirement(tokens)]
    while tokens.peek() == ",":
        tokens.take()
        requirements.append(_requirement(tokens))
    if tokens.peek():
        raise tokens.unexpected("',' or the end")
    return LabelSelector(tuple(requirements))


def parse_fields(text: str) -> FieldSelector:
    """A field selector: ``path=value``, ``path==value``, ``path!=value``, joined by commas; in values ``\\``, ``,`` and
    ``=`` are written behind a backslash. Empty terms are skipped. Raises ``ValueError`` saying which term is wrong.
    """
    terms = []
    for term in _TERM.findall(text):
        found = _FIELD_TERM.fullmatch(term)
        if found is None:
            raise ValueError(f"invalid field selector {text!r}: {term!r} is neither field=value nor field!=value")
        field, operator, value = found.groups()
        terms.append((field, operator != "!=", _unescaped(value, term)))
    return FieldSelector(tuple(terms))


# -- label selectors -------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+|\Z)")
_OPERATORS = frozenset({"=", "==", "!=", "in", "notin", "<", ">"})
_SYMBOLS = frozenset({"", "=", "==", "!=", "!", "(", ")", ",", "<", ">"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class _Tokens:
    """The tokens of a label selector; the empty one is the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [found.group(1) for found in _TOKEN.finditer(text)]
        self._next = 0

    def peek(self) -> str:
        return self._tokens[self._next]

    def take(self) -> str:
        token = self._tokens[self._next]
        if token:
            self._next += 1
        return token

    def unexpected(self, expected: str) -> ValueError:
        return ValueError(f"invalid label selector {self._text!r}: found {self.peek()!r}, expected {expected}")

    def invalid(self, what: str) -> ValueError:
        return ValueError(f"invalid label selector {self._text!r}: {what}")


def _requirement(tokens: _Tokens) -> Requirement:
    negated = tokens.peek() == "!"
    if negated:
        tokens.take()
    key = tokens.peek()
    if key in _SYMBOLS or key in (IN, NOT_IN):
        raise tokens.unexpected("a label key")
    tokens.take()
    if not is_label_key(key):
        raise tokens.invalid(f"{key!r} is not a label key ([domain/]name, at most 63 characters of name)")
    if negated:
        return Requirement(key, NOT_EXISTS)
    operator = tokens.peek()
    if operator in ("", ","):
        return Requirement(key, EXISTS)
    if operator not in _OPERATORS:
        raise tokens.unexpected("one of = == != in notin < > ',' or the end")
    tokens.take()
    if operator in (IN, NOT_IN):
        return Requirement(key, operator, _values(tokens))
    value = "" if tokens.peek() in ("", ",") else _value(tokens)
    if operator in (GREATER, LESS) and not _INTEGER.fullmatch(value):
        raise tokens.invalid(f"{value!r} behind {operator} is not an integer")
    return Requirement(key, EQUALS if operator == "==" else operator, (value,))


def _values(tokens: _Tokens) -> tuple[str, ...]:
    """The list behind ``in``: like the API server, a comma with nothing at one side makes an empty value."""
    if tokens.peek() != "(":
        raise tokens.unexpected("'('")
    tokens.take()
    if tokens.peek() == ")":
        raise tokens.unexpected("at least one value")
    values = set()
    while True:
        values.add("" if tokens.peek() in (",", ")") else _value(tokens))
        if tokens.peek() not in (",", ")"):
            raise tokens.unexpected("',' or ')'")
        if tokens.take() == ")":
            return tuple(sorted(values))


def _value(tokens: _Tokens) -> str:
    value = tokens.peek()
    if value in _SYMBOLS:
        raise tokens.unexpected("a value")
    tokens.take()
    if not is_label_value(value):
        raise tokens.invalid(f"{value!r} is not a label value (at most 63 letters, digits, '-', '_', '.')")
    return value


def is_label_key(text: str) -> bool:
    """Whether ``text`` may be the key of a label or annotation: a name, or a DNS subdomain, ``/`` and a name."""
    prefix, slash, name = text.rpartition("/")
    if slash and not _PREFIX.fullmatch(prefix):
        return False
    return _NAME.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    """Whether ``text`` may be the value of a label; it may be empty."""
    return not text or _NAME.fullmatch(text) is not None


# -- field selectors -------------------------------------------------------------------------------------------

_TERM = re.compile(r"(?:[^\\,]|\\.|\\\Z)+", re.DOTALL)
_FIELD_TERM = re.compile(r"([^=!]+)(!=|==?)(.*)", re.DOTALL)
_VALUE_PART = re.compile(r"\\(.?)|([,=])", re.DOTALL)
_SPECIAL = re.compile(r"[\\,=]")


def _backslashed(found: re.Match[str]) -> str:
    return "\\" + found.group()


def _unescaped(value: str, term: str) -> str:
    def part(found: re.Match[str]) -> str:
        escaped, bare = found.groups()
        if bare is not None:
            raise ValueError(f"invalid field selector: unescaped {bare!r} in the value of {term!r}, write \\{bare}")
        if not escaped or escaped not in "\\,=":
            raise ValueError(f"invalid field selector: invalid escape {found.group()!r} in the value of {term!r}")
        return escaped

    return _VALUE_PART.sub(part, value)

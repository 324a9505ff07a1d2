"""The ``headerUp`` and ``headerDown`` rules of a ReverseProxy.

A rule is ``-Name`` (delete), ``-Prefix*`` (delete every field whose name begins so), ``+Name value`` (add) or
``Name value`` (replace). One pair of double quotes around the value is taken off. Names are compared without case.
Placeholders are not expanded. What belongs to the connection or frames the message is the gateway's and cannot be
touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Item = tuple[bytes, bytes, bytes]

#: Fields that no rule adds, replaces or deletes (RFC 9110, 7.6.1; RFC 9112, 6).
PROTECTED = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HeaderRules:
    """Compiled rules. What they do to fields that are there and what they add is settled when they are compiled, so
    applying them is one pass. False if there is nothing to do.
    """

    __slots__ = ("_added", "_dropped", "_prefixes")

    def __init__(
        self, dropped: frozenset[bytes] = frozenset(), prefixes: tuple[bytes, ...] = (), added: tuple[Item, ...] = ()
    ) -> None:
        self._dropped = dropped
        self._prefixes = prefixes
        self._added = added

    def apply(self, items: list[Item]) -> list[Item]:
        """The fields ``(lower-case name, name, value)`` as the rules leave them; ``items`` itself if there are none."""
        dropped, prefixes = self._dropped, self._prefixes
        if prefixes:
            items = [item for item in items if item[0] in PROTECTED or not item[0].startswith(prefixes)]
        if dropped:
            items = [item for item in items if item[0] not in dropped]
        return [*items, *self._added] if self._added else items

    def __bool__(self) -> bool:
        return bool(self._dropped or self._prefixes or self._added)


def compile_header_rules(rules: Iterable[tuple[int, str]]) -> tuple[HeaderRules, list[tuple[int, str]]]:
    """The rules, given with their numbers, and for each that is ignored its number and why."""
    dropped: set[bytes] = set()
    prefixes: list[bytes] = []
    added: list[Item] = []
    problems: list[tuple[int, str]] = []
    for number, rule in rules:
        if not rule:
            continue
        try:
            if rule.startswith("-") and rule.endswith("*"):
                prefix = _key(rule[1:-1], wildcard=True)
                prefixes.append(prefix)
                added = [item for item in added if not item[0].startswith(prefix)]
                continue
            sign = rule[0] if rule[0] in "-+" else ""
            name, space, value = rule.removeprefix(sign).partition(" ")
            key = _key(name)
            if bool(space) is (sign == "-"):
                raise ValueError(f"{rule!r} has {'a' if space else 'no'} value")
            item = (key, name.encode(), _value(value))
            if sign != "+":
                dropped.add(key)
                added = [other for other in added if other[0] != key]
            if sign != "-":
                added.append(item)
        except ValueError as error:
            problems.append((number, str(error)))
    return HeaderRules(frozenset(dropped), tuple(prefixes), tuple(added)), problems


def _key(name: str, wildcard: bool = False) -> bytes:
    if not _NAME.fullmatch(name) and not (wildcard and not name):
        raise ValueError(f"{name!r} is not the name of a header field")
    key = name.lower().encode()
    if key in PROTECTED and not wildcard:
        raise ValueError(f"the field {name} is set by the gateway and cannot be changed")
    return key


def _value(text: str) -> bytes:
    if text.startswith('"') and text.endswith('"'):
        text = text[1:-1]
    if _CONTROL.search(text):
        raise ValueError("the value has control characters")
    return text.strip(" \t").encode()

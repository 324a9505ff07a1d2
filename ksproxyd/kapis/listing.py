"""KubeSphere's query language for lists of objects (spec 02, 6.4, and 04, 2): filters, order, pages.

``page``, ``limit``, ``sortBy``, ``ascending`` and ``labelSelector`` are its words; every other parameter is a filter,
and all of them must match. Values that cannot be meant count as absent, as they always have.

:func:`select` does it at once, for a handful of objects; :func:`listed` leaves the reactor its turns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.query import TRUE, parameters
from ksproxyd.model.selectors import LabelSelector, parse_fields, parse_labels
from ksproxyd.state.validation import field, text

Object = dict[str, Any]

#: What of an object may be seen. Filters see no more, and the answer has no more.
View = Callable[[Object], Object]

#: The annotation with the name that people gave an object.
ALIAS = "kubesphere.io/alias-name"

_WORDS = frozenset(["page", "limit", "sortBy", "ascending", "labelSelector"])
_ALL = -1


class Query(msgspec.Struct, frozen=True):
    """What a list is asked for. ``limit`` -1 is all; ``page`` counts from 1."""

    page: int = 1
    limit: int = _ALL
    sort_by: str = "creationTimestamp"
    ascending: bool = False
    labels: LabelSelector = LabelSelector()
    filters: tuple[tuple[str, str], ...] = ()


def parse_query(raw: bytes) -> Query:
    """The query in a raw query string."""
    found = {name: values[0] for name, values in parameters(raw).items()}
    try:
        labels = parse_labels(found.get("labelSelector", ""))
    except ValueError:
        labels = LabelSelector()
    return Query(
        _whole(found.get("page"), 1),
        _whole(found.get("limit"), _ALL),
        found.get("sortBy") or "creationTimestamp",
        found.get("ascending") in TRUE,
        labels,
        tuple((name, value) for name, value in found.items() if name not in _WORDS),
    )


def _whole(value: str | None, default: int) -> int:
    if value is None:
        return default
    digits = value[1:] if value[:1] in ("-", "+") else value
    return int(value) if digits.isascii() and digits.isdigit() and len(digits) < 10 else default


def select(objects: Iterable[Object], query: Query, view: View = lambda value: value) -> tuple[list[Object], int]:
    """The page of the objects that match, as ``view`` shows them, and how many match."""
    matches, key = _matcher(query, view), _key(query)
    found = [(key(each), index, each) for index, each in enumerate(objects) if matches(each)]
    found.sort(reverse=not query.ascending)
    return [view(each) for _, _, each in _page(found, query)], len(found)


async def listed(
    objects: Collection[Object], query: Query, pacer: Pacer, view: View = lambda value: value
) -> tuple[bytes, int]:
    """The JSON array of what :func:`select` finds, and how many match. The objects are those at the time of the call.

    Thousands of objects take many milliseconds; other requests get their turns in between.
    """
    matches, key = _matcher(query, view), _key(query)
    found: list[tuple[Any, int, Object]] = []
    pacer.begin()
    for index, each in enumerate(tuple(objects)):
        if matches(each):
            found.append((key(each), index, each))
        if not index & _OFTEN and pacer.spent():
            await pacer.turn()
    # A few milliseconds for ten thousand.
    found.sort(reverse=not query.ascending)
    pieces: list[bytes] = []
    for index, (_, _, each) in enumerate(_page(found, query)):
        pieces.append(msgspec.json.encode(view(each)))
        if not index & _OFTEN and pacer.spent():
            await pacer.turn()
    return b"[" + b",".join(pieces) + b"]", len(found)


#: The clock is looked at for every 32nd object.
_OFTEN = 31


def envelope(items: bytes, total: int) -> bytes:
    """What a list is answered in."""
    return b'{"items":%b,"totalItems":%d}' % (items, total)


def _matcher(query: Query, view: View) -> Callable[[Object], bool]:
    checks = [_check(name, value, view) for name, value in query.filters]
    labels = query.labels
    if labels:
        checks.insert(0, lambda each: labels.matches(_strings(field(each, "metadata", "labels"))))
    if len(checks) == 1:
        return checks[0]
    return lambda each: all(check(each) for check in checks)


def _key(query: Query) -> Callable[[Object], Any]:
    if query.sort_by == "name":
        return _name
    return lambda each: (text(each, "metadata", "creationTimestamp"), _name(each))


def _page(found: list[Any], query: Query) -> list[Any]:
    if query.limit == _ALL:
        return found
    if query.limit < 0 or query.page < 1:
        return []
    begin = (query.page - 1) * query.limit
    return found[begin : begin + query.limit]


def _name(value: Object) -> str:
    return text(value, "metadata", "name")


def _strings(value: Any) -> dict[str, str]:
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}


def _check(name: str, value: str, view: View) -> Callable[[Object], bool]:
    """The test for one filter; what nobody knows matches everything."""
    if name == "fieldSelector":
        return _fields(value, view)
    make = _FILTERS.get(name)
    return make(value) if make is not None else lambda _: True


def _named(value: str) -> Callable[[Object], bool]:
    folded = value.lower()

    def check(each: Object) -> bool:
        alias = _strings(field(each, "metadata", "annotations")).get(ALIAS, "")
        return value in _name(each) or (bool(alias) and folded in alias.lower())

    return check


def _names(value: str) -> Callable[[Object], bool]:
    wanted = frozenset(value.split(","))
    return lambda each: _name(each) in wanted


def _pair(part: str) -> Callable[[str], Callable[[Object], bool]]:
    """``key``, ``key=*``, ``key=value`` or ``key!=value`` of the labels or annotations, which must have the key."""

    def make(value: str) -> Callable[[Object], bool]:
        unequal = "!=" in value
        key, equals, wanted = value.partition("!=" if unequal else "=")

        def check(each: Object) -> bool:
            found = _strings(field(each, "metadata", part)).get(key)
            if found is None:
                return False
            return not equals or (wanted == "*" and not unequal) or (found == wanted) is not unequal

        return check

    return make


_DOT = re.compile(r"(?<!\\)\.")


def _fields(value: str, view: View) -> Callable[[Object], bool]:
    """``path=value``, ``path!=value``, joined by commas; ``~`` before a value compares without regard to case.

    Dots in keys are written behind a backslash. What is not there is empty; what does not parse matches nothing.
    """
    try:
        selector = parse_fields(value)
    except ValueError:
        return lambda _: False
    terms = []
    for path, equal, wanted in selector.terms:
        steps = [step.replace("\\.", ".") for step in _DOT.split(path.strip().removeprefix("."))]
        folded = wanted.startswith("~")
        terms.append((steps, equal, wanted[1:].lower() if folded else wanted, folded))

    def check(each: Object) -> bool:
        seen = view(each)
        for steps, equal, wanted, folded in terms:
            found = _shown(field(seen, *steps))
            if ((found.lower() if folded else found) == wanted) is not equal:
                return False
        return True

    return check


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _owner(key: str) -> Callable[[str], Callable[[Object], bool]]:
    def make(value: str) -> Callable[[Object], bool]:
        def check(each: Object) -> bool:
            owners = field(each, "metadata", "ownerReferences")
            return isinstance(owners, list) and any(field(owner, key) == value for owner in owners)

        return check

    return make


_FILTERS: dict[str, Callable[[str], Callable[[Object], bool]]] = {
    "name": _named,
    "nameAndAlias": _named,
    "names": _names,
    "uid": lambda value: lambda each: text(each, "metadata", "uid") == value,
    "namespace": lambda value: lambda each: text(each, "metadata", "namespace") == value,
    "label": _pair("labels"),
    "annotation": _pair("annotations"),
    "ownerReference": _owner("uid"),
    "ownerKind": _owner("kind"),
}

"""KubeSphere's query language for lists of objects (spec 02, 6.4): filters, order, pages.

``page``, ``limit``, ``sortBy``, ``ascending`` and ``labelSelector`` are its words; every other parameter is a filter,
and all of them must match. Values that cannot be meant count as absent, as they always have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ksproxyd.model.query import TRUE, parameters
from ksproxyd.model.selectors import LabelSelector, parse_labels
from ksproxyd.state.validation import field, text

Object = dict[str, Any]

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


def select(objects: Iterable[Object], query: Query) -> tuple[list[Object], int]:
    """The page of the objects that match, and how many match."""
    checks = [_check(name, value) for name, value in query.filters]
    labels = query.labels
    found = [
        each
        for each in objects
        if (not labels or labels.matches(_strings(field(each, "metadata", "labels"))))
        and all(check(each) for check in checks)
    ]
    if query.sort_by == "name":
        found.sort(key=_name, reverse=not query.ascending)
    else:
        found.sort(key=lambda each: (text(each, "metadata", "creationTimestamp"), _name(each)))
        if not query.ascending:
            found.reverse()
    return _page(found, query), len(found)


def _page(found: list[Object], query: Query) -> list[Object]:
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


def _check(name: str, value: str) -> Callable[[Object], bool]:
    """The test for one filter; what nobody knows matches everything."""
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
    """``key``, ``key=value`` or ``key!=value`` of the labels or annotations."""

    def make(value: str) -> Callable[[Object], bool]:
        if "!=" in value:
            key, _, unwanted = value.partition("!=")
            return lambda each: _strings(field(each, "metadata", part)).get(key) != unwanted
        key, equals, wanted = value.partition("=")
        if equals:
            return lambda each: _strings(field(each, "metadata", part)).get(key) == wanted
        return lambda each: key in _strings(field(each, "metadata", part))

    return make


def _fields(value: str) -> Callable[[Object], bool]:
    """``path=value,…``; ``path=~value`` compares without regard to case."""
    terms = [term.partition("=") for term in value.split(",") if term]

    def check(each: Object) -> bool:
        for path, _, wanted in terms:
            found = field(each, *path.strip().lstrip(".").split("."))
            shown = str(found).lower() if isinstance(found, bool) else "" if found is None else str(found)
            if wanted.startswith("~"):
                if shown.lower() != wanted[1:].lower():
                    return False
            elif shown != wanted:
                return False
        return True

    return check


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
    "fieldSelector": _fields,
    "ownerReference": _owner("uid"),
    "ownerKind": _owner("kind"),
}

"""KubeSphere's query language for lists of objects (spec 03, 7, and 04, 2): filters, order, pages.

``page``, ``limit``, ``sortBy``, ``ascending``, ``labelSelector`` and ``fieldSelector`` are its words; every other
parameter is a filter, and all of them must match. A selector that cannot be read and a page that cannot be are a 400:
what was to restrict a list must not be dropped. Other values that cannot be meant count as absent, as they always have.

:func:`select` does it at once, for a handful of objects; :func:`listed` leaves the reactor its turns, and sorts nothing
where the objects are :class:`~ksproxyd.kapis.ordered.Ordered`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from ksproxyd.kapis.listing_filters import PLAIN, TYPED, Check, Engine, Filter, View, field_check, strings
from ksproxyd.kapis.ordered import Ordered, sort_key
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.query import TRUE, parameters
from ksproxyd.model.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels
from ksproxyd.model.status import bad_request
from ksproxyd.state.validation import field

__all__ = [
    "PLAIN",
    "TYPED",
    "Engine",
    "Filter",
    "Ordered",
    "Query",
    "View",
    "encoded",
    "envelope",
    "listed",
    "parse_query",
    "select",
]

Object = dict[str, Any]

_WORDS = frozenset(["page", "limit", "sortBy", "ascending", "labelSelector", "fieldSelector"])
_ALL = -1

#: Go's ``int``, in which pages and limits have always been counted.
_LARGEST = 2**63 - 1

_NO_FILTERS: Mapping[str, Filter] = {}


class Query(msgspec.Struct, frozen=True):
    """What a list is asked for. ``limit`` -1 is all; ``page`` counts from 1."""

    page: int = 1
    limit: int = _ALL
    sort_by: str = "creationTimestamp"
    ascending: bool = False
    labels: LabelSelector = LabelSelector()
    fields: FieldSelector = FieldSelector()
    filters: tuple[tuple[str, str], ...] = ()


def parse_query(raw: bytes) -> Query:
    """The query in a raw query string. Raises a 400 for a selector that does not parse and a page below 1."""
    found = {name: values[0] for name, values in parameters(raw).items()}
    try:
        labels = parse_labels(found.get("labelSelector", ""))
        fields = parse_fields(found.get("fieldSelector", ""))
    except ValueError as error:
        raise bad_request(str(error)) from None
    page = _whole(found.get("page"), 1)
    if page < 1:
        raise bad_request(f"page {page} cannot be: pages are counted from 1")
    return Query(
        page,
        _whole(found.get("limit"), _ALL),
        found.get("sortBy") or "creationTimestamp",
        found.get("ascending") in TRUE,
        labels,
        fields,
        tuple((name, value) for name, value in found.items() if name not in _WORDS),
    )


def _whole(value: str | None, default: int) -> int:
    if value is None:
        return default
    digits = value[1:] if value[:1] in ("-", "+") else value
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 100:
        return default
    found = int(value)
    return found if -_LARGEST - 1 <= found <= _LARGEST else default


def select(
    objects: Iterable[Object],
    query: Query,
    view: View = lambda value: value,
    *,
    engine: Engine = PLAIN,
    more: Mapping[str, Filter] = _NO_FILTERS,
) -> tuple[list[Object], int]:
    """The page of the objects that match, as ``view`` shows them, and how many match.

    ``more`` are filters that only this list has, by parameter: they take the place of the engine's.
    """
    matches, by_name = _matcher(query, view, engine, more), query.sort_by == "name"
    found = [(sort_key(each, by_name), each) for each in objects if matches is None or matches(each)]
    found.sort(key=itemgetter(0), reverse=not query.ascending)
    return [view(each) for _, each in found[_page(query, len(found))]], len(found)


async def listed(
    objects: Collection[Object] | Ordered,
    query: Query,
    pacer: Pacer,
    view: View = lambda value: value,
    *,
    engine: Engine = PLAIN,
    more: Mapping[str, Filter] = _NO_FILTERS,
) -> tuple[bytes, int]:
    """The JSON array of what :func:`select` finds, and how many match. The objects are those at the time of the call.

    Thousands of objects take many milliseconds; other requests get their turns in between.
    """
    matches = _matcher(query, view, engine, more)
    pacer.begin()
    if isinstance(objects, Ordered):
        found = await _in_order(objects, query, matches, pacer)
    else:
        found = await _sorted(tuple(objects), query, matches, pacer)
    page, total = found
    return await encoded(page, pacer, view), total


async def encoded(objects: Iterable[Object], pacer: Pacer, view: View = lambda value: value) -> bytes:
    """The JSON array of objects as ``view`` shows them."""
    pieces: list[bytes] = []
    for index, each in enumerate(objects):
        pieces.append(msgspec.json.encode(view(each)))
        if not index & _OFTEN and pacer.spent():
            await pacer.turn()
    return b"[" + b",".join(pieces) + b"]"


#: The clock is looked at for every 32nd object.
_OFTEN = 31


async def _sorted(
    objects: Sequence[Object], query: Query, matches: Check | None, pacer: Pacer
) -> tuple[list[Object], int]:
    by_name = query.sort_by == "name"
    found = []
    for index, each in enumerate(objects):
        if matches is None or matches(each):
            found.append((sort_key(each, by_name), each))
        if not index & _OFTEN and pacer.spent():
            await pacer.turn()
    # A few milliseconds for ten thousand.
    found.sort(key=itemgetter(0), reverse=not query.ascending)
    return [each for _, each in found[_page(query, len(found))]], len(found)


async def _in_order(objects: Ordered, query: Query, matches: Check | None, pacer: Pacer) -> tuple[list[Object], int]:
    keys, get = objects.keys(query.sort_by == "name"), objects.store.get
    if matches is None:
        # Nothing but the page is looked at.
        total = len(keys)
        window = range(total)[:: 1 if query.ascending else -1][_page(query, total)]
        return [each for place in window if (each := get(_key(keys[place]))) is not None], total
    whole = [each for key in keys if (each := get(_key(key))) is not None]
    found = []
    for index, each in enumerate(whole if query.ascending else reversed(whole)):
        if matches(each):
            found.append(each)
        if not index & _OFTEN and pacer.spent():
            await pacer.turn()
    return found[_page(query, len(found))], len(found)


def _key(key: tuple[str, str, str]) -> tuple[str, str]:
    return key[2], key[1]


def envelope(items: bytes, total: int) -> bytes:
    """What a list is answered in."""
    return b'{"items":%b,"totalItems":%d}' % (items, total)


def _matcher(query: Query, view: View, engine: Engine, more: Mapping[str, Filter]) -> Check | None:
    """Whether an object is in the list; None for one in which everything is."""
    checks: list[Check] = []
    labels = query.labels
    if labels:
        checks.append(lambda each: labels.matches(strings(field(each, "metadata", "labels"))))
    for name, value in query.filters:
        make: Callable[[str], Check] | None = more.get(name) or engine.filters.get(name)
        # What nobody knows matches everything.
        if make is not None:
            checks.append(make(value))
    fields = field_check(query.fields, engine, view)
    if fields is not None:
        checks.append(fields)
    if len(checks) < 2:
        return checks[0] if checks else None
    return lambda each: all(check(each) for check in checks)


def _page(query: Query, total: int) -> slice:
    """Which of ``total`` objects are on the page."""
    if query.limit == _ALL:
        return slice(0, total)
    begin = (query.page - 1) * query.limit
    if query.limit < 0 or query.page < 1 or begin > total:
        return slice(0, 0)
    return slice(begin, min(begin + query.limit, total))

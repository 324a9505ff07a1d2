"""The filters of lists, one for each parameter that has a meaning (spec 03, 7, and 04, 2.3 and 2.6).

Two dialects have grown: :data:`TYPED`, the lists of tenants and resources (engine A of the specification), and
:data:`PLAIN`, those of members, users, login records and dynamic resources (engine B).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ksproxyd.model.selectors import FieldSelector, parse_labels
from ksproxyd.state.validation import field, text

Object = dict[str, Any]

#: Whether an object is in the list.
Check = Callable[[Object], bool]

#: The check for the value of a filter.
Filter = Callable[[str], Check]

#: What of an object may be seen. Field selectors see no more, and the answer has no more.
View = Callable[[Object], Object]

#: The annotation with the name that people gave an object.
ALIAS = "kubesphere.io/alias-name"


class Engine(msgspec.Struct, frozen=True):
    """A dialect: its filters by parameter, and which fields a ``fieldSelector`` may ask for (None: any)."""

    filters: Mapping[str, Filter]
    fields: frozenset[str] | None = None


def strings(value: Any) -> dict[str, str]:
    """The strings in what should be labels or annotations."""
    return {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}


def name_of(value: Object) -> str:
    """The name of an object."""
    return text(value, "metadata", "name")


def _named(*, folding: bool) -> Filter:
    """A part of the name, or of the alias, in which PLAIN lists do not tell ``A`` from ``a``."""

    def make(value: str) -> Check:
        wanted = value.lower() if folding else value

        def check(each: Object) -> bool:
            if value in name_of(each):
                return True
            alias = text(field(each, "metadata", "annotations"), ALIAS)
            return bool(alias) and wanted in (alias.lower() if folding else alias)

        return check

    return make


def _names(value: str) -> Check:
    wanted = frozenset(value.split(","))
    return lambda each: name_of(each) in wanted


def _equal(part: str) -> Filter:
    return lambda value: lambda each: text(each, "metadata", part) == value


def _pair(part: str) -> Filter:
    """``key``, ``key=*``, ``key=value`` or ``key!=value`` of the labels or annotations, which must have the key."""

    def make(value: str) -> Check:
        unequal = "!=" in value
        key, equals, wanted = value.partition("!=" if unequal else "=")

        def check(each: Object) -> bool:
            found = strings(field(each, "metadata", part)).get(key)
            if found is None:
                return False
            return not equals or (wanted == "*" and not unequal) or (found == wanted) is not unequal

        return check

    return make


def _selected(part: str) -> Filter:
    """The whole grammar of label selectors over the labels or annotations; what does not parse matches nothing."""

    def make(value: str) -> Check:
        try:
            selector = parse_labels(value)
        except ValueError:
            return lambda _: False
        return lambda each: selector.matches(strings(field(each, "metadata", part)))

    return make


def _owner(key: str) -> Filter:
    def make(value: str) -> Check:
        def check(each: Object) -> bool:
            owners = field(each, "metadata", "ownerReferences")
            return isinstance(owners, list) and any(field(owner, key) == value for owner in owners)

        return check

    return make


_COMMON: dict[str, Filter] = {
    "names": _names,
    "uid": _equal("uid"),
    "namespace": _equal("namespace"),
    "ownerReference": _owner("uid"),
    "ownerKind": _owner("kind"),
}

#: Lists of tenants and resources. A ``fieldSelector`` restricts name and namespace, and nothing else: the request was
#: authorized for the object that it names (spec 04, 2.4), so no other may be in the answer.
TYPED = Engine(
    {
        **_COMMON,
        "name": _named(folding=False),
        "nameAndAlias": _named(folding=False),
        "label": _selected("labels"),
        "annotation": _selected("annotations"),
    },
    frozenset(["metadata.name", "metadata.namespace"]),
)

#: Lists of members, users, login records and dynamic resources.
PLAIN = Engine(
    {
        **_COMMON,
        "name": _named(folding=True),
        "nameAndAlias": _named(folding=True),
        "label": _pair("labels"),
        "annotation": _pair("annotations"),
    }
)


# -- fields ------------------------------------------------------------------------------------------------------

#: A key (dots in it behind a backslash), or an index in brackets.
_STEP = re.compile(r"\[(?P<index>[0-9]{1,6})\]|\.?(?P<key>(?:\\.|[^.\[\\])+)")


def field_check(selector: FieldSelector, engine: Engine, view: View) -> Check | None:
    """The check for the terms that ``engine`` knows; None if there are none.

    ``~`` before a value compares without regard to case. What is not there is empty.
    """
    terms = []
    for path, equal, wanted in selector.terms:
        path = path.strip().removeprefix(".")
        if engine.fields is None or path in engine.fields:
            folded = wanted.startswith("~")
            terms.append((_steps(path), equal, wanted[1:].lower() if folded else wanted, folded))
    if not terms:
        return None

    def check(each: Object) -> bool:
        seen = view(each)
        for steps, equal, wanted, folded in terms:
            found = _shown(_at(seen, steps))
            if ((found.lower() if folded else found) == wanted) is not equal:
                return False
        return True

    return check


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for found in _STEP.finditer(path):
        index = found["index"]
        steps.append(int(index) if index is not None else found["key"].replace("\\.", "."))
    return steps


def _at(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()

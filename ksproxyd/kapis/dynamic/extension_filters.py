"""The filters that lists of Extensions have besides the common ones (spec 04, 10.4)."""

from __future__ import annotations

from collections.abc import Mapping

from ksproxyd.kapis.listing_filters import Check, Filter
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, text


def filters_of(group: str, plural: str) -> Mapping[str, Filter]:
    """The filters by parameter that only this kind has."""
    return _EXTENSIONS if (group, plural) == ("kubesphere.io", "extensions") else _NONE


def _called(value: str) -> Check:
    wanted = value.lower()

    def check(each: Object) -> bool:
        names = field(each, "spec", "displayName")
        if not isinstance(names, dict):
            return False
        return any(wanted in name.lower() for name in names.values() if isinstance(name, str))

    return check


def _in_state(value: str) -> Check:
    wanted = value.lower()

    def check(each: Object) -> bool:
        state = text(each, "status", "state")
        return state.lower() == wanted or (value == "notInstalled" and not state)

    return check


def _enabled(value: str) -> Check:
    wanted = {"true": True, "false": False}.get(value)

    def check(each: Object) -> bool:
        is_enabled = field(each, "status", "enabled") is True
        return wanted is not None and bool(text(each, "status", "state")) and is_enabled is wanted

    return check


_NONE: Mapping[str, Filter] = {}
_EXTENSIONS: Mapping[str, Filter] = {
    "available": lambda value: lambda each: True,
    "q": _called,
    "status": _in_state,
    "enabled": _enabled,
}

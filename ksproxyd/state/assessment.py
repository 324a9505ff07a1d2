"""What the status of an extension object should say, and what has to be changed for that. Pure functions.

Two conditions are always written: ``Accepted`` (is the object itself right?) and ``Available`` (is it served?). What
other parts of the gateway know about the object follows as further conditions of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from ksproxyd.state.validation import (
    EXTENSION_REF,
    JS_BUNDLE,
    Object,
    Problem,
    default_link,
    field,
    text,
)
from ksproxyd.upstream.guard import Condition

Mode = Literal["auto", "true", "false"]

AVAILABLE, UNAVAILABLE = "Available", "Unavailable"

#: The field manager by which the API server knows our writes.
MANAGER = "ksproxyd"

#: Condition types that are ours to write and to remove.
OURS = frozenset({"Accepted", "Available", "ContentReady", "PolicyAccepted", "UpstreamHealthy", "CircuitClosed"})

# The limit of metav1.Condition.
_MESSAGE_LENGTH = 32768


class Wanted(NamedTuple):
    """What a status should say. ``state`` and ``link`` are None where they are to stay as they are."""

    state: str | None
    link: str | None
    conditions: tuple[Condition, ...]


def managed(value: Object, mode: Mode) -> bool:
    """Whether we write anything into the status of this object.

    ``auto``: unless it belongs to an extension or has a controller, which then writes its state.
    """
    if mode == "false" or field(value, "metadata", "deletionTimestamp") is not None:
        return False
    if mode == "true":
        return True
    owners = field(value, "metadata", "ownerReferences")
    controlled = any(field(owner, "controller") is True for owner in (owners if isinstance(owners, list) else ()))
    return not controlled and not text(field(value, "metadata", "labels"), EXTENSION_REF)


def free_state(value: Object) -> bool:
    """Whether the state is one that may be ours: none, Available or Unavailable. Others are somebody's decision."""
    return field(value, "status", "state") in (None, "", AVAILABLE, UNAVAILABLE)


def owns_state(value: Object, mode: Mode) -> bool:
    """Whether the state is ours to change. ``value`` is as the API server sent it, with ``managedFields``.

    In ``auto`` a state that somebody else has set is theirs, whichever it is.
    """
    if not free_state(value):
        return False
    if mode == "true" or not field(value, "status", "state"):
        return True
    managers = set(_state_managers(value))
    if managers:
        return managers == {MANAGER}
    # No word of who it was: then it was us if our condition says the same.
    ours = _by_type(value).get("Available")
    return ours is not None and (ours.get("status") == "True") == (field(value, "status", "state") == AVAILABLE)


def _state_managers(value: Object) -> Iterable[str]:
    entries = field(value, "metadata", "managedFields")
    for entry in entries if isinstance(entries, list) else ():
        if field(entry, "fieldsV1", "f:status", "f:state") is not None:
            yield text(entry, "manager")


def wanted_status(
    kind: str,
    value: Object,
    problems: Iterable[Problem],
    probe: str | None,
    evidence: Iterable[Condition],
    *,
    owns: bool,
) -> Wanted:
    """What the status of ``value`` should say.

    ``probe`` is why the backend cannot be used: empty if it can, None if that is not known yet; then a state that was
    never set stays open. ``owns`` says whether the state is ours to change.
    """
    problems = list(problems)
    fatal = [problem for problem in problems if problem.fatal]
    current = field(value, "status", "state")
    state: str | None = None
    if owns and (fatal or probe):
        state = UNAVAILABLE
    elif owns and probe is not None:
        state = AVAILABLE
    link = None
    if kind == JS_BUNDLE and not field(value, "status", "link"):
        link = default_link(value)
    conditions = [
        _accepted(problems, bool(fatal)),
        _available(bool(fatal), probe, current if state is None else state),
        *evidence,
    ]
    return Wanted(state, link, tuple(conditions))


def _accepted(problems: list[Problem], fatal: bool) -> Condition:
    message = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
    if fatal:
        return Condition("Accepted", "False", "Invalid", message)
    return Condition("Accepted", "True", "AcceptedWithWarnings" if problems else "Accepted", message)


def _available(fatal: bool, probe: str | None, state: Any) -> Condition:
    if fatal:
        return Condition("Available", "False", "Invalid", "the object cannot be served as it is: see Accepted")
    if probe:
        return Condition("Available", "False", "ProbeFailed", probe)
    if state == AVAILABLE:
        return Condition("Available", "True", "Serving", "")
    if probe is None:
        return Condition("Available", "Unknown", "NotProbed", "the backend has not been probed yet")
    shown = state if isinstance(state, str) else ""
    return Condition(
        "Available", "False", "SwitchedOff", f'only objects in the state Available are served, not "{shown}"'
    )


def change(value: Object, wanted: Wanted, now: float, generation: int | None) -> dict[str, Any] | None:
    """What a merge patch has to say about ``status`` so that it says what is ``wanted``; None if it does.

    ``now`` is seconds since the epoch. ``generation`` is ``observedGeneration`` of the conditions; None leaves it out,
    for a kind without status subresource, whose generation every write to the status changes.
    """
    status: dict[str, Any] = {}
    if wanted.state is not None and wanted.state != field(value, "status", "state"):
        status["state"] = wanted.state
    if wanted.link is not None and wanted.link != field(value, "status", "link"):
        status["link"] = wanted.link
    before = field(value, "status", "conditions")
    known = _by_type(value)
    time = datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ours = {
        condition.type: _condition(condition, known.get(condition.type), time, generation)
        for condition in wanted.conditions
    }
    after = [ours.pop(name, entry) for name, entry in known.items() if name in ours or name not in OURS]
    after += ours.values()
    if after != (before if before is not None else []):
        status["conditions"] = after
    return status or None


def observes(value: Object) -> bool:
    """Whether our conditions name the generation that was looked at, which they do where there is a subresource."""
    return any(name in OURS and "observedGeneration" in entry for name, entry in _by_type(value).items())


def says(value: Object, wanted: Wanted) -> bool:
    """Whether the status still says what was ``wanted``, whatever else it says."""
    known = _by_type(value)
    return (
        wanted.state in (None, field(value, "status", "state"))
        and wanted.link in (None, field(value, "status", "link"))
        and all(known.get(condition.type, {}).get("status") == condition.status for condition in wanted.conditions)
    )


def _condition(
    condition: Condition, before: dict[str, Any] | None, time: str, generation: int | None
) -> dict[str, Any]:
    since = text(before, "lastTransitionTime")
    written: dict[str, Any] = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message[:_MESSAGE_LENGTH],
        "lastTransitionTime": since if since and text(before, "status") == condition.status else time,
    }
    if generation is not None:
        written["observedGeneration"] = generation
    return written


def _by_type(value: Object) -> dict[str, dict[str, Any]]:
    """The conditions of an object by their type; what is none is left out."""
    conditions = field(value, "status", "conditions")
    return {
        entry["type"]: entry
        for entry in (conditions if isinstance(conditions, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("type"), str)
    }

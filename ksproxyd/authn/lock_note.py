"""What a User object says of its own lock. Pure.

``status.state: AuthLimitExceeded`` locks the account for everybody since ``status.lastTransitionTime``: that is all
that ks-controller-manager writes. Too many wrong passwords from one network lock the account for that network only, so
that nobody can keep others out; the annotation :data:`LOCKED` then says which, and until when. It counts as long as it
speaks of this very transition.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from ksproxyd.state.validation import field, text

#: The annotation. Its value is JSON.
LOCKED = "iam.kubesphere.io/locked-sources"

#: Most networks that are noted.
MOST_SOURCES = 16

# Dates as Kubernetes writes them (RFC 3339); a fraction may have more digits than Python reads.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class LockNote(msgspec.Struct, frozen=True):
    """``since`` and ``until`` are seconds of Unix time, None where nothing is said.

    ``sources`` are the networks that are locked out; None is everybody.
    """

    since: float | None = None
    until: float | None = None
    sources: tuple[str, ...] | None = None

    def concerns(self, source: str) -> bool:
        """Whether attempts from ``source`` (see :mod:`ksproxyd.authn.source`) are meant."""
        return self.sources is None or source in self.sources

    def left(self, now: float, duration: float) -> float:
        """Seconds until it ends, by itself; ``duration`` is how long one lasts that says nothing of its end.

        One that does not say when it began does not end by itself, and has ``duration`` left.
        """
        if self.until is not None:
            return max(0.0, self.until - now)
        if self.since is not None:
            return max(0.0, self.since + duration - now)
        return duration


class _Written(msgspec.Struct, omit_defaults=True):
    since: str
    until: str
    sources: list[str] | None = None


def read_lock(obj: dict[str, Any]) -> LockNote:
    """The lock of a user in state ``AuthLimitExceeded``."""
    since = text(obj, "status", "lastTransitionTime")
    annotations = field(obj, "metadata", "annotations")
    written = annotations.get(LOCKED) if isinstance(annotations, dict) else None
    if since and isinstance(written, str):
        try:
            note = msgspec.json.decode(written, type=_Written)
        except (msgspec.DecodeError, UnicodeError):
            note = None
        if note is not None and note.since == since:
            sources = None if note.sources is None else tuple(note.sources[:MOST_SOURCES])
            return LockNote(read_time(since), read_time(note.until), sources)
    return LockNote(read_time(since))


def write_lock(since: float, until: float, sources: tuple[str, ...] | None) -> tuple[str, str]:
    """The annotation's value, and the ``lastTransitionTime`` that goes with it."""
    began = write_time(since)
    listed = None if sources is None else list(sources[-MOST_SOURCES:])
    note = _Written(since=began, until=write_time(until), sources=listed)
    return msgspec.json.encode(note).decode(), began


def read_time(value: str) -> float | None:
    """Seconds of Unix time of an RFC 3339 date; None for anything else."""
    match = _TIME.fullmatch(value)
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole.upper() + zone.upper().replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment.timestamp() + float(fraction or 0.0)


def write_time(seconds: float) -> str:
    """A Kubernetes Time: RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

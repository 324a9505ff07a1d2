"""What a User object says of its own lock. Pure.

``status.state: AuthLimitExceeded`` locks the account for everybody since ``status.lastTransitionTime``: that is all
that ks-controller-manager writes. Too many wrong passwords from one network lock the account for that network only, so
that nobody can keep others out; the annotation :data:`LOCKED` then says which, and until when. It counts as long as it
speaks of this very transition.
"""

from __future__ import annotations

import math
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

    ``sources`` are the networks that are locked out, each with the time until which it is; None is everybody.
    """

    since: float | None = None
    until: float | None = None
    sources: tuple[tuple[str, float], ...] | None = None

    def left(self, now: float, duration: float, source: str | None = None) -> float:
        """Seconds for which it still keeps out attempts from ``source`` (see :mod:`ksproxyd.authn.source`).

        Without a source: for which it still keeps out anybody. ``duration`` is how long a lock lasts that does not say
        when it ends. One that does not say when it began either does not end by itself, and has ``duration`` left.
        """
        if self.sources is not None:
            ends = [end for network, end in self.sources if source in (None, network)]
            return max(0.0, max(ends, default=0.0) - now)
        if self.until is not None:
            return max(0.0, self.until - now)
        if self.since is not None:
            return max(0.0, self.since + duration - now)
        return duration


class _Written(msgspec.Struct, omit_defaults=True):
    since: str
    until: str
    sources: dict[str, str] | None = None


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
        until = None if note is None else read_time(note.until)
        if note is not None and note.since == since and until is not None:
            if note.sources is None:
                return LockNote(read_time(since), until)
            ends = [(source, read_time(end)) for source, end in note.sources.items()]
            return LockNote(read_time(since), until, tuple((s, end) for s, end in ends if end is not None))
    return LockNote(read_time(since))


def write_lock(since: float, note: LockNote) -> tuple[str, str]:
    """The annotation's value, and the ``lastTransitionTime`` that goes with it.

    ``note`` has an end; its networks beyond :data:`MOST_SOURCES` are left out, those first that end first.
    """
    assert note.until is not None
    began = write_time(since)
    sources = None
    if note.sources is not None:
        last = sorted(note.sources, key=lambda pair: pair[1])[-MOST_SOURCES:]
        sources = {source: write_time(math.ceil(end)) for source, end in last}
    written = _Written(since=began, until=write_time(math.ceil(note.until)), sources=sources)
    return msgspec.json.encode(written).decode(), began


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

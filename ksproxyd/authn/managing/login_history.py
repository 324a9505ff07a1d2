"""Which login records are too many. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ksproxyd.authn.lock_note import read_time
from ksproxyd.state.store import Object
from ksproxyd.state.validation import text


class Entry(NamedTuple):
    """A login record: when it was written (RFC 3339 in UTC, which sorts), and its name."""

    created: str
    name: str


class Retention(NamedTuple):
    """For how many seconds records are kept (0: for ever), and how many of each user."""

    period: float
    most: int


def entry(obj: Object) -> Entry:
    """What is needed of a LoginRecord."""
    return Entry(text(obj, "metadata", "creationTimestamp"), text(obj, "metadata", "name"))


def surplus(entries: Iterable[Entry], retention: Retention, now: float) -> list[str]:
    """The names of those records of one user that are to go: what is too old, and all but the newest."""
    newest = sorted(entries, reverse=True)
    gone = [each.name for each in newest[retention.most :]]
    for each in newest[: retention.most]:
        written = read_time(each.created)
        if retention.period > 0 and written is not None and now - written > retention.period:
            gone.append(each.name)
    return gone


def last_login(entries: Iterable[Entry]) -> str:
    """When the user logged in last, or tried to; empty without a record."""
    return max((each.created for each in entries), default="")

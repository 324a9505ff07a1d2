"""What an authorizer says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo


class Decision(NamedTuple):
    """``reason`` says which binding allowed it, or what of a refusal is not the user's fault (spec 03, 2.11).

    ``open`` are policies that may allow it yet, if an engine says so (:mod:`.engine`); whoever cannot wait takes the
    decision as it is.
    """

    allowed: bool
    reason: str = ""
    open: tuple[str, ...] = ()


#: Says yes, no, or nothing; nothing is no. May raise :class:`~ksproxyd.model.status.StatusError` where it cannot know.
Authorizer = Callable[[Identity, RequestInfo], Decision]

_ALLOWED = Decision(True)
_EVERYTHING_IS_FORBIDDEN = Decision(False, "Everything is forbidden.")


def always_allow(user: Identity, info: RequestInfo) -> Decision:
    """``authorization.mode: AlwaysAllow``."""
    return _ALLOWED


def always_deny(user: Identity, info: RequestInfo) -> Decision:
    """``authorization.mode: AlwaysDeny``."""
    return _EVERYTHING_IS_FORBIDDEN

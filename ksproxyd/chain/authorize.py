"""Fifth step: whether the user may do this (spec 01, 3.4).

An authorizer says yes, no, or nothing; nothing is no. What it says no to is described in Kubernetes' own words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ksproxyd.chain import Step
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.model.status import denied
from ksproxyd.server.exchange import Exchange


class Decision(NamedTuple):
    """``reason`` is appended to the message of a refusal."""

    allowed: bool
    reason: str = ""


Authorizer = Callable[[Identity, RequestInfo], Decision]

_ALLOWED = Decision(True)
_EVERYTHING_IS_FORBIDDEN = Decision(False, "Everything is forbidden.")


def always_allow(user: Identity, info: RequestInfo) -> Decision:
    """``authorization.mode: AlwaysAllow``."""
    return _ALLOWED


def always_deny(user: Identity, info: RequestInfo) -> Decision:
    """``authorization.mode: AlwaysDeny``."""
    return _EVERYTHING_IS_FORBIDDEN


def authorize_step(authorizer: Authorizer) -> Step:
    """The step that asks ``authorizer``."""

    def authorize(exchange: Exchange) -> None:
        decision = authorizer(exchange.user, exchange.info)
        if not decision.allowed:
            raise denied(exchange.user, exchange.info, decision.reason)

    return authorize

"""Fifth step: whether the user may do this (spec 01, 3.4).

What an authorizer does not allow is described in Kubernetes' own words.
"""

from __future__ import annotations

from ksproxyd.authz.decision import Authorizer
from ksproxyd.authz.streaming import decide
from ksproxyd.chain import Step
from ksproxyd.model.status import denied
from ksproxyd.server.exchange import Exchange


def authorize_step(authorizer: Authorizer) -> Step:
    """The step that asks ``authorizer``."""

    def authorize(exchange: Exchange) -> None:
        decision, info = decide(authorizer, exchange.user, exchange.info, exchange.upgrade is not None)
        if not decision.allowed:
            raise denied(exchange.user, info, decision.reason)

    return authorize

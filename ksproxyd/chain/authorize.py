"""Fifth step: whether the user may do this (spec 01, 3.4).

What an authorizer does not allow is described in Kubernetes' own words. Nearly every decision is made at once; only a
policy that takes an engine has the request wait for it.
"""

from __future__ import annotations

from ksproxyd.authz.decision import Authorizer
from ksproxyd.authz.engine import Engine, settled_whole
from ksproxyd.authz.streaming import decide
from ksproxyd.chain import Outcome, Step
from ksproxyd.model.status import denied
from ksproxyd.server.exchange import Exchange


def authorize_step(authorizer: Authorizer, engine: Engine | None = None) -> Step:
    """The step that asks ``authorizer``, and ``engine`` where that leaves something open."""

    def authorize(exchange: Exchange) -> Outcome:
        info = exchange.info
        decision = authorizer(exchange.user, info)
        if decision.allowed and not info.subresource and info.verb != "proxy":
            # Nearly every request; the rest may be a way into a container.
            return None
        decision, info = decide(authorizer, exchange.user, info, exchange.upgrade is not None)
        if decision.allowed:
            return None
        if decision.open and engine is not None:
            return ask(exchange, engine)
        raise denied(exchange.user, info, decision.reason)

    async def ask(exchange: Exchange, engine: Engine) -> None:
        decision, info = await settled_whole(
            authorizer, engine, exchange.user, exchange.info, exchange.upgrade is not None
        )
        if not decision.allowed:
            raise denied(exchange.user, info, decision.reason)

    return authorize

"""Between authorization and the tree: nothing is answered from state that is known to be incomplete.

Until the extensions have been read once, a path that looks unserved may only be unread, and a ReverseProxy that
matches may not be the one that should. Kubernetes' own paths and the gateway's do not depend on that.
"""

from __future__ import annotations

from collections.abc import Callable

from ksproxyd.chain import Step
from ksproxyd.model.status import service_unavailable
from ksproxyd.server.exchange import Exchange

#: First segments whose nodes come and go with cluster state.
_FROM_STATE = frozenset(["kapis", "kapi", "dist"])


def synced_step(synced: Callable[[], bool]) -> Step:
    """The step; ``synced`` says whether every kind has been read once."""
    settled = False

    def step(exchange: Exchange) -> None:
        nonlocal settled
        if settled:
            return
        if synced():
            # Once is enough: what is lost later keeps its last known state.
            settled = True
            return
        first = exchange.info.path.split("/", 2)[1:2]
        if first and (first[0] in _FROM_STATE or first[0].startswith("proxy")):
            raise service_unavailable("the gateway is still reading the cluster's state, try again in a moment", 1)

    return step

"""Fourth step: requests for other clusters leave here, those for this one go on without the cluster's name.

Before authorization: what a user may do on a member cluster is decided there (spec 01, 3.3).
"""

from __future__ import annotations

from typing import Protocol

from ksproxyd.chain import TAKEN, Outcome, Step
from ksproxyd.model.request_info import without_cluster
from ksproxyd.server.exchange import Exchange


class Members(Protocol):
    """The clusters that are known (:class:`ksproxyd.tree.member_cluster.MemberClusters`)."""

    def find(self, name: str) -> Member | None:
        """The member ``name``, None for the host. Raises what the client is to be told where neither is possible."""


class Member(Protocol):
    """Another cluster."""

    def forward(self, exchange: Exchange, path: bytes) -> None:
        """Serve ``exchange`` from there; ``path`` is without the cluster's name."""



def dispatch_step(members: Members) -> Step:
    """The step that sends requests to ``members``."""

    def dispatch(exchange: Exchange) -> Outcome:
        name = exchange.info.cluster
        if not name:
            return None
        member = members.find(name)
        path = without_cluster(exchange.path, exchange.info)
        if member is None:
            exchange.route(path)
            return None
        exchange.cluster = name
        member.forward(exchange, path)
        return TAKEN

    return dispatch

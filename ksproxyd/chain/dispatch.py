"""Fourth step: requests for other clusters leave here, those for this one go on without the cluster's name.

Before authorization: what a user may do on a member cluster is decided there (spec 01, 3.3).
"""

from __future__ import annotations

from typing import Protocol

from ksproxyd.chain import TAKEN, Outcome, Step
from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.request_info import without_cluster
from ksproxyd.server.exchange import Exchange

TERMINALS = "terminal.kubesphere.io"


class Members(Protocol):
    """The clusters that are known (:class:`ksproxyd.tree.member_cluster.MemberClusters`)."""

    def find(self, name: str) -> Member | None:
        """The member ``name``, None for the host. Raises what the client is to be told where neither is possible."""


class Member(Protocol):
    """Another cluster."""

    def forward(self, exchange: Exchange, path: bytes) -> None:
        """Serve ``exchange`` from there; ``path`` is without the cluster's name."""


class Hops(Protocol):
    """Tokens for the way (:class:`ksproxyd.authn.tokens.hops.HopTokens`)."""

    def authorization(self, user: Identity) -> bytes | None:
        """The ``Authorization`` that stands for ``user`` there; None if nothing does."""


class Pages(Protocol):
    """Whose pages may open terminals (:class:`ksproxyd.kapis.terminal.origins.Origins`)."""

    def check(self, exchange: Exchange) -> str:
        """Raises the error for a page that may not."""


def dispatch_step(members: Members, hops: Hops, pages: Pages | None = None) -> Step:
    """The step that sends requests to ``members``.

    Who has proven here who they are, but not by a token, could not do so there: ``hops`` has one for them. A member
    knows neither by which name browsers address us nor whose pages we let in: whether one may open a terminal there is
    decided here, by ``pages``, and the member hears of no page.
    """

    def dispatch(exchange: Exchange) -> Outcome:
        name = exchange.info.cluster
        if not name:
            return None
        member = members.find(name)
        path = without_cluster(exchange.path, exchange.info)
        if member is None:
            exchange.route(path)
            return None
        if pages is not None and exchange.upgrade is not None and exchange.info.api_group == TERMINALS:
            pages.check(exchange)
            exchange.fields.remove(b"origin")
        exchange.cluster = name
        if exchange.user is not ANONYMOUS and exchange.fields.get(b"authorization") is None:
            line = hops.authorization(exchange.user)
            if line is not None:
                exchange.fields.add(b"Authorization", line)
        member.forward(exchange, path)
        return TAKEN

    return dispatch

"""``/ksproxyd/routes``: the live tree, for ``ksproxyd routes``."""

from __future__ import annotations

from ksproxyd.chain import Outcome
from ksproxyd.model.message import Response
from ksproxyd.model.status import method_not_allowed
from ksproxyd.server.exchange import Exchange
from ksproxyd.tree import Tree

_METHODS = ("GET", "HEAD")


class Routes:
    """The node."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def handle(self, exchange: Exchange) -> Outcome:
        if exchange.method not in _METHODS:
            raise method_not_allowed(list(_METHODS))
        found = [{"path": path, "node": node.describe()} for path, node in self._tree.walk()]
        return Response.json(200, {"routes": found})

    def describe(self) -> str:
        return "routes"

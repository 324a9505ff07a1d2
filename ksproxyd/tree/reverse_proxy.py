"""``/proxy…``: paths that ReverseProxies claim (spec 01, 3.7 and 5)."""

from __future__ import annotations

from ksproxyd.chain import Outcome
from ksproxyd.model.status import service_unavailable
from ksproxyd.server.exchange import Exchange
from ksproxyd.tree import nothing_here
from ksproxyd.tree.directives import Directives
from ksproxyd.tree.endpoint import Endpoint
from ksproxyd.tree.matcher import ProxyTable
from ksproxyd.tree.redirect import Redirect, refuse_redirect
from ksproxyd.tree.wrapped import WrappedTransport
from ksproxyd.upstream.plan import Answer, Plan
from ksproxyd.upstream.relay import Proxy


class ReverseProxyNode:
    """One ReverseProxy. ``plan`` is None while it cannot be used."""

    def __init__(
        self,
        name: str,
        proxy: Proxy,
        plan: Plan | None,
        endpoint: Endpoint | None,
        directives: Directives,
        redirect: Redirect | None,
    ) -> None:
        self._name = name
        self._proxy = proxy
        self._plan = plan
        self._endpoint = endpoint if endpoint is not None and endpoint.path else None
        self._directives = directives
        self._redirect = redirect
        self._method = directives.method.encode("ascii") or None
        self._plain = not directives.changes_target and self._endpoint is None

    def handle(self, exchange: Exchange) -> Outcome:
        plan = self._plan
        if plan is None:
            raise service_unavailable(f"upstream {self._name} is not available")
        if self._redirect is not None:
            answer = self._redirect.answer(exchange)
            if answer is not None:
                return answer
        if self._plain:
            return self._proxy.forward(exchange, plan, exchange.target)
        head = exchange.head
        known, target = head.rerouted
        if known is not self or exchange.target is not head.target:
            target = self._target(exchange)
            if self._directives.steady and exchange.target is head.target:
                head.rerouted = (self, target)
        return self._proxy.forward(exchange, plan, target, self._method)

    def _target(self, exchange: Exchange) -> bytes:
        """What to ask the backend for."""
        _, path, query = self._directives.apply_target(
            exchange.method, exchange.path, exchange.query, exchange.has_query
        )
        if self._endpoint is not None:
            path = self._endpoint.join(path)
        return path if query is None else path + b"?" + query

    def describe(self) -> str:
        where = str(self._plan.pool.target) if self._plan is not None else "not available"
        return f"ReverseProxy {self._name} → {where}"


class ReverseProxies:
    """The node for every path that begins with ``/proxy``: finds the ReverseProxy that claims it."""

    def __init__(self) -> None:
        self.table: ProxyTable[ReverseProxyNode] = ProxyTable()

    def handle(self, exchange: Exchange) -> Outcome:
        node = self.table.match(exchange.method, exchange.info.path)
        if node is None:
            raise nothing_here(exchange)
        return node.handle(exchange)

    def describe(self) -> str:
        return f"{len(self.table)} ReverseProxies"


class RedirectRefusal:
    """``rejectForwardingRedirects``: a redirect of the backend's is not passed on (:attr:`Plan.on_answer`)."""

    def __init__(self, name: str, links: WrappedTransport | None) -> None:
        self._name = name
        self._links = links

    def on_answer(self, exchange: Exchange, answer: Answer) -> None:
        """Raise the 502 for a redirect; otherwise go on to the links, where they are rewritten."""
        location = next((value for key, _, value in answer.items if key == b"location"), None)
        refusal = refuse_redirect(self._name, answer.status, location)
        if refusal is not None:
            raise refusal
        if self._links is not None:
            self._links.on_answer(exchange, answer)

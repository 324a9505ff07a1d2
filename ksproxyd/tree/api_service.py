"""``/kapis/<group>/<version>``: an extension's API, declared by an APIService (spec 01, 3.8)."""

from __future__ import annotations

from ksproxyd.chain import Outcome
from ksproxyd.model.status import service_unavailable
from ksproxyd.server.exchange import Exchange
from ksproxyd.tree import nothing_here
from ksproxyd.tree.endpoint import Endpoint
from ksproxyd.tree.redirect import Redirect
from ksproxyd.upstream.plan import Plan
from ksproxyd.upstream.relay import Proxy


class APIServiceNode:
    """Forwards the group's resource requests. ``plan`` is None while the APIService cannot be used."""

    def __init__(
        self, name: str, proxy: Proxy, plan: Plan | None, endpoint: Endpoint | None, redirect: Redirect | None
    ) -> None:
        self._name = name
        self._proxy = proxy
        self._plan = plan
        self._endpoint = endpoint if endpoint is not None and endpoint.path else None
        self._redirect = redirect

    def handle(self, exchange: Exchange) -> Outcome:
        if not exchange.info.is_resource:
            # Discovery below an extension's group is not its API.
            raise nothing_here(exchange)
        plan = self._plan
        if plan is None:
            raise service_unavailable(f"apiService {self._name} is not available")
        if self._redirect is not None:
            answer = self._redirect.answer(exchange)
            if answer is not None:
                return answer
        target = exchange.target
        if self._endpoint is not None:
            target = self._endpoint.join(target)
        return self._proxy.forward(exchange, plan, target)

    def describe(self) -> str:
        where = str(self._plan.pool.target) if self._plan is not None else "not available"
        return f"APIService {self._name} → {where}"

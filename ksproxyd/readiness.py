"""``/readyz``: whether the gateway can serve, check by check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ksproxyd.server.exchange import Exchange
from ksproxyd.state.reflector import Reflector
from ksproxyd.tree.health import Check, Health, informer_sync, kube_apiserver, readyz, shutdown


class Readiness:
    """The node. The checks are made anew for each request, as kinds come and go.

    ``stale_after`` gives seconds after which what is known of the cluster is called stale; ``more`` are other checks.
    """

    def __init__(
        self,
        draining: Callable[[], bool],
        reflectors: Callable[[], Iterable[Reflector]],
        stale_after: Callable[[], float],
        more: Callable[[], list[Check]],
    ) -> None:
        self._draining = draining
        self._reflectors = reflectors
        self._stale_after = stale_after
        self._more = more

    def handle(self, exchange: Exchange) -> Any:
        return self._health().handle(exchange)

    def _health(self) -> Health:
        watches = list(self._reflectors())
        oldest = min((watch.store.age() for watch in watches), default=float("inf"))
        checks = [shutdown(self._draining), kube_apiserver(lambda: oldest, self._stale_after())]
        return readyz(checks + self._more() + [informer_sync(watch) for watch in watches])

    def describe(self) -> str:
        return self._health().describe()

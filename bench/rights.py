"""What authorization costs: the whole way of a request of somebody who is logged in, by role, in RBAC mode.

The same requests go to a gateway in an installation with next to nothing in it and to one with all of
:mod:`bench.tenants`, beside nginx in the same rounds. Lists that the gateway answers itself are measured in the large
one, and so is what following it costs: memory, and the time until everything is known.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Self

from bench.accounting import resident
from bench.contenders import nginx_proxy
from bench.load import Sample, load
from bench.login_gateway import LoginGateway
from bench.objects import Route
from bench.site import Site
from bench.table import mebibytes, micros, spread, table, times
from bench.tenants import BINDINGS, NAMESPACES, USERS, WORKSPACES, installation, user

NGINX = "nginx proxy_pass"
EMPTY, LARGE = "next to nothing", "large"
USERS_LIST = "/kapis/iam.kubesphere.io/v1beta1/users?limit=10"
NAMESPACES_LIST = "/kapis/tenant.kubesphere.io/v1beta1/namespaces?limit=10"


class RightsGateway(LoginGateway):
    """``ksproxyd run`` in RBAC mode, with an APIService; ``seconds`` from its start until it knew everything."""

    def __init__(self, folder: Path, route: Route, *, large: bool) -> None:
        self._large = large
        self.seconds = 0.0
        self._begun = 0.0
        super().__init__(folder, route, "RBAC")

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        return super().__enter__()

    def accounts(self, hashed: str) -> dict[str, list[dict[str, Any]]]:
        return installation(hashed, large=self._large)

    def ready(self) -> None:
        self.process.wait_until(lambda: self.status("/readyz") == 200, "ready")
        self.seconds = time.monotonic() - self._begun
        route = self.route.api_path
        self.process.wait_until(lambda: self.status(route, self.bearer(user(0))) == 200, "letting a viewer view")

    def bearer(self, name: str) -> str:
        """An ``Authorization`` line of a user who has just logged in."""
        return f"Authorization: Bearer {self.log_in(name)}"


class Rights:
    """Measured with :meth:`measure`, told with :meth:`report`."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        #: By kind of upstream ("plain", "TLS"), then by whose gateway; a sample a round.
        self.requests: dict[str, dict[str, list[Sample]]] = {}
        self.lists: dict[str, list[Sample]] = {}
        self.memory: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def measure(self, rounds: int, seconds: float) -> None:
        """All kinds have their turn in every round."""
        for tls in (False, True):
            self._requests(rounds, seconds, tls=tls)

    def _requests(self, rounds: int, seconds: float, *, tls: bool) -> None:
        site = self._site
        route = site.tls_route if tls else site.plain_route
        found = self.requests["TLS" if tls else "plain"] = {}
        with ExitStack() as stack:
            folder = self._folder / ("tls" if tls else "plain")
            kinds: dict[str, tuple[Any, str]] = {}
            for name, large in ((EMPTY, False), (LARGE, True)):
                room = folder / ("large" if large else "empty")
                room.mkdir(parents=True)
                gateway = stack.enter_context(RightsGateway(room, route, large=large))
                self.seconds[name] = gateway.seconds
                kinds[name] = (gateway, gateway.bearer(user(0)))
            nginx = nginx_proxy(site, folder, tls=tls)
            if nginx is not None:
                kinds[NGINX] = (stack.enter_context(nginx), "X-Nothing: shown")
            for name, (running, line) in kinds.items():
                load(running, (route.api_path,), 1, [line])
                self.memory[name] = resident(running.pid)
            for number in range(rounds):
                order = list(kinds)
                first = number % len(order)
                for name in (*order[first:], *order[:first]):
                    running, line = kinds[name]
                    found.setdefault(name, []).append(load(running, (route.api_path,), seconds, [line]))
            if not tls:
                self._lists(kinds[LARGE][0], rounds, seconds)

    def _lists(self, gateway: RightsGateway, rounds: int, seconds: float) -> None:
        kinds = {
            "10 users, administrator": (USERS_LIST, gateway.bearer("admin")),
            "10 namespaces, administrator": (NAMESPACES_LIST, gateway.bearer("admin")),
            "10 namespaces, user": (NAMESPACES_LIST, gateway.bearer(user(0))),
        }
        for _ in range(rounds):
            for name, (path, line) in kinds.items():
                self.lists.setdefault(name, []).append(load(gateway, (path,), seconds, [line]))

    def ratios(self, upstream: str, name: str, to: str) -> list[float]:
        """CPU a request at one over that at another, a round each; empty if one of them was not there."""
        samples = self.requests[upstream]
        pairs = zip(samples.get(name, []), samples.get(to, []), strict=False)
        return [ours.cpu / theirs.cpu for ours, theirs in pairs]

    def to_nginx(self, upstream: str) -> float | None:
        """What the large installation's requests cost, over nginx's; None without nginx."""
        found = self.ratios(upstream, LARGE, NGINX)
        return median(found) if found else None

    def flatness(self, upstream: str) -> float:
        """What requests cost in the large installation over what they cost where there is next to nothing."""
        return median(self.ratios(upstream, LARGE, EMPTY))

    def list_seconds(self) -> dict[str, float]:
        """CPU seconds of each list."""
        return {name: median(sample.cpu for sample in samples) for name, samples in self.lists.items()}

    def report(self) -> str:
        """The tables."""
        rows = []
        for upstream, kinds in self.requests.items():
            for name, samples in kinds.items():
                ratios = self.ratios(upstream, name, NGINX)
                rows.append(
                    [
                        f"{name}, {upstream} upstream",
                        micros(median(sample.cpu for sample in samples)),
                        times(median(ratios) if ratios else None),
                        spread(ratios),
                    ]
                )
        first = table(["GET by a viewer of the project", "CPU a request", "to nginx's", "lowest–highest"], rows)
        lists = [[name, micros(seconds)] for name, seconds in self.list_seconds().items()]
        second = table([f"of {USERS} users, {NAMESPACES} namespaces, {WORKSPACES} workspaces", "CPU a request"], lists)
        kept = [[name, mebibytes(self.memory[name]), f"{seconds:.2f} s"] for name, seconds in self.seconds.items()]
        third = table([f"{BINDINGS} bindings, or next to none", "memory", "ready after"], kept)
        return f"{first}\n\n{second}\n\n{third}"

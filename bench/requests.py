"""Small answers: rate, latency, CPU time a request and memory of each proxy, beside nginx in the same rounds.

A machine that does other work beside is slower at one moment than at another. So the loads are short, every proxy has
its turn in every round, ratios are taken within a round, and the median of the rounds counts.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.contenders import Gateway, Running, aiohttp_proxy, go_proxy, nginx_proxy, twisted_proxy
from bench.load import Sample, load
from bench.objects import AUDITED_PATH, KUBERNETES_PATH, MANY
from bench.site import MANY_NAME, Site
from bench.table import mebibytes, micros, millis, spread, table, times

NGINX = "nginx proxy_pass"
FLAT = ("ksproxyd, APIService", "ksproxyd, ReverseProxy")
UNKNOWN = "ksproxyd, Kubernetes API, no answer's head known"
"""What the parser has to read each time. No goal speaks of it."""


@dataclass
class Row:
    """One line of the table: requests for ``paths`` at a proxy, a sample a round."""

    name: str
    running: Running
    paths: tuple[str, ...]
    samples: list[Sample] = field(default_factory=list)

    def middle(self, what: str) -> float:
        """The median of a number of the samples."""
        return median(getattr(sample, what) for sample in self.samples)


class Requests:
    """All proxies over one kind of upstream. ``peers`` False leaves out those that the goals do not speak of."""

    def __init__(self, site: Site, folder: Path, go: Path | None, *, tls: bool, peers: bool) -> None:
        self._site = site
        self._folder = folder
        self._go = go
        self._tls = tls
        self._peers = peers
        self.rows: list[Row] = []

    def measure(self, rounds: int, seconds: float) -> None:
        """Start them all, give each its turn in every round, stop them."""
        with ExitStack() as stack:
            self._start(stack)
            for row in self.rows:
                # Connections, caches and compilers warm up; this is not what a request costs.
                load(row.running, row.paths, 1)
            for number in range(rounds):
                first = number % len(self.rows)
                for row in (*self.rows[first:], *self.rows[:first]):
                    row.samples.append(load(row.running, row.paths, seconds))

    def _start(self, stack: ExitStack) -> None:
        site, folder, tls = self._site, self._folder, self._tls
        path = site.plain_route.api_path

        def add(name: str, running: Running | None, *paths: str) -> None:
            if running is not None:
                self.rows.append(Row(name, stack.enter_context(running), paths or (path,)))

        add(NGINX, nginx_proxy(site, folder, tls=tls))
        gateway = stack.enter_context(Gateway(site, folder, "ksproxyd tls" if tls else "ksproxyd", tls=tls))
        route = site.tls_route if tls else site.plain_route
        for name, target in zip(
            (*FLAT, "ksproxyd, Kubernetes API"), (route.api_path, route.proxy_path, KUBERNETES_PATH), strict=True
        ):
            self.rows.append(Row(name, gateway, (target,)))
        self.rows.append(Row(UNKNOWN, gateway, (AUDITED_PATH,)))
        if not tls:
            large = stack.enter_context(Gateway(site, folder, "ksproxyd many", MANY_NAME))
            for name, target in zip(FLAT, (route.api_path, route.proxy_path), strict=True):
                self.rows.append(Row(large_name(name), large, (target,)))
            every = tuple(other.api_path for other in site.other_routes)
            self.rows.append(Row(f"{large_name(FLAT[0])}, each in turn", large, every))
        if not self._peers:
            return
        if self._go is not None:
            add("Go httputil.ReverseProxy", go_proxy(site, folder, self._go, tls=tls))
        add("aiohttp", aiohttp_proxy(site, folder, tls=tls))
        if not tls:
            add("twisted.web ReverseProxyResource", twisted_proxy(site, folder))

    def ratios(self, name: str, to: str, what: str = "cpu") -> list[float]:
        """``name``'s number over ``to``'s, a round each; empty if one of them was not there."""
        found = {row.name: row.samples for row in self.rows}
        pairs = zip(found.get(name, []), found.get(to, []), strict=False)
        return [getattr(ours, what) / getattr(theirs, what) for ours, theirs in pairs]

    def report(self) -> str:
        """The table."""
        lines = []
        for row in self.rows:
            ratios = self.ratios(row.name, NGINX)
            lines.append(
                [
                    row.name,
                    micros(row.middle("cpu")),
                    times(median(ratios) if ratios else None),
                    spread(ratios),
                    f"{row.middle('rate'):,.0f}",
                    millis(row.middle("p50")),
                    millis(row.middle("p99")),
                    mebibytes(row.middle("memory")),
                ]
            )
        upstream = "TLS" if self._tls else "plain"
        head = ["to nginx's", "lowest–highest", "requests/s", "p50", "p99", "memory"]
        return table([f"{upstream} upstream", "CPU a request", *head], lines)

    def flatness(self) -> dict[str, float]:
        """CPU a request with :data:`~bench.objects.MANY` extensions of each kind over that with a few."""
        found = {name: self.ratios(large_name(name), name) for name in FLAT}
        return {name: median(ratios) for name, ratios in found.items() if ratios}


def large_name(name: str) -> str:
    """The row of the same requests in the large installation."""
    return f"{name} of {MANY}"

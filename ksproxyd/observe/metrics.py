"""The registry: every metric of the gateway.

What happens to each request is counted here; connections, tunnels, pools and watches are counted where they are
handled, and read from there when a scraper asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain
from typing import Protocol

from twisted.copyright import version as twisted_version

from ksproxyd.observe.build import BuildInfo
from ksproxyd.observe.cells import STEP_BOUNDS, UPSTREAM_BOUNDS, StepTimes, Upstreams
from ksproxyd.observe.exposition import Family, Histogram, Latency, Samples, labels
from ksproxyd.observe.lag import LAG_BOUNDS, ReactorLag
from ksproxyd.observe.process import Standard
from ksproxyd.observe.requests import Known, RequestMetrics
from ksproxyd.observe.watches import Watched, WatchMetrics


class Exposed(Protocol):
    """Something with metrics to show."""

    def blocks(self) -> Iterator[str]: ...


class PoolTotals(Protocol):
    """All upstream connections together. What is counted must not go down when a pool is closed."""

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""

    @property
    def busy(self) -> int:
        """Those that carry one, or a tunnel, or are being made."""

    @property
    def dials(self) -> int:
        """Connections begun so far."""

    @property
    def dial_failures(self) -> int:
        """Those of them that came to nothing."""

    @property
    def stale(self) -> int:
        """Idle ones that turned out to be unusable."""


class ServerCounters(Protocol):
    """What a :class:`ksproxyd.server.server.Server` counts."""

    @property
    def accepted(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def tls_failures(self) -> int: ...
    @property
    def timeouts(self) -> Mapping[str, int]: ...


class Serving(Protocol):
    """A server: its open connections and what it counts."""

    @property
    def connections(self) -> Sized: ...
    @property
    def counters(self) -> ServerCounters: ...


class Forwarding(Protocol):
    """A :class:`ksproxyd.upstream.relay.Proxy`."""

    @property
    def tunnels(self) -> Sized: ...
    @property
    def tunnels_opened(self) -> int: ...
    @property
    def tunnel_bytes(self) -> Sequence[int]: ...
    @property
    def retries(self) -> int: ...


class Registry:
    """Holds what is counted for each request, reads what others count, and turns it all into text when scraped.

    ``known(group, version, resource)`` decides what may become a label (see
    :class:`ksproxyd.observe.requests.RequestMetrics`); ``max_series`` is the most series of
    ``ks_server_request_total``, the most upstreams, and the most series of long-running requests.
    """

    def __init__(self, known: Known, max_series: int = 5000, build: BuildInfo | None = None) -> None:
        self.requests = RequestMetrics(known, max_series)
        self.upstreams = Upstreams(max_series)
        self.steps = StepTimes()
        self._families: list[Exposed] = [*self.requests.families()]
        self._add_build(build or BuildInfo.current())
        self._add_steps()
        self._add_upstreams()
        self._standard = Standard()

    def add(self, name: str, kind: str, text: str, read: Callable[[], Samples]) -> None:
        """Add a metric: ``kind`` is ``counter`` or ``gauge``, ``read`` gives its samples at a scrape.

        See :class:`ksproxyd.observe.exposition.Family`. ``read`` runs on the reactor and must be quick.
        """
        self._families.append(Family(name, kind, text, read))

    def add_histogram(self, name: str, text: str, latency: Latency) -> None:
        """Add a histogram of seconds, without labels."""
        self._families.append(Histogram(name, text, latency.bounds, lambda: [("", latency)]))

    def add_lag(self, lag: ReactorLag) -> None:
        """Show what ``lag`` measures."""
        text = "How late a timer of the reactor fired."
        self._families.append(Histogram("ksproxyd_reactor_lag_seconds", text, LAG_BOUNDS, lambda: [("", lag.latency)]))
        self.add(
            "ksproxyd_reactor_lag_last_seconds",
            "gauge",
            "The latest measurement of the reactor's lag.",
            lambda: [("", lag.last)],
        )

    def add_log(self, lost: Callable[[], int]) -> None:
        """Show how many lines the log could not write (:attr:`ksproxyd.observe.logging.LogOutput.lost`)."""
        text = "Log lines that could not be written."
        self.add("ksproxyd_log_lines_lost_total", "counter", text, lambda: [("", lost())])

    def add_pools(self, totals: Callable[[], PoolTotals]) -> None:
        """Show the connections to upstreams, as ``totals`` says them at the time of a scrape."""

        def states() -> Samples:
            now = totals()
            return [('state="idle"', now.idle), ('state="busy"', now.busy)]

        self.add("ksproxyd_upstream_connections", "gauge", "Connections to upstreams.", states)
        self._add_totals(totals, _POOL_FAMILIES)

    def add_proxy(self, proxy: Forwarding) -> None:
        """Show the tunnels and retries of ``proxy``."""
        self.add("ksproxyd_tunnels_open", "gauge", "Upgraded connections.", lambda: [("", len(proxy.tunnels))])
        self._add_totals(lambda: proxy, _PROXY_FAMILIES)

        def carried() -> Samples:
            received, sent = proxy.tunnel_bytes
            return [('direction="received"', received), ('direction="sent"', sent)]

        self.add("ksproxyd_tunnel_bytes_total", "counter", "Bytes of tunnels, from and to clients.", carried)

    def add_servers(self, servers: Callable[[], Iterable[Serving]]) -> None:
        """Show the client connections of the servers that ``servers`` lists at the time of a scrape, summed up.

        A server must stay in the list when its listener is closed, or what it has counted would be subtracted.
        """

        def total(value: Callable[[Serving], int]) -> Callable[[], Samples]:
            return lambda: [("", sum(map(value, servers())))]

        for name, kind, text, value in _SERVER_FAMILIES:
            self.add(name, kind, text, total(value))

        def timeouts() -> Samples:
            sums: Counter[str] = Counter()
            for server in servers():
                sums.update(server.counters.timeouts)
            return [(labels(timeout=name), count) for name, count in sorted(sums.items())]

        self.add("ksproxyd_timeouts_total", "counter", "Client connections closed by a timeout.", timeouts)

    def add_watches(self, watches: Callable[[], Iterable[Watched]]) -> None:
        """Show the state of the watch loops that ``watches`` lists at the time of a scrape, by kind."""
        for name, kind, text, read in WatchMetrics(watches).families():
            self.add(name, kind, text, read)

    def blocks(self) -> Iterator[str]:
        """The text of all metrics, piece by piece; the reactor may run between any two."""
        return chain.from_iterable(family.blocks() for family in (*self._families, self._standard))

    def _add_totals(self, source: Callable[[], object], families: Iterable[tuple[str, str, str]]) -> None:
        for name, text, attribute in families:
            self.add(name, "counter", text, _attribute(source, attribute))

    def _add_build(self, build: BuildInfo) -> None:
        text = labels(
            version=build.git_version,
            revision=build.git_commit,
            python=build.go_version.removeprefix("python"),
            twisted=twisted_version,
        )
        self.add("ksproxyd_build_info", "gauge", "What is running; always 1.", lambda: [(text, 1)])

    def _add_steps(self) -> None:
        text = "Time in a step of the chain, taken in a sample of the requests."
        name = "ksproxyd_chain_step_duration_seconds"
        self._families.append(Histogram(name, text, STEP_BOUNDS, self.steps.latencies))

    def _add_upstreams(self) -> None:
        upstreams = self.upstreams
        self.add(
            "ksproxyd_upstream_requests_total",
            "counter",
            "Answers from upstreams, by class of the status.",
            lambda: [sample for cell in upstreams.all() for sample in cell.responses()],
        )
        self.add(
            "ksproxyd_upstream_failures_total",
            "counter",
            "Requests that an upstream did not answer, by what went wrong.",
            lambda: [sample for cell in upstreams.all() for sample in cell.failures()],
        )
        text = "Time from handing a request to the pool to the head of the answer."
        name = "ksproxyd_upstream_request_duration_seconds"
        self._families.append(Histogram(name, text, UPSTREAM_BOUNDS, upstreams.latencies))


def _attribute(source: Callable[[], object], name: str) -> Callable[[], Samples]:
    return lambda: [("", getattr(source(), name))]


_SERVER_FAMILIES: tuple[tuple[str, str, str, Callable[[Serving], int]], ...] = (
    ("ksproxyd_connections_open", "gauge", "Client connections.", lambda s: len(s.connections)),
    ("ksproxyd_connections_total", "counter", "Client connections accepted.", lambda s: s.counters.accepted),
    (
        "ksproxyd_requests_refused_total",
        "counter",
        "Requests answered without being served: malformed, over a limit, or during a drain.",
        lambda s: s.counters.refused,
    ),
    ("ksproxyd_internal_errors_total", "counter", "Requests that failed by a bug.", lambda s: s.counters.failed),
    ("ksproxyd_tls_failures_total", "counter", "Failed TLS handshakes.", lambda s: s.counters.tls_failures),
)

_POOL_FAMILIES = (
    ("ksproxyd_upstream_dials_total", "Connections to upstreams begun.", "dials"),
    ("ksproxyd_upstream_dial_failures_total", "Connections to upstreams that failed.", "dial_failures"),
    ("ksproxyd_upstream_stale_total", "Idle connections that turned out to be unusable.", "stale"),
)

_PROXY_FAMILIES = (
    ("ksproxyd_tunnels_total", "Upgraded connections so far.", "tunnels_opened"),
    ("ksproxyd_upstream_retries_total", "Requests sent again because an idle connection had died.", "retries"),
)

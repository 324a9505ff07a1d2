"""Metrics of requests: how many, how they ended, how long they took, which are open."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

from ksproxyd.observe.exposition import Family, Histogram, Latency, Samples, head, labels
from ksproxyd.observe.observed import CLIENT_GONE, SWITCHED, Classified, Observed, long_running

#: Upper bounds of ``ks_server_request_duration_seconds`` (spec 01, 1.4).
DURATION_BOUNDS = (
    *(0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 1.75),
    *(2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0),
)

_FASTEST = DURATION_BOUNDS[0]

#: The label value that stands for everything that may not become a label.
OTHER = "other"

#: What a request's verb can be without an attacker's help: those of request info, and methods HTTP knows.
VERBS = frozenset(
    (
        *("", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy"),
        *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
    )
)

#: Whether a group, version and resource exist: built in, of an APIService, or found by discovery.
Known = Callable[[str, str, str], bool]

#: How many open requests are looked at before a scrape checks its time.
_LOOK = 500


class _Cell:
    """One series of ``ks_server_request_total``, and the histogram its requests are timed in."""

    __slots__ = ("count", "labels", "latency")

    def __init__(self, text: str, latency: Latency | None) -> None:
        self.labels = text
        self.count = 0
        self.latency = latency


class RequestMetrics:
    """Counts every request once when it has ended, and knows those that are open.

    ``known`` keeps the label values finite: a group, version and resource become labels only if it says they
    exist, otherwise all three are ``other`` (spec 01, D4). Beyond ``max_series`` series of
    ``ks_server_request_total`` every further combination is counted in one series whose labels are all
    ``other``, and in :attr:`overflowed`.

    ``open`` is the set of requests being answered; draining may read it too.
    """

    def __init__(self, known: Known, max_series: int) -> None:
        self._known = known
        self._max = max_series
        self.open: set[Observed] = set()
        #: To be told when a request's head is complete; every request that begins is to be :meth:`finished`.
        self.began: Callable[[Observed], None] = self.open.add
        self.overflowed = 0
        #: Bytes of bodies of requests that have ended, from and to clients.
        self.received = 0
        self.sent = 0
        #: How many have ended with each status.
        self.statuses: defaultdict[int, int] = defaultdict(int)
        self._cells: dict[tuple[str, str, str, str, int], _Cell] = {}
        self._latencies: dict[tuple[str, str, str, str], tuple[str, Latency]] = {}
        self._overflow: _Cell | None = None

    def finished(self, exchange: Observed, seconds: float) -> None:
        """The request has ended ``seconds`` after it began: answered, abandoned, or its tunnel closed."""
        self.open.discard(exchange)
        if exchange.received:
            self.received += exchange.received
        self.sent += exchange.sent
        status = exchange.status or CLIENT_GONE
        self.statuses[status] += 1
        info: Classified | None = exchange.info
        timed = True
        known, code, cell = exchange.head.counted
        if known is not info or code != status:
            if info is None or not info.api_group:
                return
            # Upgraded requests have always been counted as 200 under this name; dashboards rely on it.
            code = 200 if status == SWITCHED else status
            cell = self._cells.get((info.verb, info.api_group, info.api_version, info.resource, code))
            if status == SWITCHED or info.subresource:
                timed = not long_running(exchange)
            elif cell is not None:
                # The next request with this head and this outcome belongs there, too.
                exchange.head.counted = (info, status, cell)
            if cell is None:
                cell = self._cell(info.verb, info.api_group, info.api_version, info.resource, code)
        cell.count += 1
        latency = cell.latency
        if timed and latency is not None:
            # Most are among the fastest, and comparing once is cheaper than a search.
            latency.buckets[0 if seconds <= _FASTEST else bisect_left(DURATION_BOUNDS, seconds)] += 1
            latency.total += seconds

    def families(self) -> list[Family | Histogram | LongRunning]:
        """The metrics that are made of these numbers."""
        return [
            Family(
                "ks_server_request_total",
                "counter",
                "[ALPHA] Counter of API requests, by verb, group, version, resource and HTTP status code.",
                lambda: [(cell.labels, cell.count) for cell in self._all_cells()],
            ),
            Histogram(
                "ks_server_request_duration_seconds",
                "[ALPHA] Time from a request's head to the end of its answer, without long-running requests.",
                DURATION_BOUNDS,
                lambda: list(self._latencies.values()),
            ),
            LongRunning(self.open, self._values, self._max),
            Family(
                "ksproxyd_requests_in_flight",
                "gauge",
                "Requests being answered, long-running ones included.",
                lambda: [("", len(self.open))],
            ),
            Family(
                "ksproxyd_responses_total",
                "counter",
                "Requests that ended, by class of the status; 4xx includes clients that left (499).",
                self._by_class,
            ),
            Family(
                "ksproxyd_requests_abandoned_total",
                "counter",
                "Requests whose client left before there was an answer.",
                lambda: [("", self.statuses.get(CLIENT_GONE, 0))],
            ),
            Family(
                "ksproxyd_body_bytes_total",
                "counter",
                "Bytes of the bodies of requests that ended, without tunnels.",
                lambda: [('direction="received"', self.received), ('direction="sent"', self.sent)],
            ),
            Family(
                "ksproxyd_metrics_overflow_total",
                "counter",
                "Requests counted under the label value other because there were too many series.",
                lambda: [("", self.overflowed)],
            ),
        ]

    def _all_cells(self) -> list[_Cell]:
        cells = list(self._cells.values())
        if self._overflow is not None:
            cells.append(self._overflow)
        return cells

    def _by_class(self) -> Samples:
        classes = [0] * 6
        for status, count in self.statuses.items():
            classes[status // 100 if status < 600 else 0] += count
        return [
            (labels(**{"class": f"{digit}xx" if digit else OTHER}), count)
            for digit, count in enumerate(classes)
            if digit or count
        ]

    def _values(self, verb: str, group: str, version: str, resource: str) -> tuple[str, str, str, str]:
        """The label values these may have."""
        if verb not in VERBS:
            verb = OTHER
        if (group or version or resource) and not self._known(group, version, resource):
            group = version = resource = OTHER
        return verb, group, version, resource

    def _cell(self, verb: str, group: str, version: str, resource: str, code: int) -> _Cell:
        """The cell for labels that have none under these very values yet."""
        values = self._values(verb, group, version, resource)
        cell = self._cells.get((*values, code))
        if cell is not None:
            return cell
        if len(self._cells) >= self._max:
            self.overflowed += 1
            if self._overflow is None:
                text = labels(verb=OTHER, group=OTHER, version=OTHER, resource=OTHER, code=OTHER)
                self._overflow = _Cell(text, None)
            return self._overflow
        verb, group, version, resource = values
        text = labels(verb=verb, group=group, version=version, resource=resource, code=str(code))
        cell = self._cells[(*values, code)] = _Cell(text, self._latency(values))
        return cell

    def _latency(self, values: tuple[str, str, str, str]) -> Latency | None:
        verb, group, version, resource = values
        if verb == "watch":
            return None
        found = self._latencies.get(values)
        if found is None:
            text = labels(verb=verb, group=group, version=version, resource=resource)
            found = self._latencies[values] = (text, Latency(DURATION_BOUNDS))
        return found[1]


class LongRunning:
    """The gauge of open watches, followed logs and upgrades, counted from the open requests at a scrape.

    Counting when asked cannot drift, and costs a request nothing. It goes on in small steps, because there may
    be tens of thousands.
    """

    name = "ksproxyd_long_running_requests"

    def __init__(
        self,
        requests: set[Observed],
        values: Callable[[str, str, str, str], tuple[str, str, str, str]],
        max_series: int,
    ) -> None:
        self._requests = requests
        self._values = values
        self._max = max_series

    def blocks(self) -> Iterator[str]:
        """The family's text; an empty block wherever the scrape may pause."""
        counts: dict[tuple[str, str, str, str], int] = {}
        for position, exchange in enumerate(list(self._requests), 1):
            if position % _LOOK == 0:
                yield ""
            if long_running(exchange):
                info: Classified | None = exchange.info
                if info is None:
                    values = (OTHER, "", "", "")
                elif info.is_resource:
                    values = self._values(info.verb, info.api_group, info.api_version, info.resource)
                else:
                    values = self._values(info.verb, "", "", "")
                if values not in counts and len(counts) >= self._max:
                    values = (OTHER, OTHER, OTHER, OTHER)
                counts[values] = counts.get(values, 0) + 1
        text = "Open watches, followed logs and upgraded connections; they are not in the latency histogram."
        yield head(self.name, "gauge", text)
        for (verb, group, version, resource), count in counts.items():
            label = labels(verb=verb, group=group, version=version, resource=resource)
            yield f"{self.name}{{{label}}} {count}\n"

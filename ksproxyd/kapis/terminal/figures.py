"""What terminals are up to, for ``/metrics``: how many there are, how they end, and how long they last (spec 05, D15).

Their connections are long-running requests, and would say nothing among the durations of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ksproxyd.observe.exposition import Latency, Samples, labels
from ksproxyd.server.exchange import Exchange
from ksproxyd.terminal.endings import Where
from ksproxyd.terminal.execution import Executions
from ksproxyd.terminal.registry import Registry
from ksproxyd.terminal.session import Session, Summary
from ksproxyd.terminal.websocket import WebSockets

#: Seconds.
BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0)

Read = Callable[[], Samples]


class Figures:
    """Counts what is over, and looks at what goes on. It is every session's witness."""

    def __init__(self, registry: Registry, sockets: WebSockets, executions: Executions) -> None:
        self._registry = registry
        self._sockets = sockets
        self._executions = executions
        self._ended: Counter[tuple[str, int]] = Counter()
        self._typed = self._printed = 0
        #: How long sessions have lasted.
        self.seconds = Latency(BOUNDS)

    def families(self) -> list[tuple[str, str, str, Read]]:
        """Name, type, help and samples of each metric but the histogram (:attr:`seconds`)."""
        return [
            ("ksproxyd_terminal_sessions", "gauge", "Terminals that are open, or come to their end.", self._open),
            (
                "ksproxyd_terminal_connections",
                "gauge",
                "WebSocket connections of browsers.",
                lambda: [("", len(self._sockets.open))],
            ),
            (
                "ksproxyd_terminal_execs",
                "gauge",
                "Programs that run in containers for terminals and files.",
                lambda: [("", len(self._executions.open))],
            ),
            ("ksproxyd_terminal_sessions_total", "counter", "Terminals that are over, by close code.", self._over),
            (
                "ksproxyd_terminal_bytes_total",
                "counter",
                "Bytes typed and printed, of those that are over.",
                self._bytes,
            ),
        ]

    def witness(self, exchange: Exchange, where: Where) -> Figures:
        """For a session that ``exchange`` opens."""
        return self

    def _open(self) -> Samples:
        kinds = Counter(session.where.kind for session in self._registry.sessions.values())
        return [(labels(kind=kind), kinds[kind]) for kind in ("pod", "kubectl", "node")]

    def _over(self) -> Samples:
        return [(labels(kind=kind, code=str(code)), count) for (kind, code), count in sorted(self._ended.items())]

    def _bytes(self) -> Samples:
        return [('direction="printed"', self._printed), ('direction="typed"', self._typed)]

    # -- of each session (a Witness) -------------------------------------------------------------------------------

    def began(self, session: Session) -> None:
        """It is among those that go on."""

    def output(self, data: bytes) -> None:
        """It is counted at the end."""

    def resized(self, columns: int, rows: int) -> None:
        """Of no interest."""

    def ended(self, session: Session, summary: Summary) -> None:
        self._ended[session.where.kind, summary.code] += 1
        self._typed += summary.typed
        self._printed += summary.printed
        self.seconds.observe(summary.seconds)

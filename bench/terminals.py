"""Terminals through a real kube-apiserver and a real shell: what the gateway adds to each key, and to the first prompt.

The programs are those of tests/kube. The same client types into two shells in turn: one over the gateway, as a browser
has it, and one over kube-apiserver's own exec, over TLS, as kubectl has it. A key is a character that the shell's
terminal echoes. What is compared was measured within the same second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.accounting import resident
from bench.table import millis, table
from tests.kube.binaries import BuildError, Unavailable, find_or_build
from tests.kube.cluster import Cluster
from tests.kube.starting import start_cluster
from tests.kube.terminal_site import POD, PODS, PROMPT, TerminalSite
from tests.kube.websocket_client import Terminal, WebSocketClient

BATCH = 50
"""Keys that are pressed in one shell before it is the other's turn."""

PAUSE = 0.006
"""Seconds before each key: the gateway takes 200 messages a second of a browser, and nobody types faster."""

DIRECT, OURS, RAW = "kube-apiserver", "gateway, browser protocol", "gateway, kubectl's protocol"

EXEC = f"{PODS}/{POD}/exec?command=bash&stdin=1&stdout=1&tty=1"


class Channels:
    """A shell as kubectl has it: bytes, with a channel before them."""

    def __init__(self, client: WebSocketClient) -> None:
        self._client = client
        self._shown = b""

    def type(self, text: str) -> None:
        self._client.send(b"\0" + text.encode(), 2)

    def expect(self, wanted: str) -> None:
        while wanted.encode() not in self._shown:
            found = self._client.next()
            if found is None:
                raise RuntimeError(f"the shell ended: {self._shown[-200:]!r}")
            self._shown += found.payload[1:]
        self._shown = self._shown.partition(wanted.encode())[2]

    def close(self) -> None:
        self._client.socket.close()


class Terminals:
    """Measured with :meth:`measure`, told with :meth:`report`."""

    def __init__(self, folder: Path, keys: int, opens: int, sessions: int) -> None:
        self._folder = folder
        self._keys = keys
        self._opens = opens
        self._sessions = sessions
        #: Seconds, by who has answered.
        self.keys: dict[str, list[float]] = {DIRECT: [], OURS: [], RAW: []}
        self.opens: dict[str, list[float]] = {DIRECT: [], OURS: [], RAW: []}
        #: Bytes that the gateway has more for each session that is open.
        self.memory = 0.0
        self.missing = ""

    def measure(self) -> None:
        """Start everything, measure, stop it. :attr:`missing` says what could not be had."""
        try:
            binaries = find_or_build(os.environ, print)
        except (Unavailable, BuildError) as error:
            self.missing = str(error)
            return
        if binaries.node is None:
            self.missing = binaries.without_node
            return
        with self._cluster(binaries) as cluster, TerminalSite(cluster, self._folder / "gateway") as site:
            site.furnish()
            self._measure(site, site.user("olga"))

    @contextmanager
    def _cluster(self, binaries: Any) -> Iterator[Cluster]:
        cluster = start_cluster(binaries, self._folder / "cluster")
        try:
            yield cluster
        finally:
            cluster.stop()

    def _measure(self, site: TerminalSite, token: str) -> None:
        makers = {
            DIRECT: lambda: self._channels(site.cluster.url, site.cluster.token, site.cluster.context),
            OURS: lambda: Page(site.shell(token)),
            RAW: lambda: self._channels(site.gateway.url, token, None),
        }
        with ExitStack() as stack:
            shells = {}
            for name, make in makers.items():
                shells[name] = shell = make()
                stack.callback(shell.close)
                shell.expect(PROMPT)
            for _ in range(self._keys // BATCH):
                for name, shell in shells.items():
                    self.keys[name] += [_key(shell, chr(97 + n % 26)) for n in range(BATCH)]
                    shell.type("\x15")
                    # What clearing the line shows comes before this.
                    shell.type("echo do''ne\r")
                    shell.expect("done")
                    shell.expect(PROMPT)
        for _ in range(self._opens):
            for name, make in makers.items():
                self.opens[name].append(_open(make))
        self._remember(site, token)

    @staticmethod
    def _channels(url: str, token: str, context: Any) -> Channels:
        client = WebSocketClient(url, EXEC, token, protocols=["v5.channel.k8s.io"], context=context)
        return Channels(client)

    def _remember(self, site: TerminalSite, token: str) -> None:
        with ExitStack() as stack:
            counts = (self._sessions // 4, self._sessions)
            sizes = []
            opened = 0
            for count in counts:
                while opened < count:
                    terminal = stack.enter_context(site.shell(token))
                    terminal.expect(PROMPT)
                    opened += 1
                time.sleep(1.0)
                sizes.append(resident(site.pid))
        # What the first ones take once, the others do not take again.
        self.memory = (sizes[1] - sizes[0]) / (counts[1] - counts[0])

    # -- the figures -----------------------------------------------------------------------------------------------

    def added(self, seconds: dict[str, list[float]], at: float = 0.5) -> float:
        """What the browser's way takes more than the direct one, at this quantile."""
        return quantile(seconds[OURS], at) - quantile(seconds[DIRECT], at)

    def report(self) -> str:
        """The tables."""
        if self.missing:
            return f"MISSING: {self.missing}. Terminals are not measured."
        rows = [
            [
                name,
                millis(quantile(self.keys[name], 0.5)),
                millis(quantile(self.keys[name], 0.99)),
                millis(quantile(self.opens[name], 0.5)),
                millis(quantile(self.opens[name], 0.99)),
            ]
            for name in self.keys
        ]
        added = [
            "added by the gateway, browser protocol",
            *(millis(self.added(self.keys, at)) for at in (0.5, 0.99)),
            *(millis(self.added(self.opens, at)) for at in (0.5, 0.99)),
        ]
        head = ["a shell over", "key to echo, median", "99th percentile", "open to prompt, median", "99th percentile"]
        first = table(head, [*rows, added])
        second = table(["memory of an open terminal"], [[f"{self.memory / 1024:.0f} KiB"]])
        return f"{first}\n\n{second}"


class Page:
    """A terminal as a browser has it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def type(self, text: str) -> None:
        self._terminal.type(text)

    def expect(self, wanted: str) -> None:
        self._terminal.expect(wanted)

    def close(self) -> None:
        self._terminal.socket.close()


def _key(shell: Any, key: str) -> float:
    time.sleep(PAUSE)
    begun = time.perf_counter()
    shell.type(key)
    shell.expect(key)
    return time.perf_counter() - begun


def _open(make: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    shell = make()
    try:
        shell.expect(PROMPT)
        return time.perf_counter() - begun
    finally:
        shell.close()


def quantile(values: list[float], at: float) -> float:
    """The value below which this part of them is."""
    if at == 0.5:
        return median(values)
    return sorted(values)[min(len(values) - 1, int(len(values) * at))]

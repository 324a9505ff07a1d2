"""The Autobahn test suite, which knows every way to get WebSocket wrong, against the browser's end of terminals.

It is found as ``wstest`` on ``PATH``, or where ``KSPROXYD_WSTEST`` says. It needs a Python 2.7::

    python2.7 -m virtualenv wstest && wstest/bin/pip install autobahntestsuite

Without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from ksproxyd.kapis.terminal.handshake import check
from ksproxyd.model.status import StatusError, render
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.server import Server
from ksproxyd.terminal import websocket
from ksproxyd.terminal.websocket import WebSocket, WebSockets
from ksproxyd.transport.wheel import Wheel

from .process import Program, free_port, get, standalone, until

reactor: Any = _reactor

WSTEST = os.environ.get("KSPROXYD_WSTEST") or shutil.which("wstest") or ""
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
LARGEST = 17 << 20

pytestmark = [
    pytest.mark.skipif(not WSTEST, reason="there is no wstest, of autobahntestsuite, which needs Python 2.7"),
    pytest.mark.timeout(600),
]


class EchoSite:
    """A server on a free loopback port, of which every WebSocket hears what it has said."""

    def __init__(self) -> None:
        self.wheel = Wheel(reactor)
        self.wheel.start()
        self.sockets = WebSockets(reactor, max_message=LARGEST, ping_interval=600, pong_timeout=600, linger=2.0)
        self.server = Server(reactor, self.wheel, self.handle, lambda _: None, Limits(), Timeouts(), time.time)
        self.listening = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.port = self.listening.getHost().port

    def handle(self, exchange: Exchange) -> None:
        try:
            handshake = check(exchange)
        except StatusError as error:
            exchange.respond(render(error, None, None, b""))
            return
        socket = self.sockets.accept(exchange, handshake.key)
        socket.begin(Echo(socket))

    async def close(self) -> None:
        await self.listening.stopListening()
        for _ in range(500):
            if not self.sockets.open and not self.server.connections:
                break
            await deferLater(reactor, 0.01)
        assert not self.sockets.open
        assert not self.server.connections
        self.wheel.stop()


class Echo:
    """Says everything again, no faster than it is listened to."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def message(self, payload: bytes, binary: bool) -> None:
        if binary:
            self._socket.send_bytes(payload)
        else:
            self._socket.send(payload.decode())

    def browser_drained(self, below: bool) -> None:
        if below:
            self._socket.resume()
        else:
            self._socket.pause()

    def gone(self, code: int, reason: str) -> None:
        """Nothing is to be done."""


def verdicts(folder: Path, url: str) -> dict[str, tuple[str, str]]:
    """What the suite says of whoever answers at ``url``: of each case, of its messages and of how it is closed."""
    folder.mkdir()
    server = {"agent": "ksproxyd", "url": url}
    wanted = {"outdir": str(folder / "reports"), "servers": [server], "cases": CASES, "exclude-cases": []}
    (folder / "fuzzingclient.json").write_text(json.dumps(wanted))
    done = subprocess.run(
        [WSTEST, "-m", "fuzzingclient", "-s", str(folder / "fuzzingclient.json")],
        cwd=folder,
        capture_output=True,
        timeout=300,
        check=False,
    )
    index = folder / "reports" / "index.json"
    assert index.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, dict[str, str]] = json.loads(index.read_text())["ksproxyd"]
    return {case: (said["behavior"], said["behaviorClose"]) for case, said in found.items()}


def failed(found: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    good = {"OK", "NON-STRICT", "INFORMATIONAL"}
    return {case: said for case, said in found.items() if not good.issuperset(said)}


@pytest.fixture
def whole_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite sends messages of 65,536 pieces, which no browser does and terminals do not take."""
    monkeypatch.setattr(websocket, "FRAGMENTS", 1 << 20)


@pytest.mark.usefixtures("whole_messages")
@pytest_twisted.ensureDeferred
async def test_the_browsers_end_and_a_tunnel_to_it(tmp_path: Path) -> None:
    site = EchoSite()
    direct = await deferToThread(verdicts, tmp_path / "direct", f"ws://127.0.0.1:{site.port}")
    assert len(direct) > 240
    assert failed(direct) == {}
    port = free_port()
    with Program(standalone(port, free_port(), tmp_path / "state"), tmp_path) as program:
        await deferToThread(until, lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, "ready")
        await deferToThread(route, port, site.port)
        tunnel = await deferToThread(verdicts, tmp_path / "tunnel", f"ws://127.0.0.1:{port}/proxy/echo/")
        assert program.process.poll() is None
    assert tunnel == direct
    await site.close()


def route(port: int, echo: int) -> None:
    """Have the gateway pass on what is below ``/proxy/echo``."""
    made = {
        "apiVersion": "extensions.kubesphere.io/v1alpha1",
        "kind": "ReverseProxy",
        "metadata": {"name": "echo"},
        "spec": {
            "matcher": {"path": "/proxy/echo/*", "method": "*"},
            "upstream": {"url": f"http://127.0.0.1:{echo}"},
            "directives": {"stripPathPrefix": "/proxy/echo"},
        },
        "status": {"state": "Available"},
    }
    path = f"http://127.0.0.1:{port}/apis/extensions.kubesphere.io/v1alpha1/reverseproxies"
    request = urllib.request.Request(path, json.dumps(made).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201
    # A plain GET is answered by the echo, not by the gateway: it wants a WebSocket.
    until(lambda: get(f"http://127.0.0.1:{port}/proxy/echo/")[0] == 400, "the route")

"""Two hundred tunnels in which nothing happens cost nothing and stay (spec 05, fact 61).

``KSPROXYD_IDLE_SECONDS`` is for how long: 20 by default, 600 as the fact has it.
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .process import Program, free_port, get, standalone, until
from .routes import route

SECONDS = float(os.environ.get("KSPROXYD_IDLE_SECONDS", "20"))
TUNNELS = 200
#: Of one processor.
SHARE = 0.02
#: What the start has left to do is over by then.
SETTLING = 3.0

HANDSHAKE = (
    b"GET /proxy/idle/x HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

pytestmark = [
    pytest.mark.timeout(180 + int(SECONDS)),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what a process costs is read from /proc"),
]


class Upgrading:
    """A backend that agrees to every upgrade and then sends back what it gets, one upper-cased byte for each."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=TUNNELS)
        self.port: int = self._server.getsockname()[1]
        self._selector.register(self._server, selectors.EVENT_READ)
        self._heads: dict[socket.socket, bytes] = {}
        #: Connections that were upgraded, and those that have ended since.
        self.upgraded = self.ended = 0
        self._going = True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._going:
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._server:
                    connection, _ = self._server.accept()
                    self._heads[connection] = b""
                    self._selector.register(connection, selectors.EVENT_READ)
                else:
                    self._read(key.fileobj)  # type: ignore[arg-type]

    def _read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            data = b""
        head = self._heads.get(connection)
        if not data:
            # A gateway that only wants to know whether somebody is there has not upgraded.
            self.ended += head is None
            self._selector.unregister(connection)
            self._heads.pop(connection, None)
            connection.close()
        elif head is None:
            connection.sendall(data.upper())
        elif b"\r\n\r\n" not in (head := head + data):
            self._heads[connection] = head
        elif b"upgrade: websocket" in head.lower():
            del self._heads[connection]
            self.upgraded += 1
            connection.sendall(SWITCHED)
        else:
            self._heads[connection] = b""
            connection.sendall(b"HTTP/1.1 204 Fine\r\n\r\n")

    def close(self) -> None:
        self._going = False
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


@pytest.fixture
def backend() -> Iterator[Upgrading]:
    made = Upgrading()
    yield made
    made.close()


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Both ends of every tunnel are ours, and a limit is often 1024 or less."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * TUNNELS + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"no more than {hard} files may be open, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def processor_seconds(pid: int) -> float:
    """What a process has used, of itself and for it in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def opened(port: int) -> socket.socket:
    """A connection that has been upgraded through the gateway."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(HANDSHAKE)
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        assert data, head
        head += data
    assert head.startswith(b"HTTP/1.1 101 ") and head.endswith(b"\r\n\r\n"), head
    return connection


@pytest.mark.usefixtures("descriptors")
def test_idle_tunnels_cost_nothing_and_stay(backend: Upgrading, tmp_path: Path) -> None:
    port = free_port()
    started = Program(standalone(port, free_port(), tmp_path / "state"), tmp_path)
    with started as program, ExitStack() as connections:
        until(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, "ready")
        route(port, "idle", backend.port)
        until(lambda: get(f"http://127.0.0.1:{port}/proxy/idle/")[0] == 204, "the route")
        tunnels = [connections.enter_context(opened(port)) for _ in range(TUNNELS)]
        assert backend.upgraded == TUNNELS
        time.sleep(SETTLING)
        begun, used = time.monotonic(), processor_seconds(program.process.pid)
        while (left := begun + SECONDS - time.monotonic()) > 0:
            time.sleep(min(left, 5.0))
            assert program.process.poll() is None, program.output()
            assert not backend.ended
        used = processor_seconds(program.process.pid) - used
        share = used / (time.monotonic() - begun)
        print(f"{TUNNELS} idle tunnels for {SECONDS:.0f} s: {used:.2f} s of a processor, {share:.2%}")
        for number, tunnel in enumerate(tunnels):
            tunnel.sendall(b"%c" % (97 + number % 26))
        for number, tunnel in enumerate(tunnels):
            assert tunnel.recv(1) == b"%c" % (65 + number % 26)
        assert not backend.ended
        assert share < SHARE

"""Signals lose nothing: SIGTERM lets every request end, SIGHUP cuts no tunnel."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .cluster import Cluster
from .conftest import Measured
from .extension_backend import PIECE, PIECES, ExtensionBackend
from .gateway_process import Gateway
from .objects import REVERSE_PROXIES, config_map, reverse_proxy

NAME = "streams"
WAITING, HALF_ANSWERED, HALF_SENT = 200, 200, 100
IDLE = 20
TUNNELS = 100


@dataclass
class Exchange:
    """A request on a connection of its own, and what came back so far."""

    connection: socket.socket
    expected: bytes
    unsent: bytes = b""
    received: bytearray = field(default_factory=bytearray)

    def read_until(self, wanted: bytes) -> None:
        while wanted not in self.received:
            self.read_more()

    def read_more(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise AssertionError(f"the connection ended after {bytes(self.received)!r}")
        self.received += data

    def answer(self) -> tuple[bytes, bytes]:
        """Status line and whole body of the answer; fails if it is cut short."""
        self.read_until(b"\r\n\r\n")
        head, _, _ = bytes(self.received).partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        start = len(head) + 4
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            self.read_until(b"\r\n0\r\n\r\n")
            return status, dechunked(bytes(self.received[start:]))
        length = int(fields[b"content-length"])
        while len(self.received) < start + length:
            self.read_more()
        return status, bytes(self.received[start:])


def dechunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        body, data = body + data[:length], data[length + 2 :]
    return body


@pytest.fixture
def gateway(cluster: Cluster, backend: ExtensionBackend, folder: Path) -> Iterator[Gateway]:
    """A gateway of the test's own, which it may stop, with one route to the backend."""
    cluster.api.create(REVERSE_PROXIES, reverse_proxy(NAME, backend.url))
    with Gateway(folder / f"gateway-{secrets.token_hex(4)}", cluster.kubeconfig) as gateway:
        deadline = time.monotonic() + 10
        while gateway.get(f"/proxy/{NAME}/x")[0] != 200:
            assert time.monotonic() < deadline, "the route does not live"
        yield gateway
    cluster.api.delete(f"{REVERSE_PROXIES}/{NAME}")


@pytest.fixture
def connections() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def connect(gateway: Gateway, connections: contextlib.ExitStack) -> socket.socket:
    return connections.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))


def head(gateway: Gateway, method: str, target: str, *fields: str) -> bytes:
    lines = [f"{method} /proxy/{NAME}{target} HTTP/1.1", f"Host: 127.0.0.1:{gateway.port}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def test_sigterm_lets_every_request_end(
    gateway: Gateway, backend: ExtensionBackend, connections: contextlib.ExitStack, measured: Measured
) -> None:
    backend.hold()
    connections.callback(backend.release)
    idle = [connect(gateway, connections) for _ in range(IDLE)]
    for connection in idle:
        connection.sendall(head(gateway, "GET", "/x"))
        Exchange(connection, b"").answer()
    exchanges = []
    for number in range(WAITING):
        body = b"waiting %d " % number * 50
        exchange = Exchange(connect(gateway, connections), body)
        exchange.connection.sendall(head(gateway, "POST", "/hold", f"Content-Length: {len(body)}") + body)
        exchanges.append(exchange)
    for number in range(HALF_SENT):
        body = b"half sent %d " % number * 50
        exchange = Exchange(connect(gateway, connections), body, unsent=body[len(body) // 2 :])
        sent = body[: len(body) // 2]
        exchange.connection.sendall(head(gateway, "POST", "/hold", f"Content-Length: {len(body)}") + sent)
        exchanges.append(exchange)
    for _ in range(HALF_ANSWERED):
        exchange = Exchange(connect(gateway, connections), PIECE * PIECES)
        exchange.connection.sendall(head(gateway, "GET", "/drip"))
        exchange.read_until(PIECE)
        exchanges.append(exchange)
    deadline = time.monotonic() + 30
    while backend.held < WAITING + HALF_ANSWERED:
        assert time.monotonic() < deadline, f"{backend.held} requests reached the backend"
        time.sleep(0.01)

    gateway.process.signal(signal.SIGTERM)
    refused_after = wait_until_refused(gateway)
    for connection in idle:
        assert connection.recv(1) == b"", "an idle connection was kept open"
    assert gateway.process.alive, "the gateway ended with requests in flight"
    for exchange in exchanges:
        if exchange.unsent:
            exchange.connection.sendall(exchange.unsent)
    while backend.held < len(exchanges):
        assert time.monotonic() < deadline + 30, f"{backend.held} requests reached the backend"
        time.sleep(0.01)
    released = time.monotonic()
    backend.release()
    for exchange in exchanges:
        status, body = exchange.answer()
        assert status == b"HTTP/1.1 200 OK"
        assert body == exchange.expected
    assert gateway.process.wait(20) == 0, gateway.process.tail()
    measured(
        f"SIGTERM with {len(exchanges)} requests in flight: listener closed after {refused_after * 1e3:.0f} ms, "
        f"all answered and exited {time.monotonic() - released:.2f} s after the backend went on"
    )


def wait_until_refused(gateway: Gateway) -> float:
    """Seconds until a new connection was refused."""
    started = time.monotonic()
    while time.monotonic() < started + 10:
        try:
            socket.create_connection(("127.0.0.1", gateway.port), timeout=5).close()
        except ConnectionRefusedError:
            return time.monotonic() - started
        time.sleep(0.01)
    raise AssertionError("the gateway still accepts connections 10 s after SIGTERM")


class Tunnel:
    """An upgraded connection through the gateway."""

    def __init__(self, gateway: Gateway, connections: contextlib.ExitStack) -> None:
        self.connection = connect(gateway, connections)
        self.connection.sendall(head(gateway, "GET", "/tunnel", "Connection: Upgrade", "Upgrade: echo"))
        exchange = Exchange(self.connection, b"")
        exchange.read_until(b"\r\n\r\n")
        assert exchange.received.startswith(b"HTTP/1.1 101 "), bytes(exchange.received)

    def echo(self) -> None:
        sent = os.urandom(4096)
        self.connection.sendall(sent)
        received = b""
        while len(received) < len(sent):
            data = self.connection.recv(65536)
            assert data, "the tunnel was cut"
            received += data
        assert received == sent


def test_sighup_cuts_no_tunnel(
    gateway: Gateway, cluster: Cluster, connections: contextlib.ExitStack, namespace: str
) -> None:
    tunnels = [Tunnel(gateway, connections) for _ in range(TUNNELS)]
    collection = f"/api/v1/namespaces/{namespace}/configmaps"
    watch = gateway.http.watch(collection)
    connections.callback(watch.close)
    events = iter(watch)
    for tunnel in tunnels:
        tunnel.echo()

    # The reload is real: requests are not logged before it and are afterwards.
    gateway.get(f"/proxy/{NAME}/before-reload")
    gateway.config["ksproxyd"] = {"logging": {"access": "all"}}
    reload(gateway)
    deadline = time.monotonic() + 20
    while "after-reload" not in gateway.process.log.read_text():
        assert time.monotonic() < deadline, "the reload does not take effect"
        gateway.get(f"/proxy/{NAME}/after-reload")
        time.sleep(0.05)
    assert "before-reload" not in gateway.process.log.read_text()
    for tunnel in tunnels:
        tunnel.echo()

    # A config with a mistake is refused as a whole, and changes nothing.
    gateway.config["ksproxyd"] = {"logging": {"access": "some"}}
    size = gateway.process.log.stat().st_size
    reload(gateway)
    while "logging.access" not in gateway.process.log.read_text()[size:]:
        assert time.monotonic() < deadline + 20, "nothing is said about the config's mistake"
        time.sleep(0.05)
    for tunnel in tunnels:
        tunnel.echo()
    cluster.api.create(collection, config_map("after-reloads"))
    assert next(events)["object"]["metadata"]["name"] == "after-reloads"
    assert gateway.is_ready()


def reload(gateway: Gateway) -> None:
    gateway.write_config()
    gateway.process.signal(signal.SIGHUP)

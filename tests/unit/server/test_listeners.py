"""Listeners: opened as configured, adopted from the service manager, and what is said when that fails."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from ksproxyd.model.message import Response
from ksproxyd.server.certificates import CertificateError
from ksproxyd.server.client_address import TrustedProxies
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.listeners import ListenError, Listeners
from ksproxyd.server.server import Server
from ksproxyd.testing import Authority, MemoryReactor
from ksproxyd.testing.server import Client
from ksproxyd.testing.sockets import CAPACITY
from ksproxyd.transport.wheel import Wheel

AUTHORITY = Authority()


@dataclass
class TLS:
    cert_file: str
    key_file: str
    client_ca_file: str = ""


@dataclass
class Listener:
    endpoint: str = ""
    address: str = "127.0.0.1"
    port: int = 8080
    tls: TLS | None = None
    proxy_protocol: bool = False


class Site:
    def __init__(self) -> None:
        self.reactor: Any = MemoryReactor()
        self.wheel = Wheel(self.reactor)
        self.listeners = Listeners(self.reactor, self._server, TrustedProxies(()))

    def _server(self) -> Server:
        return Server(
            self.reactor,
            self.wheel,
            lambda exchange: exchange.respond(Response(200)),
            lambda exchange: None,
            Limits(),
            Timeouts(),
            self.reactor.seconds,
        )

    def run(self, coroutine: Any) -> Any:
        results: list[Any] = []
        ensureDeferred(coroutine).addBoth(results.append)
        self.reactor.settle()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def open(self, listener: Listener) -> None:
        self.run(self.listeners.open(listener))

    def close(self) -> None:
        self.run(self.listeners.close())
        assert not self.reactor.leftovers()


@pytest.mark.parametrize(
    ("listener", "shown"),
    [
        (Listener(), "http://127.0.0.1:8080"),
        (Listener(address="::1"), "http://[::1]:8080"),
        (Listener(endpoint="tcp:8081:interface=127.0.0.2"), "http://127.0.0.2:8081"),
        (Listener(port=0), "http://127.0.0.1:49152"),
    ],
)
def test_open(listener: Listener, shown: str) -> None:
    site = Site()
    site.open(listener)
    assert site.listeners.addresses == [shown]
    assert len(site.listeners.servers) == len(site.reactor.ports) == 1
    site.close()


@pytest.mark.parametrize(
    ("listener", "says"),
    [
        (Listener(), r"cannot listen on 127\.0\.0\.1:8080: Address already in use"),
        (Listener(endpoint="tcp:8080:interface=127.0.0.1"), r"cannot listen on tcp:8080.*: Address already in use"),
        (Listener(endpoint="nonsense:1"), "cannot listen on 'nonsense:1': Unknown endpoint type"),
    ],
)
def test_what_cannot_be_opened(listener: Listener, says: str) -> None:
    site = Site()
    site.open(Listener())
    with pytest.raises(ListenError, match=says):
        site.open(listener)
    assert len(site.listeners.servers) == 1
    site.close()


def test_tls_and_its_reload(tmp_path: Path) -> None:
    site = Site()
    files = AUTHORITY.issue("gateway.example").write(tmp_path)
    site.open(Listener(tls=TLS(*files)))
    assert site.listeners.addresses == ["https://127.0.0.1:8080"]
    (server,) = site.listeners.servers
    before = server.tls_context
    client = Client.connect(site.reactor, server, "192.0.2.7", 443, CAPACITY, AUTHORITY.client_context())
    client.send(b"GET / HTTP/1.1\r\nHost: gateway.example\r\n\r\n")
    assert client.answer().status == 200
    AUTHORITY.issue("gateway.example").write(tmp_path)
    site.listeners.reload_certificates()
    assert server.tls_context is not before
    again = Client.connect(site.reactor, server, "192.0.2.7", 443, CAPACITY, AUTHORITY.client_context())
    for one in (client, again):
        one.send(b"GET / HTTP/1.1\r\nHost: gateway.example\r\n\r\n")
        assert one.answer().status == 200
        one.close()
    site.close()


def test_tls_files_that_are_not_there(tmp_path: Path) -> None:
    site = Site()
    with pytest.raises(CertificateError, match="missing"):
        site.open(Listener(tls=TLS(str(tmp_path / "missing"), "")))
    site.close()


def test_a_port_that_is_taken_leaves_no_watch_on_files(tmp_path: Path) -> None:
    site = Site()
    site.open(Listener())
    with pytest.raises(ListenError):
        site.open(Listener(tls=TLS(*AUTHORITY.issue("a").write(tmp_path))))
    site.close()


def test_proxy_protocol() -> None:
    site = Site()
    site.open(Listener(proxy_protocol=True))
    assert site.listeners.servers[0].proxy_protocol is not None
    site.close()


# -- sockets of the service manager ----------------------------------------------------------------------------------


class Adopting(MemoryReactor):
    """Adopts descriptors as the real reactor does: it duplicates them."""

    def __init__(self) -> None:
        super().__init__()
        self.adopted: list[tuple[int, int]] = []

    def adoptStreamPort(self, fd: int, family: int, factory: Any) -> Any:
        with socket.socket(fileno=socket.dup(fd)) as found:
            if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise CannotListenError("", 0, OSError(22, "Invalid argument"))
            self.adopted.append((fd, family))
            return self.listenTCP(found.getsockname()[1], factory, interface="127.0.0.1")


def adopting(make: Callable[[], socket.socket]) -> tuple[Site, int]:
    site = Site()
    site.reactor = Adopting()
    site.listeners = Listeners(site.reactor, site._server, TrustedProxies(()))
    return site, make().detach()


def test_adopt() -> None:
    site, fd = adopting(lambda: socket.create_server(("127.0.0.1", 0)))
    site.listeners.adopt(fd, Listener())
    assert site.reactor.adopted == [(fd, socket.AF_INET)]
    assert site.listeners.addresses[0].startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="Bad file descriptor"):
        socket.socket(fileno=fd)
    site.close()


def test_adopt_what_is_no_listener() -> None:
    site, fd = adopting(lambda: socket.socket())
    with pytest.raises(ListenError, match=f"inherited descriptor {fd}"):
        site.listeners.adopt(fd, Listener())
    with pytest.raises(ListenError, match="inherited descriptor 999"):
        site.listeners.adopt(999, Listener())
    site.close()

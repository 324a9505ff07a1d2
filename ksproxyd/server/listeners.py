"""The sockets the gateway listens on."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from ksproxyd.server.certificates import Certificate
from ksproxyd.server.client_address import TrustedProxies
from ksproxyd.server.proxy_protocol import ProxyProtocol
from ksproxyd.server.server import Server

#: Connections the kernel holds until we accept them.
BACKLOG = 1024


class ListenError(Exception):
    """A socket cannot be listened on; the message says which and why."""


class TLSFiles(Protocol):
    """A listener's certificate, in the settings."""

    @property
    def cert_file(self) -> str: ...
    @property
    def key_file(self) -> str: ...
    @property
    def client_ca_file(self) -> str: ...


class ListenerSettings(Protocol):
    """One listener, in the settings."""

    @property
    def endpoint(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls(self) -> TLSFiles | None: ...
    @property
    def proxy_protocol(self) -> bool: ...


class Listeners:
    """Opens listeners and closes them. ``make_server`` makes the server of each."""

    log = Logger()

    def __init__(self, reactor: Any, make_server: Callable[[], Server], trusted: TrustedProxies) -> None:
        self._reactor = reactor
        self._trusted = trusted
        self._make_server = make_server
        self._ports: list[IListeningPort] = []
        self._certificates: list[Certificate] = []
        self.servers: list[Server] = []
        #: What is listened on, for people.
        self.addresses: list[str] = []

    async def open(self, listener: ListenerSettings) -> None:
        """Listen as configured. Raises :class:`ListenError`, or the certificate's own error."""
        server = self._server(listener)
        try:
            if listener.endpoint:
                endpoint: Any = serverFromString(self._reactor, listener.endpoint)
            elif ipaddress.ip_address(listener.address).version == 6:
                endpoint = TCP6ServerEndpoint(self._reactor, listener.port, BACKLOG, listener.address)
            else:
                endpoint = TCP4ServerEndpoint(self._reactor, listener.port, BACKLOG, listener.address)
            port = await endpoint.listen(server)
        except CannotListenError as error:
            where = listener.endpoint or f"{listener.address}:{listener.port}"
            reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
            raise ListenError(f"cannot listen on {where}: {reason}") from error
        except ValueError as error:
            raise ListenError(f"cannot listen on {listener.endpoint!r}: {error}") from error
        self._opened(port, server)

    def adopt(self, fd: int, listener: ListenerSettings) -> None:
        """Listen on a socket that the service manager has opened. Raises :class:`ListenError`."""
        server = self._server(listener)
        try:
            with socket.socket(fileno=fd) as inherited:
                # The service manager hands over a blocking socket, on which the reactor would wait for a client.
                inherited.setblocking(False)
                family = inherited.family
                port = self._reactor.adoptStreamPort(inherited.fileno(), family, server)
        except (OSError, CannotListenError) as error:
            raise ListenError(f"cannot listen on the inherited descriptor {fd}: {error}") from error
        self._opened(port, server)

    def _server(self, listener: ListenerSettings) -> Server:
        server = self._make_server()
        tls = listener.tls
        if tls is not None:
            certificate = Certificate(
                tls.cert_file,
                tls.key_file,
                tls.client_ca_file,
                self._reactor,
                lambda context: setattr(server, "tls_context", context),
            )
            server.tls_context = certificate.context
            certificate.start()
            self._certificates.append(certificate)
        if listener.proxy_protocol:
            server.proxy_protocol = ProxyProtocol(self._trusted)
        return server

    def _opened(self, port: IListeningPort, server: Server) -> None:
        self._ports.append(port)
        self.servers.append(server)
        host: Any = port.getHost()
        name = getattr(host, "host", None)
        if name is None:
            where = str(getattr(host, "name", host))
        else:
            shown = f"[{name}]" if ":" in name else name
            where = f"{'https' if server.tls_context is not None else 'http'}://{shown}:{host.port}"
        self.addresses.append(where)
        self.log.info("listening on {where}", where=where)

    def reload_certificates(self) -> None:
        """Load every certificate again."""
        for certificate in self._certificates:
            certificate.reload()

    async def close(self) -> None:
        """Accept no further connections; those that exist go on."""
        for certificate in self._certificates:
            certificate.stop()
        ports: Sequence[IListeningPort] = self._ports
        self._ports = []
        for port in ports:
            await _maybe(port.stopListening())


async def _maybe(result: Any) -> None:
    if result is not None:
        await result

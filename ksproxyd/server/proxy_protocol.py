"""The PROXY protocol, versions 1 and 2: how a TCP load balancer says whose connection it passes on.

Version 1 is one line, ``PROXY TCP4 <source> <destination> <source port> <destination port>`` CR LF, or
``PROXY UNKNOWN`` and anything. Version 2 is binary: a signature of 12 bytes, version and command, family and protocol,
the length of the rest, the addresses, and type-length-value fields, which are skipped. (haproxy.org,
proxy-protocol.txt, 2.1 and 2.2.) A listener that speaks it demands it of every connection: a header that may be
there or not could be forged by the client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from twisted.logger import Logger

from ksproxyd.server.client_address import TrustedProxies, normal_address

if TYPE_CHECKING:
    from ksproxyd.server.connection import ServerConnection

#: The longest header of version 1, its CR LF included (2.1).
V1_BYTES = 107

#: The longest rest of a header of version 2 that is taken. Certificates of clients may be in it.
V2_REST_BYTES = 4096

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD_BYTES = 16
_PORT = rb"(0|[1-9][0-9]{0,4})"
_V1_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) %b %b)" % (_PORT, _PORT)
)

# Version 2: bytes of the addresses and ports by family (2.2): none, IPv4, IPv6, unix sockets.
_V2_ADDRESS_BYTES = {0: 0, 1: 12, 2: 36, 3: 216}


class ProxyProtocolError(Exception):
    """What came is no PROXY header."""


class Origin(NamedTuple):
    """Whose connection it is. ``source`` and ``destination`` are (address, port), or None where the header names none.

    Without a source the connection is the proxy's own (a health check) or of a kind that has no address; the peer is
    the client then.
    """

    version: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


class ProxyHeader:
    """Reads one header from the pieces it comes in."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[Origin | None, bytes]:
        """Take what has come: the header and the bytes behind it, or None while it is incomplete.

        Raises :class:`ProxyProtocolError` as soon as it cannot be one any more. Not to be called after it has given a
        header or raised.
        """
        buffer = self._buffer = self._buffer + data
        if buffer.startswith(_V2_START):
            return self._version_2(buffer)
        if buffer.startswith(_V1_START):
            return self._version_1(buffer)
        if not _V1_START.startswith(buffer) and not _V2_START.startswith(buffer):
            raise ProxyProtocolError("the connection does not begin with a PROXY header")
        return None, b""

    def _version_1(self, buffer: bytes) -> tuple[Origin | None, bytes]:
        end = buffer.find(b"\n", 0, V1_BYTES)
        if end < 0:
            if len(buffer) >= V1_BYTES:
                raise ProxyProtocolError(f"the PROXY line is longer than {V1_BYTES} bytes")
            # A CR that is not followed by LF is refused when the next byte is there.
            if b"\r" in buffer[:-1]:
                raise ProxyProtocolError("a bare CR in the PROXY line")
            return None, b""
        if buffer[end - 1 : end] != b"\r":
            raise ProxyProtocolError("the PROXY line does not end in CR LF")
        line, rest = buffer[: end - 1], buffer[end + 1 :]
        match = _V1_LINE.fullmatch(line)
        if match is None:
            raise ProxyProtocolError("malformed PROXY line")
        if match[1] is None:
            return Origin(1), rest
        kind = IPv4Address if match[1] == b"4" else IPv6Address
        try:
            source, destination = (str(kind(match[i].decode("ascii"))) for i in (2, 3))
        except ValueError as error:
            raise ProxyProtocolError(f"malformed address in the PROXY line: {error}") from error
        ports = int(match[4]), int(match[5])
        if max(ports) > 65535:
            raise ProxyProtocolError("the PROXY line has a port above 65535")
        return Origin(1, (normal_address(source), ports[0]), (normal_address(destination), ports[1])), rest

    def _version_2(self, buffer: bytes) -> tuple[Origin | None, bytes]:
        if len(buffer) > 12 and buffer[12] not in (0x20, 0x21):
            raise ProxyProtocolError(f"unknown version or command {buffer[12]:#04x} in the PROXY header")
        if len(buffer) > 13 and (buffer[13] >> 4 > 3 or buffer[13] & 0x0F > 2):
            raise ProxyProtocolError(f"unknown family or protocol {buffer[13]:#04x} in the PROXY header")
        if len(buffer) < _V2_HEAD_BYTES:
            return None, b""
        length = int.from_bytes(buffer[14:16], "big")
        if length > V2_REST_BYTES:
            raise ProxyProtocolError(f"the PROXY header goes on for {length} bytes, {V2_REST_BYTES} are allowed")
        local, family, protocol = buffer[12] == 0x20, buffer[13] >> 4, buffer[13] & 0x0F
        if not local and length < _V2_ADDRESS_BYTES[family]:
            raise ProxyProtocolError("the PROXY header is too short for its addresses")
        end = _V2_HEAD_BYTES + length
        if len(buffer) < end:
            return None, b""
        rest = buffer[end:]
        if local or protocol == 0 or family in (0, 3):
            return Origin(2), rest
        kind, size = (IPv4Address, 4) if family == 1 else (IPv6Address, 16)
        block = buffer[_V2_HEAD_BYTES:]
        source, destination = (normal_address(str(kind(block[i * size : (i + 1) * size]))) for i in (0, 1))
        ports = (int.from_bytes(block[2 * size + i : 2 * size + i + 2], "big") for i in (0, 2))
        return Origin(2, (source, next(ports)), (destination, next(ports))), rest


class ProxyProtocol:
    """Demands a PROXY header at the beginning of connections; for :attr:`Server.proxy_protocol`.

    With ``trusted`` networks only peers in them may send one; others are cut off. Without, every peer may: the
    listener must then be out of reach for clients. ``accepted`` and ``refused`` count connections.
    """

    log = Logger()

    def __init__(self, trusted: TrustedProxies) -> None:
        self._trusted = trusted
        self.accepted = 0
        self.refused = 0

    def __call__(self, connection: ServerConnection) -> Callable[[bytes], None]:
        """What takes the first bytes of ``connection``, until the header is complete."""
        header = ProxyHeader()

        def received(data: bytes) -> None:
            try:
                if self._trusted.any and not self._trusted.trusts(connection.peer):
                    raise ProxyProtocolError("it comes from outside the trusted proxies")
                origin, rest = header.feed(data)
            except ProxyProtocolError as error:
                self.refused += 1
                self.log.warn("connection from {peer} cut off: {error}", peer=connection.peer, error=error)
                connection.abort()
                return
            if origin is None:
                return
            self.accepted += 1
            if origin.source is not None:
                connection.peer = connection.client = origin.source[0]
            # From here on the connection is like any other.
            del connection.received
            if connection.server.tls_context is not None:
                connection.begin_tls()
            else:
                connection.dataReceived = connection.received  # type: ignore[method-assign]
            if rest:
                connection.dataReceived(rest)

        return received

"""Where a request is from, and by which name it was addressed.

The peer of the connection is the client, unless it is a proxy that is trusted: then ``X-Forwarded-For`` is read from
its right end, past further trusted proxies, to the first address that is not one. What stands left of that anybody may
have written. ``Forwarded``, ``X-Real-Ip`` and ``X-Client-Ip`` are not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from ksproxyd.model.message import Fields

#: Hops of an ``X-Forwarded-For`` that are looked at. A longer chain of trusted proxies does not exist.
MAX_HOPS = 32

_KNOWN = 4096
_MAPPED = "::ffff:"
_PORT = re.compile(r":[0-9]{1,5}")
# RFC 3986, 3.2.2, without escapes and odd characters: a name or address as people use it, and a port.
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def normal_address(address: str) -> str:
    """``address`` in its shortest spelling, an IPv4 address inside IPv6 (``::ffff:…``) as IPv4.

    What is no address is returned as it is.
    """
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or parsed)


class TrustedProxies:
    """The networks of trusted proxies. ``any`` says whether there are any; ask it first, it costs nothing."""

    __slots__ = ("_known", "_networks", "any")

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._known: dict[str, bool] = {}
        self.replace(networks)

    def replace(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        """Trust these from now on, and no others."""
        self._networks = tuple(networks)
        self.any = bool(self._networks)
        self._known.clear()

    def trusts(self, address: str) -> bool:
        """Whether ``address`` is in one of the networks. What is no address is not."""
        if not self.any:
            return False
        known = self._known.get(address)
        if known is None:
            known = self._contains(address)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[address] = known
        return known

    def _contains(self, address: str) -> bool:
        try:
            parsed = ip_address(normal_address(address))
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client(self, peer: str, forwarded_for: bytes | None) -> str:
        """The client behind the trusted ``peer``, from the ``X-Forwarded-For`` that it sent.

        Where the chain breaks off (nothing left of it, or what is no address) the last trusted hop is the client.
        """
        client = normal_address(peer)
        if not forwarded_for:
            return client
        hops = forwarded_for.rsplit(b",", MAX_HOPS)
        for hop in reversed(hops[-MAX_HOPS:]):
            address = _hop_address(hop)
            if address is None:
                return client
            client = address
            if not self.trusts(address):
                return client
        return client


def _hop_address(hop: bytes) -> str | None:
    """The address of one hop of an ``X-Forwarded-For``; some proxies write its port behind it."""
    text = hop.strip().decode("latin-1")
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _PORT.fullmatch(port)):
            return None
    elif text.count(":") == 1:
        text, colon, port = text.partition(":")
        if not _PORT.fullmatch(colon + port):
            return None
    try:
        # A zone names an interface of the proxy's machine and is of no use here.
        return None if "%" in text else normal_address(str(ip_address(text)))
    except ValueError:
        return None


class Addressed(Protocol):
    """The part of an exchange that is read and set here."""

    fields: Fields
    client: str
    trusted: bool

    @property
    def peer(self) -> str: ...

    @property
    def secure(self) -> bool: ...


class ClientAddress:
    """Sets :attr:`Exchange.client` and :attr:`Exchange.trusted`; for :attr:`Server.addresses`.

    Not needed where no proxy is trusted: an exchange begins with its peer as the client, and untrusted.
    """

    __slots__ = ("_proxies",)

    def __init__(self, proxies: TrustedProxies) -> None:
        self._proxies = proxies

    def __call__(self, exchange: Addressed) -> None:
        proxies = self._proxies
        if proxies.trusts(exchange.peer):
            exchange.trusted = True
            exchange.client = proxies.client(exchange.peer, exchange.fields.get(b"x-forwarded-for"))


def client_facing(exchange: Addressed) -> tuple[bytes, bytes]:
    """The scheme and the host (with port, if not the scheme's own) by which the client has addressed the gateway.

    A trusted proxy's ``X-Forwarded-Proto`` and ``X-Forwarded-Host`` say it, the last value of each; else TLS and the
    ``Host`` field. The host is empty where the request has none, or one that is not fit for a URL.
    """
    scheme = b"https" if exchange.secure else b"http"
    host = None
    if exchange.trusted:
        proto = _last(exchange.fields.get(b"x-forwarded-proto")).lower()
        if proto in (b"http", b"https"):
            scheme = proto
        host = _last(exchange.fields.get(b"x-forwarded-host"))
    host = host or exchange.fields.get(b"host") or b""
    return scheme, host if _HOST.fullmatch(host) else b""


def _last(value: bytes | None) -> bytes:
    return value.rpartition(b",")[2].strip() if value else b""

"""Connections to identity providers, which go only where they may.

What a provider's configuration or its discovery document names is looked up once, and the addresses that were found
are judged before anything connects to them: a name that leads into our own network is refused where
``ksproxyd.identityProviders.allowPrivate`` says so (spec 02, D-40).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target


def is_public(address: str) -> bool:
    """Whether an IP address is one of the Internet, and no disguise of one that is not."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        # Addresses with another one inside, which a translator takes apart (RFC 6052, RFC 3056, RFC 4380).
        if any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast


_TRANSLATED = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)


class GuardedDialer:
    """Connects over TCP (a :class:`~ksproxyd.upstream.pool.Dialer`).

    Unless ``allow_private``, only to public addresses; otherwise it fails with an :class:`UpstreamError`.
    """

    def __init__(self, reactor: Any, allow_private: bool) -> None:
        self._reactor = reactor
        self._allow_private = allow_private

    def dial(self, target: Target, factory: Factory, timeout: float) -> Deferred[Any]:
        host, port = target.host, target.port
        if isIPAddress(host) or isIPv6Address(host):
            if not self._allow_private and not is_public(host):
                return fail(_forbidden(host))
            literal = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
            return literal(self._reactor, host, port, timeout=timeout).connect(factory)
        if self._allow_private:
            return HostnameEndpoint(self._reactor, host, port, timeout=timeout).connect(factory)
        guarded = _Guarded(self._reactor)
        connecting = HostnameEndpoint(guarded, host, port, timeout=timeout).connect(factory)

        def failed(failure: Failure) -> Failure:
            if guarded.nameResolver.withheld:
                return Failure(_forbidden(host))
            return failure

        return connecting.addErrback(failed)


def _forbidden(host: str) -> UpstreamError:
    return UpstreamError(
        "connect", f"{host} is at a private address, which ksproxyd.identityProviders.allowPrivate does not allow"
    )


@implementer(IReactorPluggableNameResolver)
class _Guarded:
    """The reactor, with a resolver that keeps private addresses to itself."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.nameResolver = _PublicResolver(reactor.nameResolver)

    def installNameResolver(self, resolver: Any) -> Any:
        raise NotImplementedError("this one is for a single connection")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IHostnameResolver)
class _PublicResolver:
    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver
        #: Addresses were found that nobody may connect to.
        self.withheld = False

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """As in :class:`~twisted.internet.interfaces.IHostnameResolver`."""
        receiver = _PublicReceiver(resolutionReceiver, self)
        found: IHostResolution = self._resolver.resolveHostName(
            receiver, hostName, portNumber, addressTypes, transportSemantics
        )
        return found


@implementer(IResolutionReceiver)
class _PublicReceiver:
    def __init__(self, receiver: Any, resolver: _PublicResolver) -> None:
        self._receiver = receiver
        self._resolver = resolver

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: Any) -> None:
        if is_public(address.host):
            self._receiver.addressResolved(address)
        else:
            self._resolver.withheld = True

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()

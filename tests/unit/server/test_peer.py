"""Who a connection is from."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from ksproxyd.server.connection import ServerConnection
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.server import Server
from ksproxyd.transport.wheel import Wheel


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (IPv4Address("TCP", "192.0.2.7", 5000), "192.0.2.7"),
        # What a listener on [::] says of an IPv4 client.
        (IPv6Address("TCP", "::ffff:192.0.2.7", 5000), "192.0.2.7"),
        (IPv6Address("TCP", "2001:db8:0::7", 5000), "2001:db8::7"),
        (UNIXAddress("/run/gateway.sock"), ""),
        (None, ""),
    ],
)
def test_the_peer_is_named_by_its_own_address(address: IAddress | None, peer: str) -> None:
    server = Server(Clock(), Wheel(Clock()), print, print, Limits(), Timeouts(), float)
    connection = server.buildProtocol(address)
    assert isinstance(connection, ServerConnection)
    assert (connection.peer, connection.client) == (peer, peer)

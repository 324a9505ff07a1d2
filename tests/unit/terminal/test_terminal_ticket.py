"""Tickets among the subprotocols of a WebSocket client."""

from __future__ import annotations

import pytest

from ksproxyd.terminal.ticket import BadOffer, ticket_of

VALUE = b"A" * 41 + b"-_"


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (b"ksproxyd.json", None),
        (b"x-ksproxyd.ticket." + VALUE, None),
        (b"ksproxyd.json, ksproxyd.ticket." + VALUE, (VALUE.decode(), b"ksproxyd.json")),
        (b"ksproxyd.ticket." + VALUE + b",v5.channel.k8s.io ,,b", (VALUE.decode(), b"v5.channel.k8s.io, b")),
    ],
)
def test_what_is_offered(offered: bytes, expected: tuple[str, bytes] | None) -> None:
    assert ticket_of(offered) == expected


@pytest.mark.parametrize(
    ("offered", "why"),
    [
        (b"ksproxyd.ticket." + VALUE, "the only subprotocol"),
        (b"a, ksproxyd.ticket." + VALUE + b", ksproxyd.ticket." + VALUE, "more than one"),
        (b"a, ksproxyd.ticket.", "not one of ours"),
        (b"a, ksproxyd.ticket." + VALUE + b"A", "not one of ours"),
        (b"a, ksproxyd.ticket." + VALUE[:-1] + b"=", "not one of ours"),
    ],
)
def test_what_cannot_be_served(offered: bytes, why: str) -> None:
    with pytest.raises(BadOffer, match=why):
        ticket_of(offered)

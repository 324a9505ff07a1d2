"""The host that the gateway's own requests name."""

from __future__ import annotations

import pytest
from support_gate import Gate, ok, take_head, values

from ksproxyd.model.message import Pairs
from ksproxyd.upstream.client import Answer, Client
from ksproxyd.upstream.health import ActiveCheck, Prober


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ([], "backend.example"),
        ([(b"Accept", b"text/plain")], "backend.example"),
        ([(b"Accept", b"text/plain"), (b"Host", b"other.example")], "other.example"),
        ([(b"host", b"other.example:8080")], "other.example:8080"),
    ],
)
def test_one_host_and_the_first_field(headers: Pairs, host: str) -> None:
    with Gate() as gate:
        found: list[Answer] = []
        client = Client(gate.pools, gate.reactor)
        asking = client.request(gate.target, b"POST", b"/x", headers, b"body", timeout=5, limit=100)
        asking.addCallback(found.append)
        gate.reactor.settle()
        data = gate.peer.take()
        assert data.startswith(b"POST /x HTTP/1.1\r\nHost: " + host.encode() + b"\r\n")
        assert values(data, "host") == [host]
        assert values(data, "accept") == [value.decode() for name, value in headers if name == b"Accept"]
        assert data.endswith(b"Content-Length: 4\r\n\r\nbody")
        gate.peer.send(ok(b"fine"))
        assert [answer.body for answer in found] == [b"fine"]


def test_a_probe_by_another_name() -> None:
    with Gate() as gate:
        check = ActiveCheck(path="/health", hostname="inner.example")
        client = Client(gate.pools, gate.reactor)
        prober = Prober("ex", client, gate.target, check, gate.reactor, lambda: 0.5, lambda: None)
        prober.start()
        gate.wait(20)
        head = take_head(gate.peer)
        assert head.startswith(b"GET /health HTTP/1.1\r\nHost: inner.example\r\n")
        assert values(head, "host") == ["inner.example"]
        gate.peer.send(ok(b"fine"))
        prober.stop()

"""The end: what is idle goes at once, what has begun is finished, what comes late is told where to go."""

from __future__ import annotations

from typing import Any

from support_server import Later, Sink, chunked, get, path_back, post
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.server import GRACE
from ksproxyd.testing import Authority, Backend, Client, MemoryGateway, MemoryServer, reverse_proxy
from ksproxyd.testing.backend import answer


def draining(server: MemoryServer) -> list[Any]:
    """Begin to drain; the list gets the outcome."""
    outcome: list[Any] = []
    server.server.drain().addCallbacks(
        lambda _: outcome.append("drained"), lambda failure: outcome.append(failure.value)
    )
    server.reactor.settle()
    return outcome


def test_nothing_to_do() -> None:
    with MemoryServer(path_back) as server:
        assert draining(server) == ["drained"]


def test_idle_connections_are_closed_at_once() -> None:
    with MemoryServer(path_back) as server:
        fresh, used = server.connect(), server.connect()
        used.send(get())
        assert used.answer().status == 200
        assert draining(server) == ["drained"]
        for client in (fresh, used):
            assert not client.open
            assert not client.reset


def test_what_has_begun_is_finished() -> None:
    later = Later()
    with MemoryServer(later) as server:
        waiting, streaming, uploading = server.connect(), server.connect(), server.connect()
        for client in (waiting, streaming):
            client.send(get())
        uploading.send(chunked([b"one"], end=b""))
        begun = later.exchanges[1]
        begun.start(200, [], None)
        begun.flush()
        sink = Sink(later.exchanges[2])
        outcome = draining(server)
        server.wait(50)
        assert outcome == []
        uploading.send(b"3\r\ntwo\r\n0\r\n\r\n")
        assert sink.body == b"onetwo"
        later.exchanges[0].respond(Response(200, (), b"done"))
        later.exchanges[2].respond(Response(200, (), sink.body))
        server.reactor.settle()
        for client, body in ((waiting, b"done"), (uploading, b"onetwo")):
            found = client.answer()
            assert (found.body, found.get("connection")) == (body, b"close")
            assert not client.open
            assert not client.reset
        assert outcome == []
        # It did not know yet that it would be the last.
        begun.write(b"more")
        begun.finish()
        server.reactor.settle()
        answer = streaming.answer()
        assert (answer.body, answer.get("connection")) == (b"more", None)
        assert not streaming.open
        assert outcome == ["drained"]


def test_requests_that_wait_behind_another_are_served() -> None:
    later = Later()
    with MemoryServer(later) as server:
        client = server.connect()
        client.send(get("/1") + get("/2") + post(b"x", "/3"))
        outcome = draining(server)
        for number in (1, 2, 3):
            later.last.respond(Response(200, (), later.last.path))
            server.reactor.settle()
            answer = client.answer()
            assert answer.body == b"/%d" % number
            assert answer.get("connection") == (b"close" if number == 3 else None)
        assert not client.open
        assert outcome == ["drained"]


def test_a_head_that_has_begun_is_read_to_its_end() -> None:
    with MemoryServer(path_back) as server:
        client = server.connect()
        client.send(get()[:10])
        outcome = draining(server)
        assert outcome == []
        client.send(get()[10:])
        answer = client.answer()
        assert (answer.body, answer.get("connection")) == (b"/", b"close")
        assert outcome == ["drained"]


def test_requests_that_begin_long_after_are_sent_elsewhere() -> None:
    later = Later()
    with MemoryServer(later) as server:
        first, second = server.connect(), server.connect()
        first.send(get("/begun"))
        second.send(get("/begun"))
        outcome = draining(server)
        # On its way already when the drain began, so to speak.
        first.send(get("/soon"))
        later.exchanges[0].respond(Response(200))
        server.reactor.settle()
        assert later.last.path == b"/soon"
        server.wait(GRACE + 1)
        second.send(get("/late"))
        later.exchanges[1].respond(Response(200))
        server.reactor.settle()
        assert second.answer().status == 200
        answer = second.answer()
        assert (answer.status, answer.get("retry-after"), answer.get("connection")) == (503, b"1", b"close")
        assert "shutting down" in answer.message()
        assert not second.open
        assert not second.reset
        assert later.last.path == b"/soon"
        later.last.respond(Response(200))
        server.reactor.settle()
        assert [first.answer().get("connection"), first.answer().get("connection")] == [None, b"close"]
        assert outcome == ["drained"]


def test_connections_that_are_still_accepted() -> None:
    with MemoryServer(path_back) as server:
        busy = server.connect()
        busy.send(get()[:-1])
        draining(server)
        client = server.connect()
        client.send(get())
        assert client.answer().get("connection") == b"close"
        late = server.connect()
        server.wait(GRACE + 1)
        late.send(get())
        assert late.answer().status == 503


def test_giving_up_cuts_what_is_left() -> None:
    later = Later()
    with MemoryServer(later) as server:
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            client.send(get())
        done: Deferred[None] = server.server.drain()
        outcome: list[Any] = []
        done.addErrback(lambda failure: outcome.append(failure.type))
        done.addTimeout(30, server.reactor)
        done.addErrback(lambda failure: outcome.append(failure.type))
        server.wait(29)
        assert not outcome
        server.wait(2)
        assert outcome == [CancelledError]
        assert all(client.reset for client in clients)
        assert set(later.gone) == set(later.exchanges)
        assert len(later.gone) == 3
        assert not server.server.connections


def test_tunnels_are_waited_for() -> None:
    class Ends:
        def received(self, data: bytes) -> None: ...

        def ended(self) -> None: ...

        def lost(self, reason: object) -> None: ...

        def idle_timeout(self) -> None: ...

    streams: list[Any] = []

    def handle(exchange: Exchange) -> None:
        streams.append((exchange, exchange.hijack(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")))
        streams[-1][1].take_over(Ends())

    with MemoryServer(handle) as server:
        client = server.connect()
        client.send(get("/", "Connection: upgrade", "Upgrade: x"))
        outcome = draining(server)
        server.wait(1000)
        assert client.open
        exchange, stream = streams[0]
        stream.close()
        exchange.tunnel_closed()
        server.reactor.settle()
        assert outcome == ["drained"]


def test_handshakes_that_have_not_ended() -> None:
    authority = Authority()
    with MemoryServer(path_back, tls=authority.issue("gateway.example").server_context()) as server:
        silent: Client = server.connect()
        outcome = draining(server)
        assert outcome == ["drained"]
        assert not silent.open


def test_a_gateway_with_five_hundred_requests_in_flight() -> None:
    backend = Backend(lambda conversation, request: None)
    gateway = MemoryGateway(objects=[reverse_proxy("b", "/proxy/b/*", "http://backend.example")])
    gateway.serve("http://backend.example", backend)
    clients = [gateway.connect() for _ in range(500)]
    for number, client in enumerate(clients):
        client.send(get(f"/proxy/b/{number}"))
    idle = [gateway.connect() for _ in range(20)]
    assert len(backend.complete) == 500
    stopping = ensureDeferred(gateway.gateway.stop())
    gateway.reactor.settle()
    assert not any(client.open for client in idle)
    assert not gateway.reactor.ports, "nobody new is let in"
    gateway.wait(5)
    for conversation in list(backend.conversations):
        conversation.answer(answer(200, conversation.requests[-1].target))
    for number, client in enumerate(clients):
        found = client.answer()
        assert (found.status, found.body) == (200, f"/proxy/b/{number}".encode())
        assert found.get("connection") == b"close"
        assert not client.reset
    outcome: list[Any] = []
    stopping.addBoth(outcome.append)
    gateway.reactor.settle()
    assert outcome == [None]
    assert not gateway.reactor.leftovers()

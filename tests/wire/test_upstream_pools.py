"""Which connections requests share, and what becomes of a request whose connection dies."""

from __future__ import annotations

import pytest
from support_gate import OK, Gate, ok, take_head, target_of

from ksproxyd.testing import Client
from ksproxyd.upstream.pool import UpstreamTimeouts


def test_one_after_the_other_on_one_connection() -> None:
    with Gate() as gate:
        client = gate.connect()
        for n in range(20):
            gate.get(f"/{n}", client=client)
            assert target_of(take_head(gate.peer)) == f"/{n}".encode()
            gate.peer.send(ok(b"%d" % n))
            assert client.answer().body == b"%d" % n
        assert gate.pool.dials == 1


def test_side_by_side_on_as_many_as_needed() -> None:
    with Gate() as gate:
        clients = [gate.get(f"/{n}") for n in range(5)]
        assert len(gate.backend.peers) == 5
        for peer in reversed(gate.backend.peers):
            peer.send(ok(target_of(take_head(peer))))
        for n, client in enumerate(clients):
            assert client.answer().body == f"/{n}".encode()
        assert gate.pool.idle == 5


# -- which answers allow another request -------------------------------------------------------------------------

REUSABLE = {
    "length": ok(b"fine"),
    "no-body": ok(b""),
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "chunked-capitals": OK + b"TRANSFER-ENCODING: Chunked \r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nX-T: 1\r\n\r\n",
    "no-content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not-modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
    "keep-alive": ok(b"fine", b"Connection: Keep-Alive", b"Keep-Alive: timeout=5"),
    "1.0-keep-alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nfine",
    "interim": b"HTTP/1.1 103 Early\r\n\r\n" + ok(b"fine"),
    "error": b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nfine",
    "upgrade-offered": ok(b"fine", b"Connection: Upgrade", b"Upgrade: h2c"),
}
FINAL = {
    "close": ok(b"fine", b"Connection: close"),
    "close-capitals": ok(b"fine", b"Connection: Close"),
    "close-among-others": ok(b"fine", b"Connection: keep-alive, close"),
    "close-twice": ok(b"fine", b"Connection: x", b"Connection: close"),
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine",
    "1.0-close": b"HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine",
    "no-content-close": b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("name", REUSABLE)
def test_connection_is_used_again(name: str) -> None:
    with Gate() as gate:
        client = gate.get("/one")
        gate.peer.send(REUSABLE[name])
        assert client.answer().body in (b"fine", b"")
        assert gate.pool.idle == 1
        gate.peer.take()
        gate.get("/two", client=client)
        assert target_of(take_head(gate.peer)) == b"/two"
        assert len(gate.backend.peers) == 1
        gate.peer.send(ok(b"two"))
        assert client.answer().body == b"two"


@pytest.mark.parametrize("name", FINAL)
def test_connection_is_not_used_again(name: str) -> None:
    with Gate() as gate:
        client = gate.get("/one")
        gate.peer.send(FINAL[name])
        assert client.answer().body in (b"fine", b"")
        assert gate.pool.size == 0
        assert not gate.peer.open


def test_head_request_leaves_a_clean_connection() -> None:
    with Gate() as gate:
        for n in range(3):
            client = gate.get(f"/{n}", method="HEAD")
            gate.peer.send(OK + b"Content-Length: 1000\r\n\r\n")
            answer = client.answer("HEAD")
            assert (answer.status, answer.get("content-length")) == (200, b"1000")
        assert gate.pool.dials == 1
        client = gate.get("/get")
        gate.peer.send(ok(b"body"))
        assert client.answer().body == b"body"
        assert gate.pool.dials == 1


# -- a connection that died while nobody used it -----------------------------------------------------------------


def send(gate: Gate, method: str, body: bytes = b"") -> Client:
    client = gate.connect()
    length = f"Content-Length: {len(body)}\r\n" if body or method == "POST" else ""
    client.send(f"{method} /x HTTP/1.1\r\nHost: g\r\n{length}\r\n".encode() + body)
    return client


@pytest.mark.parametrize("way", ["finish", "cut"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_idempotent_request_is_sent_again(method: str, way: str) -> None:
    with Gate() as gate:
        stale = gate.used()
        client = send(gate, method)
        assert stale.take()
        getattr(stale, way)()
        assert len(gate.backend.peers) == 2
        assert gate.peer.take().startswith(method.encode() + b" /x ")
        gate.peer.send(OK + b"Content-Length: 0\r\n\r\n")
        assert client.answer(method).status == 200
        assert gate.proxy.retries == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_other_requests_are_not(method: str) -> None:
    with Gate() as gate:
        stale = gate.used()
        client = send(gate, method)
        stale.finish()
        answer = client.answer()
        assert answer.status == 502
        assert answer.message().endswith("the upstream closed the connection without an answer")
        assert gate.pool.dials == 1


def test_requests_with_a_body_are_not() -> None:
    with Gate() as gate:
        stale = gate.used()
        client = send(gate, "PUT", b"body")
        stale.finish()
        assert client.answer().status == 502
        assert gate.pool.dials == 1


def test_not_on_a_new_connection() -> None:
    """There it is no accident of timing: the backend does not like the request."""
    with Gate() as gate:
        client = gate.get()
        gate.peer.finish()
        assert client.answer().status == 502
        assert gate.pool.dials == 1


@pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n"])
def test_not_after_a_byte_of_an_answer(start: bytes) -> None:
    with Gate() as gate:
        stale = gate.used()
        client = gate.get()
        stale.send(start)
        stale.finish()
        assert client.answer().status == 502
        assert gate.pool.dials == 1


def test_not_after_a_timeout() -> None:
    with Gate(timeouts=UpstreamTimeouts(response_header=2.0)) as gate:
        gate.used()
        client = gate.get()
        gate.wait(5.0)
        assert client.answer().status == 504
        assert gate.pool.dials == 1


def test_not_twice() -> None:
    with Gate() as gate:
        first, second = (gate.get(f"/{n}") for n in range(2))
        for peer in gate.backend.peers:
            peer.send(ok(b"x"))
        assert first.answer().status == second.answer().status == 200
        assert gate.pool.idle == 2
        client = gate.get("/again")
        stale = gate.backend.peers[1]
        stale.finish()
        # The other idle one may be as dead: it is a fresh one that is used.
        assert len(gate.backend.peers) == 3
        gate.peer.finish()
        assert client.answer().status == 502
        assert gate.pool.dials == 3
        assert gate.proxy.retries == 1


def test_retry_that_cannot_connect() -> None:
    with Gate() as gate:
        stale = gate.used()
        gate.dialer.refusing.add(("backend.example", 80))
        client = gate.get()
        stale.finish()
        assert client.answer().message().endswith("connection refused")


def test_client_leaves_during_the_retry() -> None:
    with Gate() as gate:
        stale = gate.used()
        gate.dialer.silent.add(("backend.example", 80))
        client = gate.get()
        stale.finish()
        assert gate.pool.size == 1
        client.close()
        assert gate.pool.size == 0


# -- a limit on connections ---------------------------------------------------------------------------------------


def test_requests_wait_for_a_connection() -> None:
    with Gate(max_connections=1) as gate:
        clients = [gate.get(f"/{n}") for n in range(4)]
        assert gate.pool.waiting == 3
        for n, client in enumerate(clients):
            assert target_of(take_head(gate.peer)) == f"/{n}".encode()
            gate.peer.send(ok(b"%d" % n))
            assert client.answer().body == b"%d" % n
        assert gate.pool.dials == 1


def test_clients_that_leave_while_waiting_cost_nothing() -> None:
    with Gate(max_connections=1) as gate:
        clients = [gate.get(f"/{n}") for n in range(5)]
        for n in (1, 3):
            clients[n].close()
        assert gate.pool.waiting == 2
        served = []
        for _ in range(3):
            served.append(target_of(take_head(gate.peer)))
            gate.peer.send(ok(b"x"))
        assert served == [b"/0", b"/2", b"/4"]
        assert gate.pool.idle == 1
        assert [exchange.status for exchange in gate.finished].count(499) == 2


def test_waiting_too_long_is_a_timeout() -> None:
    with Gate(max_connections=1, timeouts=UpstreamTimeouts(connect=5.0)) as gate:
        watching = gate.get("/watch")
        gate.peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        client = gate.get("/other")
        gate.wait(7.0)
        answer = client.answer()
        assert answer.status == 504
        assert answer.message().endswith("no connection to the upstream became free in time")
        gate.peer.send(b"0\r\n\r\n")
        assert watching.answer().status == 200


def test_dirty_connection_makes_room_for_the_waiting() -> None:
    with Gate(max_connections=1) as gate:
        first, second = gate.get("/1"), gate.get("/2")
        gate.peer.send(b"garbage")
        assert first.answer().status == 502
        assert len(gate.backend.peers) == 2
        gate.peer.send(ok(b"two"))
        assert second.answer().body == b"two"


# -- the object behind a pool goes --------------------------------------------------------------------------------


def test_streams_outlive_their_pool() -> None:
    with Gate() as gate:
        gate.used()
        watching = gate.get("/watch")
        watched = gate.peer
        take_head(watched)
        watched.send(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        idle = gate.get("/quick")
        gate.peer.send(ok(b"x"))
        assert idle.answer().status == 200
        assert gate.pool.size == 2
        gate.pools.release(gate.target)
        gate.reactor.settle()
        # The idle one is closed, the stream lives to its end, and its connection is not kept then.
        assert gate.pool.size == 1
        watched.send(b"1\r\nb\r\n0\r\n\r\n")
        assert watching.answer().body == b"ab"
        assert gate.pool.size == 0
        gate.pools.hold(gate.target)

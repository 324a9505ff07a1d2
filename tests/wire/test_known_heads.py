"""Heads that are remembered: the same bytes mean the same again, and nothing else carries over."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from support_gate import OK, Gate, ok, take_head, values

from ksproxyd.model.identity import Identity
from ksproxyd.model.memory import Memory
from ksproxyd.model.message import Response
from ksproxyd.server.client_address import ClientAddress, TrustedProxies
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits
from ksproxyd.testing import Client, MemoryServer
from ksproxyd.upstream.answer import known_heads
from ksproxyd.upstream.plan import Answer, Plan

REQUEST = b"GET /x?y=1 HTTP/1.1\r\nHost: g.example\r\nAccept: text/plain\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"


def echo(exchange: Exchange) -> None:
    exchange.respond(Response(200, (), b"%b|%b" % (exchange.method.encode(), exchange.target)))


def ask(gate: Gate, client: Client | None = None, host: str = "192.0.2.7", request: bytes = REQUEST) -> bytes:
    """Send ``request``, have it answered, and return the head that the backend got."""
    client = client or gate.connect(host)
    client.send(request)
    head = take_head(gate.peer)
    gate.peer.send(ok(b"fine"))
    assert client.answer().body == b"fine"
    return head


# -- requests ----------------------------------------------------------------------------------------------------


def test_the_same_head_from_different_clients() -> None:
    with Gate() as gate:
        for host in ("192.0.2.7", "192.0.2.8", "192.0.2.7"):
            assert values(ask(gate, host=host), "x-forwarded-for") == [host]
        assert len(gate.server.heads) == 1
        assert [exchange.client for exchange in gate.handled] == ["192.0.2.7", "192.0.2.8", "192.0.2.7"]


@pytest.mark.parametrize("first", ["192.0.2.7", "198.51.100.1"])
def test_a_trusted_proxy_and_a_stranger_with_the_same_head(first: str) -> None:
    with Gate() as gate:
        gate.server.addresses = ClientAddress(TrustedProxies([ip_network("192.0.2.0/24")]))
        for host in (first, "192.0.2.7", "198.51.100.1", "192.0.2.7"):
            trusted = host == "192.0.2.7"
            expected = f"203.0.113.9, {host}" if trusted else host
            assert values(ask(gate, host=host), "x-forwarded-for") == [expected]
            assert gate.handled[-1].trusted is trusted


def test_different_users_with_the_same_head() -> None:
    with Gate(identity=True) as gate:
        for name in ("alice", "bob", "alice"):
            gate.before = lambda exchange, name=name: setattr(exchange, "user", Identity(name))  # type: ignore[misc]
            assert values(ask(gate), "x-remote-user") == [name]


def test_what_a_step_makes_of_a_request_is_not_the_next_ones() -> None:
    def rework(exchange: Exchange) -> None:
        exchange.fields.replace(b"Accept", b"text/html")
        exchange.fields.add(b"X-Added", b"1")
        exchange.fields.remove(b"host")
        exchange.route(b"/elsewhere", b"z=2")

    with Gate() as gate:
        plain = ask(gate)
        gate.before = rework
        reworked = ask(gate)
        assert reworked.startswith(b"GET /elsewhere?z=2 HTTP/1.1\r\n")
        assert (values(reworked, "accept"), values(reworked, "x-added")) == (["text/html"], ["1"])
        gate.before = lambda exchange: None
        assert ask(gate) == plain


def test_plans_do_not_share_what_they_pass_on() -> None:
    with Gate() as gate:
        plans = [gate.plan, Plan("other", gate.pool, drop=frozenset([b"accept"]))]
        for number in (0, 1, 0, 1):
            gate.plan = plans[number]
            assert values(ask(gate), "accept") == ([] if number else ["text/plain"])


def test_limits_that_are_replaced_count_for_known_heads() -> None:
    with MemoryServer(echo) as server:
        client = server.connect()
        for _ in range(2):
            client.send(REQUEST)
            assert client.answer().status == 200
        server.server.limits = Limits(header_count=2)
        client.send(REQUEST)
        assert client.answer().status == 431


def test_a_known_head_in_every_place() -> None:
    """However the pieces come and whatever came before, the answers are those of a server that knows nothing."""
    post = b"POST /p HTTP/1.1\r\nHost: g.example\r\nContent-Length: %d\r\n\r\n"
    pieces = [
        [REQUEST],
        [REQUEST + REQUEST],
        [REQUEST[:30], REQUEST[30:]],
        [REQUEST[:30], REQUEST[30:] + REQUEST[:10], REQUEST[10:]],
        [b"\r\n", REQUEST],
        [b"\r\n" + REQUEST],
        # A body that looks like a request is a body.
        [post % len(REQUEST) + REQUEST, REQUEST],
        [post % len(REQUEST), REQUEST, REQUEST],
        [post % (len(REQUEST) + 2), b"ab", REQUEST, REQUEST],
        [b"POST /c HTTP/1.1\r\nHost: g.example\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n0\r\n\r\n", REQUEST],
        [b"GET /h HTTP/1.1\r\nHost: g.example\r\nX: ", REQUEST],
        [b"GET /u HTTP/1.1\r\nHost: g.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", REQUEST],
        [b"GET /w HTTP/1.1\r\nHost: g.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", REQUEST],
        [b"GET /d HTTP/1.1\r\nHost: g.example\r\nConnection: close\r\n\r\n", REQUEST],
        [b"GET /o HTTP/1.0\r\n\r\n", REQUEST],
        [b"nonsense\r\n\r\n", REQUEST],
    ]

    def outcome(warm: bool, parts: list[bytes]) -> tuple[bytes, bool, list[bytes]]:
        with MemoryServer(echo) as server:
            if warm:
                client = server.connect()
                client.send(REQUEST)
                assert client.answer().status == 200
                client.close()
                assert list(server.server.heads) == [REQUEST]
            client = server.connect()
            for part in parts:
                if not warm:
                    server.server.heads.clear()
                client.send(part)
            return client.take(), client.open, [exchange.target for exchange in server.handled[warm:]]

    for parts in pieces:
        assert outcome(True, parts) == outcome(False, parts), parts


def test_a_known_head_behind_one_that_is_being_answered() -> None:
    with Gate() as gate:
        client = gate.connect()
        ask(gate, client)
        client.send(REQUEST)
        client.send(REQUEST)
        assert len(gate.handled) == 2
        take_head(gate.peer)
        gate.peer.send(ok(b"first"))
        take_head(gate.peer)
        gate.peer.send(ok(b"second"))
        assert (client.answer().body, client.answer().body) == (b"first", b"second")


def test_known_heads_do_not_pile_up() -> None:
    with MemoryServer(echo) as server:
        client = server.connect()
        for number in range(Memory.MOST + 10):
            client.send(b"GET /%d HTTP/1.1\r\nHost: g.example\r\n\r\n" % number)
            assert client.answer().body == b"GET|/%d" % number
            server.handled.clear()
            server.finished.clear()
        assert len(server.server.heads) <= Memory.MOST
        client.send(b"GET /%b HTTP/1.1\r\nHost: g.example\r\n\r\n" % (b"x" * Memory.LONGEST))
        assert client.answer().status == 200
        assert all(len(head) <= Memory.LONGEST for head in server.server.heads)


# -- answers -----------------------------------------------------------------------------------------------------

HEAD = OK + b"Content-Type: text/plain\r\nX-Known: yes\r\nContent-Length: 4\r\n\r\n"


def learn(gate: Gate) -> None:
    """Have the gateway know :data:`HEAD`."""
    known_heads.clear()
    client = gate.get()
    gate.peer.send(HEAD + b"once")
    assert client.answer().body == b"once"
    assert list(known_heads) == [HEAD]


def test_another_body_behind_the_same_head() -> None:
    with Gate() as gate:
        learn(gate)
        for body in (b"more", b"\r\n\r\n", b"HTTP"):
            client = gate.get()
            gate.peer.send(HEAD + body)
            answer = client.answer()
            assert (answer.body, answer.get("x-known")) == (body, b"yes")
        assert gate.pool.dials == 1


@pytest.mark.parametrize("cut", [1, 40, len(HEAD) - 1, len(HEAD), len(HEAD) + 2])
def test_a_known_head_in_pieces(cut: int) -> None:
    with Gate() as gate:
        learn(gate)
        data = HEAD + b"fine"
        client = gate.get()
        gate.peer.send(data[:cut])
        gate.peer.send(data[cut:])
        assert client.answer().body == b"fine"
        assert gate.pool.idle == gate.pool.dials == 1


def test_more_than_was_asked_for_behind_a_known_head() -> None:
    with Gate() as gate:
        learn(gate)
        client, bad = gate.get(), gate.peer
        bad.send(HEAD + b"fine" + HEAD + b"EVIL")
        assert client.answer().body == b"fine"
        assert client.nothing_more()
        assert not bad.open


def test_a_known_head_whose_body_breaks_off() -> None:
    with Gate() as gate:
        learn(gate)
        client = gate.get()
        gate.peer.send(HEAD + b"fi")
        gate.peer.finish()
        assert client.next_answer() is None
        assert client.reset


def test_a_known_head_as_the_answer_to_head() -> None:
    with Gate() as gate:
        learn(gate)
        client = gate.get(method="HEAD")
        gate.peer.send(HEAD)
        assert client.answer("HEAD").get("content-length") == b"4"
        client = gate.get()
        gate.peer.send(HEAD + b"fine")
        assert client.answer().body == b"fine"
        assert gate.pool.idle == gate.pool.dials == 1


def test_a_body_behind_the_answer_to_head_is_nobodys() -> None:
    with Gate() as gate:
        learn(gate)
        client, bad = gate.get(method="HEAD"), gate.peer
        bad.send(HEAD + b"EVIL")
        assert client.answer("HEAD").status == 200
        assert client.nothing_more()
        assert not bad.open


@pytest.mark.parametrize(
    "data",
    [
        HEAD.replace(b"\r\n", b"\n") + b"fine",
        HEAD.replace(b"200 OK", b"304 Not Modified"),
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        OK + b"\r\nfine",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HEAD + b"fine",
        b"HTTP/1.1 100 Continue\r\nContent-Length: %d\r\n\r\n" % len(HEAD) + HEAD,
        HEAD + b"fine!",
    ],
)
def test_what_is_not_one_answer_with_a_length_is_not_remembered(data: bytes) -> None:
    with Gate() as gate:
        known_heads.clear()
        client = gate.get()
        gate.peer.send(data)
        gate.peer.finish()
        client.close()
        assert not known_heads


def test_a_connection_that_is_not_kept() -> None:
    closing = HEAD.replace(b"X-Known: yes", b"Connection: close")
    with Gate() as gate:
        for _ in range(3):
            client = gate.get()
            gate.peer.send(closing + b"fine")
            assert client.answer().get("connection") is None
        assert (gate.pool.dials, gate.pool.idle) == (3, 0)


def test_what_is_made_of_an_answer_is_not_the_next_ones() -> None:
    def rework(exchange: Exchange, answer: Answer) -> None:
        answer.status = 201
        answer.items.append((b"x-added", b"X-Added", b"1"))
        del answer.items[0]

    with Gate() as gate:
        learn(gate)
        plain, reworking = gate.plan, Plan("other", gate.pool, on_answer=rework)
        for plan in (reworking, plain, reworking, plain):
            gate.plan = plan
            client = gate.get()
            gate.peer.send(HEAD + b"fine")
            answer = client.answer()
            found = (answer.status, answer.get("content-type"), answer.get("x-added"))
            assert found == ((201, None, b"1") if plan is reworking else (200, b"text/plain", None))


def test_our_own_mistake_over_a_known_head(logged_errors: object) -> None:
    def stumble(exchange: Exchange, answer: Answer) -> None:
        raise ZeroDivisionError

    with Gate() as gate:
        learn(gate)
        gate.plan = Plan("other", gate.pool, on_answer=stumble)
        client, used = gate.get(), gate.peer
        used.send(HEAD + b"fine")
        assert client.answer().status == 502
        assert not used.open
        logged_errors.take()  # type: ignore[attr-defined]

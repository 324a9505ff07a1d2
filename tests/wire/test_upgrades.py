"""Upgrades (spec 01, 6.7): the handshake, what may go wrong with it, and the tunnel behind it."""

from __future__ import annotations

import pytest
from support_gate import OK, Gate, fields_of, ok, take_head, target_of, values
from support_policy import Policy

from ksproxyd.model.identity import Identity
from ksproxyd.server.limits import Timeouts
from ksproxyd.server.reading import LOOK
from ksproxyd.testing import Authority, Client
from ksproxyd.tree.header_rules import compile_header_rules
from ksproxyd.upstream.pool import UpstreamTimeouts
from ksproxyd.upstream.target import Target, TrustPolicy

WEBSOCKET = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: v5.channel.k8s.io",
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
)
SPDY = ("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io", "Content-Length: 0")
SPDY_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
)


def handshake(gate: Gate, *more: str, method: str = "GET", fields: tuple[str, ...] = WEBSOCKET) -> Client:
    return gate.get("/exec?command=sh", *fields, *more, method=method)


def tunnel(gate: Gate) -> Client:
    """A client whose upgrade has been accepted."""
    client = handshake(gate)
    take_head(gate.peer)
    gate.peer.send(ACCEPTED)
    assert client.answer().status == 101
    return client


# -- the handshake ---------------------------------------------------------------------------------------------------


def test_websocket() -> None:
    with Gate() as gate:
        client = handshake(gate)
        head = take_head(gate.peer)
        assert head.startswith(b"GET /exec?command=sh HTTP/1.1\r\nHost: backend.example\r\n")
        assert sorted(fields_of(head)) == [
            ("connection", "Upgrade"),
            ("host", "backend.example"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("sec-websocket-version", "13"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", "192.0.2.7"),
        ]
        gate.peer.send(ACCEPTED)
        answer = client.answer()
        assert answer.status == 101
        assert sorted(answer.headers) == [
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            (b"Sec-WebSocket-Protocol", b"v5.channel.k8s.io"),
            (b"Upgrade", b"websocket"),
        ]
        client.send(b"\x81\x85\x00\x01\x02\x03hello")
        assert gate.peer.take() == b"\x81\x85\x00\x01\x02\x03hello"
        gate.peer.send(b"\x81\x05hello")
        assert client.take() == b"\x81\x05hello"
        assert (gate.proxy.tunnels_opened, len(gate.proxy.tunnels)) == (1, 1)
        assert gate.proxy.tunnel_bytes == [11, 7]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_spdy(method: str) -> None:
    """kubectl's POST says Content-Length: 0, and is an upgrade nonetheless."""
    with Gate() as gate:
        client = handshake(gate, method=method, fields=SPDY)
        head = take_head(gate.peer)
        assert head.startswith(method.encode() + b" /exec?command=sh HTTP/1.1\r\n")
        assert values(head, "upgrade") == ["SPDY/3.1"]
        assert values(head, "connection") == ["Upgrade"]
        assert values(head, "content-length") == ["0"]
        assert values(head, "x-stream-protocol-version") == ["v4.channel.k8s.io"]
        gate.peer.send(SPDY_ACCEPTED)
        answer = client.answer()
        assert (answer.status, answer.get("upgrade")) == (101, b"SPDY/3.1")
        client.send(b"\x80\x03\x00\x01")
        assert gate.peer.take() == b"\x80\x03\x00\x01"


def test_one_dial_and_one_request() -> None:
    with Gate() as gate:
        tunnel(gate)
        assert gate.pool.dials == 1
        assert gate.peer.take() == b""


def test_a_fresh_connection_even_where_an_idle_one_is() -> None:
    with Gate() as gate:
        idle = gate.used()
        handshake(gate)
        assert gate.peer is not idle
        assert idle.take() == b""


def test_early_bytes_of_both_sides() -> None:
    with Gate() as gate:
        client = gate.connect()
        lines = ("GET /x HTTP/1.1", "Host: g", *WEBSOCKET, "", "")
        client.send("\r\n".join(lines).encode() + b"client-early")
        assert target_of(take_head(gate.peer)) == b"/x"
        gate.peer.send(ACCEPTED + b"backend-early")
        assert gate.peer.take() == b"client-early"
        assert client.answer().status == 101
        assert bytes(client._answers.buffer) == b"backend-early"


@pytest.mark.parametrize("step", [1, 10])
def test_handshake_in_pieces(step: int) -> None:
    with Gate() as gate:
        client = gate.connect()
        lines = ("GET /x HTTP/1.1", "Host: g", *WEBSOCKET, "", "")
        client.send("\r\n".join(lines).encode(), at_once=step)
        gate.peer.send(ACCEPTED, at_once=step)
        assert client.answer().status == 101
        gate.peer.send(b"x")
        assert client.take() == b"x"


def test_interim_answers_of_a_handshake_are_of_no_use() -> None:
    with Gate() as gate:
        client = handshake(gate)
        gate.peer.send(b"HTTP/1.1 103 Early\r\n\r\n")
        gate.peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + ACCEPTED)
        answer = client.answer()
        assert (answer.status, answer.interim) == (101, [])


# -- who it is for -----------------------------------------------------------------------------------------------------


def test_identity_is_set_and_claims_are_dropped() -> None:
    with Gate(identity=True) as gate:
        alice = Identity("alice", ("dev", "system:authenticated"), "u1", (("example.org/Foo", ("a", "b")),))
        gate.before = lambda exchange: setattr(exchange, "user", alice)
        handshake(gate, "X-Remote-User: admin", "x_remote_group: system:masters", "X-Remote-Extra-Foo: 1")
        head = take_head(gate.peer)
        assert [(key, value) for key, value in fields_of(head) if key.startswith(("x-remote", "x_remote"))] == [
            ("x-remote-user", "alice"),
            ("x-remote-uid", "u1"),
            ("x-remote-group", "dev"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-example.org%2ffoo", "a"),
            ("x-remote-extra-example.org%2ffoo", "b"),
        ]


def test_claims_are_dropped_without_identity_too() -> None:
    with Gate() as gate:
        handshake(gate, "X-Remote-User: admin", "Impersonate-User: admin", "X-KubeSphere-Authorization: Bearer x")
        keys = [key for key, _ in fields_of(take_head(gate.peer))]
        assert not [key for key in keys if key.startswith(("x-remote", "impersonate", "x-kubesphere"))]


def test_credentials_take_the_place_of_the_clients() -> None:
    plan = {"drop": frozenset([b"authorization"]), "credentials": lambda: b"Authorization: Bearer gateway\r\n"}
    with Gate(**plan) as gate:  # type: ignore[arg-type]
        handshake(gate, "Authorization: Bearer client")
        assert values(take_head(gate.peer), "authorization") == ["Bearer gateway"]


def test_named_hop_fields_do_not_pass_and_do_not_strip() -> None:
    with Gate(identity=True) as gate:
        gate.get(
            "/x",
            "Connection: Upgrade, X-Mine, X-Remote-User, Authorization, Host, Sec-WebSocket-Key",
            "Upgrade: websocket",
            "X-Mine: 1",
            "Authorization: Bearer t",
            "Sec-WebSocket-Key: k",
        )
        head = take_head(gate.peer)
        assert not values(head, "x-mine")
        assert values(head, "x-remote-user") == ["system:anonymous"]
        assert values(head, "authorization") == ["Bearer t"]


# -- header rules (fact 41) --------------------------------------------------------------------------------------------


def test_answer_rules_apply_to_the_handshake() -> None:
    rules = compile_header_rules(enumerate(["-X-Inner", "X-Outer 1", "-Upgrade", "-Connection"]))[0]
    with Gate(down=rules) as gate:
        client = handshake(gate)
        gate.peer.send(ACCEPTED.replace(b"Upgrade: websocket\r\n", b"Upgrade: websocket\r\nX-Inner: 1\r\n", 1))
        answer = client.answer()
        assert answer.status == 101
        assert (answer.get("upgrade"), answer.get("connection")) == (b"websocket", b"Upgrade")
        assert (answer.get("x-inner"), answer.get("x-outer")) == (None, b"1")
        gate.peer.send(b"data")
        assert client.take() == b"data"


def test_answer_rules_apply_to_a_refusal() -> None:
    rules = compile_header_rules(enumerate(["-Server", "-Date"]))[0]
    with Gate(down=rules) as gate:
        client = handshake(gate)
        gate.peer.send(b"HTTP/1.1 403 No\r\nServer: x\r\nDate: x\r\nContent-Length: 2\r\n\r\nno")
        answer = client.answer()
        assert (answer.status, answer.get("server")) == (403, None)
        assert answer.get("date") != b"x"


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_refusal_is_relayed_and_the_connection_closed(status: int, framing: str) -> None:
    with Gate() as gate:
        client = handshake(gate)
        head = b"HTTP/1.1 %d No\r\nX-Why: because\r\n" % status
        if framing == "length":
            gate.peer.send(head + b"Content-Length: 4\r\n\r\n")
            gate.peer.send(b"why?")
        elif framing == "chunked":
            gate.peer.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            gate.peer.send(b"4\r\nwhy?\r\n0\r\n\r\n")
        else:
            gate.peer.send(head + b"\r\nwhy?")
            gate.peer.finish()
        answer = client.answer()
        assert (answer.status, answer.body, answer.get("x-why")) == (status, b"why?", b"because")
        assert answer.get("connection") == b"close"
        assert not client.open
        assert not gate.proxy.tunnels


def test_refusal_that_breaks_off() -> None:
    with Gate() as gate:
        client = handshake(gate)
        gate.peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nwhy")
        gate.peer.cut()
        assert client.next_answer() is None
        assert client.reset


def test_big_refusal_for_a_slow_client() -> None:
    body = bytes(4_000_000)
    with Gate(client_timeouts=Timeouts(write=100.0)) as gate:
        client = gate.connect(capacity=4096)
        client.reading = False
        gate.get("/x", *WEBSOCKET, client=client)
        gate.peer.send(b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert gate.peer.unsent > 3_000_000
        client.reading = True
        gate.reactor.settle()
        assert client.answer().body == body


def test_head_handshake_that_is_refused() -> None:
    with Gate() as gate:
        client = handshake(gate, method="HEAD")
        gate.peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n")
        assert client.answer("HEAD").status == 403


@pytest.mark.parametrize("status", [200, 204, 206, 301, 302, 304])
def test_neither_switched_nor_refused(status: int) -> None:
    with Gate() as gate:
        client = handshake(gate)
        gate.peer.send(b"HTTP/1.1 %d x\r\nLocation: http://inner/\r\n\r\nEVIL" % status)
        answer = client.answer()
        assert answer.status == 502
        assert answer.message() == (
            f"Error while proxying request: invalid upgrade response: status code {status}"
        )
        assert answer.get("location") is None
        assert gate.peer.reset
        assert gate.pool.size == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage",
        b"HTTP/1.1 101 Bare\r\n\r\nEVIL",
        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\nEVIL",
        b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\n\r\nEVIL",
        b"HTTP/2.0 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nEVIL",
        OK + b"Content-Length: 1, 2\r\n\r\n",
    ],
)
def test_answer_that_is_none(answer: bytes) -> None:
    with Gate() as gate:
        client = handshake(gate)
        gate.peer.send(answer)
        assert client.answer().status == 502
        assert client.nothing_more()
        assert not gate.peer.open
        assert not gate.proxy.tunnels


@pytest.mark.parametrize(
    ("fields", "answer", "why"),
    [
        (WEBSOCKET, SPDY_ACCEPTED, "it switches to spdy/3.1 instead of websocket"),
        (SPDY, ACCEPTED, "it switches to websocket instead of spdy/3.1"),
        (WEBSOCKET, ACCEPTED.replace(b"s3pP", b"S3pP"), "Sec-WebSocket-Accept"),
        (WEBSOCKET, ACCEPTED.replace(b"Sec-WebSocket-Accept", b"X-Accept"), "Sec-WebSocket-Accept"),
    ],
)
def test_a_switch_that_was_not_asked_for(fields: tuple[str, ...], answer: bytes, why: str) -> None:
    """Not a byte passes, in either direction: the backend has not understood the request as we have."""
    with Gate(proven=True) as gate:
        client = handshake(gate, fields=fields)
        client.send(b"EARLY")
        take_head(gate.peer)
        gate.peer.send(answer + b"EVIL")
        refused = client.answer()
        assert refused.status == 502 and why in refused.json()["message"]
        assert client.nothing_more()
        assert not gate.peer.open and b"EARLY" not in gate.peer.take()
        assert not gate.proxy.tunnels


def test_who_need_not_prove_anything() -> None:
    """Backends of extensions are taken at their word: it is the client's to look at."""
    with Gate() as gate:
        client = handshake(gate)
        gate.peer.send(ACCEPTED.replace(b"s3pP", b"S3pP"))
        assert client.answer().status == 101
        client.close()


@pytest.mark.parametrize("way", ["finish", "cut"])
def test_no_answer(way: str) -> None:
    """Never sent again: the backend may have begun."""
    with Gate() as gate:
        gate.used()
        client = handshake(gate)
        getattr(gate.peer, way)()
        assert client.answer().status == 502
        assert gate.pool.dials == 2


def test_slow_answer() -> None:
    with Gate(timeouts=UpstreamTimeouts(response_header=3.0)) as gate:
        client = handshake(gate)
        gate.wait(5.0)
        assert client.answer().status == 504


def test_backend_that_cannot_be_reached() -> None:
    with Gate() as gate:
        gate.dialer.refusing.add(("backend.example", 80))
        client = handshake(gate)
        assert client.answer().message() == "Error while proxying request: connection refused"


def test_after_a_failure_the_connection_serves_http() -> None:
    """What came behind the handshake was the other protocol's only if the backend had accepted it."""
    with Gate() as gate:
        gate.dialer.refusing.add(("backend.example", 80))
        client = handshake(gate)
        assert client.answer().status == 502
        gate.dialer.refusing.clear()
        gate.get("/next", client=client)
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"


@pytest.mark.parametrize("way", ["close", "cut", "finish"])
@pytest.mark.parametrize("moment", ["connecting", "waiting", "refused"])
def test_client_leaves_before_the_tunnel(moment: str, way: str) -> None:
    with Gate() as gate:
        if moment == "connecting":
            gate.dialer.silent.add(("backend.example", 80))
        client = handshake(gate)
        if moment == "refused":
            gate.peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nwhy")
        getattr(client, way)()
        # Nothing is read while nobody knows which protocol it is; it is looked at from time to time.
        gate.wait(LOOK + 2.0)
        assert gate.pool.size == 0
        (exchange,) = gate.finished
        assert exchange.status == (403 if moment == "refused" else 499)


# -- the tunnel --------------------------------------------------------------------------------------------------------


def test_half_close_by_the_client() -> None:
    with Gate() as gate:
        client = tunnel(gate)
        client.send(b"last")
        client.finish()
        assert gate.peer.take() == b"last"
        assert gate.peer.ended
        for n in range(5):
            gate.peer.send(b"still %d" % n)
            assert client.take() == b"still %d" % n
        assert len(gate.proxy.tunnels) == 1
        gate.peer.finish()
        assert client.ended
        assert not gate.proxy.tunnels
        assert gate.pool.size == 0
        (exchange,) = gate.finished
        assert (exchange.status, exchange.received, exchange.sent) == (101, 4, 35)


def test_half_close_by_the_backend() -> None:
    with Gate() as gate:
        client = tunnel(gate)
        gate.peer.send(b"last")
        gate.peer.finish()
        assert client.take() == b"last"
        assert client.ended
        client.send(b"still here")
        assert gate.peer.take() == b"still here"
        client.finish()
        assert gate.peer.ended
        assert gate.pool.size == 0


def test_half_close_behind_what_is_queued() -> None:
    """The end of one direction arrives behind its bytes, and reading that was paused does not see the end twice."""
    with Gate() as gate:
        client = tunnel(gate)
        gate.peer.reading = False
        data = bytes(range(256)) * 8192
        client.write(data)
        client.finish()
        assert client.unsent
        gate.peer.reading = True
        gate.reactor.settle()
        assert gate.peer.take() == data
        assert gate.peer.ended
        gate.peer.send(b"answer")
        assert client.take() == b"answer"


@pytest.mark.parametrize("idle", [0.0, 3600.0])
@pytest.mark.parametrize("side", ["client", "backend"])
def test_half_a_tunnel_does_not_wait_for_ever(side: str, idle: float) -> None:
    """As long as something moves it lasts; a peer that has got the end and says nothing is not waited for."""
    with Gate(timeouts=UpstreamTimeouts(tunnel_idle=idle)) as gate:
        client = tunnel(gate)
        gate.wait(100.0)
        one, other = (client, gate.peer) if side == "client" else (gate.peer, client)
        one.finish()
        for _ in range(5):
            gate.wait(50.0)
            other.send(b"still")
            assert one.take() == b"still"
        gate.wait(65.0)
        assert not one.open and not gate.proxy.tunnels


@pytest.mark.parametrize(
    ("half", "idle", "lasts"), [(20.0, 3600.0, 20.0), (20.0, 0.0, 20.0), (300.0, 50.0, 50.0), (0.0, 100.0, 100.0)]
)
def test_how_long_half_a_tunnel_waits_is_a_setting(half: float, idle: float, lasts: float) -> None:
    """Never longer than a whole one; without a limit of its own just as long."""
    with Gate(timeouts=UpstreamTimeouts(tunnel_idle=idle, tunnel_half_closed=half)) as gate:
        client = tunnel(gate)
        client.finish()
        gate.wait(lasts - 5.0)
        assert gate.proxy.tunnels
        gate.wait(10.0)
        assert not gate.peer.open and not gate.proxy.tunnels


def test_half_a_tunnel_may_wait_for_ever() -> None:
    with Gate(timeouts=UpstreamTimeouts(tunnel_idle=0.0, tunnel_half_closed=0.0)) as gate:
        client = tunnel(gate)
        client.finish()
        gate.wait(1000.0)
        gate.peer.send(b"x")
        assert client.take() == b"x"


@pytest.mark.parametrize("side", ["client", "backend"])
def test_reset_ends_both(side: str) -> None:
    with Gate() as gate:
        client = tunnel(gate)
        one, other = (client, gate.peer) if side == "client" else (gate.peer, client)
        one.cut()
        assert not other.open
        assert not gate.proxy.tunnels
        assert gate.pool.size == 0
        assert len(gate.finished) == 1


def test_back_pressure_both_ways() -> None:
    size = 4 * 1024 * 1024
    with Gate() as gate:
        client = tunnel(gate)
        client.reading = gate.peer.reading = False
        client.write(bytes(size))
        gate.peer.write(bytes(size))
        gate.reactor.settle()
        assert client.unsent > size * 3 // 4
        assert gate.peer.unsent > size * 3 // 4
        assert all(transport.memory <= 131072 for transport in gate.reactor.transports)
        client.reading = gate.peer.reading = True
        gate.reactor.settle()
        assert len(client.take()) == len(gate.peer.take()) == size


def test_idle_tunnel_ends() -> None:
    with Gate(timeouts=UpstreamTimeouts(tunnel_idle=60.0)) as gate:
        client = tunnel(gate)
        for peer in (client, gate.peer, client):
            gate.wait(50.0)
            # A byte in either direction keeps both.
            peer.send(b"x")
        gate.wait(50.0)
        assert len(gate.proxy.tunnels) == 1
        gate.wait(15.0)
        assert not client.open
        assert not gate.peer.open
        assert not gate.proxy.tunnels


def test_tunnels_may_be_idle_for_ever() -> None:
    with Gate(timeouts=UpstreamTimeouts(tunnel_idle=0.0)) as gate:
        client = tunnel(gate)
        gate.wait(1000.0)
        gate.peer.send(b"x")
        assert client.take() == b"x"


def test_closed_tunnel_does_not_wait_for_a_peer_that_does_not_read() -> None:
    with Gate(timeouts=UpstreamTimeouts(linger=5.0)) as gate:
        client = tunnel(gate)
        client.reading = False
        gate.peer.write(bytes(1_000_000))
        gate.reactor.settle()
        (open_one,) = gate.proxy.tunnels
        open_one.close()
        gate.wait(10.0)
        assert not gate.reactor.transports
        assert len(gate.finished) == 1


def test_many_tunnels_side_by_side() -> None:
    with Gate() as gate:
        clients = [tunnel(gate) for _ in range(20)]
        for n, client in enumerate(clients):
            client.send(b"%d" % n)
        for n, peer in enumerate(gate.backend.peers):
            assert peer.take() == b"%d" % n
            peer.send(b"-%d" % n)
        for n, client in enumerate(clients):
            assert client.take() == b"-%d" % n
        assert gate.pool.size == 20
        assert gate.pool.idle == 0


def test_policy_holds_the_place_for_as_long_as_the_tunnel_lasts() -> None:
    policy = Policy()
    with Gate(policy=policy) as gate:
        client = tunnel(gate)
        assert len(policy.inside) == 1
        client.finish()
        assert len(policy.inside) == 1
        gate.peer.finish()
        assert policy.told == ["answered 101", "done"]


# -- TLS ------------------------------------------------------------------------------------------------------------

AUTHORITY = Authority()
ISSUED = AUTHORITY.issue("backend.example")


def tls_gate() -> Gate:
    target = Target("https", "backend.example", 443, TrustPolicy(ca_pem=AUTHORITY.pem))
    return Gate(target, tls=ISSUED.server_context())


def test_tunnel_to_a_tls_backend() -> None:
    with tls_gate() as gate:
        client = tunnel(gate)
        client.send(b"up")
        assert gate.peer.take() == b"up"
        gate.peer.send(b"down" * 100_000)
        assert client.take() == b"down" * 100_000


def test_half_close_to_a_tls_backend() -> None:
    with tls_gate() as gate:
        client = tunnel(gate)
        client.send(b"last")
        client.finish()
        assert gate.peer.take() == b"last"
        assert gate.peer.notified
        gate.peer.send(b"still")
        assert client.take() == b"still"
        gate.peer.finish()
        assert client.ended
        assert gate.pool.size == 0


def test_half_close_by_a_tls_backend() -> None:
    with tls_gate() as gate:
        client = tunnel(gate)
        gate.peer.send(b"last")
        gate.peer.finish()
        assert client.take() == b"last"
        assert client.ended
        client.send(b"still")
        assert gate.peer.take() == b"still"
        client.finish()
        assert gate.pool.size == 0


def test_upgrade_to_a_backend_that_is_not_verified() -> None:
    """Always, not only where a plain request has been there before (D39)."""
    target = Target("https", "backend.example", 443, TrustPolicy(ca_pem=Authority("another").pem))
    with Gate(target, tls=ISSUED.server_context()) as gate:
        client = handshake(gate)
        assert client.answer().status == 502
        assert gate.peer.take() == b""

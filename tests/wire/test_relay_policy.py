"""Whatever happens to a request that was admitted, its policy hears that it is over."""

from __future__ import annotations

from typing import Any

import pytest
from support_gate import OK, Gate, ok, take_head
from support_policy import Cell, Policy
from twisted.internet.defer import fail

from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.upstream.errors import UpstreamError

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Guarded(Gate):
    def __init__(self, **options: Any) -> None:
        self.policy, self.cell = Policy(), Cell()
        super().__init__(policy=self.policy, cell=self.cell, **options)

    def close(self) -> None:
        super().close()
        assert not self.policy.inside
        assert self.policy.told.count("done") == len(self.handled)


class Failing:
    """Header rules with a mistake of ours."""

    def apply(self, items: list[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes, bytes]]:
        raise ZeroDivisionError


def divide(*args: object, **options: object) -> Any:
    raise ZeroDivisionError


def one_mistake(logged_errors: Any) -> None:
    failures = [event["log_failure"] for event in logged_errors.take()]
    assert [type(failure.value) for failure in failures] == [ZeroDivisionError]


both = pytest.mark.parametrize("fields", [(), UPGRADE], ids=["relay", "tunnel"])


@both
def test_a_head_that_cannot_be_made(fields: tuple[str, ...], logged_errors: Any) -> None:
    with Guarded(more=divide) as gate:
        assert gate.get("/x", *fields).answer().status == 500
        assert gate.backend.peers == []
        assert gate.policy.told == ["done"]
    one_mistake(logged_errors)


@both
def test_a_head_that_is_refused(fields: tuple[str, ...]) -> None:
    def refuse(*args: object) -> bytes:
        raise bad_request("not like this")

    with Guarded(more=refuse) as gate:
        assert gate.get("/x", *fields).answer().message() == "not like this"
        assert gate.policy.told == ["done"]


@both
@pytest.mark.parametrize("warm", [False, True])
def test_a_request_that_cannot_be_begun(
    fields: tuple[str, ...], warm: bool, logged_errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Guarded() as gate:
        if warm:
            gate.used()
        monkeypatch.setattr("ksproxyd.upstream.http1.UpstreamConnection.begin", divide)
        assert gate.get("/x", *fields).answer().status == 500
        assert gate.policy.told[-1] == "done"
        # Nothing can be said of the connection's state: it is not used again.
        assert gate.pool.size == (1 if warm and fields else 0)
    one_mistake(logged_errors)


@both
@pytest.mark.parametrize("error", [UpstreamError("connect", "no"), ZeroDivisionError()])
def test_a_connection_that_cannot_be_made(
    fields: tuple[str, ...], error: Exception, logged_errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Guarded() as gate:
        monkeypatch.setattr(gate.pool, "dial", lambda fresh=False: fail(error))
        answer = gate.get("/x", *fields).answer()
        if isinstance(error, UpstreamError):
            assert answer.status == 502
            assert gate.policy.told == ["failed connect: no", "done"]
        else:
            assert answer.status == 500
            assert gate.policy.told == ["done"]
            one_mistake(logged_errors)


def test_an_answer_that_cannot_be_handled(logged_errors: Any) -> None:
    with Guarded(down=Failing()) as gate:
        client = gate.get()
        gate.peer.send(ok(b"fine"))
        assert client.answer().status == 502
        assert gate.policy.told[0] == "answered 200" and gate.policy.told[-1] == "done"
    one_mistake(logged_errors)


def test_an_answer_that_is_replaced() -> None:
    def refuse(exchange: object, answer: object) -> None:
        raise StatusError(502, "Bad Gateway", "not that one")

    with Guarded(on_answer=refuse) as gate:
        client = gate.get()
        gate.peer.send(ok(b"fine"))
        assert client.answer().message() == "not that one"
        assert gate.policy.told == ["answered 200", "done"]


def test_a_handshake_that_cannot_be_passed_on(logged_errors: Any) -> None:
    with Guarded(down=Failing()) as gate:
        client = gate.get("/x", *UPGRADE)
        peer = gate.peer
        peer.send(SWITCHED)
        assert client.answer().status == 500
        assert not peer.open
        assert gate.policy.told == ["answered 101", "done"]
    one_mistake(logged_errors)


@pytest.mark.parametrize("answering", [False, True])
def test_a_client_that_leaves(answering: bool) -> None:
    with Guarded() as gate:
        client = gate.get()
        if answering:
            gate.peer.send(OK + b"Content-Length: 100\r\n\r\nabc")
        client.cut()
        assert gate.policy.told == (["answered 200", "done"] if answering else ["done"])
        assert gate.pool.size == 0


@pytest.mark.parametrize("data", [SWITCHED, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\nabc"])
def test_a_client_that_leaves_during_the_handshake(data: bytes) -> None:
    with Guarded() as gate:
        client = gate.get("/x", *UPGRADE)
        client.cut()
        # Whether that has been noticed by now or not, the backend's answer ends it.
        gate.peer.send(data)
        gate.peer.finish()
        assert gate.policy.told[-1] == "done"
        assert not gate.policy.inside
        assert gate.pool.size == 0


def test_a_tunnel() -> None:
    with Guarded() as gate:
        client = gate.get("/x", *UPGRADE)
        take_head(gate.peer)
        gate.peer.send(SWITCHED)
        client.send(b"hello")
        assert gate.policy.told == ["answered 101"]
        gate.peer.finish()
        client.finish()
        assert gate.policy.told == ["answered 101", "done"]


def test_the_bytes_of_tunnels_are_counted_while_they_are_open() -> None:
    with Guarded() as gate:
        client = gate.get("/x", *UPGRADE)
        gate.peer.send(SWITCHED + b"123")
        client.send(b"hello")
        assert gate.proxy.tunnel_bytes == [5, 3]
        gate.peer.send(b"4567")
        assert gate.proxy.tunnel_bytes == [5, 7]
        client.finish()
        gate.peer.finish()
        assert gate.proxy.tunnel_bytes == [5, 7]
        (exchange,) = gate.finished
        assert (exchange.received, exchange.sent) == (5, 7)


GRANT = (b"Access-Control-Allow-Origin", b"https://console.example.org")
THEIRS = b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-A\r\nX-Kept: 1\r\nVary: Accept\r\n"


@both
@pytest.mark.parametrize("granted", [True, False])
def test_grants_to_other_origins(fields: tuple[str, ...], granted: bool) -> None:
    """One answer, one opinion: where the gateway grants, the backend's grants stay behind."""
    with Guarded() as gate:
        ours = [(b"Vary", b"Origin"), *([GRANT] if granted else [])]
        gate.before = lambda exchange: setattr(exchange, "extra_headers", ours)
        client = gate.get("/x", *fields)
        gate.peer.send(b"HTTP/1.1 403 Forbidden\r\n" + THEIRS + b"Content-Length: 2\r\n\r\nno")
        answer = client.answer()
        assert answer.status == 403
        assert answer.all("Access-Control-Allow-Origin") == [GRANT[1] if granted else b"*"]
        assert answer.all("Access-Control-Expose-Headers") == ([] if granted else [b"X-A"])
        assert answer.all("X-Kept") == [b"1"]
        assert sorted(answer.all("Vary")) == [b"Accept", b"Origin"]


def test_without_cross_origin_rules_the_backend_speaks_for_itself() -> None:
    with Guarded() as gate:
        client = gate.get()
        gate.peer.send(OK + THEIRS + b"Content-Length: 0\r\n\r\n")
        assert client.answer().all("Access-Control-Allow-Origin") == [b"*"]

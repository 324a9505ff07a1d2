"""The connection to Redis as a conversation: what is waited for, what is refused at once, when it is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared.redis_link import RedisLink, SignIn
from ksproxyd.authn.shared.redis_protocol import NotRedis, RedisProtocol, Refused, _Incomplete, read_reply


class Wire(StringTransport):
    """A connection in memory."""

    protocol: RedisProtocol

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def setTcpKeepAlive(self, enabled: bool) -> None: ...

    def said(self) -> bytes:
        value = self.value()
        self.clear()
        return value

    def abortConnection(self) -> None:
        self.aborted = True
        self.protocol.connectionLost(Failure(ConnectionDone()))

    aborted = False


class Server:
    """An endpoint whose connections a test makes."""

    def __init__(self) -> None:
        self.dialled: list[tuple[Deferred[Any], Any]] = []
        self.cancelled = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        def cancel(_: object) -> None:
            self.cancelled += 1

        done: Deferred[Any] = Deferred(cancel)
        self.dialled.append((done, factory))
        return done

    def accept(self) -> Wire:
        done, factory = self.dialled.pop(0)
        wire = Wire()
        wire.protocol = factory.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        done.callback(wire.protocol)
        return wire

    def refuse(self) -> None:
        self.dialled.pop(0)[0].errback(ConnectionRefusedError())


class Case:
    def __init__(self, sign_in: SignIn | None = None) -> None:
        self.clock = Clock()
        self.server = Server()
        self.link = RedisLink(self.clock, self.server, sign_in or SignIn("", "", 0), 2.0, "redis.test:6379")  # type: ignore[arg-type]

    def ask(self, *words: str) -> list[Any]:
        results: list[Any] = []
        self.link.ask(*(words or ("GET", "a"))).addBoth(results.append)
        return results

    def connected(self) -> Wire:
        wire = self.server.accept()
        assert wire.said() == b"*1\r\n$4\r\nPING\r\n"
        wire.protocol.dataReceived(b"+PONG\r\n")
        return wire


def unavailable(results: list[Any]) -> str:
    assert len(results) == 1
    assert results[0].check(SharedUnavailable), results
    return str(results[0].value)


def test_connecting_at_the_first_question() -> None:
    case = Case()
    assert not case.server.dialled and not case.clock.getDelayedCalls()
    one, two = case.ask(), case.ask("GET", "b")
    assert len(case.server.dialled) == 1
    wire = case.connected()
    assert wire.said() == b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"
    wire.protocol.dataReceived(b"$1\r\nx\r\n$-1\r")
    assert one == [b"x"] and not two
    wire.protocol.dataReceived(b"\n")
    assert two == [None]


def test_signing_in() -> None:
    case = Case(SignIn("gate", "secret", 3))
    case.ask()
    wire = case.server.accept()
    assert wire.said() == b"*3\r\n$4\r\nAUTH\r\n$4\r\ngate\r\n$6\r\nsecret\r\n"
    wire.protocol.dataReceived(b"+OK\r\n")
    assert wire.said() == b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
    wire.protocol.dataReceived(b"+OK\r\n")
    wire.protocol.dataReceived(b"+PONG\r\n")
    assert b"GET" in wire.said()
    assert "secret" not in repr(case.link.__dict__["_sign_in"])


def test_refused_sign_in_says_no_more_than_the_code() -> None:
    case = Case(SignIn("", "secret", 0))
    asked = case.ask()
    case.server.accept().protocol.dataReceived(b"-ERR unknown command `AUTH`, with args beginning with: `secret`\r\n")
    assert unavailable(asked) == "Redis at redis.test:6379 is away: it answers ERR to AUTH"
    assert "secret" not in unavailable(case.ask())
    assert case.clock.getDelayedCalls()


def test_away_is_away_at_once() -> None:
    case = Case()
    waiting = [case.ask() for _ in range(3)]
    case.server.refuse()
    for each in waiting:
        unavailable(each)
    for _ in range(100):
        assert "is away" in unavailable(case.ask())
    # One attempt at a time, at its time.
    assert not case.server.dialled and len(case.clock.getDelayedCalls()) == 1
    case.clock.advance(0.1)
    assert len(case.server.dialled) == 1
    unavailable(case.ask())
    case.connected()
    assert not case.ask()


def test_waits_double_and_are_random() -> None:
    case = Case()
    case.ask()
    waits = []
    for _ in range(12):
        case.server.refuse()
        (call,) = case.clock.getDelayedCalls()
        waits.append(call.getTime() - case.clock.seconds())
        case.clock.advance(waits[-1])
    assert all(0.05 * 2**n <= wait <= 0.1 * 2**n for n, wait in enumerate(waits[:5]))
    assert all(2.5 <= wait <= 5.0 for wait in waits[6:])


def test_no_answer_in_time() -> None:
    case = Case()
    case.ask()
    wire = case.connected()
    wire.protocol.dataReceived(b"$-1\r\n")
    case.clock.advance(10)
    first = case.ask()
    case.clock.advance(1.0)
    second = case.ask()
    assert not first and not second
    case.clock.advance(1.0)
    assert "no answer within 2s" in unavailable(first) and "no answer" in unavailable(second)
    assert wire.aborted and "no answer" in unavailable(case.ask())
    # Being connected is not being answered.
    case.clock.advance(0.1)
    late = case.server.accept()
    case.clock.advance(2.0)
    assert late.aborted and "no connection within 2s" in unavailable(case.ask())


def test_no_connection_in_time() -> None:
    case = Case()
    asked = case.ask()
    case.clock.advance(1.9)
    assert not asked
    case.clock.advance(0.1)
    assert "no connection within 2s" in unavailable(asked)
    assert case.server.cancelled == 1


def test_one_that_has_worked_is_replaced_at_once() -> None:
    case = Case()
    case.ask()
    wire = case.connected()
    wire.protocol.dataReceived(b"$-1\r\n")
    case.clock.advance(5)
    pending = case.ask()
    wire.protocol.connectionLost(Failure(ConnectionDone()))
    assert "lost" in unavailable(pending)
    waiting = case.ask()
    assert not waiting
    case.connected().protocol.dataReceived(b"$1\r\ny\r\n")
    assert waiting == [b"y"]


def test_one_that_is_lost_again_and_again_is_not() -> None:
    case = Case()
    case.ask()
    case.connected().protocol.connectionLost(Failure(ConnectionDone()))
    unavailable(case.ask())
    assert not case.server.dialled


def test_who_asks_again_when_it_is_lost() -> None:
    case = Case()
    results: list[Any] = []

    def again(failure: Failure) -> Deferred[Any]:
        failure.trap(SharedUnavailable)
        return case.link.ask("GET", "b")

    case.link.ask("GET", "a").addErrback(again).addBoth(results.append)
    wire = case.connected()
    case.clock.advance(1.5)
    wire.protocol.connectionLost(Failure(ConnectionDone()))
    assert not results
    case.connected().protocol.dataReceived(b"+b\r\n")
    assert results == [b"b"]


@pytest.mark.parametrize("code", [b"LOADING", b"READONLY", b"MASTERDOWN"])
def test_a_server_that_cannot_now(code: bytes) -> None:
    case = Case()
    asked = case.ask()
    wire = case.connected()
    wire.protocol.dataReceived(b"-" + code + b" not now\r\n")
    assert code.decode() in unavailable(asked)
    assert wire.aborted


def test_errors_are_answers() -> None:
    case = Case()
    asked = case.ask()
    wire = case.connected()
    wire.protocol.dataReceived(b"-WRONGTYPE secret\r\n")
    assert asked[0].check(Refused) and str(asked[0].value) == "WRONGTYPE"
    assert not wire.aborted


def test_who_gives_up_disturbs_nobody() -> None:
    case = Case()
    given_up = case.link.ask("GET", "a")
    failures: list[Any] = []
    given_up.addErrback(failures.append)
    given_up.cancel()
    wire = case.connected()
    assert wire.said() == b""
    second = case.link.ask("GET", "b")
    second.addErrback(failures.append)
    third = case.ask("GET", "c")
    second.cancel()
    wire.protocol.dataReceived(b"+b\r\n+c\r\n")
    assert third == [b"c"] and len(failures) == 2


def test_something_else_listens_there() -> None:
    case = Case()
    asked = case.ask()
    wire = case.server.accept()
    wire.protocol.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "not Redis' protocol" in unavailable(asked)


def test_no_more_than_so_many() -> None:
    case = Case()
    case.ask()
    case.connected()
    for _ in range(9999):
        case.link.ask("GET", "a").addErrback(lambda failure: None)
    assert "too much" in unavailable(case.ask())
    case.link.close()


def test_closing_leaves_nothing() -> None:
    for stage in range(4):
        case = Case()
        asked = case.ask() if stage else []
        if stage == 2:
            case.server.accept()
        elif stage == 3:
            case.connected()
        closed: list[Any] = []
        case.link.close().addCallback(closed.append)
        assert closed == [None] and not case.clock.getDelayedCalls(), stage
        if stage:
            unavailable(asked)
        unavailable(case.ask())
        assert not case.clock.getDelayedCalls()


_REPLIES: Any = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def encoded(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(encoded(each) for each in reply)


def depth(reply: Any) -> int:
    return 1 + max((depth(each) for each in reply), default=0) if isinstance(reply, list) else 0


@given(st.lists(_REPLIES.filter(lambda reply: depth(reply) < 8), min_size=1, max_size=5), st.data())
def test_replies_in_pieces(replies: list[Any], data: st.DataObject) -> None:
    text = b"".join(map(encoded, replies))
    lost: list[Any] = []
    protocol = RedisProtocol(lambda *given_: lost.append(given_))
    protocol.makeConnection(Wire())
    got: list[Any] = []
    for _ in replies:
        protocol.execute_command("GET", "a").addCallback(got.append)
    while text:
        size = data.draw(st.integers(1, len(text)))
        protocol.dataReceived(text[:size])
        text = text[size:]
    assert got == replies and not lost


@given(st.binary(max_size=60))
def test_any_bytes_are_a_reply_or_none(text: bytes) -> None:
    try:
        _, end = read_reply(bytearray(text), 0)
    except (NotRedis, _Incomplete):
        return
    assert end <= len(text)


@pytest.mark.parametrize("text", [b"$99999999999\r\n", b"*99999999999\r\n", b"!3\r\n", b"$x\r\n", b"*1\r\n" * 50])
def test_replies_that_are_not_waited_for(text: bytes) -> None:
    with pytest.raises(NotRedis):
        read_reply(bytearray(text), 0)
    with pytest.raises(NotRedis):
        read_reply(bytearray(b"+" + b"a" * 70000), 0)

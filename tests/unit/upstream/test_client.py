"""Requests of our own."""

from __future__ import annotations

from typing import Any

import pytest
from support_gate import OK, PLAIN, RawBackend, ok, take_head, values
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ksproxyd.model.message import Fields
from ksproxyd.testing import MemoryDialer, MemoryReactor, Peer
from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.client import Answer, Client, ClientStream
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.pool import UpstreamTimeouts
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.target import Target


class World:
    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        wheel = Wheel(self.reactor)
        wheel.start()
        self.dialer = MemoryDialer(self.reactor)
        self.backend = RawBackend()
        self.dialer.serve("http://backend.example", self.backend)  # type: ignore[arg-type]
        self.pools = Pools(self.dialer, wheel, UpstreamTimeouts())
        self.client = Client(self.pools, self.reactor)

    @property
    def peer(self) -> Peer:
        return self.backend.peers[-1]

    def request(self, method: bytes = b"GET", path: bytes = b"/x", *args: Any, limit: int = 100, **more: Any) -> Got:
        got = Got(self.client.request(PLAIN, method, path, *args, timeout=5.0, limit=limit, **more))
        self.reactor.settle()
        return got

    def stream(self) -> tuple[ClientStream, Sink]:
        sink = Sink()
        stream = self.client.stream(PLAIN, b"GET", b"/w", [], b"", sink)
        self.reactor.settle()
        return stream, sink


class Got:
    def __init__(self, deferred: Deferred[Answer]) -> None:
        self.deferred = deferred
        self.results: list[Any] = []
        deferred.addBoth(self.results.append)

    @property
    def answer(self) -> Answer:
        (found,) = self.results
        assert isinstance(found, Answer), found
        return found

    @property
    def error(self) -> UpstreamError:
        (found,) = self.results
        assert isinstance(found, Failure), found
        assert isinstance(found.value, UpstreamError), found
        return found.value


class Sink:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def head(self, status: int, fields: Fields) -> None:
        self.heard.append((status, fields.get(b"x-a")))

    def data(self, data: bytes) -> None:
        self.heard.append(data)

    def end(self) -> None:
        self.heard.append("end")

    def failed(self, error: UpstreamError) -> None:
        self.heard.append(error.kind)


@pytest.fixture
def world() -> World:
    return World()


def test_request(world: World) -> None:
    got = world.request(b"GET", b"/x?y=1", [(b"Accept", b"application/json"), (b"X-A", b"1")])
    assert world.peer.take() == (
        b"GET /x?y=1 HTTP/1.1\r\nHost: backend.example\r\nAccept: application/json\r\nX-A: 1\r\n\r\n"
    )
    assert not got.results
    world.peer.send(ok(b"fine", b"X-B: 2"))
    assert (got.answer.status, got.answer.body, got.answer.fields.get(b"x-b")) == (200, b"fine", b"2")


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
@pytest.mark.parametrize("body", [b"", b"body"])
def test_bodies_have_lengths(world: World, method: bytes, body: bytes) -> None:
    got = world.request(method, b"/x", [], body)
    head, _, rest = world.peer.take().partition(b"\r\n\r\n")
    assert values(head, "content-length") == [str(len(body))]
    assert rest == body
    world.peer.send(ok(b""))
    assert got.answer.status == 200


def test_host_may_be_another(world: World) -> None:
    world.request(b"GET", b"/x", [(b"X-A", b"1"), (b"host", b"other.example")]).deferred.cancel()
    head = world.peer.take()
    assert values(head, "host") == ["other.example"]


@pytest.mark.parametrize("host", ["a" * 63 + ".example", "a" * 63, "::1", "192.0.2.1"])
@pytest.mark.parametrize("port", [80, 8080])
def test_hosts_of_every_length(world: World, host: str, port: int) -> None:
    target = Target("http", host, port)
    world.dialer._backends[host, port] = (world.backend, None)  # type: ignore[assignment]
    got = Got(world.client.request(target, b"GET", b"/", timeout=5.0, limit=10))
    world.reactor.settle()
    bracketed = f"[{host}]" if ":" in host else host
    assert values(take_head(world.peer), "host") == [bracketed if port == 80 else f"{bracketed}:8080"]
    world.peer.send(ok(b"x"))
    assert got.answer.body == b"x"


def test_head_request(world: World) -> None:
    got = world.request(b"HEAD")
    world.peer.send(OK + b"Content-Length: 1000\r\n\r\n")
    assert (got.answer.status, got.answer.body) == (200, b"")


def test_interim_answers_are_skipped(world: World) -> None:
    got = world.request()
    world.peer.send(b"HTTP/1.1 103 x\r\nX-A: 1\r\n\r\n" + ok(b"fine"))
    assert got.answer.body == b"fine"


def test_one_connection_for_one_after_the_other(world: World) -> None:
    for n in range(5):
        got = world.request()
        world.peer.send(ok(b"%d" % n))
        assert got.answer.body == b"%d" % n
    assert len(world.backend.peers) == 1


def test_too_slow(world: World) -> None:
    got = world.request()
    world.peer.send(OK + b"Content-Length: 4\r\n\r\nfi")
    world.reactor.wait(4.0)
    assert not got.results
    world.reactor.wait(2.0)
    assert (got.error.kind, str(got.error)) == ("timeout", "no complete answer within 5 seconds")
    assert world.peer.reset


def test_too_slow_to_connect(world: World) -> None:
    world.dialer.silent.add(("backend.example", 80))
    got = world.request()
    world.reactor.wait(6.0)
    assert got.error.kind == "timeout"
    assert len(world.pools) == 0


def test_too_long(world: World) -> None:
    got = world.request(limit=10)
    world.peer.send(ok(b"x" * 11))
    assert (got.error.kind, str(got.error)) == ("protocol", "the answer is longer than 10 bytes")
    assert world.peer.reset
    world.reactor.wait(10.0)
    assert len(got.results) == 1


def test_just_not_too_long(world: World) -> None:
    got = world.request(limit=10)
    world.peer.send(ok(b"x" * 10))
    assert got.answer.body == b"x" * 10


@pytest.mark.parametrize("moment", ["connecting", "sent", "body", "over"])
def test_giving_up(world: World, moment: str) -> None:
    if moment == "connecting":
        world.dialer.silent.add(("backend.example", 80))
    got = world.request()
    if moment in ("body", "over"):
        world.peer.send(OK + b"Content-Length: 4\r\n\r\n" + (b"fine" if moment == "over" else b"fi"))
    got.deferred.cancel()
    world.reactor.settle()
    if moment == "over":
        assert got.answer.body == b"fine"
        return
    assert got.error.kind == "cancelled"
    assert len(world.pools) == 0
    assert moment == "connecting" or world.peer.reset
    world.reactor.wait(10.0)
    assert len(got.results) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(b"garbage", "protocol"), (b"", "closed"), (OK, "closed"), (OK + b"Content-Length: 4\r\n\r\nfi", "closed")],
)
def test_bad_answers(world: World, answer: bytes, kind: str) -> None:
    got = world.request()
    world.peer.send(answer)
    world.peer.finish()
    assert got.error.kind == kind
    assert len(world.pools) == 0


def test_switching_unasked(world: World) -> None:
    got = world.request()
    world.peer.send(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    assert got.error.kind == "protocol"
    assert not world.peer.open


@pytest.mark.parametrize(("method", "again"), [(b"GET", True), (b"HEAD", True), (b"POST", False), (b"PATCH", False)])
def test_a_stale_connection(world: World, method: bytes, again: bool) -> None:
    first = world.request()
    world.peer.send(ok(b"x"))
    assert first.answer.status == 200
    got = world.request(method)
    world.peer.finish()
    if not again:
        assert got.error.kind == "closed"
        return
    assert len(world.backend.peers) == 2
    world.peer.send(OK + b"Content-Length: 0\r\n\r\n")
    assert got.answer.status == 200


def test_refused(world: World) -> None:
    world.dialer.refusing.add(("backend.example", 80))
    assert world.request().error.kind == "connect"


# -- streams -------------------------------------------------------------------------------------------------------


def test_stream(world: World) -> None:
    _, sink = world.stream()
    world.peer.send(OK + b"X-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert sink.heard == [(200, b"1")]
    for n in range(3):
        world.peer.send(b"1\r\n%d\r\n" % n)
    world.peer.send(b"0\r\n\r\n")
    assert sink.heard == [(200, b"1"), b"0", b"1", b"2", "end"]


def test_stream_that_breaks_off(world: World) -> None:
    _, sink = world.stream()
    world.peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    world.peer.cut()
    assert sink.heard == [(200, None), b"a", "closed"]


def test_stream_that_is_cancelled_says_nothing_more(world: World) -> None:
    stream, sink = world.stream()
    world.peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    stream.cancel()
    stream.cancel()
    world.reactor.settle()
    assert world.peer.reset
    assert sink.heard == [(200, None)]


def test_stream_that_is_cancelled_by_its_sink(world: World) -> None:
    stream, sink = world.stream()
    sink.data = lambda data: stream.cancel()  # type: ignore[method-assign]
    world.peer.send(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert sink.heard == [(200, None)]
    assert world.peer.reset


def test_stream_that_is_paused(world: World) -> None:
    stream, sink = world.stream()
    world.peer.send(OK + b"\r\n")
    stream.pause()
    world.peer.write(b"x" * 1_000_000)
    world.reactor.settle()
    assert sink.heard == [(200, None)]
    assert world.peer.unsent > 900_000
    stream.resume()
    world.reactor.settle()
    assert sum(len(data) for data in sink.heard[1:]) == 1_000_000
    stream.cancel()
    stream.pause()
    stream.resume()


def test_mistakes_of_ours_are_told(world: World, logged_errors: Any) -> None:
    """A sink that raises is not left waiting for an end."""
    sink = Sink()

    def broken(status: int, fields: Fields) -> None:
        raise ZeroDivisionError

    sink.head = broken  # type: ignore[method-assign]
    world.client.stream(PLAIN, b"GET", b"/", [], b"", sink)
    world.reactor.settle()
    world.peer.send(ok(b"x"))
    assert sink.heard == ["protocol"]
    assert len(logged_errors.take()) == 1
    assert world.peer.reset

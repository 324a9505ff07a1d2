"""Answers whose bodies are rewritten, from the backend's socket to the client's."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from support_gate import OK, Gate, ok, take_head
from support_policy import Cell, Policy

from ksproxyd.server.exchange import Exchange
from ksproxyd.tree.recode import STEP_BYTES
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.plan import Answer, BodyFilter
from ksproxyd.upstream.relay import Proxy

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Upper:
    """Upper case, a step for every 1000 bytes; a ``!`` is broken, a ``?`` is a mistake of ours."""

    def __init__(self, take: Any = None) -> None:
        self._take = take
        self.steps_done = 0

    def steps(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), 1000):
            piece = data[start : start + 1000]
            if b"!" in piece:
                raise UpstreamError("protocol", "the body is broken")
            if b"?" in piece:
                raise ZeroDivisionError
            self.steps_done += 1
            if self._take is not None:
                self._take()
            yield piece.upper()

    def end(self) -> bytes:
        return b"."


class Longer(Upper):
    """Ten times as long."""

    def steps(self, data: bytes) -> Iterator[bytes]:
        return (piece * 10 for piece in super().steps(data))


class Unpacked:
    """Undoes gzip, so that what goes out is as long as the page."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(31)
        self.given = 0

    def steps(self, data: bytes) -> Iterator[bytes]:
        while data:
            text = self._inflate.decompress(data, STEP_BYTES)
            data = self._inflate.unconsumed_tail
            self.given += len(text)
            yield text

    def end(self) -> bytes:
        return b""


class Short(Upper):
    def end(self) -> bytes:
        raise UpstreamError("protocol", "the body ends early")


class Filtered(Gate):
    """Puts every body through ``make()``. ``step`` seconds is what a step takes; None: no time at all."""

    def __init__(self, make: Any = Upper, step: float | None = None, **options: Any) -> None:
        self.policy, self.cell = Policy(), Cell()
        super().__init__(policy=self.policy, cell=self.cell, on_answer=self._on_answer, **options)
        self.filters: list[BodyFilter] = []
        self._make = make
        self.spent = 0.0
        if step is not None:
            self.proxy = Proxy(self.reactor, lambda: self.spent)
        self._step = step

    def _on_answer(self, exchange: Exchange, answer: Answer) -> None:
        made = self._make()
        if self._step is not None:
            made._take = self._pass_time
        self.filters.append(made)
        answer.body = made

    def _pass_time(self) -> None:
        assert self._step is not None
        self.spent += self._step

    def close(self) -> None:
        super().close()
        assert not self.policy.inside


def test_a_body_in_pieces() -> None:
    with Filtered() as gate:
        client = gate.get()
        take_head(gate.peer)
        gate.peer.send(CHUNKED)
        gate.peer.send(b"3\r\nabc\r\n")
        assert client.next_answer() is None
        assert client.partial is not None and client.partial.body == b"ABC"
        gate.peer.send(b"3\r\ndef\r\n0\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"ABCDEF.")
        assert gate.policy.told == ["answered 200", "done"]
        assert gate.pool.idle == 1


def test_a_head_without_its_body_yet() -> None:
    with Filtered() as gate:
        client = gate.get()
        gate.peer.send(CHUNKED)
        assert client.next_answer() is None
        assert client.partial is not None and client.partial.status == 200
        gate.peer.send(b"0\r\n\r\n")
        assert client.answer().body == b"."


@pytest.mark.parametrize("step", [None, 0.001, 0.1])
def test_long_bodies_and_the_requests_behind_them(step: float | None) -> None:
    body = b"".join(b"%07d " % number for number in range(50_000))
    with Filtered(step=step) as gate:
        client = gate.connect()
        for path in ("/one", "/two"):
            gate.get(path, client=client)
        for path in (b"/one", b"/two"):
            assert take_head(gate.peer).split(b" ")[1] == path
            gate.peer.send(ok(body))
        # The upper case of digits is digits: order and completeness are what shows.
        assert [client.answer().body, client.answer().body] == [body + b"."] * 2
        assert len(gate.backend.peers) == 1
        assert gate.policy.told == ["answered 200", "done"] * 2


def test_the_backend_is_not_read_while_there_is_work() -> None:
    reading: list[bool] = []
    with Filtered(step=0.1) as gate:
        client = gate.get()
        gate.peer.send(OK + b"Content-Length: 300000\r\n\r\n")
        relay: Any = getattr(gate.handled[0].on_gone, "__self__", None)
        transport = relay.connection.transport
        made: Any = gate.filters[0]

        def look() -> None:
            gate._pass_time()
            reading.append(transport.reading)

        made._take = look
        gate.peer.send(b"x" * 300_000)
        assert client.answer().body == b"X" * 300_000 + b"."
        # Pieces of 64 KiB, the first step of each as it arrives. With the last the connection is back in the pool.
        assert len(reading) == made.steps_done
        assert reading == [*([True] + [False] * 65) * 4, *[True] * 38]


@pytest.mark.parametrize("framing", [b"Content-Length: 3000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("step", [None, 0.1])
def test_a_body_that_cannot_be_rewritten(framing: bytes, complete: bool, step: float | None) -> None:
    with Filtered(step=step) as gate:
        client = gate.get()
        chunked = b"chunked" in framing
        body = b"a" * 2000 + b"!" + b"b" * 999
        data = b"bb8\r\n" + body + b"\r\n0\r\n\r\n" if chunked else body
        gate.peer.send(OK + framing + b"\r\n\r\n" + (data if complete else data[:2500]))
        assert client.next_answer() is None
        # What came before it goes out; then the connection breaks, so that nobody takes the page for whole.
        assert client.partial is not None
        assert client.partial.body in (b"A" * 1000, b"A" * 2000)
        assert client.reset
        assert gate.policy.told == ["answered 200", "failed protocol: the body is broken", "done"]
        assert gate.cell.failures == ["protocol"]
        if not complete:
            # Nothing that follows could be told from the rest of this answer.
            assert not gate.peer.open
            assert gate.pool.idle == 0


@pytest.mark.parametrize("data", [OK + b"Content-Length: 3\r\n\r\nabc", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"])
def test_a_body_that_ends_early_under_its_coding(data: bytes) -> None:
    with Filtered(Short) as gate:
        client = gate.get()
        gate.peer.send(data)
        assert client.next_answer() is None
        assert client.partial is not None and client.partial.body == b"ABC"
        assert client.reset
        assert gate.policy.told == ["answered 200", "failed protocol: the body ends early", "done"]
        assert gate.cell.failures == ["protocol"]


def test_a_mistake_of_ours(logged_errors: Any) -> None:
    with Filtered() as gate:
        client = gate.get()
        gate.peer.send(OK + b"Content-Length: 100\r\n\r\n?")
        assert client.next_answer() is None
        assert client.reset
        assert not gate.peer.open
        assert gate.policy.told == ["answered 200", "done"]
    (event,) = logged_errors.take()
    assert event["log_failure"].check(ZeroDivisionError)


@pytest.mark.parametrize("step", [None, 0.1])
def test_an_answer_that_breaks_off(step: float | None) -> None:
    with Filtered(step=step) as gate:
        client = gate.get()
        gate.peer.send(OK + b"Content-Length: 9000\r\n\r\n" + b"a" * 5000)
        gate.peer.cut()
        assert client.next_answer() is None
        assert client.partial is not None and client.partial.body == b"A" * 5000
        assert client.reset
        assert gate.policy.told[0] == "answered 200" and gate.policy.told[-1] == "done"
        assert gate.policy.told[1].startswith("failed closed")
        assert gate.cell.failures == ["closed"]


def test_an_answer_that_breaks_off_while_there_is_work() -> None:
    with Filtered(step=0.1) as gate:
        client = gate.get()
        gate.peer.write(OK + b"Content-Length: 90000\r\n\r\n" + b"a" * 50_000)
        gate.peer.finish()
        assert client.next_answer() is None
        assert client.partial is not None and client.partial.body == b"A" * 50_000
        assert client.reset
        assert gate.cell.failures == ["closed"]


def test_a_body_that_lasts_until_the_end_of_the_connection() -> None:
    with Filtered(step=0.1) as gate:
        client = gate.get()
        gate.peer.write(OK + b"\r\n" + b"a" * 20_000)
        gate.peer.finish()
        assert client.answer().body == b"A" * 20_000 + b"."


@pytest.mark.parametrize("complete", [False, True])
def test_a_client_that_does_not_keep_up(complete: bool) -> None:
    """A short piece that stands for a very long page is not expanded for somebody who does not read it."""
    page = b"x" * (4 * 1024 * 1024)
    packed = gzip.compress(page, 6)
    assert len(packed) < 5000
    with Filtered(Unpacked) as gate:
        client = gate.connect(capacity=10_000)
        client.reading = False
        gate.get(client=client)
        data = b"Content-Length: %d\r\n\r\n" % (len(packed) + (0 if complete else 1))
        gate.peer.send(OK + data + packed)
        made = gate.filters[0]
        assert isinstance(made, Unpacked)
        assert made.given < 200_000
        gate.wait(5)
        assert made.given < 200_000
        if complete:
            client.reading = True
            gate.reactor.settle()
            assert client.answer().body == page
            assert gate.policy.told == ["answered 200", "done"]
        else:
            # A client that never reads is given up, and the work with it.
            gate.wait(120)
            assert made.given < 200_000
            assert not gate.policy.inside


@pytest.mark.parametrize("complete", [False, True])
def test_a_client_that_leaves_in_the_middle(complete: bool) -> None:
    with Filtered(Longer) as gate:
        client = gate.connect(capacity=1000)
        client.reading = False
        gate.get(client=client)
        gate.peer.send(OK + b"Content-Length: %d\r\n\r\n" % (60_000 + (not complete)) + b"a" * 60_000)
        made = gate.filters[0]
        assert isinstance(made, Upper)
        assert gate.policy.inside
        done = made.steps_done
        assert 0 < done < 60
        client.cut()
        assert not gate.policy.inside
        assert gate.policy.told == ["answered 200", "done"]
        gate.wait(1)
        assert made.steps_done == done
        assert gate.pool.size == (1 if complete else 0)


def test_head_requests_have_no_body_to_rewrite() -> None:
    with Filtered() as gate:
        client = gate.get(method="HEAD")
        gate.peer.send(OK + b"Content-Length: 100\r\n\r\n")
        answer = client.answer("HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.get("Content-Length") is None
        assert gate.pool.idle == 1


def test_many_pages_at_once() -> None:
    with Filtered(step=0.002) as gate:
        clients = [gate.get(f"/{number}") for number in range(8)]
        for number, peer in enumerate(gate.backend.peers):
            peer.write(ok(b"%d" % number * 20_000))
        gate.reactor.settle()
        assert [client.answer().body for client in clients] == [b"%d" % number * 20_000 + b"." for number in range(8)]

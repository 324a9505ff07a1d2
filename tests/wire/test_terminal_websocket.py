"""The browser's end of a terminal, alone: frames as they may come and as they may not (RFC 6455; spec 05, 7.4)."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support_websocket import ACCEPT, BINARY, CLOSE, KEY, PING, PONG, TEXT, Browser, Got, frame, handshake

from ksproxyd.server.exchange import Exchange
from ksproxyd.terminal.websocket import BROKEN, NO_CODE, WebSocket, WebSockets
from ksproxyd.testing import MemoryServer
from ksproxyd.testing.sockets import CAPACITY

LIMIT = 2**20


class World:
    """A server that accepts every handshake, and what its end points are told."""

    def __init__(self, protocol: str = "") -> None:
        self.server = MemoryServer(self.handle)
        self.sockets = WebSockets(
            self.server.reactor,  # type: ignore[arg-type]
            max_message=LIMIT,
            ping_interval=25.0,
            pong_timeout=60.0,
            linger=10.0,
        )
        self.protocol = protocol
        self.messages: list[tuple[bytes, bool]] = []
        self.drained: list[bool] = []
        self.ends: list[tuple[int, str]] = []
        self.socket: WebSocket
        self.broken = False

    def handle(self, exchange: Exchange) -> None:
        key = exchange.fields.get(b"sec-websocket-key")
        assert key is not None
        self.socket = self.sockets.accept(exchange, key, self.protocol)
        self.socket.begin(self)

    def message(self, payload: bytes, binary: bool) -> None:
        if self.broken:
            raise RuntimeError("a mistake")
        self.messages.append((payload, binary))

    def browser_drained(self, below: bool) -> None:
        self.drained.append(below)

    def gone(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))

    def browser(self, early: bytes = b"", capacity: int = CAPACITY) -> Browser:
        made = Browser(self.server.connect(capacity=capacity))
        more = (f"Sec-WebSocket-Protocol: {self.protocol}",) if self.protocol else ()
        assert made.open(handshake("/", *more, "Sec-WebSocket-Extensions: permessage-deflate") + early).status == 101
        return made

    def close(self) -> None:
        self.server.close()
        assert not self.sockets.open
        assert not self.server.reactor.getDelayedCalls()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_nothing_installs_a_reactor() -> None:
    code = "import sys, ksproxyd.terminal.websocket; sys.exit('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_the_handshake(world: World) -> None:
    head = world.browser().head
    assert head is not None
    assert sorted((name.lower(), value.lower()) for name, value in head.headers) == [
        (b"connection", b"upgrade"),
        (b"sec-websocket-accept", ACCEPT.lower().encode()),
        (b"upgrade", b"websocket"),
    ]
    assert head.get("Sec-WebSocket-Accept") == ACCEPT.encode()


def test_a_subprotocol() -> None:
    world = World("v5.channel.k8s.io")
    head = world.browser().head
    assert head is not None
    assert head.get("Sec-WebSocket-Protocol") == b"v5.channel.k8s.io"
    world.close()


def test_a_handshake_that_nobody_checked() -> None:
    world = World()
    with MemoryServer(lambda exchange: exchange.abort()) as server:
        client = server.connect()
        client.send(handshake())
        exchange = server.handled[0]
        with pytest.raises(ValueError, match="not checked"):
            world.sockets.accept(exchange, b"short")
        assert not exchange.hijacked
    world.close()


@pytest.mark.parametrize("at_once", [0, 1, 7])
def test_messages_both_ways(world: World, at_once: int) -> None:
    browser = world.browser()
    browser.send("grüße", at_once=at_once)
    browser.send(b"\0\xff" * 400, at_once=at_once)
    browser.send("", at_once=at_once)
    browser.client.send(frame(TEXT, b"in ", final=False), at_once=at_once)
    browser.client.send(frame(PING, b"meanwhile"), at_once=at_once)
    browser.client.send(frame(0, b"", final=False) + frame(0, b"pieces"), at_once=at_once)
    assert world.messages == [
        ("grüße".encode(), False),
        (b"\0\xff" * 400, True),
        (b"", False),
        (b"in pieces", False),
    ]
    world.socket.send("<ü>" * 40_000)
    world.socket.send_bytes(b"\0" * 200)
    assert browser.frames() == [
        Got(PONG, b"meanwhile"),
        Got(TEXT, ("<ü>" * 40_000).encode()),
        Got(BINARY, b"\0" * 200),
    ]


def test_more_is_sent_than_may_be_received(world: World) -> None:
    browser = world.browser()
    world.socket.send("x" * (2 * LIMIT))
    assert [len(text) for text in browser.texts()] == [2 * LIMIT]


def test_what_comes_with_the_handshake(world: World) -> None:
    browser = world.browser(frame(TEXT, b"early") + frame(PING))
    assert world.messages == [(b"early", False)]
    assert browser.frames() == [Got(PONG, b"")]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1007, 1009, 1011, 1013, 4401, 4410])
def test_our_goodbye(world: World, code: int) -> None:
    browser = world.browser()
    world.socket.send("last words")
    world.socket.close(code, "das wär's")
    world.socket.close(1000, "twice")
    world.socket.send("too late")
    assert browser.frames() == [Got(TEXT, b"last words"), Got(CLOSE, struct.pack("!H", code) + "das wär's".encode())]
    browser.send("nobody listens")
    assert world.messages == []
    assert world.ends == []
    browser.close(code, "")
    assert (world.ends, browser.client.ended, browser.client.reset) == ([(code, "")], True, False)
    assert world.server.finished[0].status == 101


def test_a_long_reason_is_cut_between_characters(world: World) -> None:
    browser = world.browser()
    world.socket.close(1011, "ü" * 100)
    assert browser.frames()[0].reason == "ü" * 61


def test_a_browser_that_does_not_answer_our_goodbye(world: World) -> None:
    browser = world.browser()
    world.socket.close(4408, "idle")
    world.server.wait(9.0)
    assert (world.ends, browser.client.open) == ([], True)
    world.server.wait(2.0)
    assert world.ends == [(BROKEN, "the browser did not say goodbye")]
    assert browser.client.ended


@pytest.mark.parametrize(
    ("payload", "answer", "told"),
    [
        (b"\x03\xe8", b"\x03\xe8", (1000, "")),
        (b"\x03\xe9bye", b"\x03\xe9bye", (1001, "bye")),
        (b"", b"", (NO_CODE, "")),
        (b"\x0f\xa0x", b"\x0f\xa0x", (4000, "x")),
    ],
)
def test_the_goodbye_of_a_browser(world: World, payload: bytes, answer: bytes, told: tuple[int, str]) -> None:
    browser = world.browser()
    browser.client.send(frame(CLOSE, payload))
    assert browser.frames() == [Got(CLOSE, answer)]
    assert (world.ends, browser.client.ended, browser.client.reset) == ([told], True, False)
    world.socket.send("late")
    world.socket.close(1000)
    world.socket.pause()
    world.socket.resume()
    assert world.socket.pending == 0


@pytest.mark.parametrize("way", ["finish", "cut"])
def test_a_browser_that_leaves_without_a_word(world: World, way: str) -> None:
    browser = world.browser()
    getattr(browser.client, way)()
    assert [code for code, _ in world.ends] == [BROKEN]
    assert not world.sockets.open


BAD = [
    ("not UTF-8", frame(TEXT, b"\xff"), 1007),
    ("half a character", frame(TEXT, b"\xe2\x82"), 1007),
    ("half a character in pieces", frame(TEXT, b"\xe2", final=False) + frame(0, b"\x82"), 1007),
    ("not masked", frame(TEXT, b"x", mask=None), 1002),
    ("an extension", frame(TEXT, b"x", rsv=4), 1002),
    ("a kind that is not there", frame(3, b"x"), 1002),
    ("a control kind that is not there", frame(11, b"x"), 1002),
    ("a continuation of nothing", frame(0, b"x"), 1002),
    ("a message within another", frame(TEXT, b"x", final=False) + frame(TEXT, b"y"), 1002),
    ("a control frame in pieces", frame(PING, b"x", final=False), 1002),
    ("a long control frame", frame(PING, b"x" * 126), 1002),
    ("a close frame of one byte", frame(CLOSE, b"x"), 1002),
    ("a code that is not there", frame(CLOSE, b"\x03\xec"), 1002),
    ("a reason that is not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), 1007),
    ("a long message", frame(BINARY, b"x" * (LIMIT + 1)), 1009),
    ("a long message in pieces", frame(BINARY, b"x" * LIMIT, final=False) + frame(0, b"x"), 1009),
    ("many pieces", frame(BINARY, b"", final=False) + frame(0, b"", final=False) * 128, 1009),
    ("a length that is not the shortest", b"\x81\xfe\x00\x01abcdx", 1002),
]


@pytest.mark.parametrize(("sent", "code"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_what_is_not_allowed(world: World, sent: bytes, code: int) -> None:
    browser = world.browser()
    browser.client.send(sent + frame(TEXT, b"nobody listens any more"))
    got = browser.frames()
    assert [(each.opcode, each.code) for each in got] == [(CLOSE, code)]
    assert world.messages == []
    if not browser.client.ended:
        browser.close(code)
    assert len(world.ends) == 1
    assert (browser.client.ended, browser.client.reset) == (True, False)


def test_the_largest_message(world: World) -> None:
    browser = world.browser()
    browser.send(b"x" * LIMIT)
    browser.client.send(frame(BINARY, b"", final=False) + frame(0, b"y", final=False) * 126 + frame(0, b"z"))
    assert [len(payload) for payload, _ in world.messages] == [LIMIT, 127]


def test_what_follows_a_violation_is_not_kept(world: World) -> None:
    browser = world.browser()
    # A control frame that says it has as many bytes as there can be.
    browser.client.send(b"\x89\xff" + b"\x7f" + b"\xff" * 7 + b"abcd")
    assert browser.frames()[0].code == 1002
    for _ in range(40):
        browser.client.send(b"x" * 65536)
    rules = world.socket._rules
    assert len(rules.data) < 65536
    assert sum(map(len, rules.control_frame_data)) == 0
    world.server.wait(11.0)
    assert world.ends == [(BROKEN, "the browser did not say goodbye")]


def test_a_violation_after_our_goodbye(world: World) -> None:
    browser = world.browser()
    world.socket.close(4408)
    browser.client.send(frame(TEXT, b"\xff"))
    assert [code for code, _ in world.ends] == [BROKEN]
    assert browser.client.ended


def test_a_mistake_of_ours_is_not_the_end_of_everything(world: World, logged_errors: Any) -> None:
    other = world.browser()
    browser = world.browser()
    world.broken = True
    browser.send("x")
    assert [each.code for each in browser.frames()] == [1011]
    assert len(logged_errors.take()) == 1
    world.broken = False
    other.send("y")
    assert world.messages == [(b"y", False)]


# -- time ----------------------------------------------------------------------------------------------------------


def test_a_browser_that_is_there(world: World) -> None:
    browser = world.browser()
    for _ in range(20):
        world.server.wait(25.0)
        assert browser.frames() == [Got(PING, b"")]
        browser.client.send(frame(PONG))
    assert world.ends == []


def test_one_that_only_sends(world: World) -> None:
    browser = world.browser()
    for _ in range(10):
        world.server.wait(25.0)
        browser.send("x")
    assert world.ends == []


def test_one_that_is_not_there_any_more(world: World) -> None:
    browser = world.browser()
    world.server.wait(30.0)
    browser.client.send(frame(PONG))
    browser.client.reading = False
    world.server.wait(59.0)
    assert world.ends == []
    world.server.wait(1.5)
    assert world.ends == [(BROKEN, "the browser does not answer any more")]


def test_one_that_does_not_read_is_somebody_elses_business(world: World) -> None:
    browser = world.browser(capacity=65536)
    browser.client.reading = False
    world.socket.send("x" * 300_000)
    world.server.wait(300.0)
    assert world.ends == []
    browser.client.reading = True
    assert sum(len(text) for text in (each.payload for each in browser.frames() if each.opcode == TEXT)) == 300_000


# -- flow ----------------------------------------------------------------------------------------------------------


def test_a_browser_that_reads_slowly(world: World) -> None:
    browser = world.browser(capacity=65536)
    browser.client.reading = False
    for _ in range(10):
        world.socket.send("x" * 30_000)
    world.server.reactor.settle()
    assert world.drained == [False]
    assert 200_000 < world.socket.pending < 300_100
    browser.client.reading = True
    assert len(browser.texts()) == 10
    assert (world.drained, world.socket.pending) == ([False, True], 0)


def test_a_goodbye_waits_for_a_slow_browser(world: World) -> None:
    browser = world.browser(capacity=4096)
    browser.client.reading = False
    world.socket.send("x" * 100_000)
    world.socket.close(1000, "exited 0")
    for _ in range(5):
        world.server.wait(8.0)
        browser.read_some(4096)
    browser.client.reading = True
    assert [each.opcode for each in browser.frames()] == [TEXT, CLOSE]


def test_a_goodbye_that_nobody_reads(world: World) -> None:
    browser = world.browser(capacity=4096)
    browser.client.reading = False
    world.socket.send("x" * 100_000)
    world.socket.close(1000, "exited 0")
    world.server.wait(30.0)
    assert [code for code, _ in world.ends] == [BROKEN]
    assert not world.server.server.connections


def test_pings_of_one_that_does_not_read_are_not_kept(world: World) -> None:
    browser = world.browser(capacity=4096)
    browser.client.reading = False
    for _ in range(100):
        browser.client.send(frame(PING, b"x" * 125) * 100)
    assert world.socket.pending < 300 * 1024


def test_pausing(world: World) -> None:
    browser = world.browser()
    world.socket.pause()
    browser.send("one")
    assert world.messages == []
    assert not browser.client.transport.reading
    world.server.wait(200.0)
    world.socket.resume()
    world.server.reactor.settle()
    assert world.messages == [(b"one", False)]
    browser.send("two")
    assert len(world.messages) == 2
    world.server.wait(59.0)
    assert world.ends == []


def test_what_came_at_once_can_be_held_up(world: World) -> None:
    browser = world.browser()
    told: list[bytes] = []

    def message(payload: bytes, binary: bool) -> None:
        told.append(payload)
        world.socket.pause()

    world.message = message  # type: ignore[method-assign]
    browser.client.send(frame(TEXT, b"x") * 5000)
    # As many as one look takes.
    assert 0 < len(told) < 200
    for _ in range(200):
        world.socket.resume()
    world.server.reactor.settle()
    assert len(told) == 5000


def test_resuming_within_a_message(world: World) -> None:
    browser = world.browser()
    told: list[bytes] = []

    def message(payload: bytes, binary: bool) -> None:
        told.append(payload)
        world.socket.pause()
        world.socket.resume()

    world.message = message  # type: ignore[method-assign]
    browser.client.send(b"".join(frame(TEXT, b"%d" % each) for each in range(3000)))
    assert told == [b"%d" % each for each in range(3000)]


def test_leaving_is_noticed_while_nothing_is_read(world: World) -> None:
    browser = world.browser()
    world.socket.pause()
    browser.client.close()
    world.server.wait(26.0)
    assert [code for code, _ in world.ends] == [BROKEN]


def test_random_pieces(world: World) -> None:
    data = os.urandom(300_000)
    browser = world.browser()
    sent = b"".join(frame(BINARY, data[at : at + 7000]) for at in range(0, len(data), 7000))
    browser.client.send(sent, at_once=1777)
    assert b"".join(payload for payload, _ in world.messages) == data
    assert KEY

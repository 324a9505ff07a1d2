"""An exec towards a cluster whose bytes are in the test's hands (spec 05, 10)."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support_gate import PLAIN, Gate, take_head

from ksproxyd.terminal.channels import V4, V5
from ksproxyd.terminal.execution import ExecRequest, Execution, Executions
from ksproxyd.terminal.exit_status import EXITED, LOST, NOT_STARTED, REFUSED, Ended
from ksproxyd.terminal.frames import masked
from ksproxyd.testing import Peer
from ksproxyd.upstream.target import Target

REQUEST = ExecRequest("demo", "web-0", "app", ("bash", "-c", "a b&c"))
SUCCESS = b'\x03{"metadata":{},"status":"Success"}'


class Access:
    """An API server that stays where it is."""

    path_prefix = b"/prefix"
    target = PLAIN

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"Authorization", b"Bearer gateway"),)

    def subscribe(self, callback: Callable[[Target, Target], None]) -> Callable[[], None]:
        return lambda: None


class Told:
    """What an exec has said."""

    def __init__(self) -> None:
        self.began = 0
        self.out = b""
        self.err = b""
        self.result: Ended | None = None
        self.ends = 0

    def started(self) -> None:
        assert not self.ends
        self.began += 1

    def output(self, data: bytes, stderr: bool) -> None:
        assert not self.ends
        if stderr:
            self.err += data
        else:
            self.out += data

    def ended(self, result: Ended) -> None:
        self.result = result
        self.ends += 1


class Cluster:
    """A gate, the execs that begin there, and the server's side of the last one."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.executions = Executions(
            self.gate.reactor,  # type: ignore[arg-type]
            self.gate.pools,
            Access(),
            lambda size: b"\x05" * size,
            start_timeout=30.0,
            ping_interval=25.0,
            pong_timeout=60.0,
        )
        self.told = Told()

    @property
    def peer(self) -> Peer:
        return self.gate.peer

    def begin(self, request: ExecRequest = REQUEST) -> Execution:
        self.told = Told()
        execution = self.executions.begin(request, self.told)
        self.gate.reactor.settle()
        return execution

    def accept(self, protocol: str = V5, *, key: str = "", upgrade: str = "websocket", rest: bytes = b"") -> None:
        head = take_head(self.peer)
        if not key:
            key = next(line for line in head.decode().split("\r\n") if line.startswith("Sec-WebSocket-Key: "))[19:]
        digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self.peer.send(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
            + rest
        )

    def sent(self) -> list[tuple[int, bytes]]:
        """The frames that the gateway has sent since."""
        self.gate.reactor.settle()
        data, found = self.peer.take(), []
        while data:
            opcode, length, at = data[0] & 15, data[1] & 127, 2
            assert data[1] & 128
            if length == 126:
                (length,) = struct.unpack("!H", data[2:4])
                at = 4
            elif length == 127:
                (length,) = struct.unpack("!Q", data[2:10])
                at = 10
            found.append((opcode, masked(data[at + 4 : at + 4 + length], data[at : at + 4])))
            data = data[at + 4 + length :]
        return found

    def say(self, payload: bytes, opcode: int = 2) -> None:
        size = len(payload)
        head = bytes([0x80 | opcode, size]) if size < 126 else struct.pack("!BBH", 0x80 | opcode, 126, size)
        self.peer.send(head + payload)

    def close(self) -> None:
        self.executions.stop()
        self.gate.reactor.settle()
        assert not self.executions.open
        self.gate.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


def test_the_request(cluster: Cluster) -> None:
    cluster.begin()
    lines = take_head(cluster.peer).decode().split("\r\n")
    assert lines[0] == (
        "GET /prefix/api/v1/namespaces/demo/pods/web-0/exec?command=bash&command=-c&command=a%20b%26c"
        "&container=app&stdin=true&stdout=true&tty=true HTTP/1.1"
    )
    assert sorted(lines[1:-2]) == [
        "Authorization: Bearer gateway",
        "Connection: Upgrade",
        "Host: backend.example",
        "Sec-WebSocket-Key: BQUFBQUFBQUFBQUFBQUFBQ==",
        "Sec-WebSocket-Protocol: v5.channel.k8s.io, v4.channel.k8s.io",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
    ]


@pytest.mark.parametrize("protocol", [V5, V4])
def test_a_session(cluster: Cluster, protocol: str) -> None:
    execution = cluster.begin()
    execution.resize(80, 24)
    execution.write(b"early")
    cluster.accept(protocol, rest=b"\x82\x01\x01")
    assert (cluster.told.began, execution.protocol, cluster.told.out) == (1, protocol, b"")
    assert cluster.sent() == [(2, b'\x04{"Width":80,"Height":24}\n'), (2, b"\x00early")]
    cluster.say(b"\x01hello ")
    cluster.say(b"\x01world")
    cluster.say(b"\x02oops")
    cluster.say(b"\x09unknown")
    cluster.say(b"")
    execution.write(b"x" * 70_000)
    assert [len(payload) for _, payload in cluster.sent()] == [32769, 32769, 4465]
    execution.close_stdin()
    assert cluster.sent() == ([(2, b"\xff\x00")] if protocol == V5 else [])
    cluster.say(b'\x03{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":'
                b'[{"reason":"ExitCode","message":"3"}]}}')  # fmt: skip
    # The tail may come behind the status.
    cluster.say(b"\x01!")
    assert cluster.told.ends == 0
    cluster.say(b"\x03\xe8", 8)
    assert cluster.told.result == Ended(EXITED, 3, "NonZeroExitCode")
    assert (cluster.told.out, cluster.told.err, cluster.told.ends) == (b"hello world!", b"oops", 1)
    assert (execution.typed, execution.printed) == (70_005, 16)
    execution.write(b"late")
    execution.resize(1, 1)


def test_a_server_that_waits_for_us_to_go(cluster: Cluster) -> None:
    cluster.begin()
    cluster.accept()
    cluster.say(SUCCESS)
    cluster.gate.reactor.wait(0.3)
    cluster.say(b"\x01tail")
    cluster.gate.reactor.wait(0.3)
    assert cluster.told.ends == 0
    cluster.gate.reactor.wait(1.0)
    assert (cluster.told.result, cluster.told.out) == (Ended(EXITED), b"tail")


def test_what_is_not_read_is_not_given_up(cluster: Cluster) -> None:
    execution = cluster.begin()
    cluster.accept()
    execution.pause()
    cluster.say(b"\x01" + b"x" * 1000)
    cluster.say(SUCCESS)
    cluster.gate.reactor.wait(300.0)
    assert (cluster.told.out, cluster.told.ends) == (b"", 0)
    execution.resume()
    cluster.gate.reactor.wait(2.0)
    assert (len(cluster.told.out), cluster.told.result) == (1000, Ended(EXITED))


@pytest.mark.parametrize(
    ("end", "message"),
    [("finish", "the connection to the cluster ended"), ("cut", "the connection to the cluster broke")],
)
def test_a_connection_that_breaks(cluster: Cluster, end: str, message: str) -> None:
    cluster.begin()
    cluster.accept()
    cluster.say(b"\x01a")
    getattr(cluster.peer, end)()
    cluster.gate.reactor.settle()
    assert cluster.told.result is not None
    assert cluster.told.result.kind == LOST
    assert cluster.told.ends == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            404,
            {"kind": "Status", "reason": "NotFound", "message": 'pods "web-0" not found'},
            Ended(REFUSED, 404, "NotFound", 'pods "web-0" not found'),
        ),
        (403, None, Ended(REFUSED, 403)),
        (500, [], Ended(REFUSED, 500)),
        (302, None, Ended(REFUSED, 302)),
        (200, {"message": 3}, Ended(REFUSED, 200)),
    ],
)
def test_refusals(cluster: Cluster, status: int, body: Any, expected: Ended) -> None:
    cluster.begin()
    take_head(cluster.peer)
    content = b"" if body is None else json.dumps(body).encode()
    more = "Location: http://elsewhere.example/\r\n" if status == 302 else ""
    cluster.peer.send(f"HTTP/1.1 {status} X\r\n{more}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    assert (cluster.told.result, cluster.told.began) == (expected, 0)
    assert len(cluster.gate.backend.peers) == 1


@pytest.mark.parametrize(
    "wrong", [{"protocol": "v1.example"}, {"protocol": ""}, {"key": "AAAA"}, {"upgrade": "SPDY/3.1"}]
)
def test_handshakes_that_are_none(cluster: Cluster, wrong: dict[str, str]) -> None:
    cluster.begin()
    cluster.accept(**wrong)
    assert cluster.told.result is not None
    assert cluster.told.result.kind in (NOT_STARTED, LOST)
    assert (cluster.told.began, cluster.told.ends) == (0, 1)


def test_pings_both_ways(cluster: Cluster) -> None:
    cluster.begin()
    cluster.accept()
    cluster.say(b"are you there", 9)
    assert cluster.sent() == [(10, b"are you there")]
    cluster.gate.reactor.wait(26.0)
    assert (9, b"") in cluster.sent()
    cluster.say(b"", 10)
    cluster.gate.reactor.wait(50.0)
    assert cluster.told.ends == 0
    cluster.gate.reactor.wait(70.0)
    assert cluster.told.result == Ended(LOST, message="the cluster does not answer any more")


def test_a_cluster_that_never_answers(cluster: Cluster) -> None:
    cluster.begin()
    cluster.gate.reactor.wait(40.0)
    assert cluster.told.result is not None
    assert (cluster.told.result.kind, cluster.told.ends) == (LOST, 1)


def test_what_is_no_websocket(cluster: Cluster) -> None:
    cluster.begin()
    cluster.accept()
    cluster.peer.send(b"\x83\x00")
    assert cluster.told.result is not None
    assert "does not speak WebSocket" in cluster.told.result.message


@pytest.mark.parametrize("when", ["dialling", "asked", "open"])
def test_letting_go_is_heard_by_the_cluster_and_nobody_else(cluster: Cluster, when: str) -> None:
    if when == "dialling":
        told = Told()
        cluster.executions.begin(REQUEST, told).close()
        cluster.gate.reactor.settle()
        assert told.ends == 0
        return
    execution = cluster.begin()
    if when == "open":
        cluster.accept()
    execution.close()
    cluster.gate.reactor.wait(15.0)
    assert (cluster.told.ends, cluster.peer.open) == (0, False)
    execution.close()


def test_back_pressure_of_what_is_typed(cluster: Cluster) -> None:
    execution = cluster.begin()
    cluster.accept()
    told: list[bool] = []
    execution.on_drain(told.append)
    cluster.peer.reading = False
    for _ in range(40):
        execution.write(b"x" * 32768)
    cluster.gate.reactor.settle()
    assert told == [True]
    cluster.peer.reading = True
    cluster.gate.reactor.settle()
    assert told == [True, False]
    assert sum(len(payload) - 1 for _, payload in cluster.sent()) == 40 * 32768

"""The facts of spec 05, 14, on upgrades that pass (rows 53 to 63): which test shows each, and what no other file shows.

A row's tests are named as ``file::test``; :func:`test_every_row_has_its_tests` fails when one is not there any more.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support_rights import RightsWorld
from support_websocket import ACCEPT, handshake

from ksproxyd.testing import Client, Request
from ksproxyd.testing.backend import Conversation, answer

TESTS = Path(__file__).parents[1]

_FILES = {
    "autobahn": "live/test_autobahn_tunnel.py",
    "here": "wire/test_facts_passthrough.py",
    "idle": "live/test_idle_tunnels.py",
    "smuggling": "wire/test_strictness_smuggling.py",
    "streams": "kube/test_kubectl_streams.py",
    "upgrades": "wire/test_upgrades.py",
}

ROWS: dict[int, str] = {
    53: "upgrades::test_early_bytes_of_both_sides here::test_053_ten_megabytes_both_ways",
    54: "here::test_054_what_is_sent_with_the_request",
    55: "here::test_055_nothing_follows_a_refusal smuggling::test_behind_an_upgrade_that_the_backend_refuses "
    "upgrades::test_refusal_is_relayed_and_the_connection_closed",
    56: "upgrades::test_neither_switched_nor_refused here::test_056_neither_switched_nor_refused",
    57: "here::test_057_who_it_is_stays_here",
    58: "here::test_058_a_token_as_a_subprotocol here::test_058_offers_that_are_refused",
    59: "streams::test_exec_output_and_exit_code streams::test_exec_stdin streams::test_exec_large_output "
    "streams::test_cp_both_ways streams::test_attach streams::test_port_forward streams::test_twenty_at_once "
    "streams::test_logs_follow streams::test_the_first_line_of_a_log here::test_059_lines_of_a_log_wait_for_nothing",
    60: "upgrades::test_half_close_by_the_client upgrades::test_half_close_to_a_tls_backend "
    "here::test_060_how_long_the_rest_of_a_tunnel_lasts_is_a_setting",
    61: "here::test_061_idle_tunnels_cost_nothing_and_stay idle::test_idle_tunnels_cost_nothing_and_stay",
    62: "here::test_062_one_request streams::test_a_command_runs_once",
    63: "autobahn::test_verdicts_through_a_tunnel",
}


@cache
def names(path: str) -> frozenset[str]:
    """The tests of a file."""
    tree = ast.parse((TESTS / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_every_row_has_its_tests() -> None:
    assert sorted(ROWS) == list(range(53, 64))
    missing = []
    for number, said in ROWS.items():
        for each in said.split():
            where, _, name = each.partition("::")
            if not name.startswith("test_") or name not in names(_FILES[where]):
                missing.append(f"{number}: {_FILES[where]}::{name}")
    assert not missing


# -- what no other file shows --------------------------------------------------------------------------------------

POD = "/api/v1/namespaces/n1/pods/web-0"
EXEC = f"{POD}/exec?command=sh&stdin=true&stdout=true"
STREAMS = (EXEC, f"{POD}/attach?stdin=true&stdout=true", f"{POD}/portforward?ports=8080")
CHANNELS = "v4.channel.k8s.io"
TOKEN = "base64url.bearer.authorization.k8s.io."
SPDY = ("Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io", "Content-Length: 0")

SWITCHED = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: {CHANNELS}\r\n\r\n"
).encode()
SPDY_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
)


class PassingWorld(RightsWorld):
    """The gateway before a cluster whose answers to what is asked of pods are in the test's hands.

    Each of :attr:`asked` waits for an answer, by its conversation, unless :attr:`at_once` is given.
    """

    def __init__(self, more: str = "") -> None:
        super().__init__(more=more)
        self.asked: list[tuple[Conversation, Request]] = []
        self.at_once: bytes | None = None
        embedded = self.gateway.embedded
        embedded.echo_tunnels = False
        self._serve = embedded.handler
        embedded.handler = self._handle

    def _handle(self, conversation: Conversation, request: Request) -> bytes | None:
        if not request.target.startswith(POD.encode()):
            return self._serve(conversation, request)
        self.asked.append((conversation, request))
        return self.at_once

    def reply(self, data: bytes) -> Conversation:
        """Answer what was asked last."""
        conversation = self.asked[-1][0]
        conversation._reply(data)
        self.gateway.reactor.settle()
        return conversation

    def shown(self, user: str = "pa") -> str:
        """The field that proves who it is."""
        return f"Authorization: Bearer {self.token(user)}"

    def send(self, target: str = EXEC, *more: str, user: str = "pa") -> Client:
        """A client that has asked for a WebSocket."""
        fields = (self.shown(user),) if user else ()
        client = self.gateway.connect()
        client.send(handshake(target, *fields, *more))
        return client

    def tunnel(self, target: str = EXEC) -> tuple[Client, Conversation]:
        """Both ends of a tunnel."""
        client = self.send(target)
        conversation = self.reply(SWITCHED)
        assert client.answer().status == 101
        return client, conversation


@pytest.fixture
def world() -> Iterator[PassingWorld]:
    made = PassingWorld()
    yield made
    made.close()


def test_053_ten_megabytes_both_ways(world: PassingWorld) -> None:
    """At the same time, and what the backend sends in one piece with its 101 is the beginning of it."""
    up, down = (random.Random(seed).randbytes(10_000_000) for seed in (53, 54))
    client = world.send()
    conversation = world.reply(SWITCHED + down[:1000])
    assert client.answer().status == 101
    client.write(up)
    conversation.peer.write(down[1000:])
    world.gateway.reactor.settle()
    assert hashlib.sha256(conversation.tunnelled).digest() == hashlib.sha256(up).digest()
    assert hashlib.sha256(client.take()).digest() == hashlib.sha256(down).digest()
    client.close()


def test_054_what_is_sent_with_the_request(world: PassingWorld) -> None:
    early = random.Random(54).randbytes(1024)
    client = world.gateway.connect()
    client.send(handshake(EXEC, world.shown()) + early)
    ((conversation, _),) = world.asked
    assert not conversation.tunnelled and not conversation._reader.buffer
    world.reply(SWITCHED)
    assert client.answer().status == 101
    assert conversation.tunnelled == early
    client.send(b"later")
    assert conversation.tunnelled == early + b"later"
    client.close()


@pytest.mark.parametrize("moment", ["with it", "before the answer", "behind the answer"])
def test_055_nothing_follows_a_refusal(world: PassingWorld, moment: str) -> None:
    """As in CVE-2018-1002105: a request behind an upgrade would be the gateway's own, which may everything."""
    client = world.gateway.connect()
    second = f"DELETE {POD} HTTP/1.1\r\nHost: g\r\n{world.shown()}\r\n\r\n".encode()
    client.send(handshake(EXEC, world.shown()) + (second if moment == "with it" else b""))
    if moment == "before the answer":
        client.send(second)
    world.reply(answer(403, b"not you"))
    if moment == "behind the answer":
        client.send(second)
    refusal = client.answer()
    assert (refusal.status, refusal.body, refusal.get("connection")) == (403, b"not you", b"close")
    assert client.nothing_more() and not client.open
    world.gateway.wait(5.0)
    assert len(world.asked) == 1
    assert not world.gateway.embedded.problems


@pytest.mark.parametrize("status", [200, 302])
def test_056_neither_switched_nor_refused(world: PassingWorld, status: int) -> None:
    client = world.send()
    world.reply(answer(status, b"secret", [(b"Location", b"http://inner.example/")]))
    found = client.answer()
    assert (found.status, found.get("location")) == (502, None) and b"secret" not in found.body
    assert not world.gateway.gateway.proxy.tunnels


CLAIMS = (
    "Cookie: token=abc; session=def",
    "Impersonate-User: system:admin",
    "Impersonate-Group: system:masters",
    "X-Remote-User: system:admin",
    "X-Remote-Group: system:masters",
    "X-KubeSphere-Authorization: Bearer mine",
)


@pytest.mark.parametrize("offer", ["websocket", "spdy"])
@pytest.mark.parametrize("target", STREAMS)
def test_057_who_it_is_stays_here(world: PassingWorld, target: str, offer: str) -> None:
    """What a client shows or claims does not go on to Kubernetes, in whatever field or subprotocol."""
    world.at_once = SWITCHED if offer == "websocket" else SPDY_SWITCHED
    token = world.token("pa")
    encoded = base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()
    client = world.gateway.connect()
    if offer == "websocket":
        offered = f"Sec-WebSocket-Protocol: {TOKEN}{encoded}, {CHANNELS}"
        client.send(handshake(target, world.shown(), offered, *CLAIMS))
    else:
        lines = [f"POST {target} HTTP/1.1", "Host: g", world.shown(), *SPDY, *CLAIMS, "", ""]
        client.send("\r\n".join(lines).encode())
    assert client.answer().status == 101
    ((_, request),) = world.asked
    sent = {name.lower() for name, _ in request.headers}
    assert not [name for name in sent if name.startswith((b"x-remote", b"impersonate", b"x-kubesphere"))]
    assert b"cookie" not in sent
    assert request.all("Authorization") == [b"Bearer gateway"]
    whole = repr(request.headers)
    assert token not in whole and encoded not in whole and "system:" not in whole
    client.close()


def test_058_a_token_as_a_subprotocol(world: PassingWorld) -> None:
    world.at_once = SWITCHED
    mine = TOKEN + base64.urlsafe_b64encode(world.token("pa").encode()).rstrip(b"=").decode()
    for offered in (f"{mine}, {CHANNELS}", f"{CHANNELS},{mine}"):
        client = world.send(EXEC, f"Sec-WebSocket-Protocol: {offered}", user="")
        found = client.answer()
        assert (found.status, found.get("Sec-WebSocket-Protocol")) == (101, CHANNELS.encode())
        request = world.asked[-1][1]
        assert request.all("Sec-WebSocket-Protocol") == [CHANNELS.encode()]
        assert request.all("Authorization") == [b"Bearer gateway"]
        client.close()
    # With a token that is none, and with that of somebody who may not, as with any other credentials.
    joe = TOKEN + base64.urlsafe_b64encode(world.token("joe").encode()).rstrip(b"=").decode()
    for offered, status in ((f"{TOKEN}eA", 401), (joe, 403)):
        client = world.send(EXEC, f"Sec-WebSocket-Protocol: {offered}, {CHANNELS}", user="")
        assert client.answer().status == status
        client.close()
    assert len(world.asked) == 2


def test_058_offers_that_are_refused(world: PassingWorld) -> None:
    """Whether or not the client shows who it is otherwise, too."""
    pa, joe = (TOKEN + base64.urlsafe_b64encode(world.token(n).encode()).rstrip(b"=").decode() for n in ("pa", "joe"))
    for user in ("", "pa"):
        for fields, status in (
            ((pa,), 400),
            ((f"{pa}, {pa}, {CHANNELS}",), 401),
            ((f"{joe}, {pa}, {CHANNELS}",), 401),
            ((f"{joe}, {CHANNELS}", pa), 401),
        ):
            client = world.send(EXEC, *(f"Sec-WebSocket-Protocol: {field}" for field in fields), user=user)
            assert client.answer().status == status, fields
            client.close()
    assert not world.asked


def test_059_lines_of_a_log_wait_for_nothing(world: PassingWorld) -> None:
    """They are with the client without any time passing: no timer is between."""
    client = world.gateway.connect()
    client.send(f"GET {POD}/log?follow=true HTTP/1.1\r\nHost: g\r\n{world.shown()}\r\n\r\n".encode())
    begun = world.gateway.reactor.seconds()
    peer = world.asked[-1][0].peer
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.next_answer() is None
    assert client.partial is not None and client.partial.status == 200
    for number in range(5):
        peer.send(b"7\r\nline %d\n\r\n" % number)
        assert client.next_answer() is None
        assert client.partial.body.endswith(b"line %d\n" % number)
    assert world.gateway.reactor.seconds() == begun
    client.close()
    world.gateway.wait(1.0)
    # Who follows no longer is not followed for.
    assert not peer.open


def test_060_how_long_the_rest_of_a_tunnel_lasts_is_a_setting() -> None:
    world = PassingWorld("  timeouts: {tunnelHalfClosed: 10s}")
    try:
        client, conversation = world.tunnel()
        conversation.peer.finish()
        assert client.ended
        world.gateway.wait(8.0)
        client.send(b"still here")
        world.gateway.wait(8.0)
        assert conversation.tunnelled == b"still here" and world.gateway.gateway.proxy.tunnels
        world.gateway.wait(4.0)
        assert not world.gateway.gateway.proxy.tunnels
    finally:
        world.close()


def test_061_idle_tunnels_cost_nothing_and_stay(world: PassingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """No timer is any tunnel's own: no more are set for two hundred tunnels than for none."""
    reactor = world.gateway.reactor
    whole = reactor.callLater
    timers = 0

    def counting(delay: float, *args: Any, **kwargs: Any) -> Any:
        nonlocal timers
        # One of no time is a turn that a long round leaves to others.
        timers += delay > 0
        return whole(delay, *args, **kwargs)

    monkeypatch.setattr(reactor, "callLater", counting)

    def set_in(seconds: float) -> int:
        before = timers
        world.gateway.wait(seconds)
        return timers - before

    without = set_in(300.0)
    tunnels = [world.tunnel(STREAMS[number % 3]) for number in range(200)]
    pending = len(reactor.getDelayedCalls())
    world.gateway.wait(400.0)
    # The gateway's watches begin anew when it suits them; one timer for each tunnel would be two hundred more.
    assert set_in(300.0) < without + 150
    assert len(reactor.getDelayedCalls()) <= pending
    assert len(world.gateway.gateway.proxy.tunnels) == 200
    for client, conversation in tunnels:
        assert client.open and not conversation.over and client.nothing_more() and not conversation.tunnelled
        client.send(b"a")
        assert conversation.tunnelled == b"a"
        conversation.answer(b"b")
        assert client.take() == b"b"
    for client, _ in tunnels:
        client.close()


@pytest.mark.parametrize("offer", ["websocket", "spdy"])
@pytest.mark.parametrize("target", STREAMS)
def test_062_one_request(world: PassingWorld, target: str, offer: str) -> None:
    """What is asked once is done once, on one connection."""
    dials = world.gateway.dialer.dials
    if offer == "websocket":
        client = world.send(target)
        world.reply(SWITCHED)
    else:
        client = world.gateway.connect()
        lines = [f"POST {target} HTTP/1.1", "Host: g", world.shown(), *SPDY, "", ""]
        client.send("\r\n".join(lines).encode())
        world.reply(SPDY_SWITCHED)
    assert client.answer().status == 101
    client.send(b"x")
    world.gateway.wait(60.0)
    ((conversation, request),) = world.asked
    assert conversation.tunnelled == b"x" and conversation.requests == [request]
    assert request.target.decode() == target and request.get("upgrade") is not None
    assert world.gateway.dialer.dials == dials + 1
    client.close()

"""The facts of spec 05, 14, row by row: which test shows each, and those that no other file shows.

A row's tests are named as ``file::test``; :func:`test_every_row_has_its_tests` fails when one is not there any more.
Rows 53 to 63 are those of ``test_facts_passthrough.py``.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import itertools
import json
import os
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support_oauth import World
from support_terminals import GROUP, SHELL, Playbook, TerminalWorld, exit_status
from support_websocket import CLOSE, PING, PONG, TEXT, frame, handshake
from test_terminal_own_pods import KUBECTL, LEASES, pods, run
from test_terminal_page import cookie_of
from test_terminal_playbooks import STORIES
from twisted.internet.defer import ensureDeferred

from ksproxyd.testing import Conversation, Request

TESTS = Path(__file__).parents[1]

_FILES = {
    "access": "wire/test_terminal_access.py",
    "files": "wire/test_terminal_files_api.py",
    "flow": "unit/terminal/test_session_flow.py",
    "here": "wire/test_facts_terminal.py",
    "hangup": "live/test_terminal_hang_up.py",
    "kube": "kube/test_terminal.py",
    "limits": "unit/terminal/test_terminal_limits.py",
    "livefiles": "live/test_terminal_files.py",
    "load": "kube/test_terminal_load.py",
    "own": "wire/test_terminal_own_pods.py",
    "playbooks": "unit/terminal/test_session_playbooks.py",
    "pods": "wire/test_terminal_pods.py",
    "registry": "unit/terminal/test_session_registry.py",
    "shells": "unit/terminal/test_shells.py",
    "sizes": "unit/terminal/test_sizes.py",
    "smuggling": "wire/test_strictness_smuggling.py",
    "stories": "wire/test_terminal_playbooks.py",
}

ROWS: dict[int, str] = {
    1: "access::test_a_plain_get_is_400_and_never_404_nor_406",
    2: "access::test_who_shows_nothing_is_403_and_who_shows_rubbish_401",
    3: "access::test_to_look_is_not_to_run",
    4: "access::test_to_look_is_not_to_run here::test_004_to_look_is_not_to_run_over_spdy",
    5: "access::test_origins access::test_without_an_origin_a_token_is_enough_and_a_cookie_never "
    "here::test_005_a_sign_in_alone_opens_nothing",
    6: "access::test_another_protocol here::test_006_what_kubernetes_does_not_switch_to "
    "here::test_006_no_body_before_a_switch",
    7: "access::test_handshakes_that_are_none",
    8: "access::test_what_is_spoken",
    9: "access::test_subprotocols here::test_009_what_is_spoken_after_an_offer",
    10: "access::test_no_credentials_in_urls",
    11: "here::test_011_one_exec_of_what_was_asked_for",
    # Which shells there are is found out in the container, by one exec: bash comes before sh there.
    12: "shells::test_anything_else_means_whatever_there_is shells::test_the_best_shell_is_found "
    "stories::test_fact_12_what_is_there_is_tried here::test_012_a_container_with_only_sh",
    13: "stories::test_stories here::test_013_a_shell_that_fails_is_not_replaced",
    14: "stories::test_fact_14_nothing_is_there playbooks::test_whatever_shell_there_is",
    15: "stories::test_stories",
    16: "stories::test_stories here::test_016_017_022_what_is_typed",
    17: "stories::test_stories here::test_016_017_022_what_is_typed",
    18: "stories::test_stories",
    19: "stories::test_facts_19_20_and_22_bytes_that_are_no_text",
    20: "stories::test_facts_19_20_and_22_bytes_that_are_no_text",
    21: "stories::test_fact_21_long_input",
    22: "stories::test_facts_19_20_and_22_bytes_that_are_no_text here::test_016_017_022_what_is_typed",
    23: "here::test_023_a_size_is_one_message",
    24: "here::test_024_a_size_of_nothing_hurts_nobody",
    25: "sizes::test_a_thousand_in_a_second here::test_025_a_thousand_sizes_in_a_second",
    26: "own::test_the_kubectl_terminal playbooks::test_a_start",
    27: "stories::test_stories",
    28: "stories::test_fact_28_a_silent_shell",
    29: "here::test_029_much_output_for_a_browser_that_is_slow load::test_a_browser_that_is_slow",
    30: "here::test_030_a_browser_that_does_not_read_for_a_minute",
    31: "stories::test_stories here::test_031_how_a_shell_ended",
    32: "stories::test_stories",
    33: "stories::test_fact_33_a_browser_that_vanishes hangup::test_a_shell_that_is_hung_up_ends",
    34: "stories::test_fact_34_the_pod_is_deleted kube::test_a_pod_that_is_deleted",
    35: "stories::test_fact_35_the_token_is_revoked stories::test_fact_35_the_right_is_withdrawn "
    "kube::test_who_loses_the_right_loses_the_session",
    36: "stories::test_fact_36_idle here::test_036_pings_are_no_activity",
    37: "stories::test_fact_37_the_gateway_stops here::test_037_the_gateway_ends_within_the_grace_time "
    "registry::test_the_process_stops_with_shells_that_do_not kube::test_a_gateway_that_is_stopped",
    38: "limits::test_thirty_starts_in_a_minute_and_the_next_one_is_refused here::test_038_thirty_starts_in_a_minute",
    39: "pods::test_the_first_session_of_a_user_makes_the_pod own::test_the_kubectl_terminal",
    40: "own::test_no_kubeconfig pods::test_without_a_kubeconfig_there_is_no_pod",
    41: "own::test_a_pod_that_does_not_start pods::test_a_pod_that_does_not_become_ready",
    42: "here::test_042_one_lease_for_all_sessions_of_a_user own::test_the_kubectl_terminal",
    43: "access::test_the_kubectl_terminal_of_somebody_else",
    44: "own::test_the_terminal_on_a_node pods::test_a_session_on_a_node_has_a_pod_of_its_own "
    "own::test_a_node_that_is_not_ready",
    45: "own::test_the_terminal_on_a_node",
    46: "files::test_an_upload livefiles::test_files_arrive_as_they_are",
    47: "files::test_an_upload here::test_047_more_than_may_be_uploaded",
    48: "files::test_what_tar_says_is_told",
    49: "files::test_a_path_is_one_argument livefiles::test_paths_that_would_do_something_are_paths",
    50: "files::test_looking_is_not_enough kube::test_who_has_no_terminal",
    51: "files::test_what_breaks_off_has_no_end",
    52: "load::test_a_file_comes_out",
}

#: Which of the stories of ``stories::test_stories`` are meant, where a row names it.
TOLD: dict[int, tuple[str, ...]] = {
    13: ("fact 13: a shell that fails is not replaced",),
    15: (
        "fact 15: a pod that is not there",
        "fact 15: the first container",
        "fact 15: the container of the annotation",
        "fact 15: an annotation that names none",
    ),
    16: ("a session as the stock console has it",),
    17: ("a session as the stock console has it",),
    18: ("a session as the stock console has it",),
    27: ("fact 27: an operation of another version", "fact 27: no JSON", "fact 27: a size that is none"),
    31: ("a session as the stock console has it",),
    32: ("fact 32: the cluster goes",),
}


@cache
def names(path: str) -> frozenset[str]:
    """The tests of a file."""
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_row_has_its_tests() -> None:
    assert sorted(ROWS) == list(range(1, 53))
    missing = []
    for number, said in ROWS.items():
        for each in said.split():
            where, _, name = each.partition("::")
            if not name.startswith("test_") or name not in names(_FILES[where]):
                missing.append(f"fact {number}: {_FILES[where]}::{name}")
    assert not missing
    assert set(TOLD) == {number for number, said in ROWS.items() if "stories::test_stories" in said.split()}
    assert not {story for told in TOLD.values() for story in told} - set(STORIES)


# -- what no other file shows --------------------------------------------------------------------------------------

EXEC = "/api/v1/namespaces/n1/pods/web-0/exec"
FILE = f"{GROUP}/namespaces/n1/pods/web-0/file"

#: A shell that has begun, and has shown that it is there.
BEGUN = """
C: open namespaces/n1/pods/web-0/exec?shell=sh
S: 101
K: exec ["sh"]
S: out ""
K: out "$ "
S: out "$ "
"""


@pytest.fixture
def world() -> Iterator[TerminalWorld]:
    made = TerminalWorld()
    yield made
    made.close()
    assert not made.sessions


def asked(world: TerminalWorld, path: str, begin: int) -> list[str]:
    """What the cluster was asked of ``path`` since then, as ``method target``."""
    found = world.gateway.embedded.requests[begin:]
    return [f"{each.method.decode()} {each.target.decode()}" for each in found if path.encode() in each.target]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_004_to_look_is_not_to_run_over_spdy(world: TerminalWorld, method: str) -> None:
    """With ``get`` on ``pods/exec``, and nothing more, there is no way past the routes of the gateway."""
    target = f"{EXEC}?command=id&stdout=true"
    spdy = [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"SPDY/3.1"),
        (b"X-Stream-Protocol-Version", b"v5.channel.k8s.io"),
        (b"X-Stream-Protocol-Version", b"v4.channel.k8s.io"),
    ]
    begin = len(world.gateway.embedded.requests)
    for fields in (spdy, [*spdy, (b"Content-Length", b"0")], []):
        refused = world.ask("pv", method, target, headers=fields)
        assert (refused.status, refused.json()["reason"]) == (403, "Forbidden")
        assert 'cannot create resource "pods/exec"' in refused.json()["message"]
    assert (asked(world, "/exec", begin), world.execs) == ([], [])
    # It is not the request that is refused, but who makes it.
    world.ask("pa", method, target, headers=spdy)
    assert asked(world, "/exec", begin) == [f"{method} {target}"]


@pytest.mark.parametrize("offered", ["h2c", "H2C", "h2c, websocket", "SPDY/3.0", "tcp", "websocket/13"])
@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces/n1/pods/web-0", "/api/v1/namespaces/n1/pods", f"{EXEC}?command=id"]
)
def test_006_what_kubernetes_does_not_switch_to(world: TerminalWorld, path: str, offered: str) -> None:
    begin = len(world.gateway.embedded.requests)
    fields = [(b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", offered.encode())]
    refused = world.ask("pa", "GET", path, headers=fields)
    assert (refused.status, refused.json()["reason"]) == (400, "BadRequest")
    assert "SPDY/3.1" in refused.json()["message"]
    # Without Connection it is no offer.
    assert world.ask("pa", "GET", "/api/v1/namespaces/n1/pods/web-0", headers=fields[1:]).status == 200
    (passed,) = world.gateway.embedded.requests[begin:]
    assert not {name.lower() for name, _ in passed.headers} & {b"upgrade", b"connection"}
    assert not world.execs and not world.gateway.gateway.proxy.tunnels


def test_006_no_body_before_a_switch(world: TerminalWorld) -> None:
    fields = [(b"Connection", b"Upgrade"), (b"Upgrade", b"SPDY/3.1"), (b"Content-Length", b"2")]
    client = world.gateway.connect()
    head = b"\r\n".join(name + b": " + value for name, value in fields)
    shown = f"Authorization: Bearer {world.token('pa')}".encode()
    client.send(b"GET %b?command=id HTTP/1.1\r\nHost: g\r\n%b\r\n%b\r\n\r\nab" % (EXEC.encode(), shown, head))
    refused = client.answer()
    assert refused.status == 400 and "body" in refused.json()["message"]
    client.close()


@pytest.mark.parametrize(
    ("offered", "first"),
    [
        ("unknown.example", b'{"Op":"stdout","Data":"$ ","Rows":0,"Cols":0}'),
        ("", b'{"Op":"stdout","Data":"$ ","Rows":0,"Cols":0}'),
        ("v4.channel.k8s.io", b"\x01$ "),
    ],
)
def test_009_what_is_spoken_after_an_offer(world: TerminalWorld, offered: str, first: bytes) -> None:
    more = (f"Sec-WebSocket-Protocol: {offered}",) if offered else ()
    browser = world.open("pa", f"{SHELL}?shell=sh", *more)
    browser.frames()
    world.exec.print(b"$ ")
    assert [got.payload for got in browser.frames()] == [first]


def test_011_one_exec_of_what_was_asked_for(world: TerminalWorld) -> None:
    world.play(BEGUN)
    (only,) = world.execs
    assert (only.path, only.argv, only.container) == (EXEC, ["sh"], "app")
    assert only.options == {"stdin": "true", "stdout": "true", "tty": "true"}


@pytest.mark.parametrize("shell", ["", "?shell=zsh"])
def test_012_a_container_with_only_sh(world: TerminalWorld, shell: str) -> None:
    """What is run looks for bash before it is a sh."""
    world.missing = {"bash"}
    book = world.play(f'C: open namespaces/n1/pods/web-0/exec{shell}\nS: 101\nS: out ""')
    world.exec.print(b"/ # ")
    book.line('S: out "/ # "')
    (only,) = world.execs
    assert only.argv[:2] == ["sh", "-c"]
    assert 0 < only.argv[2].index("exec bash") < only.argv[2].index("exec sh")


@pytest.mark.parametrize("shell", ["", "?shell=bash"])
def test_013_a_shell_that_fails_is_not_replaced(world: TerminalWorld, shell: str) -> None:
    book = world.play(f'C: open namespaces/n1/pods/web-0/exec{shell}\nS: 101\nS: out ""')
    for line in ('K: out "bash-5.1$ "', 'S: out "bash-5.1$ "', "K: exit 1", "S: toast 1", "S: close 1000 exited 1"):
        book.line(line)
    book.line("W: 10")
    book.line("S: nothing")
    assert len(world.execs) == 1


def test_016_017_022_what_is_typed(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    book.browser.send('{"op":"stdin","data":"a"}')
    assert world.exec.messages() == [(0, b"\x61")]
    book.browser.send(b'{"Op":"stdin","Data":"b"}')
    assert world.exec.messages() == [(0, b"b")]
    book.browser.send('{"Op":"stdin","Data":"\\ud83d"}')
    assert world.exec.messages() == [(0, b"\xef\xbf\xbd")]
    book.browser.send('{"Op":"stdin","Data":"c"}')
    assert world.exec.messages() == [(0, b"c")]
    book.line("S: nothing")
    assert world.exec.open


def test_023_a_size_is_one_message(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    book.browser.send('{"Op":"resize","Cols":132,"Rows":40}')
    world.wait(2.0)
    ((channel, size),) = world.exec.messages()
    assert (channel, json.loads(size)) == (4, {"Width": 132, "Height": 40})


def test_024_a_size_of_nothing_hurts_nobody(world: TerminalWorld) -> None:
    other = world.play(BEGUN, "admin")
    untouched = world.exec
    book = world.play(BEGUN)
    for columns, rows in ((0, 0), (80, 0), (0, 24), (80, 24)):
        book.browser.send(f'{{"Op":"resize","Cols":{columns},"Rows":{rows}}}')
        world.wait(0.5)
    assert (world.exec.typed(), world.exec.sizes) == (b"", [(80, 24)])
    book.line("K: exit 0")
    book.line("S: close 1000 exited 0")
    world.wait(5.0)
    other.line('C: type "x"')
    untouched.print(b"x")
    other.line('S: out "x"')
    assert untouched.typed() == b"x"
    # The process serves new ones, too.
    world.play(BEGUN, "admin")


def test_025_a_thousand_sizes_in_a_second(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    for number in range(1, 1001):
        book.browser.client.write(frame(1, b'{"Op":"resize","Cols":%d,"Rows":24}' % number))
        world.wait(0.001)
    world.wait(1.0)
    assert world.exec.typed() == b""
    assert 10 < len(world.exec.sizes) <= 50
    assert world.exec.sizes[-1] == (1000, 24)
    assert world.exec.sizes == sorted(world.exec.sizes)


@pytest.mark.parametrize(
    ("code", "said", "reason"), [(0, None, "exited 0"), (3, "3", "exited 3"), (137, "137 (SIGKILL)", "exited 137")]
)
def test_031_how_a_shell_ended(world: TerminalWorld, code: int, said: str | None, reason: str) -> None:
    book = world.play(BEGUN)
    world.exec.end(exit_status(code))
    *messages, close = book.browser.frames()
    assert (close.code, close.reason) == (1000, reason)
    shown = [json.loads(each.payload) for each in messages]
    assert [each["Op"] for each in shown] == ([] if said is None else ["toast"])
    for each in shown:
        assert said is not None and said in each["Data"]
        # Nothing of what the cluster says in its own words (exit_status).
        assert not any(word in each["Data"] for word in ("Failure", "NonZeroExitCode", "command terminated", "{"))


@pytest.mark.parametrize("typing", [True, False])
def test_036_pings_are_no_activity(typing: bool) -> None:
    world = TerminalWorld("idleTimeout: 5s")
    try:
        book = world.play(BEGUN)
        for second in range(1, 13):
            book.browser.client.send(frame(PING, b"here"))
            if typing and second % 3 == 0:
                book.line('C: type "x"')
            world.wait(1.0)
        got = book.browser.frames()
        if typing:
            assert world.exec.typed() == b"xxxx"
            assert len(got) == 12, "a pong for each ping, and nothing else"
            return
        *_, toast, close = [each for each in got if each.opcode != 10]
        assert "5s" in json.loads(toast.payload)["Data"]
        assert (close.code, close.reason) == (4408, "idle")
    finally:
        world.close()


# -- much output, and browsers that are slow ------------------------------------------------------------------------

#: Bytes of output for a slow browser.
OUTPUT = 500_000_000
PIECE = 32_000


def resident() -> int:
    """Bytes of memory that this process has; the gateway is in it, and so are the cluster and the browser."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Flood:
    """A process that prints as much as is taken from it, and a browser that reads when it is told to."""

    def __init__(self, world: TerminalWorld) -> None:
        self.world = world
        self.book = world.play(BEGUN)
        self.browser = self.book.browser
        self.browser.client.reading = False
        self.shell = world.exec
        self.peer = world.exec._conversation.peer
        self.printed, self.shown = hashlib.sha256(), hashlib.sha256()
        self.left = self.number = self.most = 0

    def print(self) -> None:
        """Print, as long as there is something left and the connection takes it."""
        while self.left > 0 and self.peer.unsent < 4 * PIECE:
            # No two pieces are the same, and some of the characters need more than a byte.
            data = (f"{self.number:09d} \u20ac <&>\r\n".encode() * 2000)[:PIECE]
            self.number += 1
            self.left -= len(data)
            self.printed.update(data)
            self.peer.write(b"\x82\x7e" + struct.pack("!H", len(data) + 1) + b"\x01" + data)

    def read(self, size: int) -> None:
        """Have the browser read so many bytes, or what there is."""
        socket = self.browser.client.socket
        while size > 0:
            self.print()
            if not socket.waiting:
                self.world.gateway.reactor.settle()
                if not socket.waiting:
                    break
            data = socket.recv(min(size, 65_536))
            size -= len(data)
            self.browser._buffer += data
        self.look()

    def look(self) -> None:
        """Take note of what has been read."""
        for got in self.browser.frames():
            if got.opcode == PING:
                self.browser.client.write(frame(PONG))
            else:
                assert got.opcode == TEXT, got
                said = json.loads(got.payload)
                assert said["Op"] == "stdout"
                self.shown.update(said["Data"].encode())

    def run(self, size: int, rate: int = 1_000_000) -> None:
        """Print ``size`` bytes more for a browser that reads ``rate`` bytes a second, until it has them all."""
        self.left += size
        while self.left > 0 or self.peer.unsent or self.browser.client.socket.waiting:
            for _ in range(8):
                self.read(rate // 8)
                self.world.wait(0.125)
            self.most = max(self.most, resident())

    @property
    def pending(self) -> int:
        """Bytes that wait in the gateway for the browser."""
        terminals = self.world.gateway.gateway.terminals
        assert terminals is not None
        (socket,) = terminals.sockets.open
        return socket.pending


@pytest.mark.slow
def test_029_much_output_for_a_browser_that_is_slow(world: TerminalWorld) -> None:
    flood = Flood(world)
    flood.run(20_000_000)
    gc.collect()
    began, before, flood.most = world.gateway.reactor.seconds(), resident(), 0
    flood.run(OUTPUT)
    assert world.gateway.reactor.seconds() - began >= OUTPUT / 1_000_000, "the browser was no slow one"
    assert flood.shown.digest() == flood.printed.digest()
    assert flood.number * PIECE >= OUTPUT
    growth = flood.most - before
    print(f"{OUTPUT / 1e6:.0f} MB of output: memory grew by {growth / 1e6:.2f} MB")
    assert growth < 5_000_000


@pytest.mark.parametrize("since", [0.0, 24.0, 40.0])
def test_030_a_browser_that_does_not_read_for_a_minute(world: TerminalWorld, since: float) -> None:
    """At whatever time of the pings that is."""
    flood = Flood(world)
    flood.run(1_000_000)
    world.wait(since)
    flood.read(1)
    flood.left = 20_000_000
    for _ in range(60):
        flood.print()
        world.wait(1.0)
        flood.print()
    assert flood.peer.unsent and flood.left > 15_000_000, "the process had to wait"
    assert flood.pending < 512 * 1024
    flood.run(0)
    assert flood.shown.digest() == flood.printed.digest()
    # And so it goes on.
    flood.book.line('C: type "x"')
    assert flood.shell.typed() == b"x"


# -- ends, limits, pods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grace", [0, 3, 10, 30])
def test_037_the_gateway_ends_within_the_grace_time(grace: int) -> None:
    """Also if shells do not end, a browser does not say goodbye, and another one reads nothing."""
    world = TerminalWorld(f"shutdownGrace: {grace}s")
    polite, silent, stuck = (world.play(BEGUN, user) for user in ("pa", "pa", "admin"))
    stuck.browser.client.reading = False
    ended: list[object] = []
    began = world.gateway.reactor.seconds()
    ensureDeferred(world.gateway.gateway.stop()).addBoth(ended.append)
    codes = []
    # Signals have their time even where there is no grace: a shell that nobody hangs up stays for ever.
    while not ended and world.gateway.reactor.seconds() - began <= max(grace, 4.5):
        world.wait(0.5)
        for book in (polite, silent):
            closes = [got for got in book.browser.frames() if got.opcode == CLOSE]
            codes += [(got.code, got.reason) for got in closes]
            if closes and book is polite:
                book.line("C: close 1001")
    assert codes == [(1001, "shutting down")] * 2
    assert ended == [None]
    assert all(not each.open and each.typed().startswith(b"\x03\x04") for each in world.execs)
    assert not world.gateway.reactor.transports


def test_005_a_sign_in_alone_opens_nothing() -> None:
    """The cookie of a browser that has signed in says nothing here, wherever the page is from that made it send it."""
    signed_in = World(issuer="http://gateway.example", mode="RBAC")
    cookie = b": ".join(cookie_of(signed_in)).decode()
    for more in ((), ("Origin: http://gateway.example",), ("Origin: https://evil.example",)):
        client = signed_in.gateway.connect()
        client.send(handshake(f"{GROUP}/users/alice/kubectl", cookie, *more))
        refused = client.answer()
        assert (refused.status, refused.json()["kind"]) == (403, "Status")
        assert 'User "system:anonymous"' in refused.json()["message"]
        client.close()
    signed_in.gateway.close()


def test_038_thirty_starts_in_a_minute(world: TerminalWorld) -> None:
    for _ in range(30):
        browser = world.open("pa", f"{SHELL}?shell=sh")
        world.exec.end(exit_status(0))
        browser.close()
        world.wait(1.5)
    refused = world.refused("pa", f"{SHELL}?shell=sh")
    assert (refused.status, refused.json()["reason"]) == (429, "TooManyRequests")
    assert len(world.execs) == 30
    # The first of them was 45 seconds ago.
    assert 0 < int(refused.get("Retry-After")) <= 15
    world.open("admin", f"{SHELL}?shell=sh")
    world.wait(15.5)
    world.open("pa", f"{SHELL}?shell=sh")


def test_042_one_lease_for_all_sessions_of_a_user(world: TerminalWorld) -> None:
    """It is renewed every half minute, as often for two sessions as for one."""
    secret = {"metadata": {"name": "kubeconfig-joe", "namespace": "kubesphere-system"}, "apiVersion": "v1"}
    world.gateway.apply({**secret, "kind": "Secret", "type": "config.kubesphere.io/kubeconfig"})
    embedded = world.gateway.embedded
    renewed: list[float] = []
    serve = embedded.handler

    def handle(conversation: Conversation, request: Request) -> bytes | None:
        if request.method == b"PATCH" and b"/leases/" in request.target:
            renewed.append(world.gateway.reactor.seconds())
        return serve(conversation, request)

    embedded.handler = handle
    book = world.play("C: open users/joe/kubectl\nS: 101\nS: toast preparing", "joe")
    run(world, KUBECTL)
    for line in ("W: 2", 'K: exec ["bash"] kubectl', 'S: out ""'):
        book.line(line)
    world.wait(11.0)
    other = world.play('C: open users/joe/kubectl\nS: 101\nW: 1\nK: exec ["bash"] kubectl\nS: out ""', "joe")
    renewed.clear()

    def later(seconds: int, *books: Playbook) -> None:
        for _ in range(seconds):
            for each in books:
                each._read()
            world.wait(1.0)

    later(300, book, other)
    assert (pods(world), [each["metadata"]["name"] for each in world.stored(LEASES)["items"]]) == ([KUBECTL],) * 2
    gaps = [after - before for before, after in itertools.pairwise(renewed)]
    assert len(gaps) >= 9
    assert all(20.0 <= gap <= 30.0 for gap in gaps), gaps
    book.line("C: close 1000")
    renewed.clear()
    later(100, other)
    assert len(renewed) >= 3
    other.line('C: type "x"')
    assert (world.exec.typed(), pods(world)) == (b"x", [KUBECTL])
    other.line("C: close 1000")
    world.wait(100.0)


@pytest.mark.parametrize("chunked", [False, True])
def test_047_more_than_may_be_uploaded(world: TerminalWorld, chunked: bool) -> None:
    """101 MiB where 100 are allowed. What says so is refused at once, the rest when it is too much."""
    mebibyte = bytes(1 << 20)
    begin = b'--B\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    end = b"\r\n--B--\r\n"
    length = len(begin) + 101 * len(mebibyte) + len(end)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
    client = world.gateway.connect()
    client.send(
        f"POST {FILE}?path=/tmp HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer {world.token('pa')}\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\n{framing}\r\n\r\n".encode()
    )
    sent, answer = 0, client.next_answer("POST")
    for data in (begin, *[mebibyte] * 101, end):
        if answer is not None:
            break
        client.send(b"%x\r\n" % len(data) + data + b"\r\n" if chunked else data)
        sent += len(data)
        answer = client.next_answer("POST")
    assert answer is not None
    assert (answer.status, answer.json()["kind"]) == (413, "Status")
    assert sent // len(mebibyte) == (101 if chunked else 0)
    assert world.execs == []
    client.close()

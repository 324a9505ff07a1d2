"""Terminals from the browser to the process, as stories (spec 05, 7, 8 and 14: facts 11 to 37)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support_rights import binding
from support_terminals import SHELL, STATUS, TerminalWorld, pod
from support_websocket import frame
from twisted.internet.defer import ensureDeferred

ESTABLISHED = '{"Op":"stdout","Data":"","Rows":0,"Cols":0}'

#: Where a shell has begun.
BEGUN = f"""
C: open namespaces/n1/pods/web-0/exec?shell=sh
S: 101
K: exec ["sh"]
S: text {ESTABLISHED}
"""


@pytest.fixture
def world() -> Iterator[TerminalWorld]:
    made = TerminalWorld()
    yield made
    made.close()
    assert not made.sessions


STORIES = {
    "a session as the stock console has it": """
        C: open namespaces/n1/pods/web-0/exec?container=app&shell=sh
        S: 101
        K: exec ["sh"] app
        S: text {"Op":"stdout","Data":"","Rows":0,"Cols":0}
        K: out "/ # "
        S: text {"Op":"stdout","Data":"/ # ","Rows":0,"Cols":0}
        C: text {"Op":"resize","Cols":132,"Rows":40}
        K: size 132x40
        C: text {"Op":"stdin","Data":"l"}
        K: in "l"
        C: text {"op":"stdin","data":"s"}
        K: in "s"
        C: binary {"Op":"stdin","Data":"\\r"}
        K: in "\\r"
        K: out "<b>&"
        S: text {"Op":"stdout","Data":"\\u003cb\\u003e\\u0026","Rows":0,"Cols":0}
        K: exit 0
        S: close 1000 exited 0
        C: close 1000
        S: ended
        K: closed
    """,
    "fact 13: a shell that fails is not replaced": """
        C: open namespaces/n1/pods/web-0/exec?shell=bash
        S: 101
        K: exec ["bash"]
        S: out ""
        K: out "x"
        S: out "x"
        K: exit 1
        S: toast exited with code 1
        S: close 1000 exited 1
        K: nothing
    """,
    "fact 14: no such program": """
        C: open namespaces/n1/pods/nothing-in-it/exec?shell=bash
        S: 101
        K: exec ["bash"] app
        S: out ""
        S: toast cannot start a shell in container app
        S: close 4404 no shell
    """,
    "fact 15: a pod that is not there": """
        C: open namespaces/n1/pods/web-9/exec
        S: 101
        S: toast pod n1/web-9 does not exist
        S: close 4404 not found
        K: nothing
    """,
    "fact 15: the first container": """
        C: open namespaces/n1/pods/two/exec?shell=sh
        S: 101
        K: exec ["sh"] first
        S: out ""
    """,
    "fact 15: the container of the annotation": """
        C: open namespaces/n1/pods/named/exec?shell=sh
        S: 101
        K: exec ["sh"] second
        S: out ""
    """,
    "fact 15: an annotation that names none": """
        C: open namespaces/n1/pods/misnamed/exec?shell=sh
        S: 101
        K: exec ["sh"] first
        S: out ""
    """,
    "a container that is asked for": """
        C: open namespaces/n1/pods/two/exec?shell=sh&container=second
        S: 101
        K: exec ["sh"] second
        S: out ""
    """,
    "a container that is not there": """
        C: open namespaces/n1/pods/two/exec?container=third
        S: 101
        S: toast there is no container third in the pod
        S: close 4404 not found
        K: nothing
    """,
    "facts 24 and 25: sizes": f"""{BEGUN}
        C: text {{"Op":"resize","Cols":0,"Rows":0}}
        K: in ""
        C: text {{"Op":"resize","Cols":80,"Rows":24}}
        K: size 80x24
        K: exit 0
        S: close 1000 exited 0
    """,
    "fact 27: an operation of another version": f"""{BEGUN}
        C: text {{"Op":"nope"}}
        S: nothing
        C: type "x"
        K: in "x"
    """,
    "fact 27: no JSON": f"""{BEGUN}
        C: text not json
        S: toast the message is not JSON
        S: close 1007 malformed message
        W: 5
        K: closed
    """,
    "fact 27: a size that is none": f"""{BEGUN}
        C: text {{"Op":"resize","Rows":-1}}
        S: toast Rows is not a number
        S: close 1002 malformed message
    """,
    "fact 32: the cluster goes": f"""{BEGUN}
        K: cut
        S: toast connection to the cluster was lost
        S: close 1011 connection lost
        C: close 1011
        S: ended
    """,
    "the browser says goodbye": f"""{BEGUN}
        C: close 1000
        S: close 1000
        S: ended
        K: in "\\u0003\\u0004"
        W: 5
        K: closed
    """,
    "the browser is cut off": f"""{BEGUN}
        C: cut
        K: in "\\u0003\\u0004"
        W: 5
        K: closed
    """,
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_stories(world: TerminalWorld, story: str) -> None:
    default = "kubectl.kubernetes.io/default-container"
    world.gateway.apply(
        pod("two", "first", "second"),
        pod("named", "first", "second", annotations={default: "second"}),
        pod("misnamed", "first", "second", annotations={default: "third"}),
        pod("nothing-in-it"),
    )
    if "nothing-in-it" in story:
        world.missing = {"bash", "sh"}
    world.play(story)


def test_fact_12_what_is_there_is_tried(world: TerminalWorld) -> None:
    world.missing = {"sh"}
    for shell in ("", "?shell=zsh"):
        begun = len(world.execs)
        book = world.play(f"C: open namespaces/n1/pods/web-0/exec{shell}\nS: 101")
        assert [each.argv[0] for each in world.execs[begun:]] == ["sh", "bash"]
        world.exec.print(b"bash-5.1# ")
        book.line('S: out ""')
        book.line('S: out "bash-5.1# "')


def test_fact_14_nothing_is_there(world: TerminalWorld) -> None:
    world.missing = {"sh", "bash"}
    world.play("""
        C: open namespaces/n1/pods/web-0/exec
        S: 101
        S: out ""
        S: toast cannot start a shell in container app: no bash or sh in the image
        S: close 4404 no shell
    """)
    assert len(world.execs) <= 3


@pytest.mark.parametrize(
    ("code", "body", "end"),
    [
        (404, {"message": 'pods "web-0" not found'}, "4404 not found"),
        (400, {"message": "container app is not valid for pod web-0"}, "4404 not running"),
        (500, {"message": "dial tcp 10.0.0.1:10250: connection refused"}, "1011 refused by the cluster"),
        (403, {"message": "no"}, "1011 refused by the cluster"),
    ],
)
def test_what_the_cluster_refuses(world: TerminalWorld, code: int, body: dict[str, str], end: str) -> None:
    world.refusals = [(code, {"kind": "Status", "code": code, **body})] * 3
    book = world.play("C: open namespaces/n1/pods/web-0/exec?shell=sh\nS: 101\nS: toast ")
    assert book.line(f"S: close {end}") is None


def test_facts_19_20_and_22_bytes_that_are_no_text(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    world.exec.print(b"\xe2\x82")
    book.line("W: 1")
    book.line("S: nothing")
    world.exec.print(b"\xac")
    book.line('S: out "€"')
    world.exec.print(b"\xff\xfe")
    book.line('S: out "\\ufffd\\ufffd"')
    book.line('C: text {"Op":"stdin","Data":"\\ud83d"}')
    assert world.exec.typed() == b"\xef\xbf\xbd"


def test_fact_21_long_input(world: TerminalWorld) -> None:
    text = "".join(chr(0x100 + each % 500) for each in range(100_000))
    book = world.play(BEGUN)
    # What comes before a shell has shown that it is there waits.
    world.exec.print(b"$ ")
    book.line('S: out "$ "')
    book.browser.send(json.dumps({"Op": "stdin", "Data": text}))
    assert world.exec.typed() == text.encode()
    book.browser.send("x" * (2**20 + 1))
    assert [each.code for each in book.browser.frames()] == [1009]


def test_fact_25_many_sizes(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    for each in range(1000):
        book.browser.client.write(frame(1, b'{"Op":"resize","Cols":%d,"Rows":9}' % (each % 900 + 1)))
    book.line("W: 8")
    world.exec.typed()
    assert world.exec.sizes[-1] == (100, 9)
    assert len(world.exec.sizes) <= 50 * 8


def test_fact_28_a_silent_shell(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    book.line("W: 1")
    book.line("S: nothing")


@pytest.mark.parametrize("shell", ["?shell=sh", ""])
def test_fact_33_a_browser_that_vanishes(world: TerminalWorld, shell: str) -> None:
    """A minute later its shell is hung up, and nothing is left of the exec, also if that took a signal."""
    book = world.play(f'C: open namespaces/n1/pods/web-0/exec{shell}\nS: 101\nS: out ""')
    shell_of_it = world.exec
    shell_of_it.print(b"$ ")
    book.line('S: out "$ "')
    book.line("W: 100")
    assert shell_of_it.typed() == b""
    # The last that is heard of it.
    book.line('C: type "x"')
    book.browser.client.reading = False
    world.wait(50.0)
    assert shell_of_it.typed() == b"x"
    world.wait(10.0)
    assert shell_of_it.typed() == b"\x03\x04\x04"
    assert not shell_of_it.open
    assert len(world.execs) == (1 if shell else 2)


@pytest.mark.parametrize("silent", [True, False])
def test_fact_34_the_pod_is_deleted(world: TerminalWorld, silent: bool) -> None:
    book = world.play(BEGUN)
    if not silent:
        world.exec.print(b"x")
        book.line('S: out "x"')
    world.gateway.delete(pod())
    book.line("W: 2")
    book.line("S: toast session closed: pod n1/web-0 was deleted")
    book.line("S: close 4410 pod deleted")
    assert not world.exec.open


def test_the_pod_is_replaced_while_nobody_watches(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    for conversation in tuple(world.gateway.embedded.conversations):
        if b"/pods?watch" in conversation.requests[-1].target:
            conversation.peer.cut()
    world.gateway.delete(pod())
    world.gateway.apply(pod())
    book.line("W: 5")
    book.line("S: toast ")
    book.line("S: close 4410 pod deleted")


def test_the_container_is_started_again(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    other = pod()
    other["metadata"]["labels"] = {"a": "b"}
    world.gateway.apply(other)
    book.line("W: 3")
    book.line("S: nothing")
    again = pod()
    again["status"]["containerStatuses"][0]["restartCount"] = 1
    world.gateway.apply(again)
    book.line("W: 3")
    book.line("S: toast container app of pod n1/web-0 was started again")
    book.line("S: close 4410 container restarted")


def test_a_container_that_ends_lets_the_exec_say_so(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    over = pod()
    over["status"]["phase"] = "Failed"
    world.gateway.apply(over)
    book.line("K: exit 137")
    book.line("S: toast exited with code 137 (SIGKILL)")
    book.line("S: close 1000 exited 137")


def test_fact_35_the_token_is_revoked(world: TerminalWorld) -> None:
    book, other = world.play(BEGUN), world.play(BEGUN, "admin")
    logins = world.gateway.gateway.logins
    assert logins is not None
    world.gateway.run(logins.tokens.end_user("pa", keep=""))
    book.line("W: 10")
    book.line("S: toast your login has ended")
    book.line("S: close 4401 login ended")
    other.line("W: 30")
    other.line("S: nothing")


def test_fact_35_the_right_is_withdrawn(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    world.gateway.delete(binding("RoleBinding", "pa", ("Role", "admin"), "pa", namespace="n1"))
    book.line("W: 10")
    book.line("S: toast you may not have this terminal any more")
    book.line("S: close 4403 no longer allowed")
    assert world.exec.typed().startswith(b"\x03\x04")


def test_fact_36_idle() -> None:
    world = TerminalWorld("idleTimeout: 5s")
    book = world.play(BEGUN)
    for _ in range(5):
        book.line("W: 3")
        book.line('C: type "x"')
    assert world.exec.typed() == b"xxxxx"
    world.exec.print(b"output is no activity")
    book.line('S: out "output is no activity"')
    book.line("W: 6")
    book.line("S: toast nothing was typed for 5s")
    book.line("S: close 4408 idle")
    world.close()


def test_fact_37_the_gateway_stops() -> None:
    world = TerminalWorld("shutdownGrace: 10s")
    books = [world.play(BEGUN), world.play(BEGUN, "admin")]
    ended: list[object] = []
    ensureDeferred(world.gateway.gateway.stop()).addBoth(ended.append)
    for book in books:
        book.line("S: toast the gateway is being shut down")
    world.wait(11.0)
    for book in books:
        book.line("S: toast the gateway is being shut down")
        book.line("S: close 1001 shutting down")
        book.line("C: close 1001")
    world.wait(20.0)
    assert ended == [None]


def test_a_session_goes_on_in_another_browser(world: TerminalWorld) -> None:
    offered = "Sec-WebSocket-Protocol: ksproxyd.json"
    first = world.open("pa", f"{SHELL}?shell=sh", offered)
    said = json.loads(first.texts()[0])
    credential = said["Data"]
    world.exec.print(b"before ")
    first.client.cut()
    world.exec.print(b"meanwhile")
    again = world.open("pa", f"{SHELL}?shell=sh", f"{offered}, ksproxyd.resume.{credential}")
    shown = "".join(json.loads(text)["Data"] for text in again.texts() if json.loads(text)["Op"] == "stdout")
    assert "before meanwhile" in shown
    assert len(world.execs) == 1
    # Nobody else has it.
    other = world.open("admin", f"{SHELL}?shell=sh", f"{offered}, ksproxyd.resume.{credential}")
    assert len(world.execs) == 2
    other.close()


def test_kubernetes_channels_in_the_browser(world: TerminalWorld) -> None:
    browser = world.open("pa", f"{SHELL}?shell=sh", "Sec-WebSocket-Protocol: v5.channel.k8s.io")
    browser.send(b"\x04" + b'{"Width":80,"Height":24}')
    browser.send(b"\x00ls\r")
    assert (world.exec.typed(), world.exec.sizes) == (b"ls\r", [(80, 24)])
    world.exec.print(b"\xff\x00raw")
    world.exec.end(STATUS)
    got = browser.frames()
    assert [each.payload[:6] for each in got[:2]] == [b"\x01", b"\x01\xff\x00raw"]
    assert json.loads(got[2].payload[1:])["status"] == "Success"
    assert got[3].code == 1000


def test_facts_29_and_30_a_browser_that_does_not_read(world: TerminalWorld) -> None:
    book = world.play(BEGUN)
    running = world.exec
    book.browser.client.reading = False
    # As much as all buffers on the way hold, several times over.
    for each in range(200):
        running._conversation.peer.write(b"\x82\x7e\x7d\x01\x01" + b"%08d" % each * 4000)
    world.wait(60.0)
    assert running._conversation.peer.unsent > 4_000_000
    terminals = world.gateway.gateway.terminals
    assert terminals is not None
    (socket,) = terminals.sockets.open
    assert socket.pending < 512 * 1024
    book.browser.client.reading = True
    world.wait(5.0)
    shown = "".join(json.loads(each.payload)["Data"] for each in book.browser.frames() if each.opcode == 1)
    assert shown == "".join(f"{each:08d}" * 4000 for each in range(200))

"""Terminals of a member cluster, opened through the host: the host knows who it is, the member who may."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import pytest
from support_member_terminals import HostAndMember
from support_terminals import GROUP, exit_status
from support_websocket import CLOSE, PING, PONG, Browser, Got, frame, handshake

OPEN = "namespaces/n1/pods/web-0/exec?shell=sh"
#: The forms of a member's path, and both ways to the member.
PATHS = (
    "/clusters/m/kapis/terminal.kubesphere.io/v1alpha2/",
    "/kapis/clusters/m/terminal.kubesphere.io/v1alpha2/",
    "/clusters/s/kapis/terminal.kubesphere.io/v1alpha2/",
)
#: Of the host's recheck, and then some.
ROUND = 6.0
OWN = "Origin: http://gateway.example"

paths = pytest.mark.parametrize("path", PATHS, ids=["straight", "inner", "service-proxy"])


@pytest.fixture
def world() -> Iterator[HostAndMember]:
    made = HostAndMember()
    yield made
    made.close()


class Terminal:
    """A browser at the host."""

    def __init__(self, world: HostAndMember, target: str, *fields: str) -> None:
        self.world = world
        self.browser = Browser(world.gateway.connect())
        self.answer = self.browser.open(handshake(target, *fields))

    def got(self) -> list[Got]:
        """What has come since, with pings answered."""
        found = self.browser.frames()
        for each in found:
            if each.opcode == PING:
                self.browser.client.send(frame(PONG, each.payload))
        return [each for each in found if each.opcode != PING]

    def said(self) -> list[tuple[str, str]]:
        """The messages that have come since, as operation and data; empty ones are left out."""
        messages = [json.loads(each.payload) for each in self.got() if each.opcode != CLOSE]
        return [(each["Op"], each["Data"]) for each in messages if each["Data"]]

    def send(self, **message: object) -> None:
        self.browser.send(json.dumps(message))

    def wait(self, seconds: float) -> list[Got]:
        """Let time pass, in which the browser and the cluster answer pings."""
        found: list[Got] = []
        for _ in range(int(seconds)):
            self.world.member.wait(1.0)
            found += self.got()
        return found


def shown(world: HostAndMember, user: str) -> str:
    return f"Authorization: Bearer {world.token(user)}"


def opened(world: HostAndMember, path: str = PATHS[0], user: str = "pa", *fields: str) -> Terminal:
    terminal = Terminal(world, path + OPEN, shown(world, user), *fields)
    assert terminal.answer.status == 101, terminal.answer.body
    return terminal


@paths
def test_a_session(world: HostAndMember, path: str) -> None:
    terminal = opened(world, path)
    member = world.member
    (begun,) = member.execs
    assert (begun.path, begun.argv, begun.container) == ("/api/v1/namespaces/n1/pods/web-0/exec", ["sh"], "app")
    begun.print(b"$ ")
    assert terminal.said() == [("stdout", "$ ")]
    terminal.send(Op="stdin", Data="x\u20ac")
    assert begun.typed() == "x\u20ac".encode()
    begun.print(b"x")
    assert terminal.said() == [("stdout", "x")]
    terminal.send(Op="resize", Cols=132, Rows=40)
    assert begun.typed() == b"" and begun.sizes == [(132, 40)]
    # Nothing happens for a long time, and it is still there.
    assert not [got for got in terminal.wait(400.0) if got.opcode == CLOSE]
    begun.end(exit_status(3))
    *_, toast, goodbye = terminal.got()
    assert "exited with code 3" in json.loads(toast.payload)["Data"]
    assert (goodbye.opcode, goodbye.code, goodbye.reason) == (CLOSE, 1000, "exited 3")
    terminal.browser.close(1000)
    member.wait(5.0)
    assert not terminal.browser.client.open
    terminal.browser.client.finish()
    assert not world.gateway.gateway.proxy.tunnels and not member.sessions
    assert len(member.execs) == 1 and not world.gateway.embedded.problems


@paths
@pytest.mark.parametrize("user", ["pv", "joe", "wv"])
def test_who_may_not_is_told_so_by_the_member(world: HostAndMember, path: str, user: str) -> None:
    terminal = Terminal(world, path + OPEN, shown(world, user))
    assert terminal.answer.status == 403
    status = terminal.answer.json()
    assert (status["kind"], status["reason"]) == ("Status", "Forbidden") and f'"{user}"' in status["message"]
    assert not world.member.execs and not world.gateway.gateway.proxy.tunnels


def test_rights_at_the_host_are_none_at_the_member(world: HostAndMember) -> None:
    """And the other way round."""
    member = world.member
    member.gateway.delete(member.stored("/apis/iam.kubesphere.io/v1beta1/namespaces/n1/rolebindings/pa"))
    assert Terminal(world, PATHS[0] + OPEN, shown(world, "pa")).answer.status == 403
    world.gateway.delete(world.stored("/apis/iam.kubesphere.io/v1beta1/namespaces/n1/rolebindings/op"))
    assert Terminal(world, f"{GROUP}/{OPEN}", shown(world, "op")).answer.status == 403
    opened(world, user="op").browser.close(1000)


@paths
def test_nobody_is_who_they_say(world: HostAndMember, path: str) -> None:
    admin = world.token("admin")
    claims = (
        "X-Remote-User: admin",
        "X-Remote-Group: system:masters",
        "Impersonate-User: admin",
        f"X-KubeSphere-Authorization: Bearer {admin}",
        "X-KubeSphere-Rawquery: shell=evil",
        f"Cookie: token={admin}; ksproxyd_session={admin}",
    )
    assert Terminal(world, path + OPEN, shown(world, "joe"), *claims).answer.status == 403
    # Who shows nothing is nobody, with and without claims; tokens are in no query.
    assert Terminal(world, path + OPEN, *claims).answer.status in (401, 403)
    assert Terminal(world, f"{path}{OPEN}&token={admin}&access_token={admin}").answer.status in (401, 403)
    for token in (admin[:-6] + "AAAAAA", "eA"):
        assert Terminal(world, path + OPEN, f"Authorization: Bearer {token}").answer.status == 401
    assert not world.member.execs
    # What may be opened is opened as who it is, and as it was asked for.
    opened(world, path, "pa", *claims)
    (session,) = world.member.gateway.gateway.terminals.registry.sessions.values()  # type: ignore[union-attr]
    assert session.owner.name == "pa" and "system:masters" not in session.owner.groups
    assert world.member.exec.argv == ["sh"]


def log_out(world: HostAndMember) -> None:
    world.gateway.run(world.tokens.end_user("pa"))


def disable(world: HostAndMember) -> None:
    user = world.stored("/apis/iam.kubesphere.io/v1beta1/users/pa")
    user["status"] = {"state": "Disabled"}
    world.gateway.apply(user)


def delete(world: HostAndMember) -> None:
    world.gateway.delete(world.stored("/apis/iam.kubesphere.io/v1beta1/users/pa"))


@paths
@pytest.mark.parametrize("lose", [log_out, disable, delete])
def test_who_is_nobody_any_more_is_cut(
    world: HostAndMember, path: str, lose: Callable[[HostAndMember], None]
) -> None:
    terminal, other = opened(world, path), opened(world, path, "op")
    mine = world.member.execs[0]
    terminal.wait(30.0)
    assert terminal.browser.client.open
    lose(world)
    terminal.wait(ROUND)
    assert not terminal.browser.client.open
    # They do not come back to it, and it ends.
    assert Terminal(world, path + OPEN, shown(world, "pa")).answer.status == 401
    other.wait(60.0)
    assert not mine.open and b"\x03" in mine.typed()
    assert other.browser.client.open and world.member.sessions == 1


def test_who_loses_the_right_at_the_member_is_told_why(world: HostAndMember) -> None:
    terminal = opened(world)
    member = world.member
    member.gateway.delete(member.stored("/apis/iam.kubesphere.io/v1beta1/namespaces/n1/rolebindings/pa"))
    goodbye = [got for got in terminal.wait(60.0) if got.opcode == CLOSE]
    assert [got.code for got in goodbye] == [4403]


# -- browsers ------------------------------------------------------------------------------------------------------


@paths
def test_pages_of_the_host_open_it(world: HostAndMember, path: str) -> None:
    """The member knows nothing of the host's address: whose page it is, is looked at here."""
    token = base64.urlsafe_b64encode(world.token("pa").encode()).rstrip(b"=").decode()
    offered = f"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{token}, ksproxyd.json"
    terminal = Terminal(world, path + OPEN, OWN, offered)
    assert (terminal.answer.status, terminal.answer.get("Sec-WebSocket-Protocol")) == (101, b"ksproxyd.json")
    world.member.exec.print(b"$ ")
    assert ("stdout", "$ ") in terminal.said()


@paths
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://ks.member.example", "http://gateway.example.evil.example"]
)
def test_pages_of_others_do_not(world: HostAndMember, path: str, origin: str) -> None:
    terminal = Terminal(world, path + OPEN, shown(world, "pa"), f"Origin: {origin}")
    assert terminal.answer.status == 403 and "allowedOrigins" in terminal.answer.message()
    assert not world.member.execs and not any(way.pairs for way in world.ways)


@paths
def test_a_ticket(world: HostAndMember, path: str) -> None:
    """It is traded at the host, and the member hears of a user. It is good once, and for one cluster."""
    answer = world.ask("pa", "POST", f"{GROUP}/tickets", {"path": path + OPEN}, headers=[(b"Origin", OWN[8:].encode())])
    assert answer.status == 201, answer.body
    offered = f"Sec-WebSocket-Protocol: ksproxyd.json, ksproxyd.ticket.{answer.json()['ticket']}"
    terminal = Terminal(world, path + OPEN, OWN, offered)
    assert terminal.answer.status == 101
    (session,) = world.member.gateway.gateway.terminals.registry.sessions.values()  # type: ignore[union-attr]
    assert session.owner.name == "pa"
    assert Terminal(world, path + OPEN, OWN, offered).answer.status == 401
    # The token that the host has made for the way is good for two minutes, the terminal for longer.
    assert not [got for got in terminal.wait(300.0) if got.opcode == CLOSE]
    log_out(world)
    terminal.wait(ROUND)
    assert not terminal.browser.client.open


@paths
def test_a_page_comes_back(world: HostAndMember, path: str) -> None:
    """When the line to the host breaks, the session at the member waits as one of the host's own would."""
    terminal = opened(world, path, "pa", OWN, "Sec-WebSocket-Protocol: ksproxyd.json")
    ((credential, _),) = [(data, op) for op, data in terminal.said() if op == "session"]
    terminal.browser.client.cut()
    terminal.wait(2.0)
    world.member.exec.print(b"meanwhile")
    offered = f"Sec-WebSocket-Protocol: ksproxyd.json, ksproxyd.resume.{credential}"
    # It is nobody else's.
    other = opened(world, path, "op", OWN, offered)
    assert not any("meanwhile" in data for _, data in other.said()) and len(world.member.execs) == 2
    back = opened(world, path, "pa", OWN, offered)
    assert any("meanwhile" in data for _, data in back.said())
    assert len(world.member.execs) == 2 and world.member.sessions == 2

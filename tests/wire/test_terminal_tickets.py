"""Tickets: what a page shows in place of a token, once (spec 05, 12.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support_terminals import GROUP, SHELL, TerminalWorld
from support_websocket import handshake

from ksproxyd.model.message import Fields

OWN = "http://gateway.example"
TARGET = f"{SHELL}?container=app&shell=sh"


@pytest.fixture
def world() -> Iterator[TerminalWorld]:
    made = TerminalWorld("allowedOrigins: ['https://console.example']")
    yield made
    made.close()


def trade(world: TerminalWorld, user: str = "pa", path: str = TARGET, origin: str = OWN, **more: str) -> Any:
    headers = [(b"Origin", origin.encode())] if origin else []
    return world.ask(user, "POST", f"{GROUP}/tickets", {"path": path, **more}, headers=headers)


def show(world: TerminalWorld, ticket: str, target: str = TARGET, origin: str = OWN) -> Any:
    protocols = f"Sec-WebSocket-Protocol: ksproxyd.json, ksproxyd.ticket.{ticket}"
    lines = (protocols, *([f"Origin: {origin}"] if origin else []))
    return world.browser().open(handshake(target, *lines))


def test_a_ticket_opens_one_terminal_once(world: TerminalWorld) -> None:
    found = trade(world)
    assert (found.status, found.get("Cache-Control")) == (201, b"no-store")
    said = found.json()
    assert (sorted(said), said["expiresIn"], len(said["ticket"])) == (["expiresIn", "ticket"], 30, 43)
    answer = show(world, said["ticket"])
    # The answer names what is spoken, and never the ticket.
    assert (answer.status, answer.get("Sec-WebSocket-Protocol")) == (101, b"ksproxyd.json")
    assert len(world.execs) == 1
    again = show(world, said["ticket"])
    assert (again.status, len(world.execs)) == (401, 1)
    assert "good once" in again.message()


def test_every_ticket_is_another(world: TerminalWorld) -> None:
    assert trade(world).json()["ticket"] != trade(world).json()["ticket"]


@pytest.mark.parametrize(
    "other",
    [
        {"target": f"{SHELL}?container=app&shell=bash"},
        {"target": SHELL},
        {"target": TARGET.replace("web-0", "web-1")},
        {"origin": "https://console.example"},
        {"origin": ""},
    ],
)
def test_it_is_good_nowhere_else(world: TerminalWorld, other: dict[str, str]) -> None:
    ticket = trade(world).json()["ticket"]
    assert show(world, ticket, **other).status == 401
    # Whoever has tried has used it up.
    assert show(world, ticket).status == 401
    assert not world.execs


def test_it_is_good_for_half_a_minute(world: TerminalWorld) -> None:
    ticket, other = (trade(world).json()["ticket"] for _ in range(2))
    world.wait(29.0)
    assert show(world, ticket).status == 101
    world.wait(2.0)
    assert show(world, other).status == 401


def test_it_ends_with_its_login(world: TerminalWorld) -> None:
    ticket = trade(world).json()["ticket"]
    logins = world.gateway.gateway.logins
    assert logins is not None
    world.gateway.run(logins.tokens.end_user("pa", keep=""))
    assert show(world, ticket).status == 401


def test_a_session_ends_with_the_login_of_its_ticket(world: TerminalWorld) -> None:
    browser = world.browser()
    ticket = trade(world).json()["ticket"]
    offered = f"Sec-WebSocket-Protocol: v5.channel.k8s.io, ksproxyd.ticket.{ticket}"
    assert browser.open(handshake(TARGET, offered, f"Origin: {OWN}")).status == 101
    logins = world.gateway.gateway.logins
    assert logins is not None
    world.gateway.run(logins.tokens.end_user("pa", keep=""))
    world.wait(10.0)
    assert browser.frames()[-1].code == 4401


def test_it_gives_no_right(world: TerminalWorld) -> None:
    assert show(world, trade(world, "pv").json()["ticket"]).status == 403
    assert not world.execs


def test_everybody_who_has_logged_in_gets_one_and_nobody_else(world: TerminalWorld) -> None:
    assert trade(world, "joe").status == 201
    assert trade(world, "").status == 401
    # Only that: other things at the same place stay forbidden.
    assert world.ask("joe", "GET", f"{GROUP}/tickets").status in (403, 405)
    assert world.ask("joe", "POST", f"{GROUP}/tickets/x", {}).status == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_pages_of_others_get_none(world: TerminalWorld, origin: str) -> None:
    assert trade(world, origin=origin).status == 403
    body = {"path": TARGET, "origin": origin}
    assert world.ask("pa", "POST", f"{GROUP}/tickets", body).status == 403


def test_a_console_gets_one_for_its_page(world: TerminalWorld) -> None:
    body = {"path": TARGET, "origin": "https://console.example"}
    ticket = world.ask("pa", "POST", f"{GROUP}/tickets", body).json()["ticket"]
    assert show(world, ticket, origin="https://console.example").status == 101
    refused = world.ask("pa", "POST", f"{GROUP}/tickets", {**body, "origin": "https://evil.example"})
    assert refused.status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/n1/pods/web-0/exec?command=sh",
        "https://gateway.example" + SHELL,
        "/kapis/iam.kubesphere.io/v1beta1/users/pa",
        f"{GROUP}/../../../api/v1\n",
        "",
    ],
)
def test_what_it_cannot_be_for(world: TerminalWorld, path: str) -> None:
    assert trade(world, path=path).status == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"path": 1}', b"\xff"])
def test_what_is_no_request_for_one(world: TerminalWorld, body: bytes) -> None:
    assert world.ask("pa", "POST", f"{GROUP}/tickets", body).status == 400


def test_it_is_asked_for_in_json(world: TerminalWorld) -> None:
    form = "application/x-www-form-urlencoded"
    assert world.ask("pa", "POST", f"{GROUP}/tickets", b"path=x", form).status == 415


@pytest.mark.parametrize(
    ("offered", "expected"),
    [("ksproxyd.ticket.{0}", 400), ("a, ksproxyd.ticket.{0}, ksproxyd.ticket.{0}", 400), ("a, ksproxyd.ticket.x", 400)],
)
def test_how_it_cannot_be_shown(world: TerminalWorld, offered: str, expected: int) -> None:
    ticket = trade(world).json()["ticket"]
    protocols = f"Sec-WebSocket-Protocol: {offered.format(ticket)}"
    found = world.browser().open(handshake(TARGET, protocols, f"Origin: {OWN}"))
    assert (found.status, len(world.execs)) == (expected, 0)


def test_no_other_request_is_from_whoever_shows_it(world: TerminalWorld) -> None:
    ticket = trade(world, "admin").json()["ticket"]
    shown = f"Sec-WebSocket-Protocol: ksproxyd.json, ksproxyd.ticket.{ticket}"
    found = world.browser().open(handshake("/api/v1/namespaces/n1/pods/web-0/exec?command=sh", shown, f"Origin: {OWN}"))
    assert (found.status, world.execs) == (401, [])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], 403),
        ([(b"Origin", b"https://evil.example")], 403),
        ([(b"Origin", b"https://console.example")], 403),
        ([(b"Origin", OWN.encode()), (b"Sec-Fetch-Site", b"cross-site")], 403),
        ([(b"Origin", OWN.encode()), (b"Cookie", b"ksproxyd_session=" + b"A" * 43)], 401),
        ([(b"Origin", OWN.encode())], 401),
    ],
)
def test_a_browser_that_has_not_signed_in(
    world: TerminalWorld, headers: list[tuple[bytes, bytes]], expected: int
) -> None:
    found = world.ask("", "POST", "/oauth/terminal_ticket", {"path": TARGET}, headers=headers)
    assert found.status == expected


def signed_in(world: TerminalWorld, user: str) -> bytes:
    """The cookie of a browser in which ``user`` has signed in."""
    logins = world.gateway.gateway.logins
    assert logins is not None

    class Plain:
        """As much of an exchange as a cookie takes."""

        secure = trusted = False
        fields = Fields([])

    pairs = world.gateway.run(logins.front.browsers.open(Plain(), user, 0.0))
    return bytes(pairs[0][1]).partition(b";")[0]


def test_a_sign_in_is_traded_and_ends_its_terminals(world: TerminalWorld) -> None:
    headers = [(b"Origin", OWN.encode()), (b"Cookie", signed_in(world, "pa")), (b"Sec-Fetch-Site", b"same-origin")]
    found = world.ask("", "POST", "/oauth/terminal_ticket", {"path": TARGET}, headers=headers)
    assert found.status == 201
    browser = world.browser()
    offered = f"Sec-WebSocket-Protocol: v5.channel.k8s.io, ksproxyd.ticket.{found.json()['ticket']}"
    assert browser.open(handshake(TARGET, offered, f"Origin: {OWN}")).status == 101
    world.wait(20.0)
    assert world.sessions == 1
    logins = world.gateway.gateway.logins
    assert logins is not None
    world.gateway.run(logins.front.browsers.end_user("pa"))
    world.wait(10.0)
    assert browser.frames()[-1].code == 4401
    # The sign-in itself is no way to a terminal.
    headers = [(b"Origin", OWN.encode()), (b"Cookie", signed_in(world, "pa"))]
    assert world.ask("", "GET", TARGET, headers=headers).status == 403

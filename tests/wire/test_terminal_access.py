"""Who may open a terminal, from where, and with what (spec 05, 1.2 to 1.4, 12.4, 14: facts 1 to 10, 38, 43)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from support_rights import RightsWorld, binding, group, role, rule
from support_terminals import GROUP, SHELL, TerminalWorld, pod
from support_websocket import handshake

from ksproxyd.testing.messages import Answer

OWN = "Origin: http://gateway.example"
MORE = "  trustedProxies: [198.51.100.0/24]"


@pytest.fixture
def world() -> Iterator[TerminalWorld]:
    made = TerminalWorld("allowedOrigins: ['https://console.example', 'https://*.apps.example']")
    yield made
    made.close()


def status_of(found: Answer) -> Any:
    """The Status in an answer, which must be one."""
    assert found.get("Content-Type") == b"application/json"
    said = found.json()
    assert (said["kind"], said["status"], said["code"]) == ("Status", "Failure", found.status)
    return said


# -- facts 1 and 2, and the order of what is looked at ---------------------------------------------------------------


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/octet-stream", ""])
def test_a_plain_get_is_400_and_never_404_nor_406(world: TerminalWorld, accept: str) -> None:
    for target in (SHELL, f"{SHELL}?container=app&shell=sh"):
        found = world.ask("pa", "GET", target, headers=[(b"Accept", accept.encode())] if accept else None)
        assert found.status == 400
        assert found.get("Sec-WebSocket-Version") == b"13"
    assert not world.execs


def test_who_shows_nothing_is_403_and_who_shows_rubbish_401(world: TerminalWorld) -> None:
    assert status_of(world.ask("", "GET", SHELL))["reason"] == "Forbidden"
    assert status_of(world.refused("", SHELL))["reason"] == "Forbidden"
    found = world.browser().open(handshake(SHELL, "Authorization: Bearer rubbish"))
    assert found.status == 401


@pytest.mark.parametrize("query", ["access_token", "token"])
def test_no_credentials_in_urls(world: TerminalWorld, query: str) -> None:
    assert world.refused("", f"{SHELL}?{query}={world.token('pa')}").status == 403


# -- fact 3 and the other second questions ---------------------------------------------------------------------------


def test_to_look_is_not_to_run(world: TerminalWorld) -> None:
    said = status_of(world.refused("pv", SHELL))
    assert 'cannot create resource "pods/exec" in API group ""' in said["message"]
    assert not world.execs
    # The way past our own route is no way either (fact 4).
    found = world.refused("pv", "/api/v1/namespaces/n1/pods/web-0/exec?command=sh")
    assert (found.status, world.execs) == (403, [])


def test_the_kubectl_terminal_of_somebody_else(world: TerminalWorld) -> None:
    assert "its user only" in status_of(world.refused("admin", f"{GROUP}/users/joe/kubectl"))["message"]


def test_everybody_may_ask_for_their_own(world: TerminalWorld) -> None:
    assert world.ask("joe", "GET", f"{GROUP}/users/joe/kubectl").status == 400
    assert world.ask("joe", "GET", f"{GROUP}/users/admin/kubectl").status == 403


@pytest.mark.parametrize(("names", "expected"), [([], 400), (["n-1"], 400), (["n-2"], 403)])
def test_nodes_by_name(world: TerminalWorld, names: list[str], expected: int) -> None:
    world.gateway.apply(
        role(
            "ClusterRole",
            "node-shells",
            [rule(["terminal.kubesphere.io"], ["nodes/exec"], ["get"]), rule([""], ["nodes/exec"], ["create"], names)],
        ),
        binding("ClusterRoleBinding", "node-shells", ("ClusterRole", "node-shells"), "bob"),
    )
    assert world.ask("bob", "GET", f"{GROUP}/nodes/n-1/exec").status == expected


def test_whoever_sees_everything_has_no_node(world: TerminalWorld) -> None:
    assert world.ask("cv", "GET", f"{GROUP}/nodes/n-1/exec").status == 403
    assert world.ask("ca", "GET", f"{GROUP}/nodes/n-1/exec").status == 400


def test_the_second_question_is_asked_in_every_mode() -> None:
    open_to_all = RightsWorld(mode="AlwaysAllow")
    open_to_all.gateway.apply(pod())
    assert open_to_all.ask("pv", "GET", SHELL).status == 403
    assert open_to_all.ask("pa", "GET", SHELL).status == 400
    open_to_all.close()


@pytest.mark.parametrize(
    "target",
    [
        f"{GROUP}/namespaces/n1/pods/Web/exec",
        f"{GROUP}/namespaces/n1/pods/web%20x/exec",
        f"{SHELL}?container=A",
        f"{SHELL}?container=..%2f..",
    ],
)
def test_names_that_are_none(world: TerminalWorld, target: str) -> None:
    assert world.refused("admin", target).status == 400
    assert not world.execs


def test_methods(world: TerminalWorld) -> None:
    found = world.ask("pa", "DELETE", SHELL)
    assert found.status in (403, 405)
    found = world.ask("admin", "POST", SHELL, {})
    assert (found.status, found.get("Allow")) == (405, b"GET, HEAD")


# -- fact 5: pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://gateway.example", True),
        ("http://gateway.example:80", True),
        ("https://console.example", True),
        ("https://a.apps.example", True),
        ("https://evil.example", False),
        ("https://gateway.example", False),
        ("http://gateway.example:8080", False),
        ("http://gateway.example.evil.example", False),
        ("https://apps.example", False),
        ("https://console.example.", False),
        ("null", False),
        ("", False),
    ],
)
def test_origins(world: TerminalWorld, origin: str, allowed: bool) -> None:
    if allowed:
        world.open("pa", SHELL, f"Origin: {origin}")
        return
    found = world.refused("pa", SHELL, f"Origin: {origin}")
    assert "terminal.allowedOrigins" in status_of(found)["message"]
    assert not world.execs


def test_two_origins(world: TerminalWorld) -> None:
    assert world.refused("pa", SHELL, OWN, OWN).status == 400


def test_without_an_origin_a_token_is_enough_and_a_cookie_never(world: TerminalWorld) -> None:
    world.open("pa")
    cookie = f"Cookie: token={world.token('pa')}; ksproxyd_session={'A' * 43}"
    assert world.refused("", SHELL, cookie).status == 403
    assert world.refused("", SHELL, cookie, OWN).status == 403


def test_the_own_origin_behind_a_proxy() -> None:
    world = TerminalWorld(more=MORE)
    forwarded = ("X-Forwarded-Proto: https", "X-Forwarded-Host: ks.example")
    for host, expected in (("198.51.100.1", 101), ("192.0.2.7", 403)):
        browser = world.browser()
        browser.client = world.gateway.connect(host)
        request = world.request("pa", SHELL, "Origin: https://ks.example", *forwarded)
        assert browser.open(request).status == expected
    world.close()


# -- facts 6 to 9: the handshake ---------------------------------------------------------------------------------------


def test_another_protocol(world: TerminalWorld) -> None:
    found = world.ask("pa", "GET", SHELL, headers=[(b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")])
    assert (found.status, found.get("Upgrade")) == (426, b"websocket")


BAD = [
    ("another version", {"version": "8"}, ()),
    ("no version", {"version": ""}, ()),
    ("two versions", {}, ("Sec-WebSocket-Version: 13",)),
    ("no key", {"key": ""}, ()),
    ("a key of 15 bytes", {"key": "QUFBQUFBQUFBQUFBQUFB"}, ()),
    ("a key of 17 bytes", {"key": "QUFBQUFBQUFBQUFBQUFBQUE="}, ()),
    ("a key that is no base64", {"key": "********************** =="}, ()),
    ("two keys", {}, ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",)),
]


@pytest.mark.parametrize(("parts", "more"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_handshakes_that_are_none(world: TerminalWorld, parts: dict[str, str], more: tuple[str, ...]) -> None:
    shown = f"Authorization: Bearer {world.token('pa')}"
    found = world.browser().open(handshake(SHELL, shown, *more, **parts))
    assert (found.status, found.get("Sec-WebSocket-Version")) == (400, b"13")
    # It is an answer like any other, and the connection goes on.
    assert world.ask("pa", "GET", SHELL).status == 400


def test_a_body_where_none_belongs(world: TerminalWorld) -> None:
    request = world.request("pa", SHELL, "Content-Length: 1") + b"x"
    assert world.browser().open(request).status == 400


def test_a_handshake_over_http_1_0(world: TerminalWorld) -> None:
    request = world.request("pa", SHELL).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert world.browser().open(request).status == 400


def test_what_is_spoken(world: TerminalWorld) -> None:
    head = world.open("pa", SHELL, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits").head
    assert head is not None
    assert (head.get("Sec-WebSocket-Accept"), head.all("Sec-WebSocket-Extensions")) == (
        b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        [],
    )
    assert head.all("Sec-WebSocket-Protocol") == []
    assert head.all("Server") == []


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        ("v4.channel.k8s.io", [b"v4.channel.k8s.io"]),
        ("foo, v5.channel.k8s.io", [b"v5.channel.k8s.io"]),
        ("ksproxyd.json", [b"ksproxyd.json"]),
        ("unknown.example", []),
    ],
)
def test_subprotocols(world: TerminalWorld, offered: str, expected: list[bytes]) -> None:
    head = world.open("pa", SHELL, f"Sec-WebSocket-Protocol: {offered}").head
    assert head is not None
    assert head.all("Sec-WebSocket-Protocol") == expected


def test_a_token_as_a_subprotocol(world: TerminalWorld) -> None:
    token = base64.urlsafe_b64encode(world.token("pa").encode()).rstrip(b"=").decode()
    offered = f"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{token}, v5.channel.k8s.io"
    head = world.open("", SHELL, offered, OWN).head
    assert head is not None
    assert head.get("Sec-WebSocket-Protocol") == b"v5.channel.k8s.io"


# -- fact 38: limits ------------------------------------------------------------------------------------------------


def test_not_too_many_in_a_minute() -> None:
    world = TerminalWorld("startsPerMinute: 3")
    for _ in range(3):
        browser = world.open("pa")
        browser.close()
    world.gateway.wait(3.0)
    found = world.refused("pa", SHELL)
    assert (found.status, status_of(found)["reason"]) == (429, "TooManyRequests")
    assert int(found.get("Retry-After") or b"0") > 0
    world.open("admin")
    world.gateway.wait(61.0)
    world.open("pa")
    world.close()


def test_not_too_many_at_a_time() -> None:
    world = TerminalWorld("maxSessionsPerUser: 2, maxSessions: 3")
    first = world.open("pa")
    world.open("pa")
    assert world.refused("pa", SHELL).status == 429
    world.open("admin")
    assert world.refused("admin", SHELL).status == 429
    first.close()
    world.gateway.wait(10.0)
    world.open("pa")
    world.close()


def test_everybody_in_a_group_who_may(world: TerminalWorld) -> None:
    world.gateway.apply(binding("RoleBinding", "all", ("Role", "operator"), group("devs"), namespace="n1"))
    # An operator has every verb in the core group, and may look everywhere.
    world.open("dev")

"""What ``/readyz?verbose`` and ``/metrics`` say of logins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support_oauth import KUBESPHERE, World
from test_facts_authentication import provider

from ksproxyd.tree.login_checks import shared_store


@pytest.fixture
def world() -> Iterator[World]:
    found = World(more="  iam: {manageUsers: false}")
    yield found
    found.gateway.close()


def ready(world: World, check: str) -> str:
    answer = world.gateway.get("/readyz?verbose")
    assert answer.status == 200
    (line,) = [line for line in answer.body.decode().splitlines() if line.startswith((f"[+]{check} ", f"[-]{check} "))]
    return line


def metrics(world: World) -> dict[str, float]:
    text = world.gateway.get("/metrics").body.decode()
    # An answer is good for a second.
    world.gateway.wait(2.0)
    return {name: float(value) for name, value in re.findall(r"^(ksproxyd_\S+) (\S+)$", text, re.MULTILINE)}


def test_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ready(world, "shared-store") == "[+]shared-store ok: in the memory of this process"
    assert metrics(world)["ksproxyd_shared_store_up"] == 1
    monkeypatch.setattr(world.logins.store, "away", "10.0.0.9:6379 refused")
    assert metrics(world)["ksproxyd_shared_store_up"] == 0


def test_redis() -> None:
    reasons = [""]
    check = shared_store(True, lambda: reasons[-1])
    assert check.run() == (True, "Redis answers")
    reasons.append("10.0.0.9:6379 refused the connection")
    found: Any = check.run()
    assert found[0] and "away" in found[1] and "10.0.0.9" not in found[1]


def test_providers(world: World) -> None:
    assert ready(world, "identity-providers") == "[+]identity-providers ok: 0 in use"
    world.gateway.apply(provider("good"), provider("odd", mappingMethod="any"), provider("wrong", type="Nothing"))
    assert ready(world, "identity-providers") == (
        "[+]identity-providers ok: 2 in use; Secrets that are not used as they are: identityprovider-wrong; "
        "Secrets with remarks: identityprovider-odd; see the log"
    )
    found = metrics(world)
    assert found['ksproxyd_identity_provider_problems{fatal="true"}'] == 1
    assert found['ksproxyd_identity_provider_problems{fatal="false"}'] == 1


def test_logins_are_counted(world: World) -> None:
    before = metrics(world)
    assert world.password().status == 200
    assert world.password("nobody").status == 400
    world.gateway.wait(1.0)
    found = metrics(world)
    assert found["ksproxyd_passwords_compared_total"] - before["ksproxyd_passwords_compared_total"] == 2
    for name in ("passwords_waiting", "login_records_waiting", "login_records_lost_total", "passwords_refused_total"):
        assert found[f"ksproxyd_{name}"] == 0


def test_who_is_sent_away_is_counted() -> None:
    world = World(more="  iam: {manageUsers: false}\n  credentials: {passwordProcesses: 1, passwordQueue: 1}")
    try:
        passwords = world.logins.passwords
        with passwords.place(), passwords.place():
            assert metrics(world)["ksproxyd_passwords_waiting"] == 2
            answer = world.password()
        assert (answer.status, answer.get("Retry-After")) == (503, b"1")
        assert metrics(world)["ksproxyd_passwords_refused_total"] == 1
    finally:
        world.gateway.close()


def test_a_crowd_is_sent_away_before_its_forms_are_read() -> None:
    """Those who come with something else than a password of the gateway's are served meanwhile."""
    world = World(more="  iam: {manageUsers: false}\n  credentials: {passwordProcesses: 1, passwordQueue: 1}")
    try:
        refresh = world.password().json()["refresh_token"]
        passwords = world.logins.passwords
        with passwords.place(), passwords.place():
            form = {"grant_type": "password", "username": "alice", "password": "x", "client_id": "no such client"}
            answer = world.post("/oauth/token", form)
            assert (answer.status, answer.json()["error"]) == (503, "temporarily_unavailable")
            assert (answer.get("Retry-After"), answer.get("Cache-Control")) == (b"1", b"no-store")
            assert metrics(world)["ksproxyd_passwords_refused_total"] == 1
            answer = world.post("/oauth/token", {**form, "provider": "nowhere", **KUBESPHERE})
            assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
            answer = world.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": refresh, **KUBESPHERE})
            assert answer.status == 200 and metrics(world)["ksproxyd_passwords_refused_total"] == 1
        assert world.post("/oauth/token", form).status == 401
    finally:
        world.gateway.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 401),
        (b"x=1", 401),
        (b"grant_type=refresh_token", 401),
        (b"grant_type=password", 503),
        (b"grant_type=password&provider=", 401),
        (b"a=" + b"x" * 70000, 413),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_any_form_in_a_crowd_is_answered(body: bytes, status: int, chunked: bool) -> None:
    """What is looked at before the form is read is the form's again afterwards, however it came."""
    world = World(more="  iam: {manageUsers: false}\n  credentials: {passwordProcesses: 1, passwordQueue: 1}")
    frame = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    sent = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n" if chunked else body
    head = b"POST /oauth/token HTTP/1.1\r\nHost: g\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    try:
        passwords = world.logins.passwords
        with passwords.place(), passwords.place():
            assert world.gateway.exchange(head + frame + b"\r\n\r\n" + sent, method="POST").status == status
    finally:
        world.gateway.close()

"""People of a real LDAP server sign in: over TLS from the beginning, by StartTLS, and not otherwise than right."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor

from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.provider import External, ProviderError
from ksproxyd.authn.providers.registry import make, means
from ksproxyd.settings import load_text
from ksproxyd.testing import Authority
from live.ldap_server import MANAGER, MANAGER_PASSWORD, PEOPLE, LDAPServer

reactor: Any = _reactor

SETTINGS = load_text("ksproxyd: {timeouts: {identityProvider: 3s}}", "settings", {}).settings

ALICE = External("alice", "alice", "alice@ks.test", True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LDAPServer]:
    found = LDAPServer(tmp_path_factory.mktemp("ldap"))
    found.start()
    yield found
    found.stop()


def made(server: LDAPServer, kind: str = "starttls", **options: Any) -> Any:
    ways = {
        "plain": {"host": f"127.0.0.1:{server.plain}"},
        "starttls": {"host": f"ldap://localhost:{server.plain}", "startTLS": True},
        "ldaps": {"host": f"ldaps://localhost:{server.tls}"},
    }
    usual = {
        "managerDN": MANAGER,
        "managerPassword": MANAGER_PASSWORD,
        "userSearchBase": PEOPLE,
        "loginAttribute": "UID",
        "mailAttribute": "MAIL",
        "rootCAData": base64.b64encode(server.authority.pem).decode(),
        "readTimeout": 2000,
    }
    configuration = Configuration("ldap", "LDAPIdentityProvider", "auto", options={**usual, **ways[kind], **options})
    return make(configuration, means(reactor, SETTINGS))[0]


async def refused(provider: Any, name: str, password: str = "right", kind: str = "credentials") -> str:
    with pytest.raises(ProviderError) as caught:
        await provider.check(name, password)
    assert caught.value.kind == kind, caught.value.message
    assert MANAGER_PASSWORD not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("kind", ["starttls", "ldaps", "plain"])
@pytest_twisted.ensureDeferred
async def test_passwords(server: LDAPServer, kind: str) -> None:
    provider = made(server, kind)
    assert await provider.check("alice", "right") == ALICE
    assert await provider.check("ALICE", "right") == ALICE
    assert (await provider.check("bob", "päss wörd ☃")).username == "Bob"
    assert "invalidCredentials (49)" in await refused(provider, "alice", "wrong")
    assert "invalidCredentials (49)" in await refused(provider, "bob", "right")
    await refused(provider, "alice", "")
    assert "no entry" in await refused(provider, "mallory")
    assert "more than one entry" in await refused(provider, "twin")


@pytest_twisted.ensureDeferred
async def test_a_filter_of_the_operators(server: LDAPServer) -> None:
    provider = made(server, userSearchFilter="(!(employeeType=guest))")
    assert await provider.check("alice", "right") == ALICE
    assert "no entry" in await refused(provider, "guest")


@pytest_twisted.ensureDeferred
async def test_nothing_in_a_name_is_a_filter(server: LDAPServer) -> None:
    provider = made(server, userSearchFilter="(objectClass=inetOrgPerson)")
    assert (await provider.check("a*)(b", "right")).username == "a*)(b"
    for name in (
        "*",
        "a*",
        "alice)(uid=*",
        "*)(uid=*))(|(uid=*",
        "alice)(|(uid=*",
        "alice)(&)",
        "(alice)",
        "\\61lice",
        "\\2a",
        "alice\0",
        "\0",
        "alice)(!(uid=nobody)",
        "*)(objectClass=*",
        "cn=alice,ou=people,dc=ks,dc=test",
        "alice\\",
        "ali*ce",
        "a" * 1000,
    ):
        # ``alice\0`` is no entry either, or something the server does not even look for.
        message = await refused(provider, name, kind="credentials")
        assert "no entry" in message, name


@pytest_twisted.ensureDeferred
async def test_an_identifier_that_stays(server: LDAPServer) -> None:
    first = await made(server, uidAttribute="entryUUID").check("alice", "right")
    assert len(first.uid) == 36
    assert first.username == "alice"
    assert (await made(server, "ldaps", uidAttribute="ENTRYUUID").check("alice", "right")).uid == first.uid


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
@pytest_twisted.ensureDeferred
async def test_certificates_are_verified(server: LDAPServer, kind: str) -> None:
    other = base64.b64encode(Authority().pem).decode()
    for changes in ({"rootCAData": other}, {"rootCAData": ""}):
        message = await refused(made(server, kind, **changes), "alice", kind="unavailable")
        assert "its certificate is not issued by an authority that is trusted" in message
    assert await made(server, kind, rootCAData="", insecureSkipVerify=True).check("alice", "right") == ALICE
    # By a file, and by the address, which the certificate is for, too.
    assert await made(server, kind, host=_other_host(server, kind, "127.0.0.1")).check("alice", "right") == ALICE


@pytest.mark.parametrize("kind", ["starttls", "ldaps"])
@pytest_twisted.ensureDeferred
async def test_certificates_must_be_for_the_host(tmp_path: Path, kind: str) -> None:
    server = LDAPServer(tmp_path, "ldap.elsewhere.test")
    server.start()
    try:
        message = await refused(made(server, kind), "alice", kind="unavailable")
        assert "its certificate is for another name" in message
    finally:
        server.stop()


def _other_host(server: LDAPServer, kind: str, host: str) -> str:
    return f"ldaps://{host}:{server.tls}" if kind == "ldaps" else f"ldap://{host}:{server.plain}"


@pytest_twisted.ensureDeferred
async def test_managers_and_bases_that_are_wrong(server: LDAPServer) -> None:
    message = await refused(made(server, managerPassword="no"), "alice", kind="unavailable")
    assert "(managerDN) in: invalidCredentials (49)" in message
    message = await refused(made(server, userSearchBase="ou=nobody,dc=ks,dc=test"), "alice", kind="unavailable")
    assert "noSuchObject (32)" in message
    message = await refused(made(server, managerDN="", managerPassword=""), "alice", kind="unavailable")
    assert "the search below" in message


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_down_and_comes_back(tmp_path: Path) -> None:
    server = LDAPServer(tmp_path)
    providers = [made(server, kind) for kind in ("starttls", "ldaps")]
    for provider in providers:
        assert "connection refused" in await refused(provider, "alice", kind="unavailable")
    server.start()
    try:
        for provider in providers:
            assert await provider.check("alice", "right") == ALICE
    finally:
        server.stop()
    for provider in providers:
        assert "connection refused" in await refused(provider, "alice", kind="unavailable")


@pytest_twisted.ensureDeferred
async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    server = LDAPServer(tmp_path)
    server.start()
    try:
        server.pause()
        begun = time.monotonic()
        # StartTLS and the bind wait for an answer, ldaps for the handshake, as part of connecting.
        for kind, said in (
            ("starttls", "the server did not answer within 2 s"),
            ("plain", "the server did not answer within 2 s"),
            ("ldaps", "no connection within 3 s"),
        ):
            assert said in await refused(made(server, kind), "alice", kind="unavailable")
        assert time.monotonic() - begun < 12
        server.go_on()
        assert await made(server).check("alice", "right") == ALICE
    finally:
        server.stop()


@pytest_twisted.ensureDeferred
async def test_a_port_that_speaks_something_else(server: LDAPServer) -> None:
    # TLS where there is none, and none where there is TLS.
    provider = made(server, host=f"ldaps://localhost:{server.plain}", startTLS=False)
    await refused(provider, "alice", kind="unavailable")
    provider = made(server, host=f"ldap://localhost:{server.tls}", startTLS=False)
    await refused(provider, "alice", kind="unavailable")

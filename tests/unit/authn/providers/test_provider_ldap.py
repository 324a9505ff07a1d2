"""LDAP against ldaptor's own server, in memory (spec 02, 4.3 and D-39)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ldaptor.inmemory import ReadOnlyInMemoryLDAPEntry
from ldaptor.interfaces import IConnectedLDAPEntry
from ldaptor.protocols import pureldap
from ldaptor.protocols.ldap.ldapserver import LDAPServer
from provider_parts import provider
from twisted.internet import error
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.test.iosim import connectedServerAndClient

from ksproxyd.authn.providers.provider import External, ProviderError
from ksproxyd.upstream.target import Target

GUID = uuid.UUID("3f2504e0-4f89-11d3-9a0c-0305e82c3301")
OPTIONS: dict[str, Any] = {
    "host": "ldap.test",
    "managerDN": "cn=manager,dc=ks,dc=test",
    "managerPassword": "manager-secret",
    "userSearchBase": "ou=people,dc=ks,dc=test",
    "userSearchFilter": "(objectClass=person)",
    "loginAttribute": "UID",
    "mailAttribute": "Mail",
}


class Tree:
    """What the server holds; the factory of its protocols."""

    def __init__(self) -> None:
        self.root = ReadOnlyInMemoryLDAPEntry(b"dc=ks,dc=test", {b"objectClass": [b"dcObject"], b"dc": [b"ks"]})
        self.root.addChild(
            b"cn=manager",
            {b"objectClass": [b"person"], b"cn": [b"manager"], b"userPassword": [b"manager-secret"]},
        )
        self.people = self.root.addChild(b"ou=people", {b"objectClass": [b"organizationalUnit"], b"ou": [b"people"]})
        self.person("alice", mail="alice@ks.test")
        self.person("bob*")
        self.person("carol", objectClass=b"robot")
        self.person("twin1", uid2="twin")
        self.person("twin2", uid2="twin")

    def person(self, name: str, *, mail: str = "", uid2: str = "", objectClass: bytes = b"person") -> None:
        attributes = {
            b"objectClass": [objectClass],
            b"cn": [name.encode()],
            b"uid": [name.encode()] + ([uid2.encode()] if uid2 else []),
            b"userPassword": [b"right"],
            b"objectGUID": [GUID.bytes_le],
            b"entryUUID": [str(GUID).encode()],
        }
        if mail:
            attributes[b"mail"] = [mail.encode()]
        self.people.addChild(b"cn=" + name.encode(), attributes)


class ServerFactory(Factory):
    def __init__(self, tree: Tree) -> None:
        self.root = tree.root


registerAdapter(lambda factory: factory.root, ServerFactory, IConnectedLDAPEntry)


class Dialer:
    """Connects to servers that ``server`` makes."""

    def __init__(self, server: Callable[[], Protocol]) -> None:
        self.server = server
        self.pumps: list[Any] = []
        self.servers: list[Any] = []
        self.dialed: list[Target] = []
        self.refuse: Exception | None = None
        self.never = False

    def dial(self, target: Target, factory: Factory, timeout: float) -> Deferred[Any]:
        self.dialed.append(target)
        if self.refuse is not None:
            return fail(Failure(self.refuse))
        if self.never:
            return Deferred()
        client, server, pump = connectedServerAndClient(self.server, lambda: factory.buildProtocol(None))
        # iosim calls them the other way round.
        self.servers.append(client)
        self.pumps.append(pump)
        done: Deferred[Any] = Deferred()
        done.callback(server)
        return done

    def flush(self) -> None:
        for pump in self.pumps:
            pump.flush()

    @property
    def open(self) -> int:
        return sum(1 for pump in self.pumps if not pump.clientIO.disconnected)


class Site:
    def __init__(self, **more: Any) -> None:
        self.tree = Tree()
        self.clock = Clock()
        self.dialer = Dialer(self.server)
        self.provider = provider(
            "LDAPIdentityProvider", {**OPTIONS, **more}, reactor=self.clock, dialer=self.dialer, timeout=3.0
        )

    def server(self) -> Protocol:
        found = LDAPServer()
        found.factory = ServerFactory(self.tree)
        return found

    def run(self, coroutine: Any) -> Any:
        found: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(found.append)
        for _ in range(20):
            self.dialer.flush()
            if found:
                break
        assert found, "it waits"
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def check(self, name: str, password: str = "right") -> External:
        found = self.run(self.provider.check(name, password))
        self.dialer.flush()
        assert self.dialer.open == 0
        return found

    def refused(self, name: str, password: str = "right", kind: str = "credentials") -> str:
        with pytest.raises(ProviderError) as caught:
            self.check(name, password)
        self.dialer.flush()
        assert self.dialer.open == 0, "a connection is left"
        assert caught.value.kind == kind, caught.value.message
        assert "manager-secret" not in caught.value.message
        return caught.value.message


@pytest.fixture
def site() -> Iterator[Site]:
    yield Site()


def test_the_right_password(site: Site) -> None:
    assert site.check("alice") == External("alice", "alice", "alice@ks.test", True)
    assert site.dialer.dialed == [Target("http", "ldap.test", 389)]


def test_a_name_in_other_letters_is_the_same_person(site: Site) -> None:
    assert site.check("ALICE").uid == "alice"


def test_wrong_passwords_and_unknown_names(site: Site) -> None:
    assert "invalidCredentials (49)" in site.refused("alice", "wrong")
    assert "no entry" in site.refused("mallory")
    assert "no entry" in site.refused("carol")


def test_more_than_one_entry_is_a_wrong_password(site: Site) -> None:
    assert "more than one entry" in site.refused("twin")


@pytest.mark.parametrize("password", ["", "\0"[1:]])
def test_an_empty_password_goes_nowhere(site: Site, password: str) -> None:
    site.refused("alice", password)
    site.refused("", "right")
    site.refused("a" * 5000)
    assert site.dialer.dialed == []


@pytest.mark.parametrize(
    "name",
    ["*", "a*", "alice)(uid=*", "*)(uid=*))(|(uid=*", "alice)(|(cn=*", "\\2a", "\\61lice", "alice\0", "(alice)", "al\\",
     "alice)(!(uid=x)", "é" * 20, "&", "|", "!", "alice,ou=people,dc=ks,dc=test"],
)  # fmt: skip
def test_nothing_in_a_name_is_a_filter(site: Site, name: str) -> None:
    assert "no entry" in site.refused(name)


def test_signs_of_filters_are_just_signs_in_a_name(site: Site) -> None:
    assert site.check("bob*").username == "bob*"


def test_the_name_goes_over_the_wire_as_it_is() -> None:
    request = pureldap.LDAPFilter_equalityMatch(
        attributeDesc=pureldap.LDAPAttributeDescription("uid"), assertionValue=pureldap.LDAPAssertionValue("a*)(b")
    )
    assert b"a*)(b" in request.toWire()


def test_other_identifiers() -> None:
    assert Site(uidAttribute="objectGUID").check("alice").uid == str(GUID)
    assert Site(uidAttribute="ENTRYUUID").check("alice") == External(str(GUID), "alice", "alice@ks.test", True)
    assert "no readable employeeNumber" in Site(uidAttribute="employeeNumber").refused("alice", kind="answer")


def test_a_manager_who_is_not_let_in_is_our_problem(site: Site) -> None:
    site = Site(managerPassword="manager-secret2")
    message = site.refused("alice", kind="unavailable")
    assert "does not let 'cn=manager,dc=ks,dc=test' (managerDN) in" in message


def test_a_search_base_that_is_not_there() -> None:
    assert "the search below 'ou=nobody,dc=ks,dc=test' failed: noSuchObject (32)" in Site(
        userSearchBase="ou=nobody,dc=ks,dc=test"
    ).refused("alice", kind="unavailable")


def test_without_a_manager_the_search_is_anonymous() -> None:
    assert Site(managerDN="", managerPassword="").check("alice").uid == "alice"


def test_a_server_that_is_down(site: Site) -> None:
    site.dialer.refuse = error.ConnectionRefusedError()
    assert "connection refused" in site.refused("alice", kind="unavailable")


def test_a_server_that_does_not_take_connections(site: Site) -> None:
    site.dialer.never = True
    found: list[Any] = []
    Deferred.fromCoroutine(site.provider.check("alice", "right")).addErrback(lambda f: found.append(f.value))
    site.clock.advance(2.9)
    assert found == []
    site.clock.advance(0.2)
    assert [(e.kind, e.message) for e in found] == [("unavailable", "no connection within 3 s")]


class Mute(Protocol):
    pass


def test_a_server_that_does_not_answer() -> None:
    site = Site(readTimeout=1500)
    site.dialer.server = Mute
    found: list[Any] = []
    Deferred.fromCoroutine(site.provider.check("alice", "right")).addErrback(lambda f: found.append(f.value))
    site.clock.advance(1.4)
    site.dialer.flush()
    assert found == []
    site.clock.advance(0.2)
    assert [(e.kind, e.message) for e in found] == [("unavailable", "the server did not answer within 1.5 s")]
    site.dialer.flush()
    assert site.dialer.open == 0
    assert site.clock.getDelayedCalls() == []


class Talks(Protocol):
    """Says something else."""

    said = b""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.said)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20,
        b"\x30\x03\x02\x01\x01" * 3,
        b"\x30\x84\x7f\xff\xff\xff" + b"x" * 2_000_000,
        bytes(range(256)) * 4,
        # An answer to a question that nobody asked.
        pureldap.LDAPMessage(pureldap.LDAPBindResponse(resultCode=0), id=99999999).toWire(),
    ],
)
def test_a_server_that_is_none(site: Site, said: bytes) -> None:
    kind = type("Kind", (Talks,), {"said": said})
    site.dialer.server = kind
    found: list[Any] = []
    Deferred.fromCoroutine(site.provider.check("alice", "right")).addErrback(lambda f: found.append(f.value))
    site.dialer.flush()
    site.clock.advance(16)
    site.dialer.flush()
    assert len(found) == 1
    assert found[0].kind in ("answer", "unavailable")
    assert site.dialer.open == 0
    assert site.clock.getDelayedCalls() == []


class HangsUp(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.loseConnection()


def test_a_server_that_hangs_up(site: Site) -> None:
    site.dialer.server = HangsUp
    assert "the connection was closed before an answer came" in site.refused("alice", kind="unavailable")


def test_a_server_without_start_tls() -> None:
    site = Site(startTLS=True)
    assert "the server does not do StartTLS" in site.refused("alice", kind="unavailable")


def test_a_walk_says_where_it_ends(site: Site) -> None:
    async def walk(found: Site, name: str, password: str) -> list[tuple[str, bool]]:
        return [(step.title, step.ok) async for step in found.provider.walk(name, password)]

    good = [("connect", True), ("TLS", True), ("bind", True)]
    assert site.run(walk(site, "", "")) == good
    assert site.run(walk(site, "alice", "right")) == [*good, ("search", True), ("read", True), ("password", True)]
    assert site.run(walk(site, "alice", "wrong"))[-1] == ("password", False)
    assert site.run(walk(site, "mallory", "x"))[-1] == ("search", False)
    other = Site(managerPassword="no")
    assert other.run(walk(other, "alice", "right"))[-1] == ("bind", False)
    site.dialer.refuse = error.ConnectionRefusedError()
    assert site.run(walk(site, "alice", "right")) == [("connect", False)]
    site.dialer.flush()
    other.dialer.flush()
    assert site.dialer.open + other.dialer.open == 0

"""Which fields reach a backend, on requests and on upgrades (spec 01, 6.2 and 6.8; D19, D22, D44)."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_gate import Gate, fields_of, ok, take_head, values

from ksproxyd.model.identity import Identity
from ksproxyd.server.client_address import ClientAddress, TrustedProxies
from ksproxyd.tree.header_rules import HeaderRules, compile_header_rules

ALICE = Identity("alice", ("dev",))
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")


def rules(*texts: str) -> HeaderRules:
    compiled, problems = compile_header_rules(enumerate(texts))
    assert not problems
    return compiled


def sent(gate: Gate, *fields: str, upgrade: bool = False, method: str = "GET") -> list[tuple[str, str]]:
    """What a request with these fields arrives with, less what every request has."""
    gate.before = lambda exchange: setattr(exchange, "user", ALICE)
    client = gate.get("/x", *(UPGRADE if upgrade else ()), *fields, method=method)
    head = take_head(gate.peer)
    assert values(head, "host") == ["backend.example"]
    client.close()
    gate.wait(5.0)
    usual = {("host", "backend.example"), ("connection", "Upgrade"), ("upgrade", "websocket")}
    return [field for field in fields_of(head) if field not in usual]


def trust(gate: Gate, network: str) -> None:
    gate.server.addresses = ClientAddress(TrustedProxies([ip_network(network)]))


PEER = ("x-forwarded-for", "192.0.2.7")

both = pytest.mark.parametrize("upgrade", [False, True], ids=["request", "upgrade"])


@both
def test_everything_else_passes_in_order(upgrade: bool) -> None:
    fields = ["X-B: 2", "X-A: 1", "X-B: 3", "Cookie: a=b", "Authorization: Bearer t", "User-Agent: u", "Via: 1.0 x"]
    with Gate() as gate:
        found = sent(gate, *fields, upgrade=upgrade)
    assert found == [(n.lower(), v) for n, _, v in (f.partition(": ") for f in fields)] + [PEER]


@both
def test_nothing_is_invented(upgrade: bool) -> None:
    with Gate() as gate:
        assert sent(gate, upgrade=upgrade) == [PEER]


@both
def test_hop_by_hop_fields_end_here(upgrade: bool) -> None:
    fields = ["TE: gzip", "Trailer: X", "Keep-Alive: 5", "Proxy-Connection: x", "Proxy-Authorization: Basic x"]
    with Gate() as gate:
        assert sent(gate, *fields, "X-Kept: 1", upgrade=upgrade) == [("x-kept", "1"), PEER]


@both
@pytest.mark.parametrize("value", ["trailers", "gzip, Trailers", "trailers , deflate;q=0.5"])
def test_that_trailers_are_taken_is_passed_on(upgrade: bool, value: str) -> None:
    with Gate() as gate:
        fields = () if upgrade else ("Connection: TE",)
        assert sent(gate, f"TE: {value}", *fields, upgrade=upgrade) == [("te", "trailers"), PEER]


@pytest.mark.parametrize("field", ["TE: trailers;q=0", "TE: trailersx", "TE:", "T_E: trailers"])
def test_what_is_not_that(field: str) -> None:
    with Gate() as gate:
        found = sent(gate, field)
        assert ("te", "trailers") not in found


def test_fields_named_by_connection_end_here() -> None:
    with Gate() as gate:
        fields = ["Connection: X-Mine, close", "Connection: x-other", "X-Mine: 1", "X-Other: 2", "X-Kept: 3"]
        assert sent(gate, *fields) == [("x-kept", "3"), PEER]


def test_connection_cannot_name_what_matters() -> None:
    with Gate(identity=True) as gate:
        found = sent(
            gate,
            "Connection: X-Remote-User, X-Remote-Group, X-Forwarded-For, Authorization, Host, Content-Type",
            "Authorization: Bearer t",
            "Content-Type: text/plain",
        )
    assert found == [
        ("authorization", "Bearer t"),
        ("content-type", "text/plain"),
        PEER,
        ("x-remote-user", "alice"),
        ("x-remote-group", "dev"),
    ]


# -- identity --------------------------------------------------------------------------------------------------------

CLAIMS = [
    *("X-Remote-User: admin", "x-remote-user: admin", "X_Remote_User: admin", "X-Remote_User: admin"),
    *("X-Remote-Group: system:masters", "X-Remote-Groups: x", "X-REMOTE-UID: 0", "X-Remote-Extra-Scopes: all"),
    *("X_REMOTE_EXTRA_foo: 1", "Impersonate-User: admin", "Impersonate-Group: x", "impersonate-extra-a: x"),
    *("Impersonate_User: admin", "Impersonate-Uid: 0", "X-KubeSphere-Authorization: Bearer x"),
    *("X-Kubesphere-Rawquery: a=b", "X_KubeSphere_Rawquery: a=b", "X-Forwarded-User: admin", "X-Forwarded-Groups: x"),
    *("X-Forwarded-Email: a@b", "X-Forwarded-Access-Token: t", "X_Forwarded_User: admin"),
]


@both
@pytest.mark.parametrize("identity", [False, True], ids=["plain", "auth-proxy"])
@pytest.mark.parametrize("up", [None, rules("X-Added 1")], ids=["no-rules", "rules"])
def test_no_claim_reaches_a_backend(upgrade: bool, identity: bool, up: HeaderRules | None) -> None:
    with Gate(identity=identity, up=up) as gate:
        found = sent(gate, *CLAIMS, upgrade=upgrade)
    expected = [("x-added", "1")] if up is not None else []
    expected.append(PEER)
    if identity:
        expected += [("x-remote-user", "alice"), ("x-remote-group", "dev")]
    assert found == expected


TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-_.!0123456789", min_size=1, max_size=24)
CLAIMING = st.sampled_from(["X-Remote-", "x_remote_", "Impersonate-", "IMPERSONATE_", "X-Remote_", "X-KubeSphere-Auth"])
NAMES = st.one_of(TOKEN, st.builds("".join, st.tuples(CLAIMING, TOKEN)))


@settings(max_examples=200, deadline=None)
@given(st.lists(NAMES, max_size=12), st.booleans(), st.booleans())
def test_no_spelling_of_a_claim_reaches_a_backend(names: list[str], upgrade: bool, identity: bool) -> None:
    fields = [f"{name}: EVIL" for name in names]
    avoid = {"host", "connection", "upgrade", "content-length", "transfer-encoding", "expect"}
    fields = [field for field in fields if field.partition(":")[0].lower() not in avoid]
    with Gate(identity=identity) as gate:
        found = sent(gate, *fields, upgrade=upgrade)
    for name, value in found:
        plain = name.replace("_", "-")
        if plain.startswith(("x-remote-", "impersonate-", "x-forwarded-")):
            assert value != "EVIL"


def test_identity_comes_last_whatever_the_rules_say() -> None:
    """Row: X-Remote-User root with authProxy."""
    with Gate(identity=True, up=rules("X-Remote-User root", "+X-Remote-Group system:masters")) as gate:
        assert sent(gate) == [PEER, ("x-remote-user", "alice"), ("x-remote-group", "dev")]


def test_rules_may_set_an_identity_where_there_is_none_of_ours() -> None:
    """It is the author's, not the client's."""
    with Gate(up=rules("X-Remote-User service")) as gate:
        assert sent(gate, "X-Remote-User: admin") == [("x-remote-user", "service"), PEER]


def test_client_cannot_drop_what_the_rules_set() -> None:
    with Gate(up=rules("X-Api-Key secret")) as gate:
        found = sent(gate, "Connection: X-Api-Key, X-Mine", "X-Api-Key: mine", "X-Mine: 1")
    assert found == [("x-api-key", "secret"), PEER]


# -- rules of spec 01, 5.6 -----------------------------------------------------------------------------------------

EXAMPLES = [
    ("-Authorization", [("x-a", "1"), ("x-a", "2"), ("x-b", "3")]),
    ("-x-a", [("x-b", "3"), ("authorization", "Bearer t")]),
    ("X-A 9", [("x-b", "3"), ("authorization", "Bearer t"), ("x-a", "9")]),
    ("+X-A 9", [("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("authorization", "Bearer t"), ("x-a", "9")]),
    ('X-C "a b"', [("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("authorization", "Bearer t"), ("x-c", "a b")]),
    ("-X-*", [("authorization", "Bearer t")]),
    ("-*", []),
]


@both
@pytest.mark.parametrize(("rule", "expected"), EXAMPLES, ids=[rule for rule, _ in EXAMPLES])
def test_header_up(rule: str, expected: list[tuple[str, str]], upgrade: bool) -> None:
    with Gate(up=rules(rule)) as gate:
        found = sent(gate, "X-A: 1", "X-A: 2", "X-B: 3", "Authorization: Bearer t", upgrade=upgrade)
    assert found == [*expected, PEER]


def test_header_up_forwarded_for() -> None:
    with Gate(up=rules("X-Forwarded-For 9.9.9.9")) as gate:
        assert sent(gate, "X-Forwarded-For: 6.6.6.6") == [("x-forwarded-for", "9.9.9.9, 192.0.2.7")]


# -- forwarded -------------------------------------------------------------------------------------------------------


@both
def test_forwarded_fields_of_strangers_are_not_believed(upgrade: bool) -> None:
    fields = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X-Real-Ip: 6.6.6.6"]
    fields += ["Forwarded: for=6.6.6.6", "X-Client-Ip: 6.6.6.6", "X_Forwarded_For: 6.6.6.6"]
    with Gate() as gate:
        assert sent(gate, *fields, upgrade=upgrade) == [PEER]


@both
def test_forwarded_fields_of_trusted_proxies_are_continued(upgrade: bool) -> None:
    fields = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: public", "X-Forwarded-For: 7.7.7.7"]
    fields.append("Forwarded: for=6.6.6.6")
    with Gate() as gate:
        trust(gate, "192.0.2.0/24")
        found = sent(gate, *fields, "X_Forwarded_Proto: https", upgrade=upgrade)
    assert found == [
        ("x-forwarded-host", "public"),
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6, 7.7.7.7, 192.0.2.7"),
    ]


def test_claims_of_trusted_proxies_are_no_identities_either() -> None:
    """They vouch for addresses; who somebody is, this gateway finds out itself."""
    with Gate(identity=True) as gate:
        trust(gate, "192.0.2.0/24")
        found = sent(gate, "X-Remote-User: admin", "Impersonate-User: admin", "X-Forwarded-User: admin")
    assert found == [PEER, ("x-remote-user", "alice"), ("x-remote-group", "dev")]


def test_fields_that_the_plan_writes_itself_come_once() -> None:
    plan = {"more": lambda exchange, target: b"X-Forwarded-Host: ours\r\n", "drop": frozenset([b"x-forwarded-host"])}
    with Gate(**plan) as gate:
        trust(gate, "192.0.2.0/24")
        assert sent(gate, "X-Forwarded-Host: theirs") == [PEER, ("x-forwarded-host", "ours")]


# -- Host -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["gateway.example", "GATEWAY.example:9090", "[::1]:80"])
def test_host_is_the_targets(host: str) -> None:
    with Gate() as gate:
        client = gate.connect()
        client.send(f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert values(take_head(gate.peer), "host") == ["backend.example"]
        gate.peer.send(ok(b""))
        assert client.answer().status == 200

"""On one store with ks-apiserver: its keys, its tokens, its way of ending them (spec 02, 2.5)."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from ksproxyd.authn.rejection import INVALID, REVOKED
from ksproxyd.authn.tokens import ACCESS, REFRESH, STATIC
from tests.unit.authn.tokens.issuing import (
    ISSUER,
    NOW,
    Issuing,
    header_of,
    now_or_never,
    phrase,
    settings,
    signed,
)

BESIDE = "  compat: {kubesphereTokenStore: true}"


class Upstream:
    """What ks-apiserver does with the store."""

    def __init__(self, issuing: Issuing) -> None:
        self._store = issuing.store

    def issue(self, user: str = "alice", kind: str = ACCESS, lifetime: int = 7200, **more: object) -> str:
        payload = {"iss": ISSUER, "sub": user, "username": user, "token_type": kind, "iat": NOW}
        token = signed(payload | {"exp": NOW + lifetime} | more)
        self._store.put(f"kubesphere:user:{user}:token:{token}", token.encode(), lifetime)
        return token

    def accepts(self, user: str, token: str) -> bool:
        return now_or_never(value(self._store.get(f"kubesphere:user:{user}:token:{token}"))) == token.encode()

    def log_out(self, token: str) -> None:
        found = now_or_never(value(self._store.find("kubesphere:user:", f":token:{token}")))
        assert found
        self._store.delete(*found)


async def value(deferred: Deferred[Any]) -> Any:
    return await deferred


@pytest.fixture
def issuing() -> Issuing:
    return Issuing(settings(more=BESIDE))


@pytest.fixture
def upstream(issuing: Issuing) -> Upstream:
    return Upstream(issuing)


def test_each_accepts_what_the_other_has_issued(issuing: Issuing, upstream: Upstream) -> None:
    issued = issuing.open()
    assert upstream.accepts("alice", issued.access_token) and upstream.accepts("alice", issued.refresh_token)
    assert header_of(issued.access_token) == {"alg": "HS256", "typ": "JWT"}
    claims = issuing.verify(issued.access_token)
    theirs = upstream.issue()
    assert issuing.verify(theirs).username == "alice"
    # The token is at hand, and not to be seen.
    assert claims.whole.reveal() == issued.access_token and issued.access_token not in repr(claims)


def test_each_ends_what_the_other_has_issued(issuing: Issuing, upstream: Upstream) -> None:
    issued = issuing.open()
    upstream.log_out(issued.access_token)
    assert issuing.refusal(issued.access_token) == REVOKED
    theirs = upstream.issue()
    now_or_never(issuing.tokens.revoke(issuing.verify(theirs)))
    assert not upstream.accepts("alice", theirs) and issuing.refusal(theirs) == REVOKED
    again = issuing.open()
    other = issuing.open()
    now_or_never(issuing.tokens.end_session(again.session))
    assert not upstream.accepts("alice", again.access_token) and not upstream.accepts("alice", again.refresh_token)
    issuing.verify(other.access_token)


def test_ending_a_user_ends_what_either_has_issued(issuing: Issuing, upstream: Upstream) -> None:
    mine, kept, theirs = issuing.open(), issuing.open(), upstream.issue()
    # Names that would match if they were patterns, or the beginnings of others.
    for user in ("alice2", "a*", "system:x"):
        upstream.issue(user)
    bob = issuing.open("bob")
    now_or_never(issuing.tokens.end_user("alice", keep=kept.session))
    assert [upstream.accepts("alice", each) for each in (mine.access_token, theirs)] == [False, False]
    issuing.verify(kept.access_token)
    now_or_never(issuing.tokens.end_user("a*"))
    issuing.verify(kept.access_token)
    issuing.verify(bob.access_token)


def test_refreshing_removes_the_old_one_for_both(issuing: Issuing, upstream: Upstream) -> None:
    first = issuing.open()
    second = issuing.refresh(first.refresh_token)
    assert not upstream.accepts("alice", first.refresh_token)
    assert upstream.accepts("alice", second.refresh_token) and upstream.accepts("alice", second.access_token)
    assert phrase(lambda: issuing.refresh(first.refresh_token)) == REVOKED
    for token in (first.access_token, second.access_token, second.refresh_token):
        assert not upstream.accepts("alice", token)


def test_a_refresh_token_that_upstream_has_ended(issuing: Issuing, upstream: Upstream) -> None:
    issued = issuing.open()
    upstream.log_out(issued.refresh_token)
    assert phrase(lambda: issuing.refresh(issued.refresh_token)) == REVOKED


def test_a_refresh_token_of_upstream_is_good_once(issuing: Issuing, upstream: Upstream) -> None:
    theirs = upstream.issue(kind=REFRESH, lifetime=9000, extra={"uninitialized": ["true"]})
    assert phrase(lambda: issuing.refresh(theirs, check=lambda claims: None)) == INVALID
    issued = issuing.refresh(theirs)
    assert issuing.verify(issued.access_token).extra == (("uninitialized", ("true",)),)
    assert phrase(lambda: issuing.refresh(theirs)) == REVOKED
    issuing.verify(issued.access_token)


def test_what_upstream_confuses_is_not_confused(issuing: Issuing, upstream: Upstream) -> None:
    for kind in (REFRESH, "code", "id_token", STATIC):
        assert issuing.refusal(upstream.issue(kind=kind)) == INVALID
    assert issuing.refusal(upstream.issue("system:admin")) == INVALID
    assert (
        issuing.refusal(signed({"iss": ISSUER, "sub": "alice", "username": "alice", "token_type": ACCESS})) == REVOKED
    )


def test_native_knows_nothing_of_these() -> None:
    native = Issuing()
    assert native.refusal(Upstream(native).issue()) == REVOKED
    # And keeps no token in clear.
    issued = native.open()
    for key, entry in native.store._entries.items():
        for token in (issued.access_token, issued.refresh_token):
            assert token not in key and token not in str(entry.value)

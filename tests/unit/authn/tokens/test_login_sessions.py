"""Logins: refreshing, reuse, ends, one at a time, registrations (spec 02, 2.5 and D-09 to D-12)."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from ksproxyd.authn.rejection import EXPIRED, INVALID, REVOKED, Rejected, SharedUnavailable
from ksproxyd.authn.shared import MemoryStore
from ksproxyd.authn.tokens import ACCESS, ID, REFRESH, Lifetimes
from ksproxyd.authn.tokens.sessions import MOST_ACCESS
from tests.unit.authn.tokens.issuing import NOW, Issuing, claims_of, now_or_never, phrase, settings

PRE = "system:pre-registration"
ALL = frozenset({ACCESS, REFRESH})


def examine(issuing: Issuing, token: str) -> Any:
    return now_or_never(issuing.tokens.examine(token, types=ALL, expired_too=True))


def alive(issuing: Issuing, token: str) -> bool:
    return now_or_never(issuing.tokens.alive(examine(issuing, token)))


def test_refreshing() -> None:
    issuing = Issuing()
    first = issuing.open(scopes=("openid",), extra=(("a", ("b",)),), auth_time=NOW - 5)
    issuing.clock.advance(60)
    second = issuing.refresh(first.refresh_token)
    assert second.session == first.session and second.scopes == ("openid",)
    claims = issuing.verify(second.access_token)
    assert claims.extra == (("a", ("b",)),) and claims.auth_time == NOW - 5 and claims.iat == NOW + 60
    # What was open in another window goes on until its end.
    issuing.verify(first.access_token)
    assert not alive(issuing, first.refresh_token) and alive(issuing, second.refresh_token)


def test_a_second_use_ends_everything() -> None:
    issuing = Issuing()
    told: list[int] = []
    issuing.tokens.on_revoked(lambda: told.append(1))
    other = issuing.open()
    first = issuing.open()
    second = issuing.refresh(first.refresh_token)
    third = issuing.refresh(second.refresh_token)
    assert not told
    assert phrase(lambda: issuing.refresh(first.refresh_token)) == REVOKED
    assert told
    for token in (first.access_token, second.access_token, third.access_token):
        assert issuing.refusal(token) == REVOKED
    assert phrase(lambda: issuing.refresh(third.refresh_token)) == REVOKED
    issuing.verify(other.access_token)


def test_091_another_client_gets_nothing_and_breaks_nothing() -> None:
    issuing = Issuing()
    issued = issuing.open()
    assert phrase(lambda: issuing.refresh(issued.refresh_token, "rp1")) == INVALID
    issuing.refresh(issued.refresh_token)


def test_090_092_what_does_not_refresh() -> None:
    issuing = Issuing()
    issued = issuing.open("bob")
    assert phrase(lambda: issuing.refresh(issued.access_token)) == INVALID
    assert phrase(lambda: issuing.refresh(issued.refresh_token, check=lambda claims: None)) == INVALID
    with pytest.raises(ValueError, match="change hands"):
        issuing.refresh(issued.refresh_token, check=lambda claims: "admin")
    issuing.refresh(issued.refresh_token)


def test_a_session_that_is_not_used_ends() -> None:
    issuing = Issuing()
    issued = issuing.open()
    issuing.clock.advance(9000)
    assert phrase(lambda: issuing.refresh(issued.refresh_token)) == EXPIRED
    # Nothing is left of it but what the clean-up takes.
    assert now_or_never(issuing.tokens._sessions.find(issued.session)) is None


def test_a_session_ends_however_active_it_is() -> None:
    issuing = Issuing(settings(more="  oauth: {sessionLifetime: 3h}"))
    issued = issuing.open()
    issuing.clock.advance(7000)
    issued = issuing.refresh(issued.refresh_token)
    assert issued.expires_in == 3 * 3600 - 7000
    assert claims_of(issued.refresh_token)["exp"] == NOW + 3 * 3600
    issuing.clock.advance(3800)
    assert phrase(lambda: issuing.refresh(issued.refresh_token)) == EXPIRED
    assert issuing.refusal(issued.access_token) == EXPIRED


def test_lifetimes_of_a_client() -> None:
    issuing = Issuing()
    issued = issuing.open(lifetimes=Lifetimes(60, 30))
    assert issued.expires_in == 60 and claims_of(issued.refresh_token)["exp"] == NOW + 90
    again = issuing.refresh(issued.refresh_token, lifetimes=Lifetimes(10, 5))
    assert again.expires_in == 10


def test_094_one_login_with_each_client() -> None:
    issuing = Issuing(settings(multiple=False))
    console, other = issuing.open(), issuing.open("bob")
    relying = issuing.open(client="rp1")
    issuing.verify(console.access_token)
    second = issuing.open()
    assert issuing.refusal(console.access_token) == REVOKED
    assert phrase(lambda: issuing.refresh(console.refresh_token)) == REVOKED
    for each in (second, relying, other):
        issuing.verify(each.access_token)
    # Refreshing keeps the place.
    second = issuing.refresh(second.refresh_token)
    third = issuing.open()
    assert issuing.refusal(second.access_token) == REVOKED
    issuing.verify(third.access_token)


def test_logins_from_before_it_was_limited() -> None:
    many = Issuing()
    before = [many.open() for _ in range(3)]
    one = Issuing(settings(multiple=False), store=many.store, clock=many.clock)
    now = one.open()
    for each in before:
        assert one.refusal(each.access_token) == REVOKED
    one.verify(now.access_token)


def test_ending_a_user() -> None:
    issuing = Issuing()
    mine = [issuing.open() for _ in range(3)]
    other = issuing.open("bob")
    now_or_never(issuing.tokens.end_user("alice", keep=mine[1].session))
    assert [alive(issuing, each.access_token) for each in mine] == [False, True, False]
    now_or_never(issuing.tokens.end_user("alice"))
    assert not alive(issuing, mine[1].refresh_token)
    issuing.verify(other.access_token)
    now_or_never(issuing.tokens.end_user("nobody"))


def test_ending_a_user_costs_what_they_have() -> None:
    issuing = Issuing()
    for n in range(200):
        issuing.open(f"user{n}")
    mine = issuing.open()
    deleted: list[str] = []
    delete = issuing.store.delete

    def counting(*keys: str) -> Deferred[int]:
        deleted.extend(keys)
        return delete(*keys)

    issuing.store.delete = counting  # type: ignore[method-assign]
    now_or_never(issuing.tokens.end_user("alice"))
    assert deleted == [f"session:{mine.session}"]


def test_revoking_one_token() -> None:
    issuing = Issuing()
    issued = issuing.open()
    now_or_never(issuing.tokens.revoke(issuing.verify(issued.access_token)))
    assert issuing.refusal(issued.access_token) == REVOKED
    again = issuing.refresh(issued.refresh_token)
    issuing.verify(again.access_token)
    # A refresh token takes the whole session along, also one that was used before.
    now_or_never(issuing.tokens.revoke(examine(issuing, issued.refresh_token)))
    assert issuing.refusal(again.access_token) == REVOKED
    assert not alive(issuing, again.refresh_token)
    now_or_never(issuing.tokens.revoke(examine(issuing, issued.refresh_token)))


def test_access_tokens_of_a_session_do_not_pile_up() -> None:
    issuing = Issuing()
    issued = [issuing.open()]
    for _ in range(MOST_ACCESS):
        issued.append(issuing.refresh(issued[-1].refresh_token))
    session = now_or_never(issuing.tokens._sessions.find(issued[0].session))
    assert session is not None and len(session.access) == MOST_ACCESS
    assert issuing.refusal(issued[0].access_token) == REVOKED
    issuing.verify(issued[1].access_token)


@pytest.mark.parametrize("name", ["system:admin", "kubesphere:serviceaccount:a:b", PRE])
def test_names_that_nobody_has(name: str) -> None:
    issuing = Issuing()
    assert phrase(lambda: issuing.open(name)) == INVALID
    assert phrase(lambda: issuing.open("alice", "system:x")) == INVALID


def test_registrations_do_not_meet() -> None:
    issuing = Issuing(settings(multiple=False))
    extra = (("idp", ("github",)), ("uid", ("7",)))
    one = issuing.open(PRE, registration=True, extra=extra)
    two = issuing.open(PRE, registration=True)
    assert one.expires_in == 600
    claims = issuing.verify(one.access_token)
    assert claims.username == PRE and claims.extra == extra
    now_or_never(issuing.tokens.end_user(PRE))
    issuing.verify(two.access_token)
    # An account can be made once with each.
    assert now_or_never(issuing.tokens.spend_registration(claims))
    assert not now_or_never(issuing.tokens.spend_registration(claims))
    now_or_never(issuing.tokens.give_back_registration(claims))
    assert now_or_never(issuing.tokens.spend_registration(claims))
    assert phrase(lambda: issuing.open("alice", registration=True)) == INVALID


def test_132_a_registration_becomes_a_login() -> None:
    issuing = Issuing(settings(multiple=False))
    before = issuing.open("grace")
    issued = issuing.open(PRE, registration=True, extra=(("uid", ("7",)),))
    assert phrase(lambda: issuing.refresh(issued.refresh_token, check=lambda claims: "system:admin")) == INVALID
    real = issuing.refresh(issued.refresh_token, check=lambda claims: "grace")
    claims = issuing.verify(real.access_token)
    assert claims.username == "grace" and claims.extra == () and real.expires_in == 7200
    assert issuing.refusal(issued.access_token) == REVOKED
    assert issuing.refusal(before.access_token) == REVOKED
    now_or_never(issuing.tokens.end_user("grace"))
    assert issuing.refusal(real.access_token) == REVOKED


def test_extra_attributes_may_change_with_a_refresh() -> None:
    issuing = Issuing()
    issued = issuing.open(extra=(("uninitialized", ("true",)),))
    kept = issuing.refresh(issued.refresh_token)
    assert issuing.verify(kept.access_token).extra == (("uninitialized", ("true",)),)
    gone = issuing.refresh(kept.refresh_token, extra=lambda user, extra: ())
    assert issuing.verify(gone.access_token).extra == ()


def test_two_refresh_at_once_with_every_interleaving_of_the_second() -> None:
    """The record changes between reading and replacing it: what is left is a session that is ended."""
    issuing = Issuing()
    issued = issuing.open()
    replace = issuing.store.replace
    inner: list[Any] = []

    def racing(*given: Any) -> Deferred[bool]:
        issuing.store.replace = replace  # type: ignore[method-assign]
        inner.append(issuing.refresh(issued.refresh_token))
        return replace(*given)

    issuing.store.replace = racing  # type: ignore[method-assign]
    assert phrase(lambda: issuing.refresh(issued.refresh_token)) == REVOKED
    assert issuing.refusal(inner[0].access_token) == REVOKED


def test_another_change_meanwhile_is_no_reuse() -> None:
    issuing = Issuing()
    issued = issuing.open()
    claims = issuing.verify(issued.access_token)
    replace = issuing.store.replace

    def racing(*given: Any) -> Deferred[bool]:
        issuing.store.replace = replace  # type: ignore[method-assign]
        now_or_never(issuing.tokens.revoke(claims))
        return replace(*given)

    issuing.store.replace = racing  # type: ignore[method-assign]
    again = issuing.refresh(issued.refresh_token)
    issuing.verify(again.access_token)
    assert issuing.refusal(issued.access_token) == REVOKED


def test_044_nothing_is_accepted_while_the_store_is_away() -> None:
    issuing = Issuing()
    issued = issuing.open()
    away = lambda *given: fail(SharedUnavailable("away"))  # noqa: E731
    for name in ("get", "put", "replace"):
        setattr(issuing.store, name, away)
    for work in (
        lambda: issuing.verify(issued.access_token),
        lambda: issuing.refresh(issued.refresh_token),
        lambda: issuing.open(),
        lambda: now_or_never(issuing.tokens.end_session(issued.session)),
    ):
        with pytest.raises(SharedUnavailable):
            work()


def test_one_question_for_each_verification() -> None:
    issuing = Issuing()
    token = issuing.open().access_token
    asked: list[str] = []
    get = issuing.store.get

    def counting(key: str) -> Deferred[bytes | None]:
        asked.append(key)
        return get(key)

    issuing.store.get = counting  # type: ignore[method-assign]
    claims = issuing.verify(token)
    assert len(asked) == 1
    now_or_never(issuing.tokens.still_good(claims))
    assert len(asked) == 2
    # A token that is not ours costs the store nothing.
    with pytest.raises(Rejected):
        issuing.verify(token[:-4] + "AAAA")
    assert len(asked) == 2


def test_045_a_restart_forgets_what_is_in_memory() -> None:
    issuing = Issuing()
    token = issuing.open().access_token
    assert Issuing(store=MemoryStore(issuing.clock, 60), clock=issuing.clock).refusal(token) == REVOKED


def test_id_tokens() -> None:
    issuing = Issuing()
    issued = issuing.open(client="rp1")
    token = issuing.tokens.id_token(
        subject="alice",
        client="rp1",
        claims={"email": "alice@ks.test", "sub": "admin", "exp": 1},
        nonce="n-1",
        access_token=issued.access_token,
        auth_time=NOW,
        scopes=("openid", "email"),
        session=issued.session,
    )
    said = claims_of(token)
    assert said["sub"] == "alice" and said["aud"] == ["rp1"] and said["nonce"] == "n-1"
    assert said["email"] == "alice@ks.test" and said["exp"] - said["iat"] == 9000 and said["auth_time"] == NOW
    assert len(said["at_hash"]) == 22
    issuing.clock.advance(10_000)
    types = frozenset({ID})
    assert phrase(lambda: now_or_never(issuing.tokens.examine(token, types=types))) == EXPIRED
    claims = now_or_never(issuing.tokens.examine(token, types=types, expired_too=True))
    assert (claims.sub, claims.aud, claims.session) == ("alice", ("rp1",), issued.session)
    assert not now_or_never(issuing.tokens.alive(claims))

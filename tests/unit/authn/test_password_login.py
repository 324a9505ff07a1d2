"""Who gets in with a password, what the others are told, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from login_site import DURATION, HASH, HERE, PASSWORD, TRIES, Site, outcome
from twisted.internet.defer import CancelledError, Deferred

from ksproxyd.authn.lock_note import LOCKED, LockNote, write_lock, write_time
from ksproxyd.authn.login import Attempt, LoginRefused
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.turnstile import APART

THERE = Attempt("198.51.100.9")
NEIGHBOUR = Attempt("192.0.2.200")


@pytest.fixture
def site() -> Site:
    site = Site()
    for name in ("alice", "grace"):
        site.user(name)
    site.user("bob", "Disabled")
    site.user("erin", None)
    return site


def refusal(results: list[Any]) -> LoginRefused:
    (failure,) = results
    assert isinstance(failure.value, LoginRefused)
    return failure.value


class TestWho:
    @pytest.mark.parametrize("username", ["alice", "alice@ks.test"])
    def test_name_or_address(self, site: Site, username: str) -> None:
        assert site.attempt(username) == "alice"

    @pytest.mark.parametrize(
        ("username", "password"),
        [
            ("alice", "wrong"),
            ("alice", ""),
            ("", PASSWORD),
            ("nobody", PASSWORD),
            ("Alice@ks.test", PASSWORD),
            ("nobody@ks.test", PASSWORD),
            ("alice", PASSWORD + "\0"),
            ("alice", "\ud800"),
            ("alice", "Aa1" * 30),
        ],
    )
    def test_wrong(self, site: Site, username: str, password: str) -> None:
        assert site.attempt(username, password) == "password"

    @pytest.mark.parametrize("hash", ["", "plaintext", "$2b$10$short", "$1$x", HASH[:-1], HASH + "x"])
    def test_without_usable_hash(self, site: Site, hash: str) -> None:
        site.user("alice", spec={"password": hash})
        assert site.attempt("alice") == "password"
        assert site.attempt("alice", hash or "x") == "password"

    def test_state_is_told_to_the_right_password_only(self, site: Site) -> None:
        for name in ("bob", "erin"):
            assert site.attempt(name, "wrong") == "password"
            assert site.attempt(name) == "suspended"

    def test_who_is_being_deleted(self, site: Site) -> None:
        site.user("alice", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
        assert site.attempt("alice") == "suspended"

    def test_users_are_not_known_yet(self) -> None:
        site = Site()
        site.users.synced = False
        (failure,) = site.begin("alice")
        assert failure.check(SharedUnavailable)

    def test_attempts_cannot_be_counted(self, site: Site) -> None:
        site.counters.error = SharedUnavailable("redis is away")
        results = site.begin("alice")
        site.run()
        assert results[0].check(SharedUnavailable)
        assert site.passwords.compares == 0

    def test_changed_while_it_was_compared(self, site: Site) -> None:
        results = site.begin("alice")
        site.user("alice", spec={"password": HASH[:-1] + "x"})
        site.run()
        assert outcome(results) == "password"
        results = site.begin("grace")
        site.user("grace", "Disabled")
        site.run()
        assert outcome(results) == "suspended"
        site.user("grace")
        results = site.begin("grace", attempt=THERE)
        site.gone("grace")
        site.run()
        assert outcome(results) == "password"


class TestCost:
    def test_unknown_users_cost_as_much_as_known_ones(self, site: Site) -> None:
        site.user("nohash", spec={"password": ""})
        costs = {}
        for name in ("alice", "nobody", "nobody@ks.test", "bob", "erin", "nohash"):
            before = site.passwords.compares
            assert site.attempt(name, "wrong") == "password"
            costs[name] = site.passwords.compares - before
        assert set(costs.values()) == {1}, costs

    def test_a_password_that_was_right_a_moment_ago(self, site: Site) -> None:
        for _ in range(5):
            assert site.attempt("alice", record_type="Password") == "alice"
        assert site.passwords.compares == 1
        site.clock.advance(61)
        assert site.attempt("alice") == "alice"
        assert site.passwords.compares == 2

    def test_it_is_forgotten_when_the_user_changes(self, site: Site) -> None:
        assert site.attempt("alice") == "alice"
        site.user("alice", "Disabled")
        assert site.attempt("alice") == "suspended"
        assert site.passwords.compares == 2

    def test_another_password_is_compared(self, site: Site) -> None:
        assert site.attempt("alice") == "alice"
        assert site.attempt("alice", "wrong") == "password"
        assert site.passwords.compares == 2

    def test_many_at_once_with_the_right_password(self, site: Site) -> None:
        waiting = [site.begin("alice", record_type="Password") for _ in range(500)]
        site.run()
        assert {outcome(results) for results in waiting} == {"alice"}
        assert site.passwords.compares == 1

    def test_busy(self) -> None:
        site = Site(queue=3)
        names = [f"user-{n}" for n in range(6)]
        for name in names:
            site.user(name)
        waiting = [site.begin(name) for name in names]
        busy = refusal(waiting[5])
        assert (busy.kind, busy.retry_after) == ("busy", 1)
        site.run()
        assert [outcome(results) for results in waiting[:5]] == names[:5]
        # It was not counted: nothing was looked at.
        assert not [key for key in site.counters.values if "tries" in key]

    def test_nothing_can_be_compared(self, site: Site) -> None:
        site.hashing.broken = True
        assert site.attempt("alice") == "busy"
        site.hashing.broken = False
        assert site.attempt("alice") == "alice"

    def test_a_client_that_is_gone_leaves_its_place(self) -> None:
        site = Site(queue=3)
        for n in range(5):
            site.user(f"user-{n}")
        results: list[Any] = []
        waiting = [
            Deferred.fromCoroutine(site.login.by_password(f"user-{n}", PASSWORD, HERE)).addErrback(results.append)
            for n in range(5)
        ]
        site.clock.pump([APART, APART, APART, APART, APART, APART])
        for deferred in waiting:
            deferred.cancel()
        assert len(results) == 5 and all(failure.check(CancelledError) for failure in results)
        assert site.attempt("nobody") == "password"
        # Two were being computed already.
        assert site.passwords.compares == 6


class TestLock:
    def test_the_next_attempt_is_refused_without_a_look(self, site: Site) -> None:
        """T-083."""
        assert [site.attempt("alice", f"wrong {n}") for n in range(TRIES)] == ["password"] * TRIES
        compares = site.passwords.compares
        results = site.begin("alice")
        site.run()
        refused = refusal(results)
        assert (refused.kind, refused.retry_after) == ("limited", 600)
        assert site.attempt("alice", "wrong") == "limited"
        assert site.attempt("alice@ks.test") == "limited"
        assert site.passwords.compares == compares
        assert site.locks == [("alice", "192.0.2.0/24", DURATION)]
        site.clock.advance(DURATION - 1)
        assert site.attempt("alice") == "limited"
        site.clock.advance(1)
        assert site.attempt("alice") == "alice"

    def test_parallel_guesses(self, site: Site) -> None:
        """T-084."""
        waiting = [site.begin("alice", f"wrong {n}") for n in range(50)]
        site.run()
        found = [outcome(results) for results in waiting]
        assert found.count("password") == TRIES and found.count("limited") == 50 - TRIES
        assert site.passwords.compares == TRIES

    def test_the_same_for_nobody(self, site: Site) -> None:
        for name in ("alice", "nobody"):
            found = [site.attempt(name, "wrong") for _ in range(TRIES + 2)]
            assert found == ["password"] * TRIES + ["limited"] * 2
        assert [lock[0] for lock in site.locks] == ["alice"]

    def test_others_are_not_locked_out(self, site: Site) -> None:
        for _ in range(TRIES):
            site.attempt("alice", "wrong")
        assert site.attempt("alice", attempt=NEIGHBOUR) == "limited"
        assert site.attempt("alice", attempt=THERE) == "alice"
        assert site.attempt("grace") == "grace"

    def test_a_right_one_clears(self, site: Site) -> None:
        for _ in range(4):
            for _ in range(TRIES - 1):
                assert site.attempt("alice", "wrong") == "password"
            assert site.attempt("alice") == "alice"

    def test_a_suspended_account_too(self, site: Site) -> None:
        found = [site.attempt("bob", "wrong") for _ in range(TRIES + 1)]
        assert found[-1] == "limited"
        assert site.attempt("bob") == "limited"

    def test_empty_passwords_are_no_attempts(self, site: Site) -> None:
        for _ in range(10):
            assert site.attempt("alice", "") == "password"
        assert site.attempt("alice") == "alice"

    def test_a_remembered_password_is_locked_out_as_well(self, site: Site) -> None:
        assert site.attempt("alice") == "alice"
        for _ in range(TRIES):
            site.attempt("alice", "wrong")
        assert site.attempt("alice", record_type="Password") == "limited"

    def test_no_limit(self) -> None:
        site = Site(tries=0)
        site.user("alice")
        assert {site.attempt("alice", "wrong") for _ in range(50)} == {"password"}
        assert not site.counters.values

    def test_confirming_counts(self, site: Site) -> None:
        def confirm(password: str) -> str:
            results: list[Any] = []
            Deferred.fromCoroutine(site.login.confirm("alice", password, HERE)).addBoth(results.append)
            site.run()
            return "right" if results == [None] else refusal(results).kind

        assert confirm(PASSWORD) == "right"
        assert [confirm("wrong") for _ in range(TRIES + 1)] == ["password"] * TRIES + ["limited"]
        assert confirm("") == "password"
        assert site.records == []


class TestStatus:
    def test_locked_by_somebody_else(self, site: Site) -> None:
        """T-082, and no way to find out whether a password is right."""
        site.user("carol", "AuthLimitExceeded")
        for password in (PASSWORD, "wrong"):
            results = site.begin("carol", password, THERE)
            site.run()
            assert (refusal(results).kind, refusal(results).retry_after) == ("limited", 600)
        assert site.passwords.compares == 0

    def test_it_ends(self, site: Site) -> None:
        since = write_time(site.clock.seconds() - 500)
        site.user("carol", status={"state": "AuthLimitExceeded", "lastTransitionTime": since})
        results = site.begin("carol")
        site.run()
        assert (refusal(results).kind, refusal(results).retry_after) == ("limited", 100)
        site.clock.advance(100)
        assert site.attempt("carol") == "carol"

    def test_for_networks(self, site: Site) -> None:
        now = site.clock.seconds()
        note, since = write_lock(now, LockNote(None, now + 50, (("192.0.2.0/24", now + 50),)))
        status = {"state": "AuthLimitExceeded", "lastTransitionTime": since}
        site.user("carol", status=status, metadata={"annotations": {LOCKED: note}})
        assert site.attempt("carol") == "limited"
        assert site.attempt("carol", attempt=THERE) == "carol"
        site.clock.advance(50)
        assert site.attempt("carol") == "carol"

    def test_unlocking_forgets_what_was_counted(self, site: Site) -> None:
        for _ in range(TRIES):
            site.attempt("alice", "wrong")
        site.user("alice", "AuthLimitExceeded")
        assert site.attempt("alice") == "limited"
        site.user("alice", "Active")
        assert site.attempt("alice") == "alice"
        # And not just the lock: it takes all the tries again.
        found = [site.attempt("alice", "wrong") for _ in range(TRIES + 1)]
        assert found == ["password"] * TRIES + ["limited"]

    def test_another_change_does_not(self, site: Site) -> None:
        for _ in range(TRIES):
            site.attempt("alice", "wrong")
        site.user("alice", spec={"lang": "en"})
        site.user("alice", "AuthLimitExceeded")
        site.user("alice", "Disabled")
        site.user("alice", "Active")
        assert site.attempt("alice") == "limited"

    def test_unlocking_while_the_counters_are_away(self, site: Site) -> None:
        site.user("alice", "AuthLimitExceeded")
        site.counters.error = SharedUnavailable("redis is away")
        site.user("alice", "Active")
        site.counters.error = None
        assert site.attempt("alice") == "alice"


class TestRecords:
    def test_token(self, site: Site) -> None:
        site.attempt("alice@ks.test")
        site.attempt("alice", "wrong")
        assert site.records == [
            ("alice", "Token", "", "192.0.2.7", "test/1", True, "authenticated successfully"),
            ("alice", "Token", "", "192.0.2.7", "test/1", False, "incorrect password"),
        ]

    def test_basic(self, site: Site) -> None:
        """T-011: only what went wrong."""
        site.attempt("alice", record_type="Password")
        site.attempt("alice", "wrong", record_type="Password")
        assert [(record[1], record[5]) for record in site.records] == [("Password", False)]

    def test_not_for_nobody(self, site: Site) -> None:
        site.attempt("nobody")
        site.attempt("alice", "")
        site.attempt("bob")
        assert site.records == []

    def test_not_while_locked(self, site: Site) -> None:
        for _ in range(TRIES + 5):
            site.attempt("alice", "wrong")
        assert len(site.records) == TRIES

    def test_by_other_means(self, site: Site) -> None:
        record = site.directory.find("alice")
        assert record is not None
        Deferred.fromCoroutine(site.login.succeeded(record, HERE, "github"))
        assert site.records == [("alice", "Token", "github", "192.0.2.7", "test/1", True, "authenticated successfully")]


class External:
    """An identity provider that accepts one password, or is away."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: LoginRefused | None = None
        self.site: Site | None = None

    async def by_password(self, provider: str, username: str, password: str) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if password != PASSWORD:
            raise LoginRefused("password", "the provider does not know that")
        assert self.site is not None
        return self.site.directory.find(username)


class TestProviders:
    @pytest.fixture
    def external(self) -> External:
        return External()

    @pytest.fixture
    def site(self, external: External) -> Site:
        external.site = site = Site(external=external)
        site.user("alice")
        return site

    def test_success(self, site: Site) -> None:
        assert site.attempt("alice", provider="ldap") == "alice"
        assert [record[:3] for record in site.records] == [("alice", "Token", "ldap")]
        assert site.passwords.compares == 0

    def test_failures_are_the_providers(self, site: Site, external: External) -> None:
        found = [site.attempt("alice", "wrong", provider="ldap") for _ in range(TRIES + 1)]
        assert found == ["password"] * TRIES + ["limited"]
        assert external.asked == TRIES
        # Neither the local user of that name, nor anybody's record, nor another provider.
        assert site.attempt("alice") == "alice"
        assert site.attempt("alice", provider="other") == "alice"
        assert not [record for record in site.records if not record[5]]
        assert site.locks == []

    def test_parallel(self, site: Site, external: External) -> None:
        waiting = [site.begin("alice", "wrong", provider="ldap") for _ in range(50)]
        site.run()
        assert [outcome(results) for results in waiting].count("password") == TRIES
        assert external.asked == TRIES

    def test_a_provider_that_is_away_locks_nobody_out(self, site: Site, external: External) -> None:
        external.error = LoginRefused("provider", "cannot be reached")
        for _ in range(10):
            assert site.attempt("alice", provider="ldap") == "provider"
        external.error = None
        assert site.attempt("alice", provider="ldap") == "alice"

    def test_none(self) -> None:
        site = Site()
        assert site.attempt("alice", provider="nope") == "unknown-provider"


def test_nothing_is_left(site: Site) -> None:
    site.attempt("alice")
    site.attempt("alice", "wrong")
    site.login.stop()
    assert not site.clock.getDelayedCalls()
    assert len(site.login._turns) == 0
    site.user("alice", "AuthLimitExceeded")
    site.user("alice", "Active")
    assert [key for key in site.counters.values if "tries" in key]


def test_no_password_in_what_is_shown(site: Site) -> None:
    record = site.directory.find("alice")
    assert HASH not in f"{record!r} {record} {[record]}"

"""From what is shown to who it is: tokens that are known, forgotten, doubted; passwords; certificates."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.authn.authenticator import Authenticator, Rules
from ksproxyd.authn.directory import Directory
from ksproxyd.authn.login import Attempt, LoginRefused
from ksproxyd.authn.rejection import REVOKED, Rejected, SharedUnavailable
from ksproxyd.authn.remembered import Remembered
from ksproxyd.authn.tokens.claims import ACCESS, STATIC, Claims
from ksproxyd.authn.user_record import UserRecord
from ksproxyd.model.identity import Identity
from ksproxyd.model.status import StatusError
from ksproxyd.state.store import LONG, Store
from ksproxyd.testing import Authority

NOW = 1_000_000.0
HEADER = b"Bearer good"


def claims(user: str = "alice", exp: int = int(NOW) + 7200, kind: str = ACCESS) -> Claims:
    return Claims("https://ks.test", user, user, kind, int(NOW), exp, session="s1")


class Tokens:
    """What a token service says, in the test's hands."""

    def __init__(self) -> None:
        self.verified: dict[str, Claims] = {"good": claims()}
        self.good = True
        self.error: Exception | None = None
        self.asked: list[str] = []
        self.hold: Deferred[None] | None = None

    async def verify(self, token: str) -> Claims:
        self.asked.append(f"verify {token}")
        if self.hold is not None:
            await self.hold
        if self.error is not None:
            raise self.error
        if token not in self.verified:
            raise Rejected(REVOKED)
        return self.verified[token]

    async def still_good(self, found: Claims) -> bool:
        self.asked.append("still_good")
        if self.hold is not None:
            await self.hold
        if self.error is not None:
            raise self.error
        return self.good


class Logins:
    """Alice's password is ``right``."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.attempts: list[tuple[Attempt, str]] = []

    async def by_password(
        self, username: str, password: str, attempt: Attempt, *, provider: str = "", record_type: str = "Token"
    ) -> UserRecord:
        self.attempts.append((attempt, record_type))
        if password == "busy":
            raise LoginRefused("busy", "busy", 1)
        if password != "right":
            raise LoginRefused("password", "wrong")
        found = self._directory.find(username)
        assert found is not None
        return found


class Site:
    def __init__(self, believed_for: float | None = 1.0, *, users: bool = True, groups: bool = True) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.users, self.bindings = Store("User", self.clock), Store("GroupBinding", self.clock)
        self.user("alice", groups=["devs"])
        self.users.mark_synced()
        self.bindings.mark_synced()
        self.directory = Directory(self.users, self.bindings)
        self.tokens = Tokens()
        self.logins = Logins(self.directory)
        self.accounts = True
        self.authenticator = Authenticator(
            self.clock,
            Rules(basic=True, groups=groups, users=users, believed_for=believed_for),
            self.tokens,
            self.logins,
            self.directory,
            lambda found: self.accounts,
            100,
        )

    def user(self, name: str, state: str = "Active", groups: list[str] | None = None) -> None:
        self.users.put(
            {
                "metadata": {"name": name, "uid": name},
                "spec": {"email": f"{name}@ks.test", "groups": groups or []},
                "status": {"state": state},
            }
        )

    def ask(self, header: bytes = HEADER) -> Any:
        """What the coroutine has come to: a result, or an error raised; None while it waits."""
        results: list[Any] = []
        asking = Deferred.fromCoroutine(self.authenticator.by_header(header, "192.0.2.7", "test/1"))
        asking.addBoth(results.append)
        if not results:
            return None
        if not isinstance(results[0], tuple):
            results[0].raiseException()
        return results[0]

    def refused(self, header: bytes = HEADER) -> StatusError:
        with pytest.raises(StatusError) as caught:
            self.ask(header)
        return caught.value


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


def test_a_token_is_its_user_with_groups() -> None:
    found = Site().ask()
    assert found.identity == Identity("alice", ("devs", "system:authenticated"))
    assert found.claims.session == "s1"
    assert Site(groups=False).ask().identity == Identity("alice", ("system:authenticated",))


def test_a_known_token_is_looked_up_only() -> None:
    site = Site()
    assert site.authenticator.known(HEADER) is None
    site.ask()
    assert site.authenticator.known(HEADER).identity.name == "alice"  # type: ignore[union-attr]
    assert site.tokens.asked == ["verify good"]


def test_it_is_asked_about_before_it_must_be_so_that_nobody_waits() -> None:
    site = Site(believed_for=1.0)
    site.ask()
    site.clock.advance(0.6)
    assert site.authenticator.known(HEADER) is not None
    assert site.tokens.asked == ["verify good", "still_good"]
    site.clock.advance(0.9)
    assert site.authenticator.known(HEADER) is not None


def test_what_nobody_has_asked_about_in_time_is_asked_about_now() -> None:
    site = Site(believed_for=1.0)
    site.ask()
    site.clock.advance(1.0)
    assert site.authenticator.known(HEADER) is None
    assert site.ask().identity.name == "alice"
    assert site.tokens.asked == ["verify good", "still_good"]


def test_a_revoked_token_ends_within_its_time() -> None:
    site = Site(believed_for=1.0)
    site.ask()
    site.tokens.good = False
    del site.tokens.verified["good"]
    site.clock.advance(0.6)
    assert site.authenticator.known(HEADER) is not None
    assert site.authenticator.known(HEADER) is None
    assert site.refused().message.startswith("token revoked")


def test_nobody_is_let_in_while_the_store_is_away_and_it_is_a_503() -> None:
    site = Site(believed_for=1.0)
    site.ask()
    site.tokens.error = SharedUnavailable("10.0.0.1 refuses")
    site.clock.advance(0.6)
    assert site.authenticator.known(HEADER) is not None
    site.clock.advance(0.4)
    assert site.authenticator.known(HEADER) is None
    error = site.refused()
    assert (error.code, error.retry_after) == (503, 2)
    assert "10.0.0.1" not in error.message
    site.tokens.error = None
    assert site.ask().identity.name == "alice"


def test_a_token_ends_at_its_time_whatever_is_believed() -> None:
    site = Site(believed_for=None)
    site.tokens.verified["good"] = claims(exp=int(NOW) + 5)
    site.ask()
    site.clock.advance(4.9)
    assert site.authenticator.known(HEADER) is not None
    site.clock.advance(0.1)
    assert site.authenticator.known(HEADER) is None
    assert site.tokens.asked == ["verify good"]


def test_a_change_of_the_user_takes_effect_at_once() -> None:
    site = Site(believed_for=None)
    site.ask()
    site.user("alice", groups=["ops"])
    assert site.authenticator.known(HEADER) is None
    assert site.ask().identity.groups == ("ops", "system:authenticated")
    site.user("alice", "Disabled")
    assert site.refused().message == "invalid credentials: the account is disabled; ask an administrator"
    site.user("alice", "AuthLimitExceeded")
    assert site.ask().identity.name == "alice"
    site.users.remove(("", "alice"))
    assert site.refused().code == 401


def test_a_group_of_thousands_takes_effect_at_once() -> None:
    site = Site(believed_for=None)
    names = ["alice", *(f"u{number}" for number in range(LONG))]
    for name in names[1:]:
        site.user(name)
    binding = {"metadata": {"name": "b"}, "groupRef": {"name": "ops"}, "users": names}
    for groups in (("devs", "ops", "system:authenticated"), ("devs", "system:authenticated")):
        site.ask()
        assert site.authenticator.known(HEADER) is not None
        if "ops" in groups:
            site.bindings.put(binding)
        else:
            site.bindings.remove(("", "b"))
        assert site.authenticator.known(HEADER) is None
        assert site.ask().identity.groups == groups


def test_a_member_takes_the_hosts_word_for_its_users() -> None:
    site = Site(users=False)
    site.tokens.verified["good"] = claims("somebody")
    assert site.ask().identity == Identity("somebody", ("system:authenticated",))


def test_whoever_asks_meanwhile_waits_for_the_same_answer() -> None:
    site = Site()
    site.tokens.hold = Deferred()
    results: list[Any] = []
    for _ in range(3):
        asking = Deferred.fromCoroutine(site.authenticator.by_header(HEADER, "192.0.2.7", ""))
        asking.addBoth(results.append)
    first = Deferred.fromCoroutine(site.authenticator.by_header(HEADER, "192.0.2.7", ""))
    first.addErrback(lambda _: None)
    first.cancel()
    site.tokens.hold.callback(None)
    assert [each.identity.name for each in results] == ["alice"] * 3
    assert site.tokens.asked == ["verify good"]


def test_what_was_revoked_here_ends_at_once() -> None:
    site = Site(believed_for=None)
    site.ask()
    site.authenticator.doubt()
    assert site.authenticator.known(HEADER) is None
    assert site.ask().identity.name == "alice"
    assert site.authenticator.known(HEADER) is not None
    assert site.tokens.asked == ["verify good", "still_good"]


@pytest.mark.parametrize("before", ["nothing", "known", "confirmed ahead"])
def test_what_is_revoked_while_its_token_is_asked_about_is_not_believed(before: str) -> None:
    site = Site(believed_for=1.0)
    if before != "nothing":
        site.ask()
        site.clock.advance(0.6 if before == "confirmed ahead" else 1.0)
    hold = site.tokens.hold = Deferred()
    if before == "confirmed ahead":
        assert site.authenticator.known(HEADER) is not None
    else:
        assert site.ask() is None
    site.authenticator.doubt()
    # The store's answer is from before that.
    site.tokens.hold = None
    hold.callback(None)
    site.tokens.good = False
    del site.tokens.verified["good"]
    assert site.authenticator.known(HEADER) is None
    assert site.refused().message.startswith("token revoked")


def test_who_asks_after_a_revocation_does_not_get_the_answer_from_before() -> None:
    site = Site()
    hold = site.tokens.hold = Deferred()
    assert site.ask() is None
    site.authenticator.doubt()
    site.tokens.hold = None
    site.tokens.error = Rejected(REVOKED)
    assert site.refused().message.startswith("token revoked")
    site.tokens.error = None
    hold.callback(None)


def test_service_accounts_have_no_groups_and_end_with_their_object() -> None:
    site = Site()
    name = "kubesphere:serviceaccount:demo:robot"
    site.tokens.verified["good"] = claims(name, 0, STATIC)
    assert site.ask().identity == Identity(name)
    site.accounts = False
    assert site.refused(b"bearer good").message.startswith("invalid credentials")


def test_users_that_are_not_known_yet_are_nobody_and_nothing_is_claimed() -> None:
    site = Site()
    site.users.synced = False
    assert site.refused().code == 503


def test_passwords() -> None:
    site = Site()
    found = site.ask(basic("alice:right"))
    assert (found.identity, found.password) == (Identity("alice", ("devs", "system:authenticated")), True)
    assert site.logins.attempts == [(Attempt("192.0.2.7", "test/1"), "Password")]
    wrong = site.refused(basic("alice:wrong"))
    assert wrong.message.startswith("invalid credentials")
    assert site.refused(basic("alice:busy")).code == 503
    site.authenticator.rules = site.authenticator.rules._replace(basic=False)
    assert site.refused(basic("alice:right")).message == "The request cannot be authenticated."


@pytest.mark.parametrize("header", [b"Digest x", b"Bearer", b"Bearer a b"])
def test_what_nobody_understands(header: bytes) -> None:
    assert Site().refused(header).message == "The request cannot be authenticated."


def der(*names: str) -> bytes:
    issued = Authority().issue(*names, client=True)
    return load_pem_x509_certificate(issued.certificate).public_bytes(Encoding.DER)


def test_certificates() -> None:
    site = Site()
    assert site.authenticator.by_certificate(der("robot")) == Identity("robot", ("system:authenticated",))
    site.user("robot", "Disabled")
    with pytest.raises(StatusError):
        site.authenticator.by_certificate(der("robot"))
    with pytest.raises(StatusError):
        site.authenticator.by_certificate(b"no certificate")


def test_what_is_remembered_is_bounded() -> None:
    remembered = Remembered(3)
    site = Site()
    site.ask()
    entry = site.authenticator.remembered.get(HEADER)
    assert entry is not None
    for number in range(5):
        remembered.put(b"%d" % number, entry)
    assert len(remembered) == 3
    assert remembered.get(b"1") is None and remembered.get(b"4") is entry
    remembered.drop_user("alice")
    remembered.drop_user("alice")
    assert len(remembered) == 0

"""Who of ours somebody is (spec 02, 4.5, D-12 and D-14)."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.mapper import Mapper, MappingRefused, problem_of_uid, user_name
from ksproxyd.authn.providers.provider import External
from ksproxyd.authn.registration import Registration
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.user_record import LINK, UserRecord
from ksproxyd.kube.errors import KubeError, KubeUnreachable, failure_status
from ksproxyd.state.store import Store


class FakeProvider(NamedTuple):
    configuration: Configuration


class FakeKube:
    """Stores what is created, and lets the store of users hear of it."""

    def __init__(self, users: Store) -> None:
        self._users = users
        self.created: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.present: dict[str, Any] | None = None
        self.quiet = False

    async def create(self, resource: Any, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        stored = {**body, "metadata": {**body["metadata"], "uid": "uid-new"}}
        self.created.append(body)
        self.present = stored
        if not self.quiet:
            self._users.put(stored)
        return stored

    async def get(self, resource: Any, name: str, namespace: str = "") -> dict[str, Any]:
        if self.present is None:
            raise KubeError(failure_status(404, "NotFound", "gone"))
        return self.present


class Site:
    def __init__(self, mapping: str = "auto", synced: bool = True) -> None:
        self.clock = Clock()
        self.users, bindings = Store("User", self.clock), Store("GroupBinding", self.clock)
        if synced:
            self.users.mark_synced()
            bindings.mark_synced()
        self.directory = Directory(self.users, bindings)
        self.kube = FakeKube(self.users)
        self.mapper = Mapper(self.clock, self.directory, self.kube)  # type: ignore[arg-type]
        self.provider: Any = FakeProvider(Configuration("corp", "x", mapping))

    def user(self, name: str, link: str = "", provider: str = "corp", state: str = "Active", **metadata: Any) -> None:
        annotations = {LINK + provider: link} if link else {}
        self.users.put(
            {
                "metadata": {"name": name, "uid": f"uid-{name}", "annotations": annotations, **metadata},
                "spec": {"email": f"{name}@ks.test"},
                "status": {"state": state},
            }
        )

    def start(self, external: External) -> list[Any]:
        found: list[Any] = []
        Deferred.fromCoroutine(self.mapper.resolve(self.provider, external)).addBoth(found.append)
        return found

    def resolve(self, external: External) -> Any:
        found = self.start(external)
        assert found, "it waits"
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def refused(self, external: External) -> str:
        with pytest.raises(MappingRefused) as caught:
            self.resolve(external)
        assert self.kube.created == []
        return caught.value.message


def test_a_linked_user_is_that_user_whatever_the_provider_calls_them() -> None:
    for mapping in ("auto", "lookup", "manual", "mixed", ""):
        site = Site(mapping)
        site.user("al", link="42")
        found = site.resolve(External("42", "Somebody Else"))
        assert isinstance(found, UserRecord)
        assert found.name == "al"


@pytest.mark.parametrize("uid", ["", " ", "\t", "a\n", " a", "x" * 257, "é" * 129, "\ud800", "a\0b", "a\u200bb"])
def test_identifiers_that_are_none(uid: str) -> None:
    # T-129: an empty one is nobody, least of all somebody without a link.
    for mapping in ("auto", "lookup", "manual"):
        site = Site(mapping)
        site.user("unlinked")
        site.user("empty", link="")
        assert "identity provider corp: " in site.refused(External(uid, "unlinked"))
    assert problem_of_uid("x" * 256) == ""


def test_auto_creates_a_user_and_links_it() -> None:
    site = Site()
    found = site.resolve(External("42", "Alice", "alice@corp.test", True, "Alice A."))
    assert (found.name, found.uid, found.links) == ("alice", "uid-new", (("corp", "42"),))
    assert site.kube.created == [
        {
            "apiVersion": "iam.kubesphere.io/v1beta1",
            "kind": "User",
            "metadata": {"name": "alice", "annotations": {"iam.kubesphere.io/identity-provider.corp": "42"}},
            "spec": {"email": "alice@corp.test", "displayName": "Alice A."},
            "status": {"state": "Active"},
        }
    ]
    # The second time nothing is created.
    assert site.resolve(External("42", "Alice2")).name == "alice"
    assert len(site.kube.created) == 1


def test_auto_never_takes_over_a_user() -> None:
    # T-130: a name that somebody has, linked or not, or linked with somebody else or elsewhere.
    site = Site()
    site.user("admin")
    site.user("bob", link="7")
    site.user("carol", link="42", provider="other")
    for name in ("Admin", "bob", "carol"):
        assert f"there is a user {name.lower()} already" in site.refused(External("42", name))


def test_an_email_address_makes_nobody_somebody() -> None:
    site = Site()
    site.user("admin")
    assert site.resolve(External("42", "mallory", "admin@ks.test", True)).name == "mallory"
    assert site.kube.created[0]["spec"] == {"email": ""}


@pytest.mark.parametrize(
    ("email", "verified"),
    [("a@b.test", False), ("a@b.test\n", True), ("no address", True), ("a@b@c", True), ("", True)],
)
def test_only_verified_addresses_are_kept(email: str, verified: bool) -> None:
    site = Site()
    site.resolve(External("42", "alice", email, verified))
    expected = "a@b.test" if verified and email.strip() == "a@b.test" else ""
    assert site.kube.created[0]["spec"]["email"] == expected


@pytest.mark.parametrize(
    "name",
    ["", "a b", "alice@corp.test", "system:admin", "kubesphere:x", "-a", "a-", "a..b", ".a", "é", "a/b", "a" * 64,
     "a_b", "../x", "İ", "ⅷ", "a\n"],
)  # fmt: skip
def test_names_that_no_user_has(name: str) -> None:
    assert Site().refused(External("42", name))


def test_names_are_written_small() -> None:
    assert user_name("A.B-c1") == "a.b-c1"


def test_lookup_and_unknown_methods_create_nobody() -> None:
    assert "mappingMethod is lookup" in Site("lookup").refused(External("42", "alice"))
    assert "has no mappingMethod" in Site("mixed").refused(External("42", "alice"))


def test_manual_is_a_registration() -> None:
    # T-131
    site = Site("manual")
    found = site.resolve(External("42", "Alice", "alice@corp.test", False))
    assert found == Registration("corp", "42", "Alice", "")
    assert found.extra() == (("idp", ("corp",)), ("uid", ("42",)), ("username", ("Alice",)), ("email", ("",)))
    assert site.resolve(External("42", "Alice", "a@corp.test", True)).email == "a@corp.test"
    assert site.kube.created == []


def test_disabled_users_and_those_that_go_are_refused() -> None:
    site = Site()
    site.user("bob", link="1", state="Disabled")
    site.user("carol", link="2", deletionTimestamp="2026-01-01T00:00:00Z")
    site.user("dave", link="3", state="AuthLimitExceeded")
    assert "bob (identity provider corp) is disabled" in site.refused(External("1", "x"))
    assert "is being deleted" in site.refused(External("2", "x"))
    assert site.resolve(External("3", "x")).name == "dave"


def test_two_users_with_one_link_are_nobody() -> None:
    site = Site()
    site.user("a", link="42")
    site.user("b", link="42")
    assert "several users (a, b)" in site.refused(External("42", "a"))


def test_links_of_other_providers_do_not_count() -> None:
    site = Site("lookup")
    site.user("a", link="42", provider="other")
    site.refused(External("42", "a"))


def test_nobody_is_created_before_the_users_are_known() -> None:
    site = Site(synced=False)
    with pytest.raises(SharedUnavailable):
        site.resolve(External("42", "alice"))
    assert site.kube.created == []


def test_somebody_was_faster() -> None:
    taken = KubeError(failure_status(409, "AlreadyExists", "it exists"))
    site = Site()
    site.kube.error = taken
    # The same person by another gateway, whose user arrives in a moment.
    body = {
        "metadata": {"name": "alice", "uid": "u1", "annotations": {LINK + "corp": "42"}},
        "status": {"state": "Active"},
    }
    site.kube.present = body
    found = site.start(External("42", "alice"))
    assert found == []
    site.users.put(body)
    assert found[0].name == "alice"
    # Anybody else of that name.
    for link in ("43", ""):
        site = Site()
        site.kube.error = taken
        site.kube.present = {"metadata": {"name": "alice", "uid": "u1", "annotations": {LINK + "corp": link}}}
        assert "there is a user alice already" in site.refused(External("42", "alice"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KubeUnreachable("refused", "connect"), SharedUnavailable),
        (KubeError(failure_status(500, "InternalError", "x")), SharedUnavailable),
        (KubeError(failure_status(429, "TooManyRequests", "x")), SharedUnavailable),
        (KubeError(failure_status(422, "Invalid", "x")), MappingRefused),
        (KubeError(failure_status(403, "Forbidden", "x")), MappingRefused),
    ],
)
def test_a_user_that_cannot_be_created(error: Exception, kind: type[Exception]) -> None:
    site = Site()
    site.kube.error = error
    with pytest.raises(kind):
        site.resolve(External("42", "alice"))


def test_a_new_user_is_waited_for_and_not_for_ever() -> None:
    site = Site()
    site.kube.quiet = True
    found = site.start(External("42", "alice"))
    assert found == []
    assert site.kube.present is not None
    site.users.put(site.kube.present)
    assert found[0].name == "alice"
    site = Site()
    site.kube.quiet = True
    found = site.start(External("42", "alice"))
    site.clock.advance(10.1)
    assert found[0].check(SharedUnavailable)
    assert site.clock.getDelayedCalls() == []

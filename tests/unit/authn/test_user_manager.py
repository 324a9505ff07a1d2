"""Users are kept in order: what is written into them, when, by whom, and what is left alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from login_site import HASH, PASSWORD, Hashing
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from user_server import Server, refusal

from ksproxyd.authn.lock_note import LOCKED, read_lock, write_time
from ksproxyd.authn.managing.belongings import BELONGINGS, GLOBAL_ROLE_BINDINGS
from ksproxyd.authn.managing.login_history import Entry, Retention, last_login, surplus
from ksproxyd.authn.managing.user_order import APPLIED, CHANGED, FINALIZER, GLOBAL_ROLE, in_order, locked, urgent
from ksproxyd.authn.passwords import Passwords
from ksproxyd.authn.records import LOGIN_RECORDS, USER_REF
from ksproxyd.authn.user_manager import (
    AGAIN,
    CROWDED,
    FIRST_SWEEP,
    SETTLE,
    SWEEP,
    ManagerRules,
    UserManager,
    manager_mode,
)
from ksproxyd.kube.resource import Resource
from ksproxyd.settings import load_text
from ksproxyd.state.controller_manager import DEPLOYMENT, DEPLOYMENTS, LEASE, PERIOD
from ksproxyd.state.election import LEASES
from ksproxyd.state.kinds import NAMESPACE

START = 1_700_000_000
DURATION = 600.0
MINE = {"finalizers": [FINALIZER]}


class Leading:
    """Leadership that comes and goes as we say."""

    def __init__(self, leading: bool) -> None:
        self.leading = leading
        self.changed: Callable[[], object] = lambda: None

    def start(self, changed: Callable[[], object]) -> None:
        self.changed = changed

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def become(self, leading: bool) -> None:
        self.leading = leading
        self.changed()


class World:
    def __init__(
        self,
        mode: Any = True,
        *,
        leading: bool = True,
        subresource: bool = False,
        start: bool = True,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.server = Server(self.clock, subresource=subresource)
        self.leadership = Leading(leading)
        self.hashing = Hashing()
        self.passwords = Passwords(self.hashing, 1, 10, cost=4)
        self.ended: list[str] = []
        client: Any = self.server
        self.manager = UserManager(
            self.clock,
            lambda: 0.0,
            client,
            self.server.users,
            mode,
            self.leadership,
            self.passwords,
            ManagerRules(3, DURATION, Retention(3600.0, 3)),
            ended=self.end,
        )
        if start:
            self.manager.start()
            self.run()

    async def end(self, user: str) -> None:
        self.ended.append(user)

    def run(self, seconds: float = 1.0) -> None:
        """Let time pass, and what falls into it happen."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            while self.hashing.work() or any(c.getTime() <= self.clock.seconds() for c in self.clock.getDelayedCalls()):
                self.clock.advance(0)
            later = [c.getTime() for c in self.clock.getDelayedCalls()]
            self.clock.advance(min([end, *later]) - self.clock.seconds())
        while self.hashing.work():
            self.clock.advance(0)

    def user(self, name: str) -> dict[str, Any]:
        value = self.server.get_user(name)
        assert value is not None
        return value

    def annotations(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.user(name)["metadata"].get("annotations", {})
        return found

    def record(self, user: str, age: float = 0.0, name: str = "") -> str:
        name = name or f"{user}-{self.server.version}"
        created = write_time(self.clock.seconds() - age)
        labels = {USER_REF: user}
        self.server.put(LOGIN_RECORDS, name, {"spec": {}}, labels=labels, creationTimestamp=created)
        return name

    def bind(self, resource: Resource, name: str, user: str, role: str = "r", namespace: str = "") -> None:
        body = {"roleRef": {"name": role}}
        self.server.put(resource, name, body, namespace, labels={USER_REF: user})


@pytest.fixture(params=[False, True], ids=["whole", "subresource"])
def world(request: Any) -> Iterator[World]:
    world = World(subresource=request.param)
    yield world
    stop(world)


def stop(world: World) -> None:
    done: list[Any] = []
    Deferred.fromCoroutine(world.manager.stop()).addBoth(done.append)
    assert done == [None]
    while world.hashing.work():
        pass
    assert not world.clock.getDelayedCalls()


class TestPasswords:
    def test_hashed(self, world: World) -> None:
        annotations = {APPLIED: PASSWORD, "other": "x"}
        world.server.user("alice", None, spec={"password": PASSWORD}, metadata={"annotations": annotations})
        world.run()
        user = world.user("alice")
        assert bcrypt.checkpw(PASSWORD.encode(), user["spec"]["password"].encode())
        assert user["status"] == {"state": "Active", "lastTransitionTime": write_time(START + 1)}
        assert world.annotations("alice") == {CHANGED: write_time(START + 1), "other": "x"}
        assert user["metadata"]["finalizers"] == [FINALIZER]
        assert PASSWORD not in repr(world.server.objects)
        assert world.server.writes == ["PUT alice"] + ["PATCH alice/status"] * world.server.subresource

    def test_a_new_password_of_somebody_disabled(self, world: World) -> None:
        world.server.user("bob", "Disabled", spec={"password": PASSWORD})
        world.run()
        assert world.user("bob")["status"] == {"state": "Disabled"}
        assert world.user("bob")["spec"]["password"] != PASSWORD

    @pytest.mark.parametrize("state", [None, "Disabled", "AuthLimitExceeded", "Active"])
    def test_who_has_a_hash_keeps_their_state(self, world: World, state: str | None) -> None:
        """T-012: erin."""
        world.server.user("erin", state, spec={"password": HASH})
        world.run(3600)
        assert world.user("erin")["status"] == ({} if state is None else {"state": state})

    def test_who_has_no_password(self, world: World) -> None:
        world.server.user("ext", None)
        world.run()
        assert world.user("ext")["status"]["state"] == "Active"

    def test_hashed_but_not_active_yet(self, world: World) -> None:
        """Somebody was interrupted between the object and its status."""
        annotations = {CHANGED: write_time(START)}
        world.server.user("x", None, spec={"password": HASH}, metadata={"annotations": annotations})
        world.run()
        assert world.user("x")["status"]["state"] == "Active"

    def test_one_that_cannot_be_hashed(self, world: World) -> None:
        world.server.user("alice", None, spec={"password": "é" * 40 + "Aa1"})
        world.run()
        assert "password" not in world.user("alice")["spec"]
        assert CHANGED not in world.annotations("alice")

    def test_somebody_is_faster(self, world: World) -> None:
        world.server.user("alice", None, spec={"password": PASSWORD})
        world.server.meanwhile = lambda: world.server.user("alice", None, spec={"password": "Another1"})
        world.run(10)
        assert bcrypt.checkpw(b"Another1", world.user("alice")["spec"]["password"].encode())

    def test_no_room(self, world: World) -> None:
        places = [world.passwords.place() for _ in range(11)]
        world.server.user("alice", None, spec={"password": PASSWORD})
        world.run()
        assert world.user("alice")["spec"]["password"] == PASSWORD
        for place in places:
            place.__exit__(None, None, None)
        world.run(10)
        assert world.user("alice")["spec"]["password"] != PASSWORD

    def test_refused(self, world: World) -> None:
        world.server.error = refusal(403, "Forbidden")
        world.server.user("alice", None, spec={"password": PASSWORD})
        world.run(10)
        world.server.error = None
        world.run(30)
        assert world.user("alice")["status"]["state"] == "Active"


class TestFinalizer:
    def test_added_in_no_hurry(self, world: World) -> None:
        for n in range(50):
            world.server.user(f"user-{n:02}", metadata={"finalizers": ["other"]}, spec={"password": HASH})
        world.server.user("urgent", None, spec={"password": PASSWORD})
        world.run(1)
        assert world.user("urgent")["status"]["state"] == "Active"
        assert len(world.server.writes) < 30
        world.run(3)
        assert world.user("user-49")["metadata"]["finalizers"] == ["other", FINALIZER]

    def test_nothing_is_written_twice(self, world: World) -> None:
        world.server.user("alice", spec={"password": HASH})
        world.run(FIRST_SWEEP + 2 * SWEEP)
        assert world.server.writes == ["PUT alice"]

    def test_deletion(self, world: World) -> None:
        world.server.user("alice", metadata=MINE)
        world.server.user("bob", metadata=MINE)
        for n, resource in enumerate(BELONGINGS):
            for user in ("alice", "bob"):
                world.bind(resource, f"{user}-{n}", user, namespace="demo" if resource.namespaced else "")
        secrets = Resource("", "v1", "secrets", "Secret", namespaced=True)
        world.server.put(secrets, "kubeconfig-alice", {}, NAMESPACE)
        world.server.missing.add("workspacerolebindings.iam.kubesphere.io")
        world.server.delete_user("alice")
        world.run()
        assert world.server.get_user("alice") is None
        assert world.ended == ["alice"]
        world.server.missing.clear()
        left = {name for resource in BELONGINGS for name in world.server.names(resource)}
        assert left == {f"bob-{n}" for n in range(len(BELONGINGS))} | {"alice-1"}
        assert world.server.names(secrets) == []

    def test_deletion_goes_on(self, world: World) -> None:
        world.server.user("alice", metadata={"finalizers": [FINALIZER, "other"]})
        world.bind(GLOBAL_ROLE_BINDINGS, "alice-admin", "alice")
        world.server.error = refusal(500, "InternalError")
        world.server.delete_user("alice")
        world.run()
        assert world.server.names(GLOBAL_ROLE_BINDINGS) == ["alice-admin"]
        world.server.error = None
        world.run(30)
        assert world.server.names(GLOBAL_ROLE_BINDINGS) == []
        assert world.user("alice")["metadata"]["finalizers"] == ["other"]
        # Nothing is given to somebody who is going.
        writes = len(world.server.writes)
        world.run(SWEEP * 2)
        assert len(world.server.writes) == writes

    def test_who_does_not_wait_for_us(self, world: World) -> None:
        world.server.user("alice", metadata={"finalizers": ["other"]})
        world.server.delete_user("alice")
        world.run()
        assert world.server.writes == [] == world.ended


class TestLocks:
    NET, OTHER = "192.0.2.0/24", "198.51.100.0/24"

    @pytest.fixture
    def world(self, world: World) -> World:
        world.server.user("alice", metadata=MINE, spec={"password": HASH}, status={"lastLoginTime": "then"})
        world.run()
        return world

    def test_written_and_undone(self, world: World) -> None:
        world.manager.locked("alice", self.NET, DURATION)
        world.run(0.5)
        status = world.user("alice")["status"]
        assert status["state"] == "AuthLimitExceeded" and status["lastLoginTime"] == "then"
        assert "3 wrong passwords within 600 seconds" in status["reason"]
        note = read_lock(world.user("alice"))
        assert note.sources is not None and [source for source, _ in note.sources] == [self.NET]
        world.run(DURATION - 2)
        assert world.user("alice")["status"]["state"] == "AuthLimitExceeded"
        world.run(3)
        status = world.user("alice")["status"]
        assert status["state"] == "Active" and "reason" not in status and status["lastLoginTime"] == "then"
        assert LOCKED not in world.annotations("alice")

    def test_further_ones(self, world: World) -> None:
        world.manager.locked("alice", self.NET, DURATION)
        world.run(300)
        world.manager.locked("alice", self.OTHER, DURATION)
        world.run(DURATION - 300)
        now = world.clock.seconds()
        note = read_lock(world.user("alice"))
        assert note.left(now, DURATION, self.NET) <= 1 and note.left(now, DURATION, self.OTHER) >= 290
        assert world.user("alice")["status"]["state"] == "AuthLimitExceeded"
        world.run(302)
        assert world.user("alice")["status"]["state"] == "Active"

    def test_for_everybody(self, world: World) -> None:
        world.manager.locked("alice", self.NET, DURATION)
        world.manager.locked("alice", None, DURATION)
        world.run()
        note = read_lock(world.user("alice"))
        assert note.sources is None and note.until is not None
        world.manager.locked("alice", self.OTHER, 5.0)
        world.run(10)
        again = read_lock(world.user("alice"))
        assert again.sources is None and again.until == note.until

    def test_somebody_else_has_locked_it(self, world: World) -> None:
        """As ks-controller-manager does."""
        since = write_time(world.clock.seconds())
        status = {"state": "AuthLimitExceeded", "lastTransitionTime": since}
        world.server.user("alice", metadata=MINE, spec={"password": HASH}, status=status)
        world.manager.locked("alice", self.NET, 5.0)
        world.run(DURATION - 1)
        assert world.user("alice")["status"] == status and LOCKED not in world.annotations("alice")
        world.run(2)
        assert world.user("alice")["status"]["state"] == "Active"

    def test_without_a_time_it_stays(self, world: World) -> None:
        world.server.user("alice", "AuthLimitExceeded", metadata=MINE, spec={"password": HASH})
        world.run(DURATION * 3)
        assert world.user("alice")["status"] == {"state": "AuthLimitExceeded"}

    def test_disabled_meanwhile(self, world: World) -> None:
        world.server.meanwhile = lambda: world.server.user("alice", "Disabled", metadata=MINE)
        world.manager.locked("alice", self.NET, DURATION)
        world.run(10)
        assert world.user("alice")["status"] == {"state": "Disabled"}

    def test_an_administrator_unlocks(self, world: World) -> None:
        world.manager.locked("alice", self.NET, DURATION)
        world.run()
        metadata = {**MINE, "annotations": dict(world.annotations("alice"))}
        assert LOCKED in metadata["annotations"]
        world.server.user("alice", metadata=metadata, spec={"password": HASH})
        world.run()
        assert world.user("alice")["status"]["state"] == "Active" and LOCKED not in world.annotations("alice")

    def test_gone(self, world: World) -> None:
        world.manager.locked("alice", self.NET, DURATION)
        world.manager.locked("nobody", self.NET, DURATION)
        world.server.objects.clear()
        world.run(10)
        assert world.server.writes == []


class TestHistory:
    def test_after_a_login(self, world: World) -> None:
        world.server.user("alice", metadata=MINE, spec={"password": HASH})
        names = [world.record("alice", age) for age in (4000, 40, 30, 20, 10)]
        other = world.record("bob")
        world.manager.recorded("alice")
        world.manager.recorded("alice")
        world.run(6)
        assert world.server.names(LOGIN_RECORDS) == sorted([*names[2:], other])
        assert world.user("alice")["status"]["lastLoginTime"] == write_time(START + 1 - 10)
        assert world.user("alice")["status"]["state"] == "Active"
        writes = len(world.server.writes)
        world.manager.recorded("alice")
        world.run(6)
        assert len(world.server.writes) == writes

    def test_somebody_else_was_faster(self, world: World) -> None:
        """Nothing that they have written is lost."""
        world.server.user("alice", metadata=MINE, spec={"password": HASH})
        world.record("alice", 10)
        world.manager.recorded("alice")
        world.server.before_write = lambda: world.server.user("alice", "Disabled", metadata=MINE)
        world.run(30)
        assert world.user("alice")["status"] == {"state": "Disabled", "lastLoginTime": write_time(START + 1 - 10)}

    def test_in_a_crowd_it_waits(self, world: World) -> None:
        for name in ("alice", "bob"):
            world.server.user(name, metadata=MINE, spec={"password": HASH})
        with ExitStack() as places:
            while not world.passwords.full:
                places.enter_context(world.passwords.place())
            for name in ("alice", "bob"):
                world.record(name, 10)
                world.manager.recorded(name)
            world.run(SETTLE + CROWDED)
            assert world.server.writes == []
            world.run(2 * CROWDED)
            assert {write.split("/")[0] for write in world.server.writes} >= {"PUT alice", "PUT bob"}

    def test_not_again_at_once(self, world: World) -> None:
        def last() -> str:
            return str(world.user("alice")["status"].get("lastLoginTime", ""))

        world.server.user("alice", metadata=MINE, spec={"password": HASH})
        # Which looks at all.
        world.run(FIRST_SWEEP + 1)
        world.record("alice", 10)
        world.manager.recorded("alice")
        world.run(SETTLE + 1)
        first = last()
        assert first
        # Programs log in all the time: each of them is noted, but not each by itself.
        for _ in range(5):
            world.record("alice", 0)
            world.manager.recorded("alice")
            world.run(5)
        assert last() == first
        world.run(AGAIN)
        assert last() > first
        # After a while it is as the first time.
        world.run(AGAIN)
        second = last()
        world.record("alice", 0)
        world.manager.recorded("alice")
        world.run(SETTLE + 1)
        assert last() > second
        assert len(world.manager._looked) == 1

    def test_of_all(self, world: World) -> None:
        world.server.user("alice", metadata=MINE, spec={"password": HASH})
        kept = world.record("alice", 10)
        world.record("alice", 4000)
        world.record("ghost", 61)
        fresh = world.record("newcomer", -60)
        world.run(FIRST_SWEEP + 5)
        assert world.server.names(LOGIN_RECORDS) == sorted([kept, fresh])
        assert world.user("alice")["status"]["lastLoginTime"]

    def test_nobody_keeps_any(self, world: World) -> None:
        world.server.missing.add("loginrecords.iam.kubesphere.io")
        world.server.missing.add("globalrolebindings.iam.kubesphere.io")
        world.run(FIRST_SWEEP + 2 * SWEEP)
        assert world.server.writes == []

    def test_the_server_fails(self, world: World) -> None:
        world.server.error = refusal(500, "InternalError")
        world.run(FIRST_SWEEP + 5)
        world.server.error = None
        world.record("ghost", 600)
        world.run(SWEEP)
        assert world.server.names(LOGIN_RECORDS) == []

    @given(st.lists(st.integers(0, 100), max_size=20), st.integers(0, 10), st.sampled_from([0.0, 30.0, 80.0]))
    def test_what_goes(self, ages: list[int], most: int, period: float) -> None:
        entries = [Entry(write_time(1000 - age), f"r{n}") for n, age in enumerate(ages)]
        gone = set(surplus(entries, Retention(period, most), 1000))
        kept = [age for n, age in enumerate(ages) if f"r{n}" not in gone]
        young = sorted(age for age in ages if not period or age <= period)
        assert sorted(kept) == young[:most]
        assert last_login(entries) == (write_time(1000 - min(ages)) if ages else "")


class TestRoles:
    def test_mirrored(self, world: World) -> None:
        world.server.user("alice", metadata={**MINE, "annotations": {GLOBAL_ROLE: "old"}}, spec={"password": HASH})
        world.server.user("bob", metadata={**MINE, "annotations": {GLOBAL_ROLE: "none"}}, spec={"password": HASH})
        world.server.user("carol", metadata={**MINE, "annotations": {GLOBAL_ROLE: "same"}}, spec={"password": HASH})
        world.bind(GLOBAL_ROLE_BINDINGS, "a", "alice", "new")
        world.bind(GLOBAL_ROLE_BINDINGS, "c", "carol", "same")
        world.run(FIRST_SWEEP + 2)
        assert world.annotations("alice") == {GLOBAL_ROLE: "new"}
        # The binding may be on its way.
        assert world.annotations("bob") == {GLOBAL_ROLE: "none"}
        assert world.server.writes == ["PUT alice"]
        world.run(SWEEP)
        assert world.annotations("bob") == {}
        assert world.annotations("carol") == {GLOBAL_ROLE: "same"}


class TestWho:
    def test_never(self) -> None:
        world = World(False)
        world.server.user("alice", None, spec={"password": PASSWORD})
        world.manager.locked("alice", None, 5.0)
        world.manager.recorded("alice")
        world.run(FIRST_SWEEP + SWEEP)
        assert world.server.writes == [] and not world.manager.managing
        stop(world)

    def test_the_leading_one(self) -> None:
        world = World(leading=False)
        world.server.user("alice", None, spec={"password": PASSWORD}, metadata=MINE)
        world.record("ghost", 600)
        world.run(SWEEP)
        assert world.server.writes == []
        world.leadership.become(True)
        world.run(FIRST_SWEEP + 2)
        assert world.user("alice")["status"]["state"] == "Active"
        assert world.server.names(LOGIN_RECORDS) == []
        world.leadership.become(False)
        world.server.user("bob", None, spec={"password": PASSWORD})
        world.run(SWEEP)
        assert world.user("bob")["spec"]["password"] == PASSWORD
        # What only one of them has seen, that one writes.
        world.manager.locked("alice", None, 5.0)
        world.run()
        assert world.user("alice")["status"]["state"] == "AuthLimitExceeded"
        stop(world)

    def lease(self, world: World, holder: str, renewed: int) -> None:
        spec = {"holderIdentity": holder, "renewTime": str(renewed), "leaseDurationSeconds": 30}
        world.server.put(LEASES, LEASE, {"spec": spec}, NAMESPACE)

    def test_unless_another_controller_does(self) -> None:
        world = World("auto", start=False)
        world.server.user("alice", None, spec={"password": PASSWORD})
        self.lease(world, "ks-controller-manager-0", 1)
        world.manager.start()
        for renewed in range(2, 30):
            world.run(PERIOD)
            self.lease(world, "ks-controller-manager-0", renewed)
        world.manager.locked("alice", None, DURATION)
        world.run(1)
        assert world.server.writes == [] and not world.manager.managing
        # It is gone, without a word.
        world.run(60 + 2 * PERIOD)
        assert world.manager.managing and world.user("alice")["status"]["state"] == "Active"
        # And back.
        self.lease(world, "ks-controller-manager-1", 100)
        world.run(PERIOD + 1)
        assert not world.manager.managing
        writes = len(world.server.writes)
        world.server.user("bob", None, spec={"password": PASSWORD})
        world.run(PERIOD)
        assert len(world.server.writes) == writes
        # It gives its Lease back.
        self.lease(world, "", 101)
        world.run(PERIOD + 1)
        assert world.user("bob")["status"]["state"] == "Active"
        stop(world)

    def test_another_controller_is_about_to(self) -> None:
        world = World("auto", start=False)
        world.server.put(DEPLOYMENTS, DEPLOYMENT, {"spec": {"replicas": 1}}, NAMESPACE)
        world.manager.start()
        world.run()
        assert not world.manager.managing
        world.server.put(DEPLOYMENTS, DEPLOYMENT, {"spec": {"replicas": 0}}, NAMESPACE)
        world.run(PERIOD + 1)
        assert world.manager.managing
        stop(world)

    def test_without_a_lease(self) -> None:
        world = World("auto")
        assert world.manager.managing
        stop(world)

    def test_nobody_knows(self) -> None:
        world = World("auto", start=False)
        world.server.error = refusal(403, "Forbidden")
        world.manager.start()
        world.run(SWEEP)
        assert not world.manager.managing
        world.server.error = None
        world.run(PERIOD + 1)
        assert world.manager.managing
        stop(world)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", "auto"),
        ("multicluster: {clusterRole: host}", "auto"),
        ("multicluster: {clusterRole: member}", False),
        ("multicluster: {clusterRole: member}\nksproxyd: {iam: {manageUsers: true}}", True),
        ("ksproxyd: {iam: {manageUsers: false}}", False),
    ],
)
def test_mode(text: str, mode: Any) -> None:
    assert manager_mode(load_text(text, "settings", {}).settings) == mode


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(["password", "state", "lastTransitionTime", LOCKED, CHANGED, APPLIED, GLOBAL_ROLE])
values = json | st.sampled_from([HASH, PASSWORD, "", "Active", "AuthLimitExceeded", "2026-01-01T00:00:00Z"])
part = json | st.dictionaries(fields, values, max_size=5)


@given(part, part, part, part, st.none() | st.just(HASH) | st.just(""))
def test_objects_of_any_shape(spec: Any, status: Any, annotations: Any, finalizers: Any, hashed: str | None) -> None:
    metadata = {"name": "alice", "annotations": annotations, "finalizers": finalizers}
    obj = {"metadata": metadata, "spec": spec, "status": status}
    before = copy.deepcopy(obj)
    urgent(obj)
    new = in_order(obj, hashed, 2e9, 600)
    locked(obj, {"192.0.2.0/24": 3e9}, "why", 2e9)
    locked(obj, {None: 3e9, "a": 1.0}, "why", 2e9)
    assert obj == before
    if new is not None:
        again = in_order(new, hashed, 2e9, 600)
        assert again is None or hashed is None

"""Whatever happens, the store ends up equal to the server, and the events tell a contiguous story."""

from __future__ import annotations

from conversation import OPTIONAL_WIDGETS
from fake_cluster import FakeCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock

from ksproxyd.kube.client import KubeClient
from ksproxyd.state.reflector import Reflector, Timing
from ksproxyd.state.store import Key, Object, key_of

NAMES = [f"w{number}" for number in range(6)]

#: Longer than any wait of a reflector together: back-off, a watch that died without a sign, a kind that vanished.
ENOUGH = 2000.0


def pass_time(clock: Clock, seconds: float) -> None:
    """Advance in steps in which answers and back-offs find their place."""
    end = clock.seconds() + seconds
    while True:
        moment = min([end, *(call.getTime() for call in clock.getDelayedCalls())])
        clock.advance(max(0.0, moment - clock.seconds()))
        if clock.seconds() >= end:
            return


class ReflectorMachine(RuleBasedStateMachine):
    """Random changes of a cluster and random accidents, with a reflector looking on."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.cluster = FakeCluster(self.clock)
        self.told: dict[Key, Object] = {}
        self.wrong: list[str] = []
        self.backups = [self.cluster.backup()]

    @initialize(
        jitter=st.floats(0, 0.999),
        page=st.sampled_from([1, 2, 500]),
        start=st.lists(st.sampled_from(NAMES), max_size=6),
    )
    def begin(self, jitter: float, page: int, start: list[str]) -> None:
        for name in start:
            self.cluster.put(name)
        client = KubeClient(self.cluster, self.cluster.access, self.clock)
        self.reflector = Reflector(client, OPTIONAL_WIDGETS, lambda: jitter, Timing())
        self.reflector._reader.page_size = page
        self.reflector.store.subscribe(self.changed)
        self.reflector.start()

    def changed(self, old: Object | None, new: Object | None) -> None:
        """A store lets no subscriber fail, so what is wrong is kept for the invariant."""
        key = key_of(new or old or {})
        if self.told.pop(key, None) is not old:
            self.wrong.append("the old object is not the one that was told before")
        if old == new:
            self.wrong.append("told of a change that is none")
        if old and new and old["metadata"]["uid"] != new["metadata"]["uid"]:
            self.wrong.append("another object is not a change of this one")
        if new is not None:
            self.told[key] = new

    @rule(name=st.sampled_from(NAMES), pieces=st.integers(1, 5))
    def put(self, name: str, pieces: int) -> None:
        self.cluster.put(name, pieces)

    @rule(name=st.sampled_from(NAMES), pieces=st.integers(1, 5))
    def delete(self, name: str, pieces: int) -> None:
        self.cluster.delete(name, pieces)

    @rule(seconds=st.sampled_from([0, 0.005, 0.012, 0.3, 1, 5, 40, 100, 700]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule()
    def bookmark(self) -> None:
        self.cluster.bookmark()

    @rule()
    def cut(self) -> None:
        self.cluster.cut()

    @rule()
    def end(self) -> None:
        self.cluster.end()

    @rule()
    def silence(self) -> None:
        self.cluster.silence()

    @rule()
    def compact(self) -> None:
        self.cluster.compact()

    @rule()
    def expire(self) -> None:
        self.cluster.expire_watches()

    @rule(how=st.sampled_from(["connect", "timeout", 403, 404, 429, 500, 503, 504]))
    def fail(self, how: int | str) -> None:
        self.cluster.down = how

    @rule()
    def recover(self) -> None:
        self.cluster.down = ""

    @rule()
    def backup(self) -> None:
        self.backups.append(self.cluster.backup())

    @rule(which=st.integers(0, 100), seconds=st.sampled_from([11.0, 60.0]), after=st.lists(st.sampled_from(NAMES)))
    def restore(self, which: int, seconds: float, after: list[str]) -> None:
        """Afterwards the restored cluster may be changed until its version is past the one we knew."""
        self.cluster.restore(self.backups[which % len(self.backups)], seconds)
        for name in after:
            self.cluster.put(name)

    @invariant()
    def subscribers_know_what_the_store_has(self) -> None:
        assert self.wrong == []
        if hasattr(self, "reflector"):
            assert self.told == {key_of(obj): obj for obj in self.reflector.store.values()}

    def pass_time(self, seconds: float) -> None:
        pass_time(self.clock, seconds)

    def teardown(self) -> None:
        if not hasattr(self, "reflector"):
            return
        self.cluster.down = ""
        self.pass_time(ENOUGH)
        store = self.reflector.store
        assert store.synced
        have = {obj["metadata"]["name"]: obj for obj in store.values()}
        assert have == self.cluster.objects
        assert self.reflector.problem == ""
        assert self.reflector.following
        self.subscribers_know_what_the_store_has()
        self.reflector.stop()
        assert not self.cluster.watches


ReflectorMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestReflector = ReflectorMachine.TestCase


CHANGES = st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.sampled_from(NAMES[:3])), max_size=8)


@settings(max_examples=300, deadline=None)
@given(
    saved=CHANGES,
    lost=CHANGES,
    after=CHANGES,
    seconds=st.sampled_from([11.0, 100.0]),
    sign=st.booleans(),
    bookmarks=st.booleans(),
)
def test_a_restored_backup_is_noticed(
    saved: list[tuple[str, str]],
    lost: list[tuple[str, str]],
    after: list[tuple[str, str]],
    seconds: float,
    sign: bool,
    bookmarks: bool,
) -> None:
    """However far the restored server has come again by the time we are back, and even if no connection was closed."""
    clock = Clock()
    cluster = FakeCluster(clock)
    reflector = Reflector(KubeClient(cluster, cluster.access, clock), OPTIONAL_WIDGETS, lambda: 0.5, Timing())
    reflector.start()
    for change, name in saved:
        getattr(cluster, change)(name)
    backup = cluster.backup()
    pass_time(clock, 1)
    for change, name in lost:
        getattr(cluster, change)(name)
    if bookmarks:
        cluster.bookmark()
    if not sign:
        cluster.silence()
    cluster.restore(backup, seconds)
    for change, name in after:
        getattr(cluster, change)(name)
    pass_time(clock, ENOUGH)
    assert {obj["metadata"]["name"]: obj for obj in reflector.store.values()} == cluster.objects
    reflector.stop()

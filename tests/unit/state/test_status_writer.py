"""The status writer against an API server in memory: what it writes, where, how often, and what it leaves alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from ksproxyd.kube.errors import KubeError, KubeUnreachable, failure_status
from ksproxyd.kube.resource import Resource
from ksproxyd.state.assessment import MANAGER
from ksproxyd.state.kinds import API_SERVICES, JS_BUNDLES, Kind
from ksproxyd.state.status_writer import BURST, CONTESTS, FIRST_TRUCE, RATE, SETTLE, StatusWriter
from ksproxyd.state.store import Store
from ksproxyd.state.validation import EXTENSION_REF, Problem, object_problems
from ksproxyd.upstream.guard import Condition

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


class Server:
    """An API server with the kinds we write, and the store that is fed by its watch."""

    def __init__(self, clock: Clock, *, subresource: bool = False) -> None:
        self.clock = clock
        self.subresource = subresource
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.stores = {kind: Store(kind.name, clock) for kind in (API_SERVICES, JS_BUNDLES)}
        self.version = 0
        self.error: KubeError | None = None
        self.calls: list[str] = []
        #: Runs between a read and the write that follows it.
        self.meanwhile: Callable[[], object] | None = None
        #: Whether the watch brings changes to the store by itself.
        self.watching = True

    # -- what others do

    def put(
        self,
        kind: Kind,
        name: str,
        spec: Any,
        *,
        manager: str = "kubectl",
        created: str = OLD,
        state: str | None = None,
        link: str | None = None,
        **metadata: Any,
    ) -> None:
        """Somebody applies a whole manifest: what it does not say about the status stays."""
        old = self.objects.get((kind.name, name), {})
        status = copy.deepcopy(old.get("status", {}))
        managers: dict[str, str] = dict(old.get("managers", {}))
        if state is not None:
            status["state"] = state
            managers["state"] = manager
        if link is not None:
            status["link"] = link
        generation = old.get("metadata", {}).get("generation", 0) + 1
        value = {
            "metadata": {"name": name, "creationTimestamp": created, "generation": generation, **metadata},
            "spec": spec,
            "status": status,
            "managers": managers,
        }
        self._store(kind.name, value)

    def set_state(self, name: str, state: str, manager: str = "somebody", kind: Kind = API_SERVICES) -> None:
        """Somebody writes a state."""
        value = copy.deepcopy(self.objects[(kind.name, name)])
        value["status"]["state"] = state
        value["managers"]["state"] = manager
        self._store(kind.name, value)

    def remove(self, name: str, kind: Kind = API_SERVICES) -> None:
        del self.objects[(kind.name, name)]
        self.stores[kind].remove(("", name))

    def sync(self) -> None:
        """The watch brings all that has happened."""
        for kind, store in self.stores.items():
            for (kind_name, _), value in self.objects.items():
                if kind_name == kind.name:
                    store.put(_seen(value))
            store.mark_synced()

    def _store(self, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        value["metadata"]["resourceVersion"] = str(self.version)
        self.objects[(kind, value["metadata"]["name"])] = value
        if self.watching:
            (store,) = (store for of, store in self.stores.items() if of.name == kind)
            store.put(_seen(value))
        return value

    # -- what the writer calls

    async def get(self, resource: Resource, name: str) -> dict[str, Any]:
        self.calls.append(f"GET {name}")
        self._refuse()
        value = copy.deepcopy(self._object(resource, name))
        managers = value.pop("managers")
        value["metadata"]["managedFields"] = [
            {"manager": manager, "fieldsV1": {"f:status": {f"f:{what}": {}}}} for what, manager in managers.items()
        ]
        if self.meanwhile is not None:
            self.meanwhile()
        return value

    async def patch(
        self, resource: Resource, name: str, patch: Any, *, subresource: str = "", field_manager: str
    ) -> dict[str, Any]:
        self.calls.append(f"PATCH {name}" + (f"/{subresource}" if subresource else ""))
        assert field_manager == MANAGER and patch.keys() == {"metadata", "status"}
        self._refuse()
        if subresource and not self.subresource:
            raise KubeError(failure_status(404, "NotFound", "the server could not find the requested resource"))
        value = copy.deepcopy(self._object(resource, name))
        if patch["metadata"] != {"resourceVersion": value["metadata"]["resourceVersion"]}:
            raise KubeError(failure_status(409, "Conflict", "the object has been modified"))
        if subresource or not self.subresource:
            value["status"] |= patch["status"]
            if "state" in patch["status"]:
                value["managers"]["state"] = MANAGER
            if not self.subresource:
                value["metadata"]["generation"] += 1
        return _seen(self._store(resource.kind, value))

    def _object(self, resource: Resource, name: str) -> dict[str, Any]:
        value = self.objects.get((resource.kind, name))
        if value is None:
            raise KubeError(failure_status(404, "NotFound", f"{name} not found"))
        return value

    def _refuse(self) -> None:
        if self.error is not None:
            raise self.error

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if call.startswith("PATCH") and not call.endswith("/status")]


def _seen(value: dict[str, Any]) -> dict[str, Any]:
    """As the store keeps it."""
    return copy.deepcopy({key: part for key, part in value.items() if key != "managers"})


class Leading:
    """Leadership that comes and goes as we say."""

    def __init__(self, leading: bool = True) -> None:
        self.leading = leading
        self.changed: Callable[[], object] = lambda: None

    def start(self, changed: Callable[[], object]) -> None:
        self.changed = changed

    def stop(self) -> Deferred[None]:
        return maybeDeferred(lambda: None)

    def become(self, leading: bool) -> None:
        self.leading = leading
        self.changed()


class World:
    def __init__(
        self,
        mode: Any = "auto",
        *,
        subresource: bool = False,
        leading: bool = True,
        synced: bool = True,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.server = Server(self.clock, subresource=subresource)
        self.leadership = Leading(leading)
        self.evidence: dict[tuple[str, str], list[Condition]] = {}
        self.threads = 0
        client: Any = self.server
        self.writer = StatusWriter(
            self.clock,
            lambda: 1_800_000_000.0 + self.clock.seconds(),
            lambda: 0.0,
            client,
            self.server.stores,
            mode,
            self.leadership,
            check,
            self.in_thread,
            evidence=lambda kind, name: self.evidence.get((kind, name), []),
            **options,
        )
        self.writer.start()
        if synced:
            self.server.sync()
            self.run(SETTLE)
            self.threads = 0

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        self.threads += 1
        return maybeDeferred(function, *args)

    def run(self, seconds: float = 1.0) -> None:
        self.clock.pump([SETTLE] * max(1, int(seconds / SETTLE)))

    def add(self, name: str = "x", **more: Any) -> None:
        self.server.put(API_SERVICES, name, more.pop("spec", spec(name)), **more)

    def status(self, name: str = "x", kind: Kind = API_SERVICES) -> dict[str, Any]:
        return self.server.objects[(kind.name, name)]["status"]

    def state(self, name: str = "x", kind: Kind = API_SERVICES) -> str:
        return self.status(name, kind).get("state", "")

    def conditions(self, name: str = "x", kind: Kind = API_SERVICES) -> dict[str, str]:
        return {c["type"]: f"{c['status']} {c['reason']}" for c in self.status(name, kind).get("conditions", [])}


def check(kind: str, value: Any) -> list[Problem]:
    return object_problems(kind, value, lambda spec: None if spec.get("url") else "no url", lambda g, v: g == "iam")


def spec(group: str, **more: Any) -> dict[str, Any]:
    return {"group": group, "version": "v1", "url": "http://b.test", **more}


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The warnings that are logged during a test, as text."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] is LogLevel.warn:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


WELL = {"Accepted": "True Accepted", "Available": "True Serving"}
WRONG = {"Accepted": "False Invalid", "Available": "False Invalid"}


# -- what is written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("subresource", [False, True])
def test_a_new_object_becomes_available(subresource: bool) -> None:
    world = World(subresource=subresource)
    world.add()
    world.run()
    assert world.state() == "Available" and world.conditions() == WELL
    # The generation says nothing where every write to the status changes it.
    generations = {c.get("observedGeneration") for c in world.status()["conditions"]}
    assert generations == ({1} if subresource else {None})


def test_it_is_quick() -> None:
    world = World()
    world.add()
    world.clock.pump([0.01] * 10)
    assert world.state() == "Available"


@pytest.mark.parametrize("subresource", [False, True])
def test_nothing_is_written_that_is_there(subresource: bool) -> None:
    world = World(subresource=subresource)
    world.add()
    world.run(5)
    calls = list(world.server.calls)
    world.server.set_state("x", "Available", MANAGER)
    world.writer.touch("APIService", "x")
    world.run(60)
    assert world.server.calls == calls and world.writer.writes == 1
    assert not world.clock.getDelayedCalls()


def test_the_way_of_a_kind_is_found_out_once() -> None:
    world = World()
    for name in "abc":
        world.add(name)
    world.run()
    patches = [call for call in world.server.calls if call.startswith("PATCH")]
    assert patches == ["PATCH a/status", "PATCH a", "PATCH b", "PATCH c"]
    world = World(subresource=True)
    for name in "ab":
        world.add(name)
    world.run()
    assert [call for call in world.server.calls if "PATCH" in call] == ["PATCH a/status", "PATCH b/status"]


@pytest.mark.parametrize("subresource", [False, True])
def test_another_leader_finds_everything_done(subresource: bool) -> None:
    first = World(subresource=subresource)
    first.add()
    first.run()
    second = World(subresource=subresource)
    second.server.objects = copy.deepcopy(first.server.objects)
    second.server.sync()
    second.run()
    assert not second.server.calls
    if subresource:
        second.add(spec=spec("changed"))
        second.run()
        assert {c["observedGeneration"] for c in second.status()["conditions"]} == {2}


def test_a_kind_that_gets_a_subresource() -> None:
    world = World()
    world.add("a")
    world.run()
    world.server.subresource = True
    world.add("b")
    world.run(5)
    assert world.state("b") == "Available"
    assert world.server.calls[-1] == "PATCH b/status"


def test_a_kind_that_loses_its_subresource() -> None:
    world = World(subresource=True)
    world.add("a")
    world.run()
    world.server.subresource = False
    world.add("b")
    world.run()
    assert world.state("b") == "Available"


def test_an_object_that_is_wrong_and_then_right() -> None:
    world = World()
    world.add(spec=spec("iam"))
    world.run()
    assert world.state() == "Unavailable" and world.conditions() == WRONG
    (accepted, _) = world.status()["conditions"]
    assert "served by the gateway itself" in accepted["message"]
    since = accepted["lastTransitionTime"]
    world.run(10)
    world.add(spec=spec("other"))
    world.run()
    assert world.state() == "Available" and world.conditions() == WELL
    assert world.status()["conditions"][0]["lastTransitionTime"] > since


def test_the_second_claim_waits_until_the_first_is_gone() -> None:
    world = World()
    world.add("b", spec=spec("g"), created=OLD)
    world.add("a", spec=spec("g"), created=NEW)
    world.run()
    assert (world.state("a"), world.state("b")) == ("Unavailable", "Available")
    world.server.remove("b")
    world.run()
    assert world.state("a") == "Available"


def test_an_older_claim_that_comes_later() -> None:
    world = World()
    world.add("a", spec=spec("g"), created=NEW)
    world.run()
    assert world.state("a") == "Available"
    world.add("b", spec=spec("g"), created=OLD)
    world.run()
    assert (world.state("a"), world.state("b")) == ("Unavailable", "Available")


def test_nothing_is_written_before_everything_is_known() -> None:
    world = World(synced=False)
    world.add("a", spec=spec("g"), created=NEW)
    world.run()
    world.leadership.become(True)
    world.writer.touch("APIService", "a")
    world.run()
    assert not world.server.calls
    world.add("b", spec=spec("g"), created=OLD)
    world.server.sync()
    world.run()
    assert (world.state("a"), world.state("b")) == ("Unavailable", "Available")


def test_links_of_bundles() -> None:
    for mode, labels, link in (("auto", {}, "/dist/b/index.js"), ("true", {EXTENSION_REF: "e"}, "/dist/e/index.js")):
        world = World(mode)
        world.server.put(JS_BUNDLES, "b", {"raw": "eA=="}, labels=labels)
        world.run()
        assert world.status("b", JS_BUNDLES)["link"] == link
        assert world.state("b", JS_BUNDLES) == "Available"


def test_a_link_that_is_there_stays() -> None:
    world = World()
    world.server.put(JS_BUNDLES, "b", {"raw": "eA=="}, link="/dist/b/main.js")
    world.run()
    assert world.status("b", JS_BUNDLES)["link"] == "/dist/b/main.js"


def test_a_default_link_that_is_taken() -> None:
    world = World()
    world.server.put(JS_BUNDLES, "a", {"raw": "eA=="}, link="/dist/b/index.js")
    world.server.put(JS_BUNDLES, "b", {"raw": "eA=="}, created=NEW)
    world.run()
    assert world.state("a", JS_BUNDLES) == "Available"
    assert world.state("b", JS_BUNDLES) == "Unavailable"


def test_what_else_is_known_becomes_conditions() -> None:
    world = World()
    world.add()
    world.run()
    world.evidence[("APIService", "x")] = [Condition("UpstreamHealthy", "False", "ProbeFailed", "refused")]
    world.writer.touch("APIService", "x")
    world.writer.touch("APIService", "unknown")
    world.run()
    assert world.conditions() == WELL | {"UpstreamHealthy": "False ProbeFailed"}
    # What is known of an upstream may be one gateway's view: the state does not follow it.
    assert world.state() == "Available"
    world.evidence.clear()
    world.writer.touch("APIService", "x")
    world.run()
    assert world.conditions() == WELL


# -- probes --------------------------------------------------------------------------------------------


def test_a_probe_decides_about_the_state() -> None:
    asked: list[Deferred[str]] = []

    def probe(kind: str, value: Any) -> Deferred[str] | None:
        if "probed" not in value["spec"]:
            return None
        asked.append(Deferred())
        return asked[-1]

    world = World(probe=probe, probe_interval=10.0)
    world.add("plain")
    world.add(spec=spec("x", probed=True))
    world.run()
    assert world.state("plain") == "Available"
    assert world.state() == "" and world.conditions()["Available"] == "Unknown NotProbed"
    asked.pop().callback("connection refused")
    world.run(0.5)
    assert world.state() == "Unavailable" and world.conditions()["Available"] == "False ProbeFailed"
    world.run(1)
    asked.pop().callback("")
    world.run(0.5)
    assert world.state() == "Available" and world.conditions() == WELL
    for _ in range(3):
        assert world.state() == "Available"
        world.run(10)
        asked.pop().callback("timed out")
    world.run(0.5)
    assert world.state() == "Unavailable"


def test_who_is_not_probed() -> None:
    asked: list[str] = []

    def probe(kind: str, value: Any) -> Deferred[str] | None:
        asked.append(value["metadata"]["name"])
        return None

    world = World(probe=probe)
    world.add("off", state="Disabled")
    world.add("wrong", spec={})
    world.add("theirs", labels={EXTENSION_REF: "e"})
    world.add("ours")
    world.run()
    assert asked == ["ours"]


def test_probes_end_with_their_object_and_with_the_leadership() -> None:
    world = World(probe=lambda kind, value: maybeDeferred(lambda: ""))
    world.add("a")
    world.add("b")
    world.run()
    assert len(world.clock.getDelayedCalls()) == 2
    world.server.remove("a")
    world.run()
    assert len(world.clock.getDelayedCalls()) == 1
    world.leadership.become(False)
    world.run()
    assert not world.clock.getDelayedCalls()


# -- whose it is ---------------------------------------------------------------------------------------


def test_with_false_nothing_is_done() -> None:
    world = World("false")
    world.add()
    world.run()
    assert not world.server.calls and not world.threads


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {EXTENSION_REF: "e"}},
        {"ownerReferences": [{"kind": "X", "controller": True}]},
        {"deletionTimestamp": NEW},
    ],
)
def test_in_auto_the_objects_of_others_are_left_alone(metadata: dict[str, Any]) -> None:
    world = World()
    world.add(**metadata)
    world.run()
    assert not world.server.calls and not world.status()


def test_in_auto_a_state_that_somebody_set_stays() -> None:
    world = World()
    world.add(spec=spec("iam"), state="Available")
    world.run()
    assert world.state() == "Available" and world.conditions() == WRONG
    calls = len(world.server.calls)
    world.run(60)
    world.writer.touch("APIService", "x")
    world.run()
    assert len(world.server.calls) == calls


def test_in_auto_a_state_that_we_set_and_somebody_took_over_is_theirs() -> None:
    world = World()
    world.add()
    world.run()
    world.server.set_state("x", "Unavailable")
    world.run()
    assert world.state() == "Unavailable"


@pytest.mark.parametrize("mode", ["auto", "true"])
@pytest.mark.parametrize("state", ["Disabled", "Enabled"])
def test_a_decision_is_never_overridden(mode: str, state: str) -> None:
    world = World(mode)
    world.add(state=state)
    world.add("wrong", spec={}, state=state)
    world.run()
    assert world.state() == world.state("wrong") == state
    assert world.conditions()["Available"] == "False SwitchedOff"
    world.add("later")
    world.run()
    world.server.set_state("later", state)
    world.run()
    assert world.state("later") == state


def test_with_true_the_objects_of_extensions_are_written() -> None:
    world = World("true")
    world.add(labels={EXTENSION_REF: "e"}, spec=spec("iam"), state="Available")
    world.run()
    assert world.state() == "Unavailable" and world.conditions() == WRONG


# -- more than one writer ------------------------------------------------------------------------------


def test_only_the_leader_writes() -> None:
    world = World(leading=False)
    world.add()
    world.run()
    assert not world.server.calls
    world.leadership.become(True)
    world.run()
    assert world.state() == "Available"


def test_a_leadership_that_comes_before_the_comparison() -> None:
    world = World(leading=False)
    world.add("b", spec=spec("g"), created=OLD)
    world.add("a", spec=spec("g"), created=NEW)
    world.leadership.become(True)
    world.run()
    assert (world.state("a"), world.state("b")) == ("Unavailable", "Available")


def test_a_leadership_that_goes_in_between() -> None:
    world = World()
    world.server.meanwhile = lambda: setattr(world.leadership, "leading", False)
    world.add()
    world.run()
    assert world.server.calls == ["GET x"] and not world.status()


def test_who_was_faster_wins_and_we_look_again(logged: list[str]) -> None:
    world = World()

    def meanwhile() -> None:
        world.server.meanwhile = None
        world.add(spec=spec("iam"))

    world.server.meanwhile = meanwhile
    world.add()
    world.run(5)
    assert world.state() == "Unavailable" and world.conditions() == WRONG
    assert not logged


def test_an_old_view_writes_nothing_twice() -> None:
    world = World()
    world.server.watching = False
    world.server.put(API_SERVICES, "x", spec("x"))
    world.server.sync()
    world.run()
    assert world.writer.writes == 1
    # The watch has not brought our own write yet.
    world.writer.touch("APIService", "x")
    world.run()
    assert world.writer.writes == 1 and not world.writer.contests
    world.server.sync()
    world.run()
    assert world.writer.writes == 1


def test_who_changes_it_back_again_and_again_is_left_alone(logged: list[str]) -> None:
    world = World("true")
    world.add()
    world.run()
    truce = FIRST_TRUCE
    for round_ in range(2):
        for _ in range(CONTESTS):
            assert world.state() == "Available"
            world.server.set_state("x", "Unavailable")
            world.run()
        assert world.state() == "Unavailable"
        assert len(logged) == round_ + 1
        assert logged[-1] == (
            f"somebody else keeps changing the status of APIService x: it is left to them for {truce:g} seconds"
        )
        calls = len(world.server.calls)
        world.run(truce - 10)
        assert len(world.server.calls) == calls
        world.run(20)
        assert world.state() == "Available"
        truce *= 2
    assert world.writer.contests == 2 * CONTESTS


def test_a_change_now_and_then_is_no_quarrel(logged: list[str]) -> None:
    world = World("true")
    world.add()
    world.run()
    for _ in range(CONTESTS * 2):
        world.server.set_state("x", "Unavailable")
        world.run(400)
        assert world.state() == "Available"
    assert not logged


def test_an_object_made_anew_has_no_history() -> None:
    world = World("true")
    for _ in range(CONTESTS + 1):
        world.add()
        world.run()
        assert world.state() == "Available"
        world.server.remove("x")
        world.run()
    assert not world.writer.contests


# -- failures, and how much ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (KubeError(failure_status(403, "Forbidden", "not allowed")), "not allowed"),
        (KubeUnreachable("no way", "connect"), "no way"),
    ],
)
def test_failures_are_repeated_with_growing_waits_and_said_once(error: KubeError, word: str, logged: list[str]) -> None:
    world = World()
    world.server.error = error
    world.add("x")
    world.add("y")
    world.run(100)
    assert len(logged) == 1 and word in logged[0]
    assert world.server.calls.count("GET x") == 7
    world.server.error = None
    world.run(60)
    assert world.state("x") == world.state("y") == "Available"
    world.server.error = error
    world.add("z")
    world.run()
    assert len(logged) == 2


def test_a_bug_is_logged_and_the_object_looked_at_again(logged_errors: Any) -> None:
    world = World()
    world.server.meanwhile = lambda: 1 / 0
    world.add()
    world.run(0.5)
    assert len(logged_errors.take()) == 1
    world.server.meanwhile = None
    world.run(2)
    assert world.state() == "Available"


def test_an_object_that_is_gone_meanwhile(logged: list[str]) -> None:
    world = World()
    world.server.watching = False
    world.server.put(API_SERVICES, "x", spec("x"))
    world.server.sync()
    del world.server.objects[("APIService", "x")]
    world.run(60)
    assert world.server.calls == ["GET x"] and not logged


def test_an_object_that_goes_before_its_turn() -> None:
    world = World()
    world.add()
    world.server.remove("x")
    world.run()
    assert not world.server.calls


def test_there_are_so_many_writes_a_second_and_no_more() -> None:
    world = World()
    for number in range(40):
        world.add(f"x{number}")
    world.run(SETTLE * 3)
    assert world.writer.writes == BURST
    world.run(2)
    assert BURST + 1.5 * RATE <= world.writer.writes <= BURST + 2.5 * RATE
    world.run(10)
    assert world.writer.writes == 40
    # Each write comes back as an event.
    assert world.threads <= 1 + world.writer.writes


def test_a_comparison_that_fails_is_logged(monkeypatch: pytest.MonkeyPatch, logged_errors: Any) -> None:
    world = World()
    with monkeypatch.context() as broken:
        broken.setattr("ksproxyd.state.status_writer.set_problems", lambda *args: 1 / 0)
        world.add("a")
        world.run()
    assert len(logged_errors.take()) == 1 and not world.server.calls
    world.add("b")
    world.run()
    assert world.state("a") == world.state("b") == "Available"


def test_events_during_a_comparison_lead_to_another() -> None:
    world = World()
    running: list[Callable[[], Any]] = []

    def in_thread(function: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        running.append(lambda: maybeDeferred(function, *args).chainDeferred(done))
        return done

    world.writer._in_thread = in_thread
    world.add("a")
    world.run()
    world.add("b")
    world.run()
    assert len(running) == 1
    running.pop()()
    world.run()
    assert world.state("a") == "Available" and world.state("b") == ""
    running.pop()()
    world.run()
    assert world.state("b") == "Available"


# -- the end -------------------------------------------------------------------------------------------


def test_stopping() -> None:
    world = World(probe=lambda kind, value: maybeDeferred(lambda: ""))
    for number in range(20):
        world.add(f"x{number}")
    world.run(SETTLE * 3)
    assert world.writer.stop().called
    calls = len(world.server.calls)
    assert not world.clock.getDelayedCalls()
    world.add("later")
    world.run()
    assert len(world.server.calls) == calls and not world.clock.getDelayedCalls()


def test_stopping_while_comparing() -> None:
    world = World()
    world.writer._in_thread = lambda function, *args: Deferred()
    world.add()
    world.run()
    world.writer.stop()
    assert not world.clock.getDelayedCalls()

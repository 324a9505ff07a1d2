"""All reflectors together."""

from __future__ import annotations

import pytest
from conversation import (
    Answer,
    Conversation,
    Question,
    breaks,
    page,
    refusal,
    waits,
    widget,
)
from twisted.internet.defer import CancelledError, Deferred

from ksproxyd.model.message import Fields
from ksproxyd.state.kinds import (
    API_SERVICES,
    CLUSTERS,
    CONFIG_MAPS,
    GATEWAY_KINDS,
    JS_BUNDLES,
    REVERSE_PROXIES,
    SECRETS,
)
from ksproxyd.state.reflector import Timing
from ksproxyd.state.state import State

PATHS = {
    API_SERVICES: "/apis/extensions.kubesphere.io/v1alpha1/apiservices",
    REVERSE_PROXIES: "/apis/extensions.kubesphere.io/v1alpha1/reverseproxies",
    JS_BUNDLES: "/apis/extensions.kubesphere.io/v1alpha1/jsbundles",
    CLUSTERS: "/apis/cluster.kubesphere.io/v1alpha1/clusters",
}


@pytest.fixture
def talk() -> Conversation:
    return Conversation()


@pytest.fixture
def state(talk: Conversation) -> State:
    return State(talk.client, lambda: 0.0, tuple(PATHS))


def outcome(done: Deferred[None]) -> list[object]:
    results: list[object] = []
    done.addCallbacks(lambda _: results.append("synced"), lambda failure: results.append(failure.type))
    return results


def question(talk: Conversation, path: str) -> Question:
    (found,) = [question for question in talk.asked if question.path == path]
    talk.asked.remove(found)
    return found


def answer(talk: Conversation, path: str, reply: Answer) -> None:
    deferred = question(talk, path).deferred
    assert deferred is not None
    deferred.callback(reply)
    talk.clock.advance(0)


def test_every_kind_is_asked_for_at_once(talk: Conversation, state: State) -> None:
    state.start()
    assert {question.path for question in talk.asked} == set(PATHS.values())
    assert set(PATHS) <= set(GATEWAY_KINDS)
    names = [check.name for check in State(talk.client, lambda: 0.0).ready_checks()]
    # Two parts of one kind are told apart.
    assert len(names) == len(set(names)) == len(GATEWAY_KINDS)


def test_started_when_all_are_synced(talk: Conversation, state: State) -> None:
    results = outcome(state.start())
    for path in list(PATHS.values())[1:]:
        answer(talk, path, page(version=5))
        assert results == []
    answer(talk, PATHS[API_SERVICES], Answer(404, Fields(), b"404 page not found"))
    assert results == ["synced"]


def test_started_when_those_that_are_waited_for_are_synced(talk: Conversation, state: State) -> None:
    results = outcome(state.start([CLUSTERS]))
    answer(talk, PATHS[API_SERVICES], page(version=5))
    assert results == []
    answer(talk, PATHS[CLUSTERS], page(version=5))
    assert results == ["synced"]


def test_giving_up_waiting_ends_nothing_else(talk: Conversation, state: State) -> None:
    started = state.start()
    results = outcome(started)
    started.cancel()
    assert results == [CancelledError]
    answer(talk, PATHS[CLUSTERS], page(widget("host", 4), version=5))
    assert state.store(CLUSTERS).synced


def test_checks_say_what_is_known_and_how_current_it_is(talk: Conversation, state: State) -> None:
    state.start()
    checks = {check.name: check for check in state.ready_checks()}
    assert list(checks) == ["state-apiservices", "state-reverseproxies", "state-jsbundles", "state-clusters"]
    assert not any(check.ok for check in checks.values())
    assert checks["state-clusters"].text == "not synced: the first list is under way"

    answer(talk, PATHS[API_SERVICES], page(widget("a", 1), widget("b", 2), version=5))
    answer(talk, PATHS[REVERSE_PROXIES], page(widget("a", 1), version=5))
    answer(talk, PATHS[JS_BUNDLES], refusal(404, "NotFound"))
    answer(talk, PATHS[CLUSTERS], refusal(403, "Forbidden", "no"))
    talk.question = question(talk, PATHS[API_SERVICES])
    talk.play_on(waits(10), breaks())
    checks = {check.name: check for check in state.ready_checks()}
    assert {name: check.ok for name, check in checks.items()} == {
        "state-apiservices": True,
        "state-reverseproxies": True,
        "state-jsbundles": True,
        "state-clusters": False,
    }
    assert checks["state-apiservices"].text == "2 objects, last heard 10 s ago, stale: the connection was lost"
    assert checks["state-reverseproxies"].text == "1 object, last heard 10 s ago"
    assert checks["state-jsbundles"].text == "not served by the cluster, looked for every 30 s"
    assert checks["state-clusters"].text == "not synced: 403 Forbidden: no"


def test_reflectors_of_references_are_among_all(state: State) -> None:
    release = state.references.want(SECRETS, "team", "token", lambda old, new: None)
    labels = [reflector.label for reflector in state.reflectors()]
    assert labels == ["APIService", "ReverseProxy", "JSBundle", "Cluster", "Secret team/token"]
    release()
    assert len(list(state.reflectors())) == 4


def test_times_may_be_changed(talk: Conversation, state: State) -> None:
    state.references.want(SECRETS, "team", "token", lambda old, new: None)
    timing = Timing(silence=5)
    state.retime(timing)
    state.references.want(CONFIG_MAPS, "team", "settings", lambda old, new: None)
    assert {id(reflector.timing) for reflector in state.reflectors()} == {id(timing)}


def test_stop_ends_everything(talk: Conversation, state: State) -> None:
    state.start()
    state.references.want(CONFIG_MAPS, "team", "settings", lambda old, new: None)
    answer(talk, PATHS[CLUSTERS], page(widget("host", 4), version=5))
    open_questions = list(talk.asked)
    state.stop()
    assert all(question.cancelled for question in open_questions)
    talk.asked.clear()
    talk.clock.advance(1000)
    assert (talk.asked, talk.clock.getDelayedCalls()) == ([], [])
    assert len(state.store(CLUSTERS)) == 1


def test_a_kind_that_is_not_kept(state: State) -> None:
    with pytest.raises(KeyError):
        state.store(SECRETS)

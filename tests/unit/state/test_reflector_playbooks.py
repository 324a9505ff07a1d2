"""What a reflector asks, and what it makes of the answers, as conversations."""

from __future__ import annotations

import pytest
from conversation import (
    A1,
    B2,
    EXPIRED,
    EXPIRED_EVENT,
    FOLLOWING,
    Conversation,
    answers,
    asks,
    asks_nothing,
    bookmark,
    breaks,
    cut,
    ends,
    event,
    following,
    has_problem,
    holds,
    lasts,
    opens,
    page,
    refusal,
    saw,
    sends,
    synced,
    waits,
    widget,
)

from ksproxyd.kube.watch import EVENT_LIMIT
from ksproxyd.state.kinds import SECRETS


def test_pages_are_followed_to_the_last() -> None:
    talk = Conversation()
    talk.follow()
    talk.play(
        asks("list"),
        answers(page(A1, version=4, more="t1")),
        asks("list t1"),
        holds(a=1),
        synced(False),
        answers(page(B2, version=4, more="t2")),
        asks("list t2"),
        answers(page(version=4)),
        synced(),
        asks("watch from 4"),
        holds(a=1, b=2),
    )


def test_what_is_asked() -> None:
    talk = Conversation(random=0.5)
    talk.follow()
    talk.play(asks("list"))
    assert talk.question is not None
    assert talk.question.path == "/apis/example.com/v1/widgets"
    assert talk.question.query == {"limit": "500"}
    talk.play(answers(page(version=5)), asks("watch from 5"))
    assert talk.question.query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "5",
        "timeoutSeconds": "450",
    }


def test_changes_reach_store_and_subscribers() -> None:
    following().play(
        sends(event("ADDED", widget("c", 6)), event("MODIFIED", widget("a", 7)), event("DELETED", widget("b", 8))),
        holds(a=7, c=6),
        saw("+c@6", "a@1>a@7", "-b@2"),
    )


def test_the_same_event_twice_is_told_once() -> None:
    following().play(
        sends(event("MODIFIED", widget("a", 6)), event("MODIFIED", widget("a", 6))),
        holds(a=6, b=2),
        saw("a@1>a@6"),
        sends(event("DELETED", widget("b", 7)), event("DELETED", widget("b", 7))),
        saw("-b@2"),
    )


def test_an_object_replaced_by_its_namesake_goes_first() -> None:
    following().play(
        sends(event("ADDED", widget("a", 6, uid="another"))),
        holds(a=6, b=2),
        saw("-a@1", "+a@6"),
    )


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_in_pieces(size: int) -> None:
    data = event("MODIFIED", widget("a", 6)) + b"\n" + bookmark(8) + event("ADDED", widget("c", 9))
    following().play(
        sends(*(data[start : start + size] for start in range(0, len(data), size))),
        saw("a@1>a@6", "+c@9"),
        *(row for _ in range(4) for row in (waits(75), sends(b"\n"))),
        ends(),
        asks("watch from 9"),
    )


@pytest.mark.parametrize("way", ["refused", "event"])
def test_an_expired_version_is_listed_at_once(way: str) -> None:
    expired = (answers(EXPIRED),) if way == "refused" else (opens(), sends(EXPIRED_EVENT))
    following().play(
        lasts(300),
        ends(),
        asks("watch from 5"),
        *expired,
        asks("list"),
        answers(page(A1, widget("c", 8), version=9)),
        asks("watch from 9"),
        holds(a=1, c=8),
        saw("+c@8", "-b@2"),
    )


def test_a_continue_token_that_expired_starts_the_list_again() -> None:
    talk = Conversation()
    talk.follow()
    talk.play(
        asks("list"),
        answers(page(A1, version=4, more="t1")),
        asks("list t1"),
        answers(EXPIRED),
        synced(False),
        asks("list"),
        answers(page(widget("a", 5), version=6, more="t2")),
        asks("list t2"),
        answers(page(B2, version=6)),
        asks("watch from 6"),
        synced(),
        holds(a=5, b=2),
        saw("+a@1", "a@1>a@5", "+b@2"),
    )


def test_an_object_deleted_between_two_tries_of_a_list_is_gone() -> None:
    talk = Conversation()
    talk.follow()
    talk.play(
        asks("list"),
        answers(page(A1, B2, version=4, more="t1")),
        asks("list t1"),
        answers(EXPIRED),
        asks("list"),
        answers(page(B2, version=6)),
        holds(b=2),
        saw("+a@1", "+b@2", "-a@1"),
        asks("watch from 6"),
    )


def test_expiry_again_and_again_is_not_a_tight_loop() -> None:
    talk = Conversation()
    talk.follow()
    asked = 0
    for _ in range(600):
        while talk.asked:
            asked += 1
            talk.question = talk.asked.pop()
            answers(page(A1, version=5) if str(talk.question) == "list" else EXPIRED)(talk)
        talk.clock.advance(1)
    assert asked < 60
    talk.play(holds(a=1), synced())


def test_a_list_without_changes_disturbs_nobody() -> None:
    talk = following()
    before = talk.reflector.store.get(("", "a"))
    talk.play(sends(EXPIRED_EVENT), asks("list"), answers(page(A1, B2, version=9)), asks("watch from 9"), saw())
    assert talk.reflector.store.get(("", "a")) is before


GARBAGE = [
    b"this is not JSON\n",
    b'{"type":"ADDED"}\n',
    b'{"type":5,"object":{}}\n',
    b"[]\n",
    b'{"type":"ADDED","object":{"metadata":{"name":"\xff"}}}\n',
    event("EXPLODED", widget("a", 6)),
    b'{"type":"ADDED","object":{"x":"' + b"x" * EVENT_LIMIT,
]


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: repr(data[:24]))
def test_an_event_that_cannot_be_read_is_not_met_again(data: bytes) -> None:
    following().play(
        sends(event("MODIFIED", widget("a", 6)), data),
        cut(),
        holds(a=6, b=2),
        waits(1),
        asks("list"),
        answers(page(widget("a", 6), version=7)),
        asks("watch from 7"),
        opens(),
        holds(a=6),
        has_problem(""),
    )


def test_a_watch_cut_in_the_middle_of_an_event_meets_it_again() -> None:
    whole = event("MODIFIED", widget("a", 6))
    following().play(
        waits(20),
        sends(whole[:20]),
        ends(),
        has_problem("in the middle of an event"),
        waits(1),
        asks("version"),
        answers(page(version=6)),
        asks("watch from 5"),
        opens(),
        sends(whole),
        saw("a@1>a@6"),
    )


BAD_OBJECTS = [{}, {"metadata": None}, {"metadata": {"name": ""}}, {"metadata": {"name": 5}}]


@pytest.mark.parametrize("bad", BAD_OBJECTS, ids=str)
def test_an_object_without_a_name_hides_no_other(bad: dict[str, object]) -> None:
    talk = Conversation()
    talk.follow()
    talk.play(
        asks("list"),
        answers(page(A1, bad, B2, version=5)),
        asks("watch from 5"),
        holds(a=1, b=2),
        opens(),
        sends(event("ADDED", bad), event("ADDED", widget("c", 6))),
        holds(a=1, b=2, c=6),
    )


def test_a_version_that_the_server_does_not_know_yet_is_listed() -> None:
    message = "Timeout: Too large resource version: 5, current: 3"
    too_large = refusal(504, "Timeout", message, causes=[{"reason": "ResourceVersionTooLarge"}])
    following().play(
        lasts(300),
        ends(),
        asks("watch from 5"),
        answers(too_large),
        waits(1),
        asks("list"),
        answers(page(A1, version=3)),
        asks("watch from 3"),
        saw("-b@2"),
    )


def test_managed_fields_are_dropped() -> None:
    talk = Conversation()
    reflector = talk.follow()
    fields = [{"manager": "kubectl", "fieldsV1": {}}]
    changed, added = widget("a", 5, managedFields=fields), widget("b", 6, managedFields=fields)
    talk.play(
        asks("list"),
        answers(page(widget("a", 1, managedFields=fields), version=1)),
        asks("watch from 1"),
        opens(),
        sends(event("MODIFIED", changed), event("ADDED", added)),
        saw("+a@1", "a@1>a@5", "+b@6"),
    )
    assert not any("managedFields" in obj["metadata"] for obj in reflector.store.values())


def test_items_of_a_list_say_what_they_are() -> None:
    """Those of built-in lists do not, those of watches do; they must not look like a change."""
    bare = {"metadata": A1["metadata"]}
    talk = Conversation()
    talk.follow()
    talk.play(
        asks("list"),
        answers(page(bare, version=1)),
        asks("watch from 1"),
        opens(),
        saw("+a@1"),
        sends(event("MODIFIED", A1)),
        saw(),
    )


def test_a_single_object_is_asked_for_by_name() -> None:
    talk = Conversation()
    talk.follow(SECRETS, namespace="team", name="token")
    talk.play(asks("list"))
    assert talk.question is not None
    assert talk.question.path == "/api/v1/namespaces/team/secrets"
    assert talk.question.query == {"limit": "500", "fieldSelector": "metadata.name=token"}
    talk.play(answers(page(version=5)), asks("watch from 5"))
    assert talk.question.query["fieldSelector"] == "metadata.name=token"


class TestStop:
    """Stopping at any moment: nothing is asked or told any more."""

    def silent(self, talk: Conversation) -> None:
        talk.reflector.stop()
        talk.clock.advance(1000)
        talk.play(asks_nothing(), saw(), cut())
        assert talk.clock.getDelayedCalls() == []

    def test_while_listing(self) -> None:
        talk = Conversation()
        talk.follow()
        talk.play(asks("list"))
        self.silent(talk)

    def test_while_following(self) -> None:
        self.silent(following())

    def test_while_waiting(self) -> None:
        talk = following()
        talk.play(breaks())
        talk.reflector.stop()
        talk.play(waits(1000), asks_nothing())
        assert talk.clock.getDelayedCalls() == []

    def test_when_the_transport_reports_the_cancelled_request_as_failed(self) -> None:
        talk = Conversation()
        talk.follow()
        talk.play(asks("list"))
        talk.cancelling_fails = True
        talk.reflector.stop()
        talk.play(waits(1000), asks_nothing())
        assert talk.clock.getDelayedCalls() == []

    @pytest.mark.parametrize("moment", ["list", "watch"])
    def test_from_within_a_subscriber(self, moment: str) -> None:
        talk = Conversation()
        reflector = talk.follow()
        if moment == "watch":
            talk.play(*FOLLOWING)
        reflector.store.subscribe(lambda old, new: reflector.stop())
        if moment == "list":
            talk.play(asks("list"), answers(page(A1, B2, version=5)), saw("+a@1"))
        else:
            talk.play(sends(event("ADDED", widget("c", 6)), event("ADDED", widget("d", 7))), saw("+c@6"), cut())
        talk.play(waits(1000), asks_nothing())
        assert talk.clock.getDelayedCalls() == []


def test_counts_for_metrics() -> None:
    talk = following()
    reflector = talk.reflector
    assert (reflector.restarts, reflector.failures, reflector.events) == (0, 0, 0)
    assert reflector.following
    talk.play(waits(50), sends(event("MODIFIED", widget("a", 6))), waits(5))
    assert (reflector.events, reflector.last_event, reflector.lag) == (1, 50.0, 0.0)
    assert reflector.store.age() == 5
    talk.play(sends(EXPIRED_EVENT), asks("list"))
    assert (reflector.restarts, reflector.failures, reflector.following) == (1, 1, False)

"""What a reflector asks, and what it makes of the answers, as conversations."""

from __future__ import annotations

import pytest
from conversation import (
    EXPIRED,
    EXPIRED_EVENT,
    OPTIONAL_WIDGETS,
    WIDGETS,
    Answer,
    Conversation,
    Row,
    answers,
    asks,
    asks_nothing,
    bookmark,
    breaks,
    cut,
    ends,
    event,
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
from ksproxyd.model.message import Fields

A1 = widget("a", 1)
B2 = widget("b", 2)

#: Listed and following from version 5, holding a@1 and b@2.
FOLLOWING: tuple[Row, ...] = (
    asks("list"),
    synced(False),
    answers(page(A1, B2, version=5)),
    asks("watch from 5"),
    opens(),
    synced(),
    holds(a=1, b=2),
    saw("+a@1", "+b@2"),
    has_problem(""),
)


def following(**timing: float) -> Conversation:
    talk = Conversation(**timing)
    talk.follow()
    talk.play(*FOLLOWING)
    return talk


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


def test_a_watch_that_ends_in_its_time_is_resumed_where_it_was() -> None:
    following().play(
        sends(event("MODIFIED", widget("a", 6)), bookmark(40)),
        waits(60),
        sends(bookmark(41)),
        waits(60),
        sends(bookmark(42)),
        waits(60),
        sends(bookmark(43)),
        waits(60),
        sends(bookmark(44)),
        waits(60),
        ends(),
        asks("watch from 44"),
        opens(),
        holds(a=6, b=2),
        has_problem(""),
    )


def test_a_watch_that_ends_early_is_resumed_after_the_version_was_compared() -> None:
    following().play(
        waits(80),
        ends(),
        asks("version"),
        answers(page(version=5)),
        asks("watch from 5"),
        opens(),
        has_problem(""),
    )


def test_a_lost_connection_is_resumed_after_the_version_was_compared() -> None:
    following().play(
        waits(80),
        breaks(),
        has_problem("the connection was lost"),
        asks_nothing(),
        waits(0.5),
        asks("version"),
        answers(page(version=77)),
        asks("watch from 5"),
        opens(),
        has_problem(""),
        sends(event("MODIFIED", widget("a", 60))),
        saw("a@1>a@60"),
    )


def test_a_server_that_went_backwards_is_listed() -> None:
    following().play(
        waits(80),
        breaks(),
        waits(0.5),
        asks("version"),
        answers(page(version=3)),
        has_problem("went back from resource version 5 to 3"),
        waits(1),
        asks("list"),
        answers(page(A1, version=3)),
        asks("watch from 3"),
        opens(),
        holds(a=1),
        saw("-b@2"),
    )


def test_an_event_older_than_the_one_before_is_a_server_that_went_backwards() -> None:
    following().play(
        sends(event("MODIFIED", widget("a", 9)), event("MODIFIED", widget("b", 8))),
        saw("a@1>a@9"),
        cut(),
        asks("list"),
        answers(page(A1, widget("b", 8), version=8)),
        asks("watch from 8"),
        saw("a@9>a@1", "b@2>b@8"),
    )


def test_a_bookmark_older_than_the_last_event_is_a_server_that_went_backwards() -> None:
    following().play(sends(bookmark(4)), cut(), asks("list"))


def test_contents_of_an_old_version_are_compared_too() -> None:
    """After a restore another object may have the version of one that is known."""
    other = widget("a", 1, labels={"from": "the backup"})
    following().play(
        sends(bookmark(4)),
        asks("list"),
        answers(page(other, B2, version=4)),
        saw("a@1>a@1"),
        asks("watch from 4"),
    )


def test_long_away_means_list_even_when_the_version_looks_right() -> None:
    following().play(
        waits(80),
        breaks(),
        waits(0.5),
        asks("version"),
        breaks("connect", "connection refused"),
        has_problem("connection refused"),
        waits(1),
        asks("version"),
        waits(10),
        breaks("timeout", "no answer"),
        waits(2),
        asks("list"),
        answers(page(widget("a", 90), version=90)),
        asks("watch from 90"),
        opens(),
        has_problem(""),
        saw("a@1>a@90", "-b@2"),
    )


def test_the_state_is_kept_during_an_outage() -> None:
    talk = following()
    talk.play(waits(60), breaks())
    for _ in range(20):
        talk.clock.advance(31)
        while talk.asked:
            talk.question = talk.asked.pop()
            talk.play(breaks("connect", "connection refused"))
        talk.play(holds(a=1, b=2), synced(), saw())
    assert talk.reflector.store.age() > 600
    assert "stale: connection refused" in talk.reflector.status()


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


def test_an_outage_ends_with_the_deletions_that_were_missed() -> None:
    following().play(
        breaks(),
        waits(0.5),
        asks("version"),
        waits(12),
        breaks(),
        waits(1),
        asks("list"),
        answers(page(widget("c", 20), version=20)),
        saw("+c@20", "-a@1", "-b@2"),
        asks("watch from 20"),
    )


def test_a_list_without_changes_disturbs_nobody() -> None:
    talk = following()
    before = talk.reflector.store.get(("", "a"))
    talk.play(sends(EXPIRED_EVENT), asks("list"), answers(page(A1, B2, version=9)), asks("watch from 9"), saw())
    assert talk.reflector.store.get(("", "a")) is before


def test_a_silent_watch_is_cut() -> None:
    following().play(
        sends(bookmark(6)),
        waits(89),
        cut(False),
        waits(2),
        cut(),
        has_problem("silent for 90 s"),
        waits(0.5),
        # It may have been dead for all that time, long enough for a restore.
        asks("list"),
        answers(page(A1, B2, version=6)),
        asks("watch from 6"),
        opens(),
        has_problem(""),
        saw(),
    )


#: The first watch had no bookmark and was cut; the second is open.
WITHOUT_BOOKMARKS: tuple[Row, ...] = (
    waits(91),
    cut(),
    waits(1),
    asks("list"),
    answers(page(A1, B2, version=6)),
    asks("watch from 6"),
    opens(),
)


def test_a_server_without_bookmarks_may_be_silent_until_it_sends_one() -> None:
    following().play(
        *WITHOUT_BOOKMARKS,
        waits(200),
        cut(False),
        sends(bookmark(7)),
        waits(89),
        cut(False),
        waits(2),
        cut(),
        waits(1),
        asks("list"),
    )


def test_a_silence_too_short_for_bookmarks_says_nothing_about_them() -> None:
    following(silence=15).play(
        *(
            row
            for _ in range(3)
            for row in (
                waits(16),
                cut(),
                waits(1),
                asks("list"),
                answers(page(A1, B2, version=6)),
                asks("watch from 6"),
                opens(),
            )
        ),
        saw(),
    )


def test_bytes_keep_a_watch_alive() -> None:
    following().play(
        sends(bookmark(6)),
        *(row for _ in range(3) for row in (waits(80), sends(b"\n"))),
        cut(False),
    )


def test_a_watch_that_outlives_its_time_is_cut() -> None:
    following().play(
        *WITHOUT_BOOKMARKS, waits(329), cut(False), waits(2), cut(), has_problem("did not end"), waits(1), asks("list")
    )


def test_a_watch_without_a_head_is_given_up() -> None:
    following().play(
        lasts(300),
        ends(),
        asks("watch from 5"),
        waits(29),
        cut(False),
        waits(2),
        cut(),
        has_problem("no answer to a watch within 30 s"),
        waits(1),
        asks("list"),
    )


def test_a_connection_that_was_quiet_for_long_before_it_broke_may_have_been_lost_for_long() -> None:
    following().play(*WITHOUT_BOOKMARKS, waits(100), breaks(), waits(0.5), asks("list"))


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


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, Fields(), b"<html>login</html>"),
        Answer(200, Fields(), b"[]"),
        Answer(200, Fields(), b'{"metadata":{"resourceVersion":"1"},"items":[5]}'),
        Answer(502, Fields(), b"bad gateway"),
        refusal(500, "InternalError", "etcd is away"),
    ],
    ids=lambda answer: repr(answer.body[:20]),
)
def test_a_list_that_is_none_is_tried_again(answer: Answer) -> None:
    talk = Conversation()
    talk.follow()
    talk.play(
        asks("list"),
        answers(answer),
        synced(False),
        asks_nothing(),
        waits(0.5),
        asks("list"),
        answers(page(A1, version=5)),
        synced(),
        asks("watch from 5"),
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


@pytest.mark.parametrize(("code", "reason"), [(401, "Unauthorized"), (403, "Forbidden")])
def test_without_rights_it_is_not_synced_and_tried_again(code: int, reason: str) -> None:
    talk = Conversation()
    talk.follow()
    talk.play(
        asks("list"),
        answers(refusal(code, reason, "no")),
        synced(False),
        has_problem(f"{code} {reason}: no"),
        waits(0.5),
        asks("list"),
        answers(refusal(code, reason, "no")),
        waits(1),
        asks("list"),
        answers(page(A1, version=5)),
        synced(),
        asks("watch from 5"),
        opens(),
        has_problem(""),
    )
    assert (talk.access.refusals > 0) == (code == 401)


def test_rights_lost_keep_the_last_state() -> None:
    following().play(
        lasts(300),
        ends(),
        asks("watch from 5"),
        answers(refusal(403, "Forbidden", "no longer")),
        holds(a=1, b=2),
        synced(),
        has_problem("no longer"),
        waits(0.5),
        asks("version"),
        answers(refusal(403, "Forbidden", "no longer")),
        waits(1),
        asks("version"),
        answers(page(version=5)),
        asks("watch from 5"),
        opens(),
        has_problem(""),
        saw(),
    )


def test_a_kind_that_the_cluster_does_not_serve_is_empty_and_synced() -> None:
    talk = Conversation()
    reflector = talk.follow(OPTIONAL_WIDGETS)
    talk.play(
        asks("list"),
        answers(Answer(404, Fields(), b"404 page not found\n")),
        synced(),
        holds(),
        has_problem(""),
        waits(29),
        asks_nothing(),
        waits(1),
        asks("list"),
        answers(refusal(404, "NotFound")),
        waits(30),
        asks("list"),
        answers(page(A1, version=5)),
        holds(a=1),
        asks("watch from 5"),
    )
    assert not reflector.missing


def test_a_missing_kind_is_said_in_the_status() -> None:
    talk = Conversation()
    reflector = talk.follow(OPTIONAL_WIDGETS)
    talk.play(asks("list"), answers(refusal(404, "NotFound")))
    assert reflector.missing
    assert reflector.status() == "not served by the cluster, looked for every 30 s"


def test_a_kind_that_must_be_there_is_not_synced_without() -> None:
    talk = Conversation()
    talk.follow(WIDGETS)
    missing = refusal(404, "NotFound")
    talk.play(asks("list"), answers(missing), synced(False), has_problem("404"), waits(1), asks("list"))


def test_a_kind_that_vanishes_keeps_its_objects_for_a_while() -> None:
    """An API server that starts may answer 404 for a kind it will serve in a moment."""
    talk = Conversation()
    talk.follow(OPTIONAL_WIDGETS)
    gone = refusal(404, "NotFound", "not found")
    talk.play(
        *FOLLOWING,
        lasts(300),
        ends(),
        asks("watch from 5"),
        answers(gone),
        waits(0.5),
        asks("list"),
        answers(gone),
        holds(a=1, b=2),
        has_problem("not found"),
        waits(59),
        asks("list"),
        answers(gone),
        holds(a=1, b=2),
        waits(2),
        asks("list"),
        answers(gone),
        holds(),
        saw("-a@1", "-b@2"),
        synced(),
        waits(30),
        asks("list"),
        answers(page(A1, version=9)),
        saw("+a@1"),
        asks("watch from 9"),
    )


def test_waits_double_up_to_their_limit_and_start_over_after_success() -> None:
    talk = Conversation()
    talk.follow()
    talk.play(asks("list"))
    for wait in (0.5, 1, 2, 4, 8, 16, 30, 30, 30):
        talk.play(
            breaks("connect", "connection refused"),
            waits(wait * 0.99),
            asks_nothing(),
            waits(wait * 0.02),
            asks("list"),
        )
    talk.play(
        answers(page(A1, version=5)),
        asks("watch from 5"),
        opens(),
        waits(11),
        breaks(),
        waits(0.5),
        asks("version"),
    )


def test_waits_are_jittered() -> None:
    talk = Conversation(random=0.5)
    talk.follow()
    talk.play(asks("list"), breaks(), waits(0.37), asks_nothing(), waits(0.01), asks("list"))


def test_the_server_decides_how_long_to_wait_at_least() -> None:
    following().play(
        lasts(300),
        ends(),
        asks("watch from 5"),
        answers(refusal(429, "TooManyRequests", "slow down", retry_after=7)),
        waits(6.9),
        asks_nothing(),
        waits(0.2),
        asks("version"),
    )


def test_watches_that_end_as_soon_as_they_begin_are_no_tight_loop() -> None:
    talk = following()
    asked = 0
    ends()(talk)
    for _ in range(300):
        while talk.asked:
            asked += 1
            talk.question = talk.asked.pop()
            if str(talk.question) in ("version", "list"):
                answers(page(A1, B2, version=5))(talk)
            else:
                opens()(talk)
                ends()(talk)
        talk.clock.advance(1)
    assert asked < 50
    talk.play(holds(a=1, b=2), saw())


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
    from ksproxyd.state.kinds import SECRETS

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

"""Servers that refuse: rights that lack, kinds that are missing, and how long is waited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conversation import (
    A1,
    B2,
    FOLLOWING,
    OPTIONAL_WIDGETS,
    WIDGETS,
    Answer,
    Conversation,
    answers,
    asks,
    asks_nothing,
    breaks,
    ends,
    following,
    has_problem,
    holds,
    lasts,
    opens,
    page,
    refusal,
    saw,
    synced,
    waits,
)

from ksproxyd.model.message import Fields


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


@pytest.mark.parametrize(
    ("refusal_of", "waiting"),
    [
        # Nobody is there whom it would cost anything, and what has changed meanwhile is to count soon after the return.
        (lambda: breaks("connect", "connection refused"), (0.5, 1, 2, 3, 3, 3)),
        (lambda: answers(refusal(500, "InternalError", "no")), (0.5, 1, 2, 4, 8, 16, 30, 30, 30)),
    ],
    ids=["away", "broken"],
)
def test_waits_double_up_to_their_limit_and_start_over_after_success(
    refusal_of: Callable[[], Any], waiting: tuple[float, ...]
) -> None:
    talk = Conversation()
    talk.follow()
    talk.play(asks("list"))
    for wait in waiting:
        talk.play(refusal_of(), waits(wait * 0.99), asks_nothing(), waits(wait * 0.02), asks("list"))
    talk.play(
        answers(page(A1, version=5)),
        asks("watch from 5"),
        opens(),
        waits(11),
        breaks(),
        waits(0.5),
        asks("version"),
    )


def test_a_server_that_comes_back_broken_is_asked_as_if_it_had_never_been_away() -> None:
    talk = Conversation()
    talk.follow()
    talk.play(asks("list"))
    for _ in range(20):
        talk.play(breaks("connect", "connection refused"), waits(3.01), asks("list"))
    talk.play(answers(refusal(500, "InternalError", "starting")), waits(0.51), asks("list"))


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

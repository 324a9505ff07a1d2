"""Watches that end, break off or go mute, and servers that are restored from a backup."""

from __future__ import annotations

from conversation import (
    A1,
    B2,
    Row,
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
    saw,
    sends,
    synced,
    waits,
    widget,
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

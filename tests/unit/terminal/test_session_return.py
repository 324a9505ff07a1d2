"""Pages that come back to their session, and pages that may not."""

from __future__ import annotations

import pytest

from ksproxyd.model.identity import Identity
from ksproxyd.model.status import StatusError
from ksproxyd.terminal.endings import Where
from tests.unit.terminal.playbook import ANN, POD, Play, play

JSON = "ksproxyd.json"

BEGUN = r"""
        O: ready
            X: exec sh
        K: started
            S: stdout
        C: size 80x24
            X: size 80x24
        K: prints one\r\n#
            S: stdout one\r\n#
"""

RETURNS = {
    "the network breaks": r"""
        C: left 1006
        K: prints two\r\n\xe2\x82
        T: 29
        O: attach ksproxyd.json
            S1: session
            S1: stdout
            S1: stdout \x1bcone\r\n#two\r\n
        K: prints \xac
            S1: stdout €
        # Programs draw their screens again.
        C: size 80x24
            X: size 80x23
        T: 0.1
            X: size 80x24
        C: stdin a
            X: stdin a
        T: 100
        K: exited 0
            S1: close 1000 exited 0
            over 0 1000
        """,
    "the page does not come back": r"""
        C: left 1001
        T: 31
            X: stdin ␃
            X: stdin ␄
        K: exited 0
            over 0 1006
        """,
    "the page says goodbye": r"""
        C: left 1000
            X: stdin ␃
            X: stdin ␄
        """,
    "the page is thrown out by a mistake of its own": r"""
        C: left 1009
            X: stdin ␃
            X: stdin ␄
        """,
    "another window": r"""
        O: attach ksproxyd.json
            S: toast \r\n[session closed here: it was opened in another window]\r\n
            S: close 1000 opened elsewhere
            S1: session
            S1: stdout
            S1: stdout \x1bcone\r\n#
        K: prints two
            S1: stdout two
        """,
    "the shell ends while nobody looks": r"""
        C: left 1006
        K: prints bye
        K: exited 3
        T: 10
        O: attach ksproxyd.json
            S1: session
            S1: stdout
            S1: stdout \x1bcone\r\n#bye
            S1: toast \r\n[the shell exited with code 3]\r\n
            S1: close 1000 exited 3
            over 3 1000
        """,
    "the shell ends and nobody comes": r"""
        C: left 1006
        K: exited 3
        T: 31
            over 3 1000
        """,
    "the shell ends, and then the login": r"""
        C: left 1006
        K: exited 3
        O: end 4401 login ended | session closed
            over 3 1000
        """,
    "the login ends while nobody looks": r"""
        C: left 1006
        O: end 4401 login ended | session closed
            X: stdin ␃
            X: stdin ␄
        """,
}


@pytest.mark.parametrize("name", RETURNS)
def test_a_page_and_its_session(name: str) -> None:
    play(BEGUN + RETURNS[name], JSON)


def test_a_page_that_did_not_ask_for_it_cannot_come_back() -> None:
    played = play(
        BEGUN
        + r"""
        C: left 1006
            X: stdin ␃
            X: stdin ␄
        """
    )
    assert played.pages[0].credential == ""


def test_where_nobody_may_come_back_nothing_waits() -> None:
    played = play(
        BEGUN
        + r"""
        C: left 1006
            X: stdin ␃
            X: stdin ␄
        """,
        JSON,
        reattach=0,
    )
    assert played.pages[0].credential == ""


def test_who_comes_back_while_the_pod_is_prepared() -> None:
    play(
        r"""
        O: preparing wait
            S: toast \r\n[wait]\r\n
        C: stdin ls\r
        C: left 1006
        O: preparing wait longer
        O: attach ksproxyd.json
            S1: session
        O: ready
            X: exec sh
        K: started
            X: stdin ls\r
            S1: stdout
        """,
        JSON,
    )


def test_what_is_printed_meanwhile_waits_and_arrives() -> None:
    on = play(BEGUN, JSON, scroll_back=10_000)
    first = b"".join(b"%05d\r\n" % number for number in range(3000))
    on.execs[0].output.output(first, False)
    on.do("C: left 1006")
    meanwhile = b""
    while not on.execs[0].paused:
        piece = b"".join(b"%06d\r\n" % (len(meanwhile) // 8 + number) for number in range(4096))
        on.execs[0].output.output(piece, False)
        meanwhile += piece
    assert 256 * 1024 < len(meanwhile) <= 256 * 1024 + 32 * 1024
    on.do(f"O: attach {JSON}")
    assert not on.execs[0].paused
    shown = on.pages[1].output
    assert shown.startswith("\x1bc")
    replayed = shown[2:].encode()
    assert replayed.endswith(meanwhile)
    before = replayed.removesuffix(meanwhile)
    # What was there before is as much as is kept, from the beginning of a line.
    assert 10_000 - 7 <= len(before) <= 10_000
    assert first.endswith(before)
    assert before[:1].isdigit()


def test_whoever_has_come_back_is_shown_everything_and_no_more_of_it_is_kept_than_before() -> None:
    on = play(BEGUN, JSON, scroll_back=10_000)
    kept = on.session._scroll_back
    assert kept is not None
    for number in range(1, 6):
        on.do("C: left 1006")
        on.execs[0].output.output(b"y" * 200_000, False)
        assert not on.execs[0].paused
        on.do(f"O: attach {JSON}")
        assert on.pages[number].output.endswith("y" * 200_000)
        for _ in range(10):
            on.execs[0].output.output(b"x" * 100_000, False)
        assert len(kept._data) <= 20_000
    on.do("K: exited 0")
    assert len(kept._data) == 0


def test_nothing_is_kept_for_pages_that_do_not_come_back() -> None:
    on = play(BEGUN)
    for _ in range(10):
        on.execs[0].output.output(b"x" * 100_000, False)
    assert on.session._scroll_back is None


def credential(on: Play) -> str:
    assert len(on.pages[-1].credential) == 65
    return on.pages[-1].credential


def test_who_may_come_back() -> None:
    on = play(BEGUN, JSON)
    told = credential(on)
    id, _, key = told.partition(".")
    assert (id, key) == (on.session.id, on.session.key)
    resume = on.registry.resume
    assert resume(told, ANN, POD) is on.session
    assert resume(told, Identity("ann", (), "u1"), Where("pod", "demo", "web-0", "", shell="zsh")) is on.session
    for wrong in ("", ".", id, id + ".", f"{id}.{key[:-1]}", f"{id}.{key}0", f"{id}.{'é' * 32}", f"{key}.{id}", key):
        assert resume(wrong, ANN, POD) is None
    on.do("T: 61")
    for who in (Identity("bob", ("devs",), "u1"), Identity("ann", ("devs",), "u2"), Identity("ann")):
        assert resume(told, who, POD) is None
    for elsewhere in (Where("pod", "demo", "web-1"), Where("pod", "other", "web-0"), Where("node", node="n")):
        assert resume(told, ANN, elsewhere) is None
    on.do("C: left 1006")
    assert resume(told, ANN, POD) is on.session
    on.do("T: 31")
    assert resume(told, ANN, POD) is None
    on.do("K: exited 0")
    assert resume(told, ANN, POD) is None
    assert on.registry.sessions == {}


def test_nobody_tries_keys_for_long() -> None:
    on = play(BEGUN, JSON, starts_per_minute=5)
    for _ in range(5):
        assert on.registry.resume(f"{on.session.id}.{'0' * 32}", ANN, POD) is None
    with pytest.raises(StatusError) as caught:
        on.registry.resume(credential(on), ANN, POD)
    assert caught.value.code == 429


def test_a_new_connection_has_its_own_pauses() -> None:
    on = play(BEGUN, JSON)
    on.do("K: full")
    assert on.pages[0].paused
    on.do("C: left 1006")
    on.do(f"O: attach {JSON}")
    assert on.pages[1].paused
    on.do("K: free")
    assert not on.pages[1].paused
    assert on.pages[0].paused
    # The old connection has nothing to say.
    old = on.attachment
    on.do(f"O: attach {JSON}")
    on.events.clear()
    old.message(b'{"Op":"stdin","Data":"x"}', False)
    old.browser_drained(True)
    old.gone(1006, "")
    assert on.events == []
    assert on.session.attended


def test_a_slow_page_that_leaves_does_not_hold_the_next_one() -> None:
    play(
        BEGUN
        + r"""
        C: pending 300000
        K: prints a
            S: stdout a
            X: pause
        C: left 1006
            X: resume
        O: attach ksproxyd.json
            S1: session
            S1: stdout
            S1: stdout \x1bcone\r\n#a
        T: 121
        """,
        JSON,
    )

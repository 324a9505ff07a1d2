"""How fast a session's two sides may go, how long it may last, and the dialect of Kubernetes' channels."""

from __future__ import annotations

import json

import pytest

from ksproxyd.terminal.channels import resize
from ksproxyd.terminal.limits import BURST
from tests.unit.terminal.playbook import play

BEGUN = r"""
        O: ready
            X: exec sh
        K: started
            S: stdout
        K: prints #
            S: stdout #
"""

FLOWS = {
    "a browser that is slow for a while": r"""
        C: pending 262144
        K: prints a
            S: stdout a
        C: pending 262145
        K: prints b
            S: stdout b
            X: pause
        T: 119
        # What was under way before the cluster stopped is not lost.
        K: prints c
            S: stdout c
        C: drained 65537
        C: drained 65536
            X: resume
        T: 1000
        K: prints d
            S: stdout d
        """,
    "a browser that does not read": r"""
        C: pending 300000
        K: prints a
            S: stdout a
            X: pause
        C: drained 100000
        T: 119.9
        C: stdin l
            X: stdin l
        T: 0.2
            S: toast \r\n[session closed: the browser did not read for too long]\r\n
            S: close 1013 browser too slow
            X: resume
            X: stdin ␃
            X: stdin ␄
        K: exited 0
            over 0 1013
        """,
    "a page that says how much it can show": r"""
        C: {"Op":"pause"}
            X: pause
        # What was under way is not lost, and that the socket is empty says nothing about the page.
        K: prints a
            S: stdout a
        C: drained 0
        C: {"Op":"pause"}
        C: stdin l
            X: stdin l
        T: 119
        C: {"Op":"resume"}
            X: resume
        C: {"Op":"resume"}
        T: 1000
        K: prints b
            S: stdout b
        """,
    "a page that goes on while its socket is full": r"""
        C: {"Op":"pause"}
            X: pause
        C: pending 300000
        C: {"Op":"resume"}
        C: drained 10
            X: resume
        """,
    "a page that never goes on": r"""
        C: {"Op":"pause"}
            X: pause
        T: 120.1
            S: toast \r\n[session closed: the browser did not read for too long]\r\n
            S: close 1013 browser too slow
            X: resume
            X: stdin ␃
            X: stdin ␄
        K: exited 0
            over 0 1013
        """,
    "another page is not paused by the one before": r"""
        C: {"Op":"pause"}
            X: pause
        O: attach
            S: toast \r\n[session closed here: it was opened in another window]\r\n
            S: close 1000 opened elsewhere
            S1: stdout
            X: resume
        """,
    "a cluster that takes nothing": r"""
        K: full
            S: pause
        C: stdin l
            X: stdin l
        C: size 80x24
        C: size 90x24
        K: free
            X: size 90x24
            S: resume
        K: full
            S: pause
        K: exited 0
            S: close 1000 exited 0
            over 0 1000
        """,
}


@pytest.mark.parametrize("name", FLOWS)
def test_neither_side_outruns_the_other(name: str) -> None:
    play(BEGUN + FLOWS[name])


def test_what_is_typed_early_is_kept_and_more_of_it_waits() -> None:
    on = play("O: preparing wait\n S: toast \\r\\n[wait]\\r\\n")
    typed = b""
    for size in (40_000, 25_535, 1):
        piece = bytes(65 + size % 7 for _ in range(size))
        on.do(f"C: stdin {piece.decode()}")
        typed += piece
    assert on.events == []
    on.do("C: stdin x")
    assert on.events == ["S: pause"]
    # Messages that were read already are not dropped.
    on.do("C: stdin " + "y" * 100_000)
    typed += b"x" + b"y" * 100_000
    on.do("O: ready")
    on.do("K: started")
    assert on.execs[0].written == typed
    assert on.pages[0].paused
    on.do("K: prints #")
    assert not on.pages[0].paused


def test_a_silent_shell_is_there_after_a_while() -> None:
    on = play("O: ready\n X: exec sh\n K: started\n S: stdout")
    on.do("C: stdin " + "y" * 70_000)
    assert on.pages[0].paused
    on.do("T: 5.1")
    assert not on.pages[0].paused
    assert on.execs[0].written == b"y" * 70_000
    on.do("C: stdin z")
    assert on.execs[0].written[70_000:] == b"z"


def test_a_talkative_browser_has_to_wait_and_nothing_is_lost() -> None:
    on = play(BEGUN)
    for _ in range(BURST - 1):
        on.do("C: stdin a")
    assert not on.pages[0].paused
    for _ in range(10):
        on.do("C: stdin b")
    assert on.pages[0].paused
    assert on.execs[0].written == b"a" * (BURST - 1) + b"b" * 10
    on.do("T: 0.04")
    assert on.pages[0].paused
    on.do("K: full")
    on.do("T: 0.02")
    assert on.pages[0].paused, "the cluster still takes nothing"
    on.do("K: free")
    assert not on.pages[0].paused
    for _ in range(3):
        on.do("C: stdin c")
    assert on.pages[0].paused
    on.do("C: left 1000")
    on.do("K: exited 0")
    assert on.clock.getDelayedCalls() == []


def test_sizes_are_many_and_the_last_one_counts() -> None:
    on = play(BEGUN)
    for number in range(900):
        on.do(f"C: size {number + 1}x24")
        on.do("T: 0.001")
    on.do("T: 1")
    assert on.execs[0].sizes[-1] == (900, 24)
    assert len(on.execs[0].sizes) <= 50


IDLE = {
    "nothing is typed": r"""
        T: 1000
        K: prints busy
            S: stdout busy
        C: size 80x24
            X: size 80x24
        C: {"Op":"stdin","Data":""}
        C: {"Op":"ping"}
        T: 739
        T: 2
            S: toast \r\n[nothing is typed: this session will be closed in a minute]\r\n
        T: 58
        T: 2
            S: toast \r\n[session closed: nothing was typed for 30m]\r\n
            S: close 4408 idle
            X: stdin ␃
            X: stdin ␄
        K: exited 0
            over 0 4408
        """,
    "something is typed after the warning": r"""
        T: 1741
            S: toast \r\n[nothing is typed: this session will be closed in a minute]\r\n
        C: stdin a
            X: stdin a
        T: 1738
        T: 3
            S: toast \r\n[nothing is typed: this session will be closed in a minute]\r\n
        T: 61
            S: toast \r\n[session closed: nothing was typed for 30m]\r\n
            S: close 4408 idle
            X: stdin ␃
            X: stdin ␄
        """,
}


@pytest.mark.parametrize("name", IDLE)
def test_an_idle_session(name: str) -> None:
    play(BEGUN + IDLE[name])


def test_typing_keeps_a_session_open() -> None:
    on = play(BEGUN, idle_timeout=5)
    for _ in range(10):
        on.do("T: 3")
        on.do("C: stdin a")
    assert on.pages[0].closed is None
    on.do("T: 5.1")
    assert on.pages[0].closed == (4408, "idle")


def test_a_session_that_has_lasted_long_enough() -> None:
    play(
        BEGUN
        + r"""
        T: 3000
        C: stdin a
            X: stdin a
        T: 541
            S: toast \r\n[this session has been open for as long as it may: it will be closed in a minute]\r\n
        C: stdin a
            X: stdin a
        T: 60
            S: toast \r\n[session closed: it was open for 1h, which is as long as it may]\r\n
            S: close 4409 too long
            X: stdin ␃
            X: stdin ␄
        K: exited 0
            over 0 4409
        """,
        max_duration=3600,
        idle_timeout=0,
    )


def test_without_limits_it_lasts() -> None:
    on = play(BEGUN, max_duration=0, idle_timeout=0)
    on.do("T: 10000000")
    assert on.pages[0].closed is None


def test_a_pod_that_is_prepared_is_not_idle() -> None:
    on = play("O: preparing wait\n S: toast \\r\\n[wait]\\r\\n", idle_timeout=5)
    on.do("T: 50")
    assert on.pages[0].closed is None


CHANNELS = {
    "raw bytes both ways": r"""
        O: preparing wait
        C: bytes \x00early
        C: bytes \x04{"Width":80,"Height":24}
        O: ready
            X: exec sh
        K: started
            X: size 80x24
            X: stdin early
            S: bytes \x01
        K: prints \xff\xe2\x82
            S: bytes \x01\xff\xe2\x82
        C: bytes \x00\x01\x02
            X: stdin \x01\x02
        C: bytes \x07unknown
        C: bytes \xff\x00
            X: stdin ␄
        C: bytes \x00ignored
        K: exited 3
            S: bytes ␃{"metadata": {}, "status": "Failure", "message": "command terminated with non-zero exit code: exit 3", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}
            S: close 1000 exited 3
            over 3 1000
        """,  # noqa: E501
    "end of input before there is anything to end": r"""
        C: bytes \x00exit 3
        C: bytes \xff\x00
        O: ready
            X: exec sh
        K: started
            X: stdin exit 3
            X: stdin ␄
            S: bytes \x01
        K: exited 0
            S: bytes ␃{"metadata": {}, "status": "Success"}
            S: close 1000 exited 0
            over 0 1000
        """,
    "a mistake": r"""
        O: ready
            X: exec sh
        C: bytes \xff\x09
            S: bytes ␃{"metadata": {}, "status": "Failure", "message": "session closed: the end of a channel does not say of which", "reason": "InternalError", "code": 500}
            S: close 1002 malformed message
            X: stdin ␃
            X: stdin ␄
        """,  # noqa: E501
}


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
def test_channels(name: str, protocol: str) -> None:
    play(CHANNELS[name], protocol)


def test_what_is_typed_in_channels_is_what_arrives() -> None:
    on = play("O: ready\n X: exec sh\n K: started\n S: bytes \\x01", "v5.channel.k8s.io")
    every = bytes(range(256)) * 1000
    on.attachment.message(b"\x00" + every, True)
    on.attachment.message(resize(132, 40), True)
    assert on.execs[0].written == every
    assert on.execs[0].sizes == [(132, 40)]
    assert json.loads(resize(132, 40)[1:])["Width"] == 132

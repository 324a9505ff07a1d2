"""Password hashes in real child processes: right, replaced when killed, polite, and gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import bcrypt
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock

from ksproxyd.authn.hashing import STARVED, Processes, check, make
from ksproxyd.kube.pacing import pause

PASSWORD = b"Gr\xc3\xbc\xc3\x9fe1Welt \n"
#: As cheap as bcrypt can be, and one that takes a while (some hundred milliseconds).
HASH = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(4)).decode()
SLOW = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(12)).decode()


def children() -> set[int]:
    """Process ids of the workers that are our children."""
    ours = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in ours if b"hashing_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()}


async def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await pause(reactor, 0.02)  # type: ignore[arg-type]
    raise AssertionError(f"{condition} did not come true")


@pytest_twisted.ensureDeferred
async def test_questions_and_the_end() -> None:
    hashing = Processes(reactor, 30.0)
    answers = await gatherResults([hashing.ask(check(PASSWORD, HASH)), hashing.ask(check(b"wrong", HASH))])
    assert answers == [b"yes", b"no"] and len(children()) == 2
    made = await hashing.ask(make(PASSWORD, bcrypt.gensalt(4)))
    assert bcrypt.checkpw(PASSWORD, made) and len(children()) == 2
    (nice,) = {os.getpriority(os.PRIO_PROCESS, pid) for pid in children()}
    assert nice == 19
    several = len(os.sched_getaffinity(0)) > 1
    assert {os.sched_getscheduler(pid) for pid in children()} == {os.SCHED_IDLE if several else os.SCHED_OTHER}
    await hashing.close()
    assert not children()


@pytest_twisted.ensureDeferred
async def test_one_that_is_killed_is_replaced() -> None:
    hashing = Processes(reactor, 30.0)
    await hashing.ask(check(PASSWORD, HASH))
    (first,) = children()
    # Stopped, so that it is asked and has not answered when it is killed, however long we take.
    os.kill(first, signal.SIGSTOP)
    asked = hashing.ask(check(PASSWORD, HASH))
    os.kill(first, signal.SIGKILL)
    assert await asked == b"yes"
    (second,) = children()
    assert second != first
    # What ends us is not for it, as in a terminal both get it.
    os.kill(second, signal.SIGINT)
    assert await hashing.ask(check(PASSWORD, HASH)) == b"yes" and children() == {second}
    os.kill(second, signal.SIGKILL)
    await until(lambda: not children())
    assert await hashing.ask(check(PASSWORD, HASH)) == b"yes"
    await hashing.close()
    assert not children()


class Hurried:
    """The reactor's processes, and time that passes when it is told to: how long one takes to start is no matter."""

    def __init__(self) -> None:
        self.time = Clock()
        self.callLater = self.time.callLater
        self.seconds = self.time.seconds
        self.spawnProcess = reactor.spawnProcess  # type: ignore[attr-defined]


@pytest_twisted.ensureDeferred
async def test_one_that_is_stopped_is_replaced() -> None:
    hurried = Hurried()
    hashing = Processes(hurried, 30.0)
    await hashing.ask(check(PASSWORD, HASH))
    (first,) = children()
    os.kill(first, signal.SIGSTOP)
    asked = hashing.ask(check(PASSWORD, HASH))
    hurried.time.advance(STARVED)
    assert await asked == b"yes"
    (second,) = children()
    assert second != first
    # As if there were no processor for it: this one takes its share.
    assert os.sched_getscheduler(second) == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, second) == 10
    # Neither does one hold up the end.
    os.kill(second, signal.SIGSTOP)
    closed = hashing.close()
    hurried.time.advance(30.0)
    await closed
    assert not children() and not hurried.time.getDelayedCalls()


def test_it_lets_others_in_while_it_computes() -> None:
    """It is interrupted then, and only then."""
    program = """
import signal
from ksproxyd.authn import hashing_worker
interruptions = []
hashing_worker._interrupted = lambda *_: interruptions.append(1)
hashing_worker.main()
print(len(interruptions), signal.getitimer(signal.ITIMER_REAL))
"""
    for questions, interrupted in ((b"", False), (check(PASSWORD, SLOW) + b"\n", True)):
        # A session of its own has a share of the processors of its own: beside busy tests it would starve.
        done = subprocess.run(
            [sys.executable, "-c", program], input=questions, capture_output=True, check=True, start_new_session=True
        )
        *answers, last = done.stdout.decode().splitlines()
        assert answers == ["yes"] * interrupted
        assert (last != "0 (0.0, 0.0)") == interrupted and last.endswith(" (0.0, 0.0)")

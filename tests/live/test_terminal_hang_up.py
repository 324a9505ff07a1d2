"""Shells on real terminals are made to end, whatever runs in them (spec 05, 8.2)."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ksproxyd.terminal import shells
from ksproxyd.terminal.execution import Output
from ksproxyd.terminal.exit_status import EXITED, Ended
from ksproxyd.terminal.process import Process
from ksproxyd.terminal.shells import Command

SECONDS = 1.0


class LocalExec(ProcessProtocol):
    """A process here, as if it were one in a container."""

    def __init__(self, command: Command, output: Output, terminal: bool, session: str) -> None:
        self._output = output
        environment = {"PATH": os.environ["PATH"], "PS1": "ready$ ", "TERM": "xterm", "TEST_OF": session}
        program = shutil.which(command[0])
        assert program
        # Without files of whoever runs the test.
        arguments = [*command[:2], command[2].replace("exec bash", "exec bash --norc"), *command[3:]]
        self._process: Any = reactor.spawnProcess(  # type: ignore[attr-defined]
            self, program, arguments, env=environment, path="/", usePTY=terminal
        )
        self.over = False

    def connectionMade(self) -> None:
        reactor.callLater(0, self._output.started)  # type: ignore[attr-defined]

    def outReceived(self, data: bytes) -> None:
        self._output.output(data, False)

    def processEnded(self, reason: Failure) -> None:
        self.over = True
        if reason.check(ProcessDone):
            code = 0
        else:
            value: Any = reason.value
            code = value.exitCode if value.exitCode is not None else 128 + value.signal
        self._output.ended(Ended(EXITED, code))

    def write(self, data: bytes) -> None:
        self._process.write(data)

    def resize(self, columns: int, rows: int) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def on_drain(self, callback: Callable[[bool], object]) -> None: ...

    def close(self) -> None:
        """As in the cluster, whatever runs goes on."""


class Heard:
    """Waits for a process."""

    def __init__(self) -> None:
        self.text = b""
        self.result: Ended | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def established(self) -> None: ...

    def full(self, full: bool) -> None: ...

    def printed(self, data: bytes) -> None:
        self.text += data
        self._look()

    def process_ended(self, result: Ended, ran: bool, missing: bool) -> None:
        self.result = result
        self._look()

    def until(self, ready: Callable[[], bool]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._waiting.append((ready, done))
        self._look()
        return done.addTimeout(30, reactor)  # type: ignore[arg-type]

    def _look(self) -> None:
        for each in tuple(self._waiting):
            if each[0]():
                self._waiting.remove(each)
                each[1].callback(None)


def left(session: str) -> list[tuple[int, str, str]]:
    """Processes of a session that are there: pid, command, and state."""
    found: list[tuple[int, str, str]] = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if f"TEST_OF={session}\0".encode() in (each / "environ").read_bytes():
                state = (each / "stat").read_text().rpartition(")")[2].split()[0]
                command = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(each.name), command, state))
        except OSError:
            continue
    return found


#: What runs in the shell: a command line, and what shows that it does.
RUNNING = {
    "nothing": ("", "ready$"),
    "half a line": ("echo 'never", "never"),
    "sleep": ("echo sl''eeps; sleep 1000", "sleeps"),
    "cat": ("echo ca''ts; cat", "cats"),
    "another shell": ("PS1='in''ner$ ' bash --norc", "inner$"),
    "what takes every key": ("stty raw -echo; echo ra''w; cat >/dev/null", "raw"),
    "what ignores the keys": ("trap '' INT; echo st''ubborn; while :; do sleep 0.2; done", "stubborn"),
    "a pipe": ("echo pi''ped; yes | sleep 1000", "piped"),
    "output without end": ("echo fl''ood; while :; do echo x; done", "flood"),
}

#: Those of them that are programs of their own: they have to be there.
PROGRAMS = {"sleep": "sleep 1000", "cat": "cat", "what takes every key": "cat", "a pipe": "sleep 1000"}

Test = Callable[..., Coroutine[Any, Any, None]]


@pytest.mark.parametrize("name", RUNNING)
@ensureDeferred
async def test_a_shell_that_is_hung_up_ends(name: str) -> None:
    session = os.urandom(16).hex()
    heard = Heard()

    def begin(command: Command, output: Output, terminal: bool) -> LocalExec:
        return LocalExec(command, output, terminal, session)

    process = Process(reactor, session, shells.commands("", (), session), begin, heard, SECONDS)  # type: ignore[arg-type]
    process.begin()
    await heard.until(lambda: b"ready$" in heard.text)
    typed, shown = RUNNING[name]
    process.write(typed.encode() + (b"" if name == "half a line" else b"\r"))
    await heard.until(lambda: shown.encode() in heard.text)
    program = PROGRAMS.get(name, "")
    while program and not any(command.startswith(program) and state == "S" for _, command, state in left(session)):
        # Between the line and the program that it starts, keys go to neither.
        await deferLater(reactor, 0.02)  # type: ignore[arg-type]
    process.hang_up()
    await heard.until(lambda: heard.result is not None)
    try:
        for _ in range(50):
            if not left(session):
                break
            await deferLater(reactor, 0.1)  # type: ignore[arg-type]
        assert left(session) == []
        assert heard.result is not None
        assert heard.result.kind == EXITED
    finally:
        for pid, _, _ in left(session):
            os.kill(pid, signal.SIGKILL)

"""A clock that can also do what is done in threads and child processes, at once and in order."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure


class InlinePool:
    """A thread pool without threads: work waits until :meth:`ThreadReactor.run_threads`, or is done at once."""

    def __init__(self, reactor: ThreadReactor) -> None:
        self.reactor = reactor

    def callInThreadWithCallback(self, on_result: Callable[..., Any], func: Any, *args: Any, **kwargs: Any) -> None:
        def work() -> None:
            try:
                result = func(*args, **kwargs)
            except BaseException:
                on_result(False, Failure())
            else:
                on_result(True, result)

        if self.reactor.slow_threads:
            self.reactor.waiting.append(work)
        else:
            work()


class Child:
    """A child process's transport."""

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.stdin_closed = False
        self.exited = False

    def closeStdin(self) -> None:
        self.stdin_closed = True

    def signalProcess(self, signal: str) -> None:
        if self.exited:
            raise ProcessExitedAlready
        self.signals.append(signal)


class ThreadReactor(Clock):
    """Children are either real commands, run to their end at once, or stay until a test ends them."""

    def __init__(self) -> None:
        super().__init__()
        self.slow_threads = False
        self.waiting: list[Callable[[], None]] = []
        self.spawned: list[tuple[Any, str, list[str], dict[str, str]]] = []
        self.children: list[Child] = []
        self.hang = False
        self.spawn_error: OSError | None = None
        self._pool = InlinePool(self)

    def getThreadPool(self) -> InlinePool:
        return self._pool

    def callFromThread(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        func(*args, **kwargs)

    def run_threads(self) -> None:
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], env: dict[str, str]) -> Child:
        if self.spawn_error is not None:
            raise self.spawn_error
        self.spawned.append((protocol, executable, args, env))
        child = Child()
        self.children.append(child)
        protocol.makeConnection(child)
        if not self.hang:
            done = subprocess.run([executable, *args[1:]], env=env, capture_output=True, check=False)
            end(protocol, child, done.stdout, done.stderr, done.returncode)
        return child


def end(protocol: Any, child: Child, stdout: bytes = b"", stderr: bytes = b"", code: int = 0) -> None:
    """The child prints and exits; a negative ``code`` is the signal that ended it."""
    if stdout:
        protocol.outReceived(stdout)
    if stderr:
        protocol.errReceived(stderr)
    child.exited = True
    reason = ProcessDone(0) if code == 0 else ProcessTerminated(max(code, 0) or None, -code if code < 0 else None, code)
    protocol.processEnded(Failure(reason))

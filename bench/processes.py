"""Programs that the benchmark starts and stops, each by the pid it got."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

START_LIMIT = 30.0
"""Seconds that a program may take until it listens."""


class StartError(Exception):
    """A program ended, or did not listen in time; the message has the end of its log."""


class Process:
    """One program with its output in a file, started and stopped by ``with``.

    Where ``setpriv`` exists the kernel ends the program if the benchmark is killed.
    """

    def __init__(self, name: str, argv: Sequence[str], folder: Path) -> None:
        self.name = name
        self._argv = list(argv)
        self._log = folder / f"{name.replace(' ', '-')}.log"
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Process:
        tether = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*tether, *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own, for the terminal's signals; not a session, which the kernel would schedule as one
                # thing (sched(7), autogroup), so that the niceness of a program's threads would count within it only.
                process_group=0,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit code; raises :class:`subprocess.TimeoutExpired`."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.wait(seconds)

    def stop(self) -> None:
        """Ask it to end, kill it if it has not after 15 seconds. Harmless when it has ended."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(15)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def tail(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-3000:].decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Poll ``ready`` until it is true; raises :class:`StartError` when the program ends or time is up."""
        deadline = time.monotonic() + START_LIMIT
        while not ready():
            if not self.alive:
                raise StartError(f"{self.name} ended before it was {what}; its log ends with:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} was not {what} in {START_LIMIT:g} s; its log ends with:\n{self.tail()}")
            time.sleep(0.05)

    def wait_for_port(self, port: int) -> None:
        """Wait until it listens on a loopback port."""
        self.wait_until(lambda: listens(port), f"listening on port {port}")


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A loopback port that nobody listens on, outside the range from which the kernel gives ports to clients."""
    for _ in range(200):
        port = random.randrange(12000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StartError("no free loopback port found")


def raise_file_limit() -> int:
    """As many open files as may be, for us and what we start; returns how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def installed(program: str) -> str | None:
    """The path of a program; Debian keeps servers where not every user looks for them."""
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/go/bin")

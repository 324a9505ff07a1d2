"""Programs that tests start, freeze, kill and stop, each by the pid it got."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class StartError(Exception):
    """A program ended, or was not ready in time; the message has the end of its log."""


class Process:
    """One program, with its output in a file. It may be started again after it ended.

    It runs in a session of its own, so that Ctrl-C in the terminal reaches the tests only, which then stop it. Where
    ``setpriv`` exists the kernel sends it ``orphaned`` if the tests themselves are killed.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        orphaned: str = "KILL",
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self._environ = dict(os.environ if environ is None else environ)
        self._cwd = cwd
        self._orphaned = orphaned
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.alive:
            raise RuntimeError(f"{self.name} is running already")
        tether = ["setpriv", "--pdeathsig", self._orphaned, "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*tether, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environ,
                cwd=self._cwd,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.pid

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if the program has ended."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def freeze(self) -> None:
        """Stop it as it stands: connections stay open, nothing is answered, no FIN is sent."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a chance to say goodbye, and wait for that."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def stop(self, grace: float = 15.0) -> int | None:
        """Ask it to end, kill it after ``grace`` seconds; returns its exit code, None if it never ran."""
        if self._popen is None:
            return None
        self.thaw()
        self.signal(signal.SIGTERM)
        try:
            return self._popen.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._popen.returncode

    def wait(self, seconds: float) -> int:
        """Its exit code; raises :class:`subprocess.TimeoutExpired`."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.wait(seconds)

    def tail(self, size: int = 3000) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - size))
            return log.read().decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Poll ``ready`` until it is true; raises :class:`StartError` if the program ends or time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive:
                raise StartError(f"{self.name} ended before {what}; {self.log} ends with:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name}: not {what} in {seconds:.0f} s; {self.log} ends with:\n{self.tail()}")
            time.sleep(0.05)


def free_port() -> int:
    """A loopback port nobody listens on, outside the range the kernel takes for clients.

    From within that range a client that keeps dialling a server that is down can be given the server's own port and
    end up connected to itself.
    """
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

"""The program as a process, on loopback, stopped by the process id that was started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

#: Seconds that a start or an end may take on a busy machine.
PATIENCE = 60.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until ``condition`` gives something true, and return that."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE:.0f} s")


class Program:
    """A command, with its output in a file. Leaving the ``with`` ends it."""

    def __init__(self, argv: Sequence[str], folder: Path, environ: dict[str, str] | None = None, **more: Any) -> None:
        self.log = folder / "program.log"
        self._file = self.log.open("wb")
        # As an operator starts it: what it writes is to be seen at once without Python being told so.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self.process = subprocess.Popen(
            list(argv),
            stdout=self._file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**inherited, **(environ or {})},
            # As a service manager starts it, too. The system shares its processors among sessions: what hashes
            # passwords takes only what others of its own session leave, and must not starve beside busy tests.
            start_new_session=True,
            **more,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._file.close()

    def output(self) -> str:
        """Everything printed so far."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE)


def ksproxyd(*words: str) -> list[str]:
    """``ksproxyd`` with this interpreter."""
    return [sys.executable, "-m", "ksproxyd.cli", *words]


def standalone(port: int, kube_port: int, state: Path, *more: str) -> list[str]:
    """The gateway on the embedded API."""
    return ksproxyd(
        *("run", "--standalone", "--authorization", "AlwaysAllow"),
        *("--listen", f"tcp:{port}:interface=127.0.0.1"),
        *("--kube-listen", f"tcp:{kube_port}:interface=127.0.0.1"),
        *("--state-dir", str(state)),
        *more,
    )


def get(url: str) -> tuple[int, bytes]:
    """Status and body of a GET; status 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (urllib.error.URLError, OSError):
        return 0, b""


def get_json(url: str) -> Any:
    status, body = get(url)
    assert status == 200, (status, body)
    return json.loads(body)

"""A Redis server on loopback, ended by the process id that was started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ksproxyd.settings import Settings, load_text
from tests.live.process import PATIENCE, free_port

SECRET = "0123456789abcdef0123456789abcdef01234567"


class RedisServer:
    """One at a port, that may be killed, stopped (it is there and does not answer) and started again."""

    def __init__(self, folder: Path, *arguments: str, tls: bool = False) -> None:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        self.port = free_port()
        self._folder = folder
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._argv = ["redis-server", *ports, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, cwd=self._folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end and self._process.poll() is None, (self._folder / "redis.log").read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash would."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(PATIENCE)
            self._process = None

    def pause(self) -> None:
        """It is there and does nothing any more."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After :meth:`pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def settings(self, more: str = "", options: str = "") -> Settings:
        """Settings of a gateway that uses it. ``more`` are lines of the section ksproxyd, ``options`` of the cache."""
        return load_text(
            f"""
authentication:
  multipleLogin: true
  issuer: {{url: "https://ks.test", jwtSecret: {SECRET}}}
multicluster: {{clusterRole: host}}
cache:
  type: redis
  options: {{host: 127.0.0.1, port: {self.port}{options}}}
ksproxyd:
  timeouts: {{redis: 500ms}}
{more}
""",
            "test.yaml",
            {},
        ).settings

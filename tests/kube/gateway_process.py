"""ksproxyd as an operator runs it: a process with a config file, in front of a cluster."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from .client import ApiClient
from .cluster import answers
from .processes import Process, free_port

READY_LIMIT = 60.0
"""Seconds from start to a /readyz of 200."""

Config = dict[str, Any]


class Gateway:
    """A ``ksproxyd run`` on a loopback port, started and stopped by ``with``.

    :param settings: sections laid over those every test needs; ``ksproxyd`` is laid over key by key.
    """

    def __init__(self, folder: Path, kubeconfig: Path, settings: Config | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_file = folder / "ksproxyd.yaml"
        self.config: Config = {
            "kubernetes": {"kubeconfig": str(kubeconfig)},
            "authentication": {"issuer": {"jwtSecret": secrets.token_hex(16)}},
            "authorization": {"mode": "AlwaysAllow"},
            **(settings or {}),
        }
        self.write_config()
        state = folder / "state"
        state.mkdir(exist_ok=True)
        argv = [
            *(sys.executable, "-m", "ksproxyd.cli", "run", "--config", str(self.config_file)),
            *("--listen", f"tcp:{self.port}:interface=127.0.0.1", "--state-dir", str(state)),
        ]
        self.process = Process("ksproxyd", argv, folder / "ksproxyd.log", cwd=folder)
        self.http = ApiClient(self.url)

    def __enter__(self) -> Gateway:
        try:
            self.start()
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()

    def write_config(self) -> None:
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(yaml.safe_dump(self.config))

    def start(self) -> None:
        self.process.start()
        self.process.wait_until(self.is_ready, READY_LIMIT, "ready")

    def is_ready(self) -> bool:
        return answers(self.http, "/readyz")

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        status, _, body = self.http.exchange("GET", path)
        return status, body

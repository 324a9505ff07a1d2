"""The same checks through the gateway: what it passes on it does not change."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import fixtures, suite
from contract.client import Client
from contract.over_http import HttpClient

from .cluster import Cluster
from .gateway_process import Gateway

# Paths outside /api and /apis are the gateway's own, which has its own answer to those it does not serve.
NOT_PASSED_ON = {"test_unknown_path_is_plain_text"}


class Uncredentialed(http.client.HTTPConnection):
    """Sends no Authorization: callers of the gateway are anonymous, and it refuses a token it does not know."""

    def request(self, method: str, url: str, body: Any = None, headers: Any = (), **more: Any) -> None:
        kept = {name: value for name, value in dict(headers).items() if name != "Authorization"}
        super().request(method, url, body, kept, **more)


class GatewayClient(HttpClient):
    """The client for a server on plain HTTP that takes no credentials."""

    def _connect(self) -> http.client.HTTPConnection:
        return Uncredentialed(self._parts.hostname or "", self._parts.port, timeout=30)


@pytest.fixture(scope="module")
def api(bare_cluster: Cluster, folder: Path) -> Iterator[Client]:
    with Gateway(folder / "contract-gateway", bare_cluster.kubeconfig) as gateway:
        yield GatewayClient(gateway.url, "")


globals().update({name: value for name, value in vars(fixtures).items() if not name.startswith("_")})
globals().update({name: check for name, check in suite.checks().items() if name not in NOT_PASSED_ON})

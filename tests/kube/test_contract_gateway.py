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

NOT_PASSED_ON = {
    # Paths outside /api and /apis are the gateway's own: /version, the merged OpenAPI documents, and what is not there.
    "test_unknown_path_is_plain_text",
    "test_version",
    "test_openapi_has_a_document_for_every_version",
    "test_openapi_says_how_lists_are_merged",
    "test_openapi_says_which_parameters_a_patch_takes",
    # Who the caller is, is the gateway's to say.
    "test_impersonated_user_is_who_i_am",
}


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
CHECKS = suite.checks()
assert set(CHECKS) >= NOT_PASSED_ON, "a check that is left out here is gone"
for name, check in CHECKS.items():
    # How a schema is enforced has nothing to do with who passed the object on, and takes two seconds a definition.
    if name not in NOT_PASSED_ON and check.__module__ != "contract.test_definitions":
        globals()[name] = check

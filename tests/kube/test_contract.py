"""The checks that the embedded Kubernetes API passes, against the real one."""

from __future__ import annotations

import pytest
from contract import fixtures, suite
from contract.client import Client
from contract.over_http import HttpClient

from .cluster import Cluster


@pytest.fixture(scope="session")
def api(bare_cluster: Cluster) -> Client:
    return HttpClient(bare_cluster.url, bare_cluster.token, bare_cluster.ca_file.read_bytes())


globals().update({name: value for name, value in vars(fixtures).items() if not name.startswith("_")})
globals().update(suite.checks())

"""The cluster, the gateway before it and kubectl, each once a session."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .binaries import Binaries, BuildError, Unavailable, find_or_build
from .cluster import Cluster
from .extension_backend import ExtensionBackend
from .gateway_process import Gateway
from .kubectl import Kubectl
from .objects import namespace as namespace_object
from .starting import start_cluster

HERE = Path(__file__).parent
FRONT = "KSPROXYD_KUBE_FRONT"
"""``kube-apiserver`` in this environment variable runs the kubectl tests without the gateway, which tells a wrong test
or machine from a wrong gateway."""

TEST_LIMIT = 300
"""Seconds for a test with its share of the fixtures."""

found_key = pytest.StashKey[Binaries | Unavailable | BuildError]()
folders_key = pytest.StashKey[list[Path]]()
measured_key = pytest.StashKey[list[str]]()
failed_key = pytest.StashKey[bool]()


def ours(item: pytest.Item) -> bool:
    return item.path.is_relative_to(HERE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ours(item) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_LIMIT))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build now, before any test's time runs: the first build takes minutes."""
    config = session.config
    if config.option.collectonly or not any(ours(item) for item in session.items):
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")

    def say(line: str) -> None:
        if reporter is not None:
            reporter.write_line(line)

    try:
        config.stash[found_key] = find_or_build(os.environ, say)
    except (Unavailable, BuildError) as error:
        config.stash[found_key] = error
        say(f"tests/kube: {error}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if ours(item) and report.failed:  # type: ignore[attr-defined]
        item.config.stash[failed_key] = True
    return report


@pytest.hookimpl(trylast=True)  # after the fixtures were taken down, on Ctrl-C too
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Folders with logs and data stay if a test failed."""
    for folder in session.config.stash.get(folders_key, []):
        if session.config.stash.get(failed_key, False):
            print(f"\ntests/kube: logs are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def binaries(pytestconfig: pytest.Config) -> Binaries:
    found = pytestconfig.stash[found_key]
    if isinstance(found, Unavailable):
        pytest.skip(str(found))
    if isinstance(found, BuildError):
        pytest.fail(str(found), pytrace=False)
    return found


@pytest.fixture(scope="session")
def folder(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs of this session keep data and logs; it stays only if a test fails."""
    path = tmp_path_factory.mktemp("kube")
    pytestconfig.stash.setdefault(folders_key, []).append(path)
    return path


@pytest.fixture(scope="session")
def cluster(binaries: Binaries, folder: Path) -> Iterator[Cluster]:
    """The cluster that tests share; those that break theirs start their own."""
    cluster = start_cluster(binaries, folder / "cluster")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def bare_cluster(binaries: Binaries, folder: Path) -> Iterator[Cluster]:
    """A kube-apiserver on which nothing acts, not even a node: objects are as their clients leave them."""
    cluster = start_cluster(dataclasses.replace(binaries, node=None), folder / "bare-cluster")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def gateway(cluster: Cluster, folder: Path) -> Iterator[Gateway]:
    """The gateway before the shared cluster."""
    with Gateway(folder / "gateway", cluster.kubeconfig) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def backend() -> Iterator[ExtensionBackend]:
    with ExtensionBackend() as backend:
        yield backend


Measured = Callable[[str], None]


@pytest.fixture
def measured(pytestconfig: pytest.Config) -> Measured:
    """Takes lines with measured values, which are printed at the end of the run, of passed tests too."""
    return pytestconfig.stash.setdefault(measured_key, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(measured_key, [])
    if lines:
        terminalreporter.section("measured by tests/kube")
    for line in lines:
        terminalreporter.write_line(line)


@dataclass(frozen=True)
class Front:
    """What kubectl talks to."""

    name: str
    kubeconfig: Path


@pytest.fixture(scope="session")
def front(cluster: Cluster, request: pytest.FixtureRequest) -> Front:
    if os.environ.get(FRONT) == "kube-apiserver":
        return Front("kube-apiserver", cluster.kubeconfig)
    gateway: Gateway = request.getfixturevalue("gateway")
    return Front("gateway", cluster.write_kubeconfig("gateway", gateway.url))


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> str:
    """A namespace of the module's own, which ends with the cluster: no controller runs that could delete it."""
    name = f"t-{secrets.token_hex(4)}"
    cluster.api.create("/api/v1/namespaces", namespace_object(name))
    return name


@pytest.fixture(scope="module")
def kubectl(binaries: Binaries, front: Front, namespace: str, folder: Path) -> Kubectl:
    """kubectl for the gateway, in the module's namespace."""
    home = folder / f"home-{namespace}"
    home.mkdir(exist_ok=True)
    return Kubectl(binaries.kubectl, front.kubeconfig, home, namespace)


@pytest.fixture(scope="session")
def needs_node(binaries: Binaries) -> None:
    """For tests with running Pods."""
    if binaries.node is None:
        pytest.skip(binaries.without_node)

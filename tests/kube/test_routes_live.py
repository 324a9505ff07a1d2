"""A route lives as soon as its object does, and ends with it, with 500 others present."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import pytest

from .client import ApiClient, Object
from .cluster import Cluster
from .conftest import Measured
from .extension_backend import ExtensionBackend
from .gateway_process import Gateway
from .objects import API_SERVICES, JS_BUNDLES, REVERSE_PROXIES, api_service, js_bundle, reverse_proxy

OTHERS = 250
"""Of each of APIService and ReverseProxy."""

ROUNDS = 7
GOAL = 0.2
"""Seconds from the watch event to the route; the median of the rounds has to keep it."""

LIMIT = 5.0
"""Seconds that no single round may exceed, on a machine however busy."""


@dataclass(frozen=True)
class Case:
    """One kind: its collection, an object of it, the route of that object and what a live route answers."""

    collection: str
    manifest: Callable[[str, str], Object]
    route: Callable[[str], str]
    live: Callable[[str, bytes], bool]


def reached(target: str, body: bytes) -> bool:
    return bool(json.loads(body)["target"] == target)


CASES = {
    "APIService": Case(
        API_SERVICES,
        lambda name, url: api_service(f"{name}.example.io", url),
        lambda name: f"/kapis/{name}.example.io/v1/things?a=1",
        lambda name, body: reached(f"/kapis/{name}.example.io/v1/things?a=1", body),
    ),
    "ReverseProxy": Case(
        REVERSE_PROXIES,
        reverse_proxy,
        lambda name: f"/proxy/{name}/things?a=1",
        lambda name, body: reached("/things?a=1", body),
    ),
    "JSBundle": Case(
        JS_BUNDLES,
        lambda name, url: js_bundle(name, f"export default {name!r};\n".encode()),
        lambda name: f"/dist/{name}/index.js",
        lambda name, body: body == f"export default {name!r};\n".encode(),
    ),
}


class Events:
    """When each event of a collection arrived at a watch of our own, straight from kube-apiserver; for ``with``."""

    def __init__(self, api: ApiClient, collection: str) -> None:
        version = api.get(f"{collection}?limit=1")["metadata"]["resourceVersion"]
        self._watch = api.watch(collection, version)
        self._arrived: dict[tuple[str, str], float] = {}
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Events:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watch.close()
        self._thread.join()

    def _follow(self) -> None:
        for event in self._watch:
            with self._news:
                self._arrived[event["type"], event["object"]["metadata"]["name"]] = time.monotonic()
                self._news.notify_all()

    def arrival(self, kind: str, name: str) -> float:
        with self._news:
            assert self._news.wait_for(lambda: (kind, name) in self._arrived, 10), f"no {kind} event for {name}"
            return self._arrived[kind, name]


@pytest.fixture(scope="module")
def others(cluster: Cluster, gateway: Gateway, backend: ExtensionBackend) -> Iterator[None]:
    """The 500 objects beside the one that is looked at; the fixture returns when the last one's route lives."""
    made = [(API_SERVICES, api_service(f"other-{n}.example.io", backend.url)) for n in range(OTHERS)]
    made += [(REVERSE_PROXIES, reverse_proxy(f"other-{n}", backend.url)) for n in range(OTHERS)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: cluster.api.create(*item), made))
    for n in range(OTHERS):
        first_time(gateway, f"/kapis/other-{n}.example.io/v1/things", 200)
        first_time(gateway, f"/proxy/other-{n}/things", 200)
    yield
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: cluster.api.delete(f"{item[0]}/{item[1]['metadata']['name']}"), made))


def first_time(gateway: Gateway, path: str, status: int) -> float:
    """When ``path`` was first answered with ``status``, asked as fast as it answers."""
    deadline = time.monotonic() + 10
    while (found := gateway.get(path)[0]) != status:
        assert time.monotonic() < deadline, f"{path} is answered {found}, not {status}"
    return time.monotonic()


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("kind", list(CASES))
def test_a_route_lives_and_ends_with_its_object(
    kind: str, cluster: Cluster, gateway: Gateway, backend: ExtensionBackend, measured: Measured
) -> None:
    case = CASES[kind]
    began: list[float] = []
    ended: list[float] = []
    with Events(cluster.api, case.collection) as events:
        for turn in range(ROUNDS):
            name = f"live-{kind.lower()}-{turn}"
            path = case.route(name)
            assert gateway.get(path)[0] == 404
            manifest = case.manifest(name, backend.url)
            cluster.api.create(case.collection, manifest)
            seen = first_time(gateway, path, 200)
            status, body = gateway.get(path)
            assert status == 200 and case.live(name, body), body
            object_name = manifest["metadata"]["name"]
            began.append(seen - events.arrival("ADDED", object_name))
            cluster.api.delete(f"{case.collection}/{object_name}")
            gone = first_time(gateway, path, 404)
            ended.append(gone - events.arrival("DELETED", object_name))
    for what, took in (("lives", began), ("ends", ended)):
        measured(
            f"{kind} {what} after the watch event, {2 * OTHERS} others present: "
            f"median {statistics.median(took) * 1e3:.1f} ms, worst of {ROUNDS} {max(took) * 1e3:.1f} ms"
        )
        assert statistics.median(took) < GOAL
        assert max(took) < LIMIT


@pytest.mark.usefixtures("others")
def test_a_route_follows_its_object(cluster: Cluster, gateway: Gateway, backend: ExtensionBackend) -> None:
    """A changed backend address takes effect, and a state other than Available ends the service at once."""
    name = "moving.example.io"
    path = f"/kapis/{name}/v1/things"
    cluster.api.create(API_SERVICES, api_service(name, "http://127.0.0.1:1"))
    try:
        first_time(gateway, path, 502)
        cluster.api.patch(f"{API_SERVICES}/v1.{name}", {"spec": {"url": backend.url}})
        first_time(gateway, path, 200)
        cluster.api.patch(f"{API_SERVICES}/v1.{name}", {"status": {"state": "Disabled"}})
        first_time(gateway, path, 503)
        status = json.loads(gateway.get(path)[1])
        assert status["message"] == f"apiService v1.{name} is not available"
        assert (status["kind"], status["reason"], status["code"]) == ("Status", "ServiceUnavailable", 503)
    finally:
        cluster.api.delete(f"{API_SERVICES}/v1.{name}")

"""Objects come, change and go; nodes follow."""

from __future__ import annotations

import gc
import itertools
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksproxyd.model.request_info import classify
from ksproxyd.model.status import StatusError
from ksproxyd.observe.cells import Upstreams
from ksproxyd.observe.known import KnownResources
from ksproxyd.server.head import RequestHead
from ksproxyd.testing import MemoryDialer, MemoryReactor, api_service, reverse_proxy
from ksproxyd.transport.wheel import Wheel
from ksproxyd.tree import Tree
from ksproxyd.tree.extensions import APIServices, ReverseProxyObjects, Workshop
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.pool import UpstreamTimeouts
from ksproxyd.upstream.pools import Pools


class Forwarded(Exception):
    """Stands for the relay: says where a request would go."""

    def __init__(self, plan: Any, target: bytes, method: bytes | None) -> None:
        super().__init__(plan, target, method)
        self.plan = plan
        self.target = target


class World:
    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        wheel = Wheel(self.reactor)
        wheel.start()
        self.pools = Pools(MemoryDialer(self.reactor), wheel, UpstreamTimeouts())
        self.tree = Tree()
        self.known = KnownResources()
        self.upstreams = Upstreams(10_000)
        workshop = Workshop(
            self,  # type: ignore[arg-type]
            self.pools,
            Client(self.pools, self.reactor),
            self.upstreams,
            self.reactor,
            lambda: 0.5,
            lambda function, *args: function(*args),  # type: ignore[arg-type]
            False,
            frozenset(),
            10.0,
            5.0,
        )
        self.changes: list[str] = []
        self.services = APIServices(self.tree, workshop, self.known, self.changes.append)
        self.proxies = ReverseProxyObjects(workshop, self.changes.append)
        self.tree.mount_prefix("/proxy", self.proxies.node)
        self._objects: dict[tuple[str, str], Any] = {}

    def forward(self, exchange: Any, plan: Any, target: bytes, method: bytes | None = None) -> None:
        raise Forwarded(plan, target, method)

    def apply(self, value: Any, name: str = "") -> None:
        """As the store calls its subscribers."""
        kind = "p" if "kind" in value and value["kind"] == "ReverseProxy" else "s"
        key = kind, name or value["metadata"]["name"]
        old = self._objects.get(key)
        self._objects[key] = value
        self._table(kind).apply(old, value)

    def delete(self, value: Any) -> None:
        kind = "p" if value["kind"] == "ReverseProxy" else "s"
        self._table(kind).apply(self._objects.pop((kind, value["metadata"]["name"])), None)

    def _table(self, kind: str) -> Any:
        return self.proxies if kind == "p" else self.services

    def where(self, path: str, method: str = "GET") -> str:
        """Where a request goes: the target's host, or the status of its refusal."""
        raw = path.encode()
        request: Any = SimpleNamespace(
            head=RequestHead(method, raw, 1, ()),
            method=method,
            path=raw,
            query=b"",
            has_query=False,
            target=raw,
            info=classify(method, raw, b""),
        )
        try:
            self.tree.serve(request)
        except Forwarded as found:
            return found.plan.pool.target.host
        except StatusError as error:
            return str(error.code)
        raise AssertionError("neither forwarded nor refused")


@pytest.fixture
def world() -> World:
    return World()


def service(host: str, name: str = "v1.g.io", *, created: str = "2020-01-01T00:00:00Z", **more: Any) -> Any:
    return api_service("v1.g.io", url=f"http://{host}", **more) | {
        "metadata": {"name": name, "creationTimestamp": created}
    }


def proxy(host: str, name: str, path: str = "/proxy/a/*", *, created: str = "2020-01-01T00:00:00Z", **more: Any) -> Any:
    value = reverse_proxy(name, path, f"http://{host}", **more)
    value["metadata"].setdefault("creationTimestamp", created)
    return value


# -- precedence (spec 01, 4.6) --------------------------------------------------------------------------------------


def test_the_oldest_api_service_wins_whatever_the_order() -> None:
    claims = [
        service("young", "a", created="2021-01-01T00:00:00Z"),
        service("old", "z", created="2019-01-01T00:00:00Z"),
        service("old-too", "zz", created="2019-01-01T00:00:00Z"),
        service("ageless", "0", created=""),
    ]
    for order in itertools.permutations(claims):
        world = World()
        for value in order:
            world.apply(value)
        assert world.where("/kapis/g.io/v1/x") == "old"
        for value, left in zip(
            (claims[1], claims[2], claims[0], claims[3]), ("old-too", "young", "ageless", "404"), strict=True
        ):
            world.delete(value)
            assert world.where("/kapis/g.io/v1/x") == left
        assert len(world.pools) == 0


def test_reverse_proxies_in_order() -> None:
    claims = [
        proxy("exact-get", "1", "/proxy/a/b", method="GET"),
        proxy("exact-any", "2", "/proxy/a/b"),
        proxy("long-get", "3", "/proxy/a/*", method="GET"),
        proxy("long-any", "4", "/proxy/a/*"),
        proxy("long-any-young", "0", "/proxy/a/*", created="2022-01-01T00:00:00Z"),
        proxy("short", "5", "/proxy/*"),
    ]
    expected = {
        ("GET", "/proxy/a/b"): ["exact-get", "exact-any", "long-get", "long-any", "long-any-young", "short", "404"],
        ("POST", "/proxy/a/b"): ["exact-any", "exact-any", "long-any", "long-any", "long-any-young", "short", "404"],
    }
    for order in itertools.islice(itertools.permutations(claims), 0, 720, 37):
        world = World()
        for value in order:
            world.apply(value)
        seen: dict[tuple[str, str], list[str]] = {key: [world.where(key[1], key[0])] for key in expected}
        for value in claims:
            world.delete(value)
            for key, found in seen.items():
                found.append(world.where(key[1], key[0]))
        assert seen == expected
        assert len(world.pools) == 0


# -- states ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["", "Disabled", "Enabled", "Unavailable", "available", None, 5, ["Available"]])
def test_only_available_ones_are_served(world: World, state: Any) -> None:
    world.apply(service("b", state=state))
    world.apply(proxy("b", "p", state=state))
    assert (world.where("/kapis/g.io/v1/x"), world.where("/proxy/a/x")) == ("503", "503")
    world.apply(service("b"))
    world.apply(proxy("b", "p"))
    assert (world.where("/kapis/g.io/v1/x"), world.where("/proxy/a/x")) == ("b", "b")
    world.apply(service("b", state=state))
    world.apply(proxy("b", "p", state=state))
    assert (world.where("/kapis/g.io/v1/x"), world.where("/proxy/a/x")) == ("503", "503")
    assert len(world.pools) == 0


def test_an_unavailable_winner_does_not_hand_over(world: World) -> None:
    """Whoever has the right to a group keeps it; nobody gets its requests by waiting for it to fall ill."""
    world.apply(service("first", "a", created="2019-01-01T00:00:00Z", state="Disabled"))
    world.apply(service("second", "b"))
    assert world.where("/kapis/g.io/v1/x") == "503"


def test_discovery_is_no_resource(world: World) -> None:
    world.apply(service("b"))
    assert world.where("/kapis/g.io/v1") == "404"
    assert world.where("/kapis/g.io") == "404"
    assert world.where("/kapis/g.io/v2/x") == "404"


def test_known_for_metrics_as_long_as_it_is_served(world: World) -> None:
    assert not world.known("g.io", "v1", "x")
    world.apply(service("b"))
    assert world.known("g.io", "v1", "x")
    world.delete(service("b"))
    assert not world.known("g.io", "v1", "x")


# -- reserved groups (D20) ------------------------------------------------------------------------------------------


def iam(host: str = "evil") -> Any:
    return api_service("v1beta1.iam.kubesphere.io", url=f"http://{host}")


def test_reserved_groups_are_nobodys(world: World, logged: list[str]) -> None:
    world.apply(iam())
    assert world.where("/kapis/iam.kubesphere.io/v1beta1/users") == "404"
    assert len(logged) == 1
    assert "which the gateway serves itself" in logged[0]
    assert len(world.pools) == 0
    world.delete(iam())


def test_moving_between_groups(world: World, logged: list[str]) -> None:
    name = "v1beta1.iam.kubesphere.io"
    world.apply(iam())
    mine = api_service("v1.g.io", url="http://mine")
    mine["metadata"]["name"] = name
    world.apply(mine)
    assert world.where("/kapis/g.io/v1/x") == "mine"
    world.apply(iam())
    assert world.where("/kapis/g.io/v1/x") == "404"
    other = api_service("v2.h.io", url="http://other")
    other["metadata"]["name"] = name
    world.apply(other)
    assert (world.where("/kapis/g.io/v1/x"), world.where("/kapis/h.io/v2/x")) == ("404", "other")
    world.delete(other)
    assert world.where("/kapis/h.io/v2/x") == "404"
    assert len(world.pools) == 0


def test_group_less_services_are_below_kapi(world: World) -> None:
    value = service("b")
    value["spec"]["group"] = ""
    world.apply(value)
    assert world.where("/kapi/v1/things") == "b"


# -- changes --------------------------------------------------------------------------------------------------------


def test_the_same_target_keeps_its_pool(world: World) -> None:
    world.apply(service("b"))
    world.apply(proxy("b", "p"))
    (pool,) = world.pools
    changed = service("b")
    changed["spec"]["insecureSkipVerify"] = True
    world.apply(changed)
    changed = proxy("b", "p", directives={"stripPathPrefix": "/proxy"})
    world.apply(changed)
    assert list(world.pools) == [pool]
    # Another object takes over, and its target is the same.
    world.apply(service("b", "a", created="2018-01-01T00:00:00Z"))
    world.delete(service("b"))
    assert list(world.pools) == [pool]
    world.delete(service("b", "a"))
    world.delete(proxy("b", "p"))
    assert len(world.pools) == 0


def test_another_target_is_another_pool(world: World) -> None:
    for n in range(20):
        world.apply(service(f"b{n}"))
        world.apply(proxy(f"p{n}", "p"))
        assert sorted(pool.target.host for pool in world.pools) == [f"b{n}", f"p{n}"]


def test_conditions_that_we_write_ourselves_change_nothing(world: World) -> None:
    world.apply(service("b"))
    node = world.tree.find("/kapis/g.io/v1")
    again = service("b")
    again["status"]["conditions"] = [{"type": "x"}]
    again["metadata"]["resourceVersion"] = "7"
    world.apply(again)
    assert world.tree.find("/kapis/g.io/v1") is node
    world.delete(again)
    assert world.where("/kapis/g.io/v1/x") == "404"


def test_a_path_changes(world: World) -> None:
    world.apply(proxy("b", "p", "/proxy/a/*"))
    world.apply(proxy("b", "p", "/proxy/b/*"))
    assert (world.where("/proxy/a/x"), world.where("/proxy/b/x")) == ("404", "b")
    world.apply(proxy("b", "p", "/res/b/*"))
    assert world.where("/proxy/b/x") == "404"
    assert len(world.pools) == 0
    world.apply(proxy("b", "p", "/proxy/" + "x" * 5000))
    assert len(world.pools) == 0
    labels = {"kubesphere.io/reverse-proxy-target": "ks-console"}
    world.apply(proxy("b", "p", "/proxy/c/*", metadata={"labels": labels}))
    assert world.where("/proxy/c/x") == "404"
    assert len(world.pools) == 0


def test_series_end_with_their_object(world: World) -> None:
    world.apply(service("b"))
    world.apply(proxy("b", "p"))
    assert len(world.upstreams.all()) == 2
    world.apply(proxy("b", "p", "/elsewhere"))
    world.delete(service("b"))
    assert not world.upstreams.all()


# -- objects of any shape ---------------------------------------------------------------------------------------------

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=12))
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
URLS = st.sampled_from(["http://b", "https://b:1", "http://[::1]", "b:80", "http://b/%zz"])
ENDPOINT = st.fixed_dictionaries(
    {},
    optional={
        "url": st.one_of(ANYTHING, URLS),
        "service": st.one_of(ANYTHING, st.fixed_dictionaries(dict.fromkeys(("name", "namespace", "port"), ANYTHING))),
        "caBundle": ANYTHING,
        "insecureSkipVerify": ANYTHING,
    },
)
DIRECTIVES = st.one_of(
    ANYTHING,
    st.dictionaries(
        st.sampled_from(
            [
                *("method", "stripPathPrefix", "stripPathSuffix", "headerUp", "headerDown", "rewrite", "replace"),
                *("pathRegexp", "authProxy", "wrapTransport", "rejectForwardingRedirects"),
            ]
        ),
        st.one_of(ANYTHING, st.lists(st.text(max_size=20), max_size=3)),
        max_size=4,
    ),
)
EXTRAS = st.dictionaries(
    st.sampled_from(["healthCheck", "circuitBreaker", "rateLimit", "flowControl", "redirect", "outlierDetection"]),
    ANYTHING,
    max_size=3,
)
STATUS = st.one_of(ANYTHING, st.fixed_dictionaries({"state": st.one_of(ANYTHING, st.just("Available"))}))
METADATA = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "c"])},
    optional={"labels": ANYTHING, "annotations": ANYTHING, "creationTimestamp": ANYTHING},
)
SERVICE = st.fixed_dictionaries(
    {"kind": st.just("APIService"), "metadata": METADATA},
    optional={
        "status": STATUS,
        "spec": st.one_of(
            ANYTHING,
            st.builds(
                lambda group, version, endpoint, extras: {"group": group, "version": version, **endpoint, **extras},
                st.one_of(ANYTHING, st.sampled_from(["g.io", "good.io", "iam.kubesphere.io", ""])),
                st.one_of(ANYTHING, st.sampled_from(["v1", "v1beta1"])),
                ENDPOINT,
                EXTRAS,
            ),
        ),
    },
)
PROXY = st.fixed_dictionaries(
    {"kind": st.just("ReverseProxy"), "metadata": METADATA},
    optional={
        "status": STATUS,
        "spec": st.one_of(
            ANYTHING,
            st.builds(
                lambda matcher, upstream, directives, extras: {
                    "matcher": matcher, "upstream": upstream, "directives": directives, **extras
                },
                st.one_of(
                    ANYTHING,
                    st.fixed_dictionaries(
                        {
                            "path": st.one_of(ANYTHING, st.sampled_from(["/proxy/x/*", "/proxy*", "/proxy/good/y"])),
                            "method": st.one_of(ANYTHING, st.sampled_from(["*", "GET"])),
                        }
                    ),
                ),
                st.one_of(ANYTHING, ENDPOINT),
                DIRECTIVES,
                EXTRAS,
            ),
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.one_of(SERVICE, PROXY), st.booleans()), max_size=8))
def test_no_object_breaks_another(events: list[tuple[Any, bool]]) -> None:
    world = World()
    world.apply(api_service("v1.good.io", url="http://good") | {"metadata": {"name": "good", "creationTimestamp": "0"}})
    world.apply(proxy("good", "good", "/proxy/good/*", created="0"))
    live: dict[tuple[str, str], Any] = {}
    for value, delete in events:
        key = value["kind"], value["metadata"]["name"]
        if delete:
            if key in live:
                world.delete(live.pop(key))
        else:
            world.apply(value)
            live[key] = value
        assert world.where("/kapis/good.io/v1/x") == "good"
        assert world.where("/proxy/good/x") == "good"
    for value in live.values():
        world.delete(value)
    (pool,) = world.pools
    assert pool.target.host == "good"
    assert len(list(world.tree.walk())) == 2
    world.services.stop()
    world.proxies.stop()


def test_what_nobody_thought_of_stays_with_its_object(world: World, monkeypatch: Any, logged_errors: Any) -> None:
    world.apply(service("b"))
    world.apply(proxy("b", "p"))

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("ksproxyd.tree.extensions.resolve", broken)
        patch.setattr("ksproxyd.tree.extensions._endpoint", broken)
        world.apply(service("c"))
        world.apply(proxy("c", "p"))
    assert len(logged_errors.take()) == 2
    assert (world.where("/kapis/g.io/v1/x"), world.where("/proxy/a/x")) == ("503", "404")
    assert len(world.pools) == 0
    # And it is not for ever.
    world.apply(service("d"))
    world.apply(proxy("d", "p"))
    assert (world.where("/kapis/g.io/v1/x"), world.where("/proxy/a/x")) == ("d", "d")


# -- many -------------------------------------------------------------------------------------------------------------


def test_many_objects() -> None:
    """Each of 5,000 events takes less than 5 ms of the reactor's time, and finding costs the same as with few."""
    world = World()
    took = []
    gc.collect()
    gc.disable()
    try:
        for n in range(2500):
            for value in (
                api_service(f"v1.g{n}.example.io", url=f"http://s{n}.example"),
                proxy(f"p{n}.example", f"p{n}", f"/proxy/p{n}/*", directives={"stripPathPrefix": f"/proxy/p{n}"}),
            ):
                begun = time.process_time()
                world.apply(value)
                took.append(time.process_time() - begun)
    finally:
        gc.enable()
    # One in a thousand may be the machine's own doing.
    assert sorted(took)[-6] < 0.005
    few = World()
    few.apply(api_service("v1.g1.example.io", url="http://s1.example"))
    few.apply(proxy("p1.example", "p1", "/proxy/p1/*"))

    def cost(world: World, path: str) -> float:
        best = 1.0
        for _ in range(20):
            begun = time.process_time()
            for _ in range(100):
                world.where(path)
            best = min(best, time.process_time() - begun)
        return best

    for path in ("/kapis/g1.example.io/v1/namespaces/n/x", "/proxy/p1/a/b"):
        assert cost(world, path) < 2.5 * cost(few, path)
    for n in range(2500):
        world.delete(api_service(f"v1.g{n}.example.io"))
        world.delete(proxy("x", f"p{n}"))
    assert len(world.pools) == 0
    assert len(list(world.tree.walk())) == 1

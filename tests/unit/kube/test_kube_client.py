"""Requests to an API server."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from scripted_upstream import FixedAccess, ScriptedUpstream, outcome
from thread_reactor import ThreadReactor
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock

from ksproxyd import __version__
from ksproxyd.kube.access import ClusterAccess
from ksproxyd.kube.address import parse_server
from ksproxyd.kube.client import LONGEST_WAIT, RETRIES, KubeClient
from ksproxyd.kube.connection import Connection
from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.kube.resource import Resource
from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.pool import UpstreamTimeouts
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.target import Target

WIDGETS = Resource("example.com", "v1", "widgets", "Widget", namespaced=True)
CLUSTERS = Resource("cluster.kubesphere.io", "v1alpha1", "clusters", "Cluster")
ROOT = "/apis/example.com/v1/namespaces/ns/widgets"


class Api:
    """A client and its server."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.upstream = ScriptedUpstream()
        self.access = FixedAccess()
        self.client = KubeClient(self.upstream, self.access, self.clock, timeout=12)

    def ask(self, coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(coroutine)


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_request(api: Api) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    asked = api.upstream.last
    assert asked.line == f"GET {ROOT}/a"
    assert asked.headers == {
        "Accept": "application/json",
        "User-Agent": f"ksproxyd/{__version__}",
        "Authorization": "Bearer t",
    }
    assert asked.limits["timeout"] == 12
    asked.answer(200, {"kind": "Widget"})
    assert outcome(done) == {"kind": "Widget"}


def test_the_path_prefix_is_kept(api: Api) -> None:
    api.access.path_prefix = b"/k8s/clusters/c-1"
    api.ask(api.client.get(CLUSTERS, "host"))
    assert api.upstream.last.line == ("GET /k8s/clusters/c-1/apis/cluster.kubesphere.io/v1alpha1/clusters/host")


BODY = {"metadata": {"name": "a", "namespace": "ns"}}


@pytest.mark.parametrize(
    ("call", "line", "content_type", "body"),
    [
        (lambda c: c.get(WIDGETS, "a", "ns", subresource="status"), f"GET {ROOT}/a/status", None, None),
        (lambda c: c.create(WIDGETS, BODY, "ns"), f"POST {ROOT}", "application/json", BODY),
        (
            lambda c: c.create(WIDGETS, BODY, "ns", dry_run=True, field_manager="me"),
            f"POST {ROOT}?dryRun=All&fieldManager=me",
            "application/json",
            BODY,
        ),
        (lambda c: c.update(WIDGETS, BODY), f"PUT {ROOT}/a", "application/json", BODY),
        (
            lambda c: c.update(WIDGETS, BODY, subresource="status", field_manager="a&b"),
            f"PUT {ROOT}/a/status?fieldManager=a%26b",
            "application/json",
            BODY,
        ),
        (
            lambda c: c.patch(WIDGETS, "a", {"spec": None}, "ns"),
            f"PATCH {ROOT}/a",
            "application/merge-patch+json",
            {"spec": None},
        ),
        (
            lambda c: c.patch(WIDGETS, "a", [{"op": "test"}], "ns", kind="json", subresource="status"),
            f"PATCH {ROOT}/a/status",
            "application/json-patch+json",
            [{"op": "test"}],
        ),
        (
            lambda c: c.patch(WIDGETS, "a", {}, "ns", kind="strategic"),
            f"PATCH {ROOT}/a",
            "application/strategic-merge-patch+json",
            {},
        ),
        (
            lambda c: c.patch(WIDGETS, "a", BODY, "ns", kind="apply", field_manager="me", force=True),
            f"PATCH {ROOT}/a?fieldManager=me&force=true",
            "application/apply-patch+yaml",
            BODY,
        ),
        (
            lambda c: c.delete(WIDGETS, "a", "ns"),
            f"DELETE {ROOT}/a",
            "application/json",
            {"kind": "DeleteOptions", "apiVersion": "v1"},
        ),
        (
            lambda c: c.delete(WIDGETS, "a", "ns", propagation="Foreground", uid="u", resource_version="5"),
            f"DELETE {ROOT}/a",
            "application/json",
            {
                "kind": "DeleteOptions",
                "apiVersion": "v1",
                "propagationPolicy": "Foreground",
                "preconditions": {"uid": "u", "resourceVersion": "5"},
            },
        ),
    ],
)
def test_requests(api: Api, call: Any, line: str, content_type: str | None, body: Any) -> None:
    done = api.ask(call(api.client))
    asked = api.upstream.last
    assert (asked.line, asked.headers.get("Content-Type"), asked.body) == (line, content_type, body)
    asked.answer(200, {"kind": "Status"})
    assert outcome(done) == {"kind": "Status"}


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.get(WIDGETS, "", "ns"),
        lambda c: c.delete(WIDGETS, "", "ns"),
        lambda c: c.delete(CLUSTERS, ""),
        lambda c: c.patch(WIDGETS, "", {}, "ns"),
        lambda c: c.get(WIDGETS, "a"),
        lambda c: c.update(CLUSTERS, {"metadata": {"name": ""}}),
        lambda c: c.patch(WIDGETS, "a", {}, "ns", kind="apply"),
    ],
)
def test_what_cannot_be_meant_is_never_sent(api: Api, call: Any) -> None:
    assert isinstance(outcome(api.ask(call(api.client))), ValueError)
    assert api.upstream.asked == []


def test_a_refusal_is_an_error(api: Api) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    api.upstream.last.answer(404, {"kind": "Status", "reason": "NotFound", "message": "no a", "code": 404})
    error = outcome(done)
    assert isinstance(error, KubeError)
    assert not isinstance(error, KubeUnreachable)
    assert (error.code, error.reason, error.message) == (404, "NotFound", "no a")


@pytest.mark.parametrize(("kind", "code"), [("connect", 502), ("tls", 502), ("timeout", 504), ("closed", 502)])
def test_no_answer_is_an_error(api: Api, kind: str, code: int) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    api.upstream.last.break_off(kind, "no way", "10.0.0.1: no way")
    error = outcome(done)
    assert isinstance(error, KubeUnreachable)
    assert (error.kind, error.code, error.message, error.detail) == (kind, code, "no way", "10.0.0.1: no way")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"\xff"])
def test_an_answer_that_is_no_object_is_an_error(api: Api, body: bytes) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    api.upstream.last.answer(200, body)
    error = outcome(done)
    assert isinstance(error, KubeUnreachable)
    assert error.kind == "content"


def test_a_401_is_reported_to_the_access(api: Api) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    api.upstream.last.answer(401)
    assert outcome(done).code == 401
    assert api.access.refusals == 1


@pytest.mark.parametrize(
    ("status", "fields", "wait"),
    [
        (429, {}, 1),
        (429, {"retry_after": "5"}, 5),
        (429, {"retry_after": "0"}, 1),
        (503, {"retry_after": "2"}, 2),
        (429, {"retry_after": "86400"}, LONGEST_WAIT),
    ],
)
def test_a_busy_server_is_asked_again(api: Api, status: int, fields: dict[str, str], wait: float) -> None:
    done = api.ask(api.client.create(WIDGETS, BODY, "ns"))
    api.upstream.last.answer(status, **fields)
    api.clock.advance(wait - 0.1)
    assert len(api.upstream.asked) == 1
    api.clock.advance(0.2)
    assert [asked.line for asked in api.upstream.asked] == [f"POST {ROOT}"] * 2
    assert api.upstream.last.body == BODY
    api.upstream.last.answer(201, BODY)
    assert outcome(done) == BODY


def test_what_nobody_wants_to_see_again(api: Api) -> None:
    done = api.ask(api.client.put_in(WIDGETS, BODY, "ns", field_manager="me"))
    assert api.upstream.last.line == f"POST {ROOT}?fieldManager=me"
    assert api.upstream.last.body == BODY
    api.upstream.last.answer(201, BODY)
    assert outcome(done) is None
    # Whoever answers with a page is no API server.
    done = api.ask(api.client.put_in(WIDGETS, BODY, "ns"))
    api.upstream.last.answer(200, b"<html>")
    error = outcome(done)
    assert isinstance(error, KubeUnreachable) and error.kind == "content"
    done = api.ask(api.client.put_in(WIDGETS, BODY, "ns"))
    api.upstream.last.answer(409, {"kind": "Status", "message": "there is one", "reason": "AlreadyExists"})
    assert outcome(done).code == 409


def test_a_server_that_stays_busy_is_given_up(api: Api) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    for _ in range(RETRIES):
        api.upstream.last.answer(429, retry_after="3")
        api.clock.advance(3)
    assert not done.called
    api.upstream.last.answer(429, retry_after="3")
    error = outcome(done)
    assert (error.code, error.retry_after) == (429, 3)
    assert (len(api.upstream.asked), api.clock.getDelayedCalls()) == (RETRIES + 1, [])


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_other_failures_are_not_repeated(api: Api, status: int) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    api.upstream.last.answer(status)
    assert outcome(done).code == status
    assert len(api.upstream.asked) == 1


def test_cancelling_cancels_the_request(api: Api) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    done.cancel()
    assert api.upstream.last.cancelled == 1
    assert isinstance(outcome(done), CancelledError)


def test_cancelling_while_waiting_for_a_busy_server(api: Api) -> None:
    done = api.ask(api.client.get(WIDGETS, "a", "ns"))
    api.upstream.last.answer(429)
    done.cancel()
    assert isinstance(outcome(done), CancelledError)
    assert api.clock.getDelayedCalls() == []


def test_any_json_can_be_read(api: Api) -> None:
    done = api.ask(api.client.read("/version", "a=b"))
    assert api.upstream.last.line == "GET /version?a=b"
    api.upstream.last.answer(200, {"major": "1"})
    assert outcome(done) == {"major": "1"}


def test_a_watch_is_asked_for(api: Api) -> None:
    class Nobody:
        def opened(self) -> None: ...

        def alive(self) -> None: ...

        def event(self, kind: str, obj: dict[str, Any], received: float) -> None: ...

    api.access.path_prefix = b"/prefix"
    watch = api.client.watch(
        WIDGETS,
        Nobody(),
        resource_version="5",
        timeout_seconds=300,
        namespace="ns",
        field_selector="metadata.name=a",
        silence=90,
    )
    assert api.upstream.last.line == (
        f"GET /prefix{ROOT}?watch=true&allowWatchBookmarks=true&resourceVersion=5&timeoutSeconds=300"
        "&fieldSelector=metadata.name%3Da"
    )
    assert api.upstream.last.headers["Authorization"] == "Bearer t"
    watch.done.addErrback(lambda failure: failure.trap(CancelledError))
    watch.done.cancel()
    assert api.upstream.last.cancelled == 1


class Unplugged:
    """A dialer without a network."""

    def __init__(self) -> None:
        self.dialed: list[Target] = []

    def dial(self, target: Target, factory: Any, timeout: float) -> Deferred[Any]:
        self.dialed.append(target)
        return fail(ConnectionRefusedError())


def test_over_the_real_upstream() -> None:
    """The parts that stand in for others here are no easier than those they stand in for."""
    clock = Clock()
    dialer = Unplugged()
    client = Client(Pools(dialer, Wheel(clock), UpstreamTimeouts()), clock)
    access = ClusterAccess(
        Connection(origin="test", address=parse_server("http://127.0.0.1:8001")), ThreadReactor(), {}, clock.seconds
    )
    assert outcome(Deferred.fromCoroutine(access.renew())) is None
    error = outcome(Deferred.fromCoroutine(KubeClient(client, access, clock).get(CLUSTERS, "host")))
    assert isinstance(error, KubeUnreachable)
    assert (error.kind, error.message) == ("connect", "connection refused")
    assert dialer.dialed == [access.target]
    assert clock.getDelayedCalls() == []

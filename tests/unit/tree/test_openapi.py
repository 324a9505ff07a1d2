"""OpenAPI of the gateway and its extensions: what is fetched when, what is served meanwhile."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from ksproxyd.model.message import Fields, Response
from ksproxyd.model.status import StatusError
from ksproxyd.tree import openapi_document
from ksproxyd.tree.openapi import SETTLE, OpenAPI, OpenAPINode, Route
from ksproxyd.tree.openapi_fetch import DOCUMENT_LIMIT, FIRST_RETRY, LAST_RETRY, PARALLEL
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target

ROUTES = [
    Route("GET", "/version", "Versions", "General"),
    Route("GET", "/clusters/{cluster}/version", "Versions of a cluster", "General"),
    Route("PUT", "/version", "Nothing", "General"),
]
REFRESH = 600.0


class Request(SimpleNamespace):
    """One request to a backend, waiting for its answer."""

    def answer(self, status: int, body: Any = b"", **fields: str) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.done.callback(SimpleNamespace(status=status, fields=Fields(pairs), body=content))

    def fail(self, message: str) -> None:
        self.done.errback(UpstreamError("connect", message))


class Gateway:
    """An :class:`OpenAPI` with a clock, a backend and a thread pool that we hold in our hands."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.waiting: list[Request] = []
        self.threads: list[Callable[[], Any]] | None = None
        backend: Any = self
        self.openapi = OpenAPI(
            self.clock,
            backend,
            self.in_thread,
            lambda: 0.0,
            ROUTES,
            "v1.2.3",
            lambda group, version: group == "iam.kubesphere.io",
            refresh=REFRESH,
            **options,
        )

    def request(
        self, target: Target, method: bytes, path: bytes, headers: Any, *, timeout: float, limit: int
    ) -> Deferred[Any]:
        request = Request(target=target, path=path, fields=Fields(headers), cancelled=False)
        assert (method, limit) == (b"GET", DOCUMENT_LIMIT) and timeout > 0

        def cancel(done: Deferred[Any]) -> None:
            request.cancelled = True
            done.errback(UpstreamError("cancelled", "the request was given up"))

        request.done = Deferred(cancel)
        self.waiting.append(request)
        return request.done

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        if self.threads is None:
            return maybeDeferred(function, *args)
        done: Deferred[Any] = Deferred()
        self.threads.append(lambda: maybeDeferred(function, *args).chainDeferred(done))
        return done

    def next(self) -> Request:
        return self.waiting.pop(0)

    def serve(self, v2: Any = None, v3: Any = None) -> None:
        """Answer one backend's pair of requests."""
        for document in (v2, v3):
            request = self.next()
            if document is None:
                request.answer(404)
            else:
                request.answer(200, document)

    def settle(self) -> None:
        self.clock.advance(SETTLE)

    def v2(self) -> Any:
        return json.loads(self.openapi.v2.body)

    def v3(self) -> Any:
        return json.loads(self.openapi.v3.body)


def service(name: str = "v1.g.io", url: str = "http://b.test", state: Any = "Available", **spec: Any) -> dict[str, Any]:
    spec = {"group": "g.io", "version": "v1", "url": url, **spec}
    return {"metadata": {"name": name}, "spec": spec, "status": {"state": state}}


def swagger(*paths: str, **parts: Any) -> dict[str, Any]:
    return {"swagger": "2.0", "paths": {path: {} for path in paths}, **parts}


def openapi(*paths: str) -> dict[str, Any]:
    return {"openapi": "3.0.0", "paths": {path: {} for path in paths}}


def test_our_own_routes_are_there_from_the_start() -> None:
    gateway = Gateway()
    info = {"title": "KubeSphere API", "version": "v1.2.3"}
    scheme = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Bearer <token>"}
    parameter = {"name": "cluster", "in": "path", "required": True}
    version = {"summary": "Versions", "tags": ["General"], "responses": {"200": {"description": "OK"}}}
    v2, v3 = gateway.v2(), gateway.v3()
    for document in (v2, v3):
        assert document["info"] == info
        assert document["security"] == [{"BearerToken": []}]
        assert document["paths"].keys() == {"/version", "/clusters/{cluster}/version"}
        assert document["paths"]["/version"].keys() == {"get", "put"}
        assert document["paths"]["/version"]["get"] == version
    assert (v2["swagger"], v3["openapi"]) == ("2.0", "3.0.3")
    assert v2["securityDefinitions"] == {"BearerToken": scheme}
    assert v3["components"] == {"securitySchemes": {"BearerToken": scheme}}
    of_cluster = [d["paths"]["/clusters/{cluster}/version"]["get"]["parameters"] for d in (v2, v3)]
    assert of_cluster == [
        [parameter | {"type": "string"}],
        [parameter | {"schema": {"type": "string"}}],
    ]


def test_an_extension_is_asked_and_merged() -> None:
    gateway = Gateway(timeout=7.0)
    gateway.openapi.apply(None, service())
    first = gateway.next()
    assert (first.target, first.path) == (Target("http", "b.test", 80), b"/openapi/v2")
    assert first.fields.get(b"accept") == b"application/json" and len(first.fields) == 1
    first.answer(200, swagger("/kapis/g.io/v1/things", definitions={"unused": {}}))
    second = gateway.next()
    assert second.path == b"/openapi/v3"
    second.answer(200, openapi("/kapis/g.io/v1/things"))
    assert "/kapis/g.io/v1/things" not in gateway.v2()["paths"]
    gateway.settle()
    assert "/kapis/g.io/v1/things" in gateway.v2()["paths"]
    assert "/kapis/g.io/v1/things" in gateway.v3()["paths"]
    gateway.openapi.apply(service(), None)
    gateway.settle()
    assert gateway.v2()["paths"].keys() == {"/version", "/clusters/{cluster}/version"}
    assert not gateway.waiting and not gateway.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "value",
    [
        service(state="Disabled"),
        service(state=""),
        service(state=None),
        service(state=["Available"]),
        service(group="iam.kubesphere.io"),
        service(url=""),
        service(caBundle="%%%"),
        {"metadata": {"name": "x"}, "spec": None, "status": {"state": "Available"}},
        {"metadata": {"name": "x"}, "status": {"state": "Available"}},
        {"metadata": {"name": "x"}, "spec": [], "status": []},
    ],
)
def test_who_is_not_asked(value: dict[str, Any]) -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, value)
    assert not gateway.waiting
    gateway.openapi.apply(value, None)
    assert not gateway.waiting and not gateway.clock.getDelayedCalls()


def test_the_endpoints_own_path_is_used_where_it_is_for_requests() -> None:
    for join, path in ((False, b"/openapi/v2"), (True, b"/base/openapi/v2")):
        gateway = Gateway(join_path=join)
        gateway.openapi.apply(None, service(url="http://b.test/base/"))
        assert gateway.next().path == path


def test_a_service_that_becomes_unavailable_is_left_out() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.serve(swagger("/x"))
    gateway.settle()
    assert "/x" in gateway.v2()["paths"]
    gateway.openapi.apply(service(), service(state="Disabled"))
    gateway.settle()
    assert "/x" not in gateway.v2()["paths"]


def test_a_change_that_does_not_matter_asks_nobody() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.serve(swagger("/x"))
    gateway.settle()
    gateway.openapi.apply(service(), service() | {"status": {"state": "Available", "conditions": []}})
    assert not gateway.waiting and len(gateway.clock.getDelayedCalls()) == 1


def test_services_of_one_backend_share_its_document() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service("b"))
    gateway.serve(swagger("/x"))
    gateway.openapi.apply(None, service("a", version="v2"))
    assert not gateway.waiting
    gateway.settle()
    gateway.openapi.apply(service("b"), None)
    gateway.settle()
    assert "/x" in gateway.v2()["paths"]


def test_the_first_service_by_name_wins_a_path() -> None:
    gateway = Gateway()
    for name in ("b", "a", "c"):
        gateway.openapi.apply(None, service(name, url=f"http://{name}.test"))
        document = swagger()
        document["paths"]["/x"] = {"get": {"summary": name}}
        document["paths"]["/version"] = {"get": {"summary": name}}
        gateway.serve(document)
    gateway.settle()
    assert gateway.v2()["paths"]["/x"]["get"]["summary"] == "a"
    assert gateway.v2()["paths"]["/version"]["get"]["summary"] == "Versions"


def test_a_move_asks_the_new_place_and_forgets_the_old() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    old = gateway.next()
    gateway.openapi.apply(service(), service(url="http://c.test"))
    assert old.cancelled
    new = gateway.next()
    assert new.target.host == "c.test"
    assert not gateway.waiting


def test_failures_are_retried_with_growing_waits_and_said_once(logged: list[str]) -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    wait = FIRST_RETRY
    for _ in range(12):
        gateway.next().fail("connection refused")
        gateway.next().answer(503)
        assert not gateway.waiting
        gateway.clock.advance(wait - 0.01)
        assert not gateway.waiting
        gateway.clock.advance(0.01)
        wait = min(wait * 2, LAST_RETRY)
    assert logged == [
        "no OpenAPI v2 from v1.g.io at http://b.test: connection refused",
        "no OpenAPI v3 from v1.g.io at http://b.test: it answered 503",
    ]
    gateway.serve(swagger("/x"), openapi("/x"))
    gateway.settle()
    assert "/x" in gateway.v2()["paths"]
    gateway.clock.advance(REFRESH)
    gateway.next().fail("connection refused")
    gateway.next().fail("connection refused")
    # After a success the waits begin anew, and a new failure is worth a word.
    assert len(logged) == 4
    gateway.clock.advance(FIRST_RETRY)
    assert gateway.waiting


def test_what_was_known_stays_while_a_backend_is_away() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.serve(swagger("/x"))
    gateway.clock.advance(REFRESH)
    gateway.next().fail("connection refused")
    gateway.next().fail("connection refused")
    gateway.settle()
    assert "/x" in gateway.v2()["paths"]


def test_documents_are_refreshed_and_only_news_is_merged() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.next().answer(200, swagger("/x"), etag='"1"')
    gateway.next().answer(404)
    gateway.settle()
    before = gateway.openapi.v2
    gateway.clock.advance(REFRESH)
    again = gateway.next()
    assert again.fields.get(b"if-none-match") == b'"1"'
    again.answer(304)
    assert gateway.next().fields.get(b"if-none-match") is None
    gateway.waiting.clear()
    gateway.settle()
    assert gateway.openapi.v2 is before


def test_equal_bytes_are_no_news() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.serve(swagger("/x"))
    gateway.settle()
    before = gateway.openapi.v2
    gateway.clock.advance(REFRESH)
    gateway.serve(swagger("/x"))
    gateway.settle()
    assert gateway.openapi.v2 is before
    gateway.clock.advance(REFRESH)
    gateway.serve(swagger("/y"))
    gateway.settle()
    assert "/y" in gateway.v2()["paths"] and "/x" not in gateway.v2()["paths"]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 406, 410, 501])
def test_a_backend_without_a_document_is_not_pressed(status: int, logged: list[str]) -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.next().answer(status)
    gateway.next().answer(status)
    gateway.clock.advance(REFRESH * 0.89)
    assert not gateway.waiting and not logged
    gateway.clock.advance(REFRESH * 0.11)
    assert gateway.waiting


def test_a_document_that_is_gone_is_left_out() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.serve(swagger("/x"))
    gateway.settle()
    gateway.clock.advance(REFRESH)
    gateway.serve()
    gateway.settle()
    assert "/x" not in gateway.v2()["paths"]


def test_304_without_a_document_is_no_answer(logged: list[str]) -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.next().answer(304)
    assert "it answered 304" in logged[0]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"swagger":"2.0","paths":{"/x":3}}'])
def test_a_malformed_document_harms_nobody_else(body: bytes, logged: list[str]) -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service("a", url="http://a.test"))
    gateway.serve(body, body)
    gateway.openapi.apply(None, service("b", url="http://b.test"))
    gateway.serve(swagger("/x"), openapi("/x"))
    gateway.settle()
    assert "/x" in gateway.v2()["paths"] and "/x" in gateway.v3()["paths"]
    assert len(logged) == 2 and all("from a at http://a.test" in line for line in logged)
    gateway.clock.advance(REFRESH)
    gateway.serve(swagger("/y"), openapi("/y"))
    gateway.settle()
    assert "/y" in gateway.v2()["paths"]


def test_few_are_asked_at_a_time() -> None:
    gateway = Gateway()
    for i in range(PARALLEL + 3):
        gateway.openapi.apply(None, service(f"s{i}", url=f"http://s{i}.test"))
    assert len(gateway.waiting) == PARALLEL
    # One that is waiting for its turn goes without a trace.
    gateway.openapi.apply(service(f"s{PARALLEL}"), None)
    asked = []
    while gateway.waiting:
        assert len(gateway.waiting) <= PARALLEL
        asked.append(gateway.waiting[0].target.host)
        gateway.next().answer(404)
    assert len(asked) == 2 * (PARALLEL + 2) and f"s{PARALLEL}.test" not in asked


def test_events_that_come_together_are_merged_together() -> None:
    gateway = Gateway()
    gateway.threads = []
    for name in "abc":
        gateway.openapi.apply(None, service(name, url=f"http://{name}.test"))
    while gateway.waiting:
        gateway.next().answer(404)
    gateway.settle()
    assert len(gateway.threads) == 1


def test_changes_during_a_merge_lead_to_another() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service("a", url="http://a.test"))
    gateway.serve(swagger("/a"))
    gateway.threads = []
    gateway.settle()
    (merge_v2,) = gateway.threads
    gateway.openapi.apply(service("a"), None)
    gateway.settle()
    assert gateway.threads == [merge_v2]
    gateway.threads = None
    merge_v2()
    assert "/a" in gateway.v2()["paths"]
    gateway.settle()
    assert "/a" not in gateway.v2()["paths"]


def test_a_merge_that_fails_leaves_the_last_documents(monkeypatch: pytest.MonkeyPatch, logged_errors: Any) -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.serve(swagger("/x"))
    gateway.settle()
    with monkeypatch.context() as broken:
        broken.setattr(openapi_document.Merge, "render", lambda self: 1 / 0)
        gateway.openapi.apply(None, service("other", url="http://c.test"))
        gateway.serve(swagger("/y"))
        gateway.settle()
    assert len(logged_errors.take()) == 1
    assert "/x" in gateway.v2()["paths"]
    gateway.openapi.apply(service(), None)
    gateway.settle()
    assert gateway.v2()["paths"].keys() >= {"/y"} and "/x" not in gateway.v2()["paths"]


def test_a_fetch_that_breaks_is_logged_and_tried_again(logged_errors: Any) -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.next().done.errback(RuntimeError("a bug"))
    assert len(logged_errors.take()) == 1
    gateway.clock.advance(FIRST_RETRY)
    gateway.serve(swagger("/x"))
    gateway.settle()
    assert "/x" in gateway.v2()["paths"]


def test_what_does_not_fit_is_said_once(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setattr(openapi_document, "MERGED_LIMIT", 100)
    gateway = Gateway()
    gateway.openapi.apply(None, service("a", url="http://a.test"))
    gateway.serve(swagger("/" + "x" * 10, "/y") | {"paths": {"/a": {"x": "x" * 200}}})
    gateway.openapi.apply(None, service("b", url="http://b.test"))
    gateway.serve(swagger("/b"))
    gateway.settle()
    assert "/b" in gateway.v2()["paths"] and "/a" not in gateway.v2()["paths"]
    gateway.openapi.apply(service("b"), None)
    gateway.settle()
    assert logged == ["OpenAPI v2 would become too large; without: a"]


def test_stopping_ends_everything(logged: list[str]) -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service("a", url="http://a.test"))
    gateway.serve(swagger("/x"))
    gateway.openapi.apply(None, service("b", url="http://b.test"))
    request = gateway.next()
    gateway.openapi.stop()
    assert request.cancelled and not logged
    assert not gateway.clock.getDelayedCalls() and not gateway.waiting
    gateway.openapi.apply(None, service("c", url="http://c.test"))
    assert not gateway.clock.getDelayedCalls() and not gateway.waiting


def test_stopping_during_a_merge() -> None:
    gateway = Gateway()
    gateway.openapi.apply(None, service())
    gateway.serve(swagger("/x"))
    gateway.threads = []
    gateway.settle()
    gateway.openapi.stop()
    gateway.threads[0]()
    assert not gateway.clock.getDelayedCalls()


# -- answers -------------------------------------------------------------------------------------------


def ask(node: OpenAPINode, path: str = "", method: str = "GET", **fields: str) -> Any:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    info = SimpleNamespace(path=path or "/" + node.describe().lower().replace(" ", "/"))
    exchange: Any = SimpleNamespace(method=method, fields=Fields(pairs), info=info)
    return node.handle(exchange)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_answers(version: Any) -> None:
    gateway = Gateway()
    node = OpenAPINode(gateway.openapi, version)
    assert node.describe() == f"OpenAPI {version}"
    answer = ask(node)
    fields = dict(answer.headers)
    assert answer.status == 200 and json.loads(answer.body)["info"]["title"] == "KubeSphere API"
    assert fields[b"Content-Type"] == b"application/json" and fields[b"Vary"] == b"Accept-Encoding"
    assert ask(node, method="HEAD").headers == answer.headers
    assert ask(node, if_none_match=fields[b"ETag"].decode()).status == 304
    gateway.openapi.apply(None, service())
    paths = {f"/{i}": {"get": {"summary": "words" * 10}} for i in range(50)}
    gateway.serve(swagger() | {"paths": paths}, openapi() | {"paths": paths})
    gateway.settle()
    packed = ask(node, accept_encoding="gzip", if_none_match=fields[b"ETag"].decode())
    assert packed.status == 200 and dict(packed.headers)[b"Content-Encoding"] == b"gzip"
    assert "/49" in json.loads(gzip.decompress(packed.body))["paths"]


PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


def test_what_only_a_kubernetes_api_server_has_is_its_to_answer() -> None:
    gateway = Gateway()
    kubernetes: Any = SimpleNamespace(handle=lambda exchange: Response.text(200, "kubernetes"))
    v2, v3 = (OpenAPINode(gateway.openapi, version, kubernetes) for version in ("v2", "v3"))
    assert ask(v2, accept=PROTOBUF).body == b"kubernetes"
    assert ask(v2, accept="application/json").body != b"kubernetes"
    assert ask(v3, "/openapi/v3/apis/apps/v1").body == b"kubernetes"
    assert ask(v3, "/openapi/v3").body != b"kubernetes"
    alone = OpenAPINode(gateway.openapi, "v2")
    assert ask(alone, accept=PROTOBUF).body == gateway.openapi.v2.body
    with pytest.raises(StatusError) as refused:
        ask(alone, "/openapi/v2/x")
    assert refused.value.code == 404

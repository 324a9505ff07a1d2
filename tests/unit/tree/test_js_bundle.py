"""JSBundles: content from every kind of source, and which bundle is served where as bundles come and go."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.task import Clock

from ksproxyd.model.message import Fields, Response
from ksproxyd.model.status import StatusError
from ksproxyd.state.kinds import CONFIG_MAPS, SECRETS, Kind
from ksproxyd.state.validation import EXTENSION_REF
from ksproxyd.tree import Tree, js_bundle
from ksproxyd.tree.bundle_index import BundleIndex
from ksproxyd.upstream.guard import Condition
from ksproxyd.upstream.plan import Answer, Plan
from ksproxyd.upstream.target import Target, TrustPolicy

SCRIPT = b"console.log('x');\n"
BIG = b"// a line of a large script\n" * 20000
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def twice(data: bytes) -> str:
    return b64(b64(data).encode())


class Cluster:
    """ConfigMaps and Secrets, and who follows them (:class:`ksproxyd.state.references.References`)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any] | None] = {}
        self.followers: dict[tuple[str, str, str], list[Callable[[Any, Any], None]]] = {}

    def want(self, kind: Kind, namespace: str, name: str, callback: Any) -> Callable[[], None]:
        if "/" in name:
            raise ValueError(f"{name!r} is not a name")
        key = (kind.name, namespace, name)
        followers = self.followers.setdefault(key, [])
        followers.append(callback)
        if key in self.objects:
            callback(None, self.objects[key])

        def let_go() -> None:
            followers.remove(callback)
            if not followers:
                del self.followers[key]

        return let_go

    def put(self, kind: Kind, name: str, value: dict[str, Any] | None) -> None:
        key = (kind.name, "ns", name)
        old, self.objects[key] = self.objects.get(key), value
        for callback in list(self.followers.get(key, ())):
            callback(old, value)


class Gateway:
    """An index on a real tree, with everything around it in our hands."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.tree = Tree()
        self.cluster = Cluster()
        self.held: list[Target] = []
        self.forwarded: list[tuple[Any, Plan, bytes]] = []
        self.threads: list[Callable[[], Any]] = []
        self.changed: list[str] = []
        around: Any = self
        self.index = BundleIndex(
            self.tree,
            self.cluster,
            around,
            around,
            self.in_thread,
            self.clock,
            changed=self.changed.append,
            **options,
        )

    # pools and proxy
    def hold(self, target: Target) -> Any:
        self.held.append(target)
        return SimpleNamespace(target=target)

    def release(self, target: Target) -> None:
        self.held.remove(target)

    def forward(self, exchange: Any, plan: Plan, target: bytes) -> None:
        self.forwarded.append((exchange, plan, target))

    def in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.threads.append(lambda: maybeDeferred(function, *args).chainDeferred(done))
        return done

    def run_threads(self) -> None:
        while self.threads:
            self.threads.pop(0)()

    def add(self, *values: dict[str, Any]) -> None:
        for value in values:
            self.index.apply(None, value)

    def ask(self, path: str, method: str = "GET", **fields: str) -> Any:
        """The outcome of a request; errors are returned."""
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        path, mark, query = path.partition("?")
        exchange: Any = SimpleNamespace(
            method=method,
            fields=Fields(pairs),
            info=SimpleNamespace(path=path),
            query=query.encode(),
            has_query=mark == "?",
            upgrade=b"websocket",
            node="",
        )
        try:
            outcome = self.tree.serve(exchange)
        except StatusError as error:
            return error
        if outcome is not None and not isinstance(outcome, Response):
            result: Deferred[Any] = ensureDeferred(outcome)  # type: ignore[arg-type]
            result.addErrback(lambda failure: failure.value)
            return result
        return outcome

    def content(self, path: str) -> bytes:
        outcome = self.ask(path)
        assert isinstance(outcome, Response), outcome
        return outcome.body

    def status(self, path: str) -> int:
        outcome = self.ask(path)
        return outcome.code if isinstance(outcome, StatusError) else outcome.status


def bundle(
    name: str = "e",
    link: Any = None,
    created: str = OLD,
    *,
    state: Any = "Available",
    labels: Any = None,
    **spec: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "creationTimestamp": created}
    if labels is not None:
        metadata["labels"] = labels
    return {
        "metadata": metadata,
        "spec": spec,
        "status": {"state": state, "link": f"/dist/{name}/index.js" if link is None else link},
    }


LINK = "/dist/e/index.js"


# -- raw -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b64(SCRIPT), twice(SCRIPT), base64.encodebytes(SCRIPT).decode()])
def test_raw_content(raw: str) -> None:
    gateway = Gateway()
    gateway.add(bundle(raw=raw))
    answer = gateway.ask(LINK)
    assert (answer.status, answer.body) == (200, SCRIPT)
    fields = dict(answer.headers)
    assert len(fields) == len(answer.headers)
    assert fields.pop(b"ETag")
    assert fields == {
        b"Content-Type": b"application/javascript; charset=utf-8",
        b"X-Content-Type-Options": b"nosniff",
        b"Cache-Control": b"no-cache",
        b"Vary": b"Accept-Encoding",
    }
    assert gateway.index.problem("e") == ""


def test_conditional_and_compressed() -> None:
    gateway = Gateway()
    gateway.add(bundle(raw=b64(SCRIPT * 100)))
    etag = dict(gateway.ask(LINK).headers)[b"ETag"].decode()
    assert gateway.ask(LINK, if_none_match=etag).status == 304
    assert gateway.ask(LINK, if_none_match="*").status == 304
    assert gateway.ask(LINK, method="HEAD").headers == gateway.ask(LINK).headers
    assert gzip.decompress(gateway.ask(LINK, accept_encoding="gzip").body) == SCRIPT * 100
    assert gateway.content(LINK + "?v=1") == SCRIPT * 100


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"])
def test_a_file_is_read_and_nothing_else(method: str) -> None:
    gateway = Gateway()
    gateway.add(bundle(raw=b64(SCRIPT)), bundle("r", rawFrom={"url": "http://b.test"}))
    for path in (LINK, "/dist/r/index.js"):
        error = gateway.ask(path, method=method)
        assert error.code == 405 and (b"Allow", b"GET, HEAD") in error.headers
    assert not gateway.forwarded


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("not base64", "failed to decode raw content"),
        ("YQ", "failed to decode raw content"),
        ("\N{SNOWMAN}", "failed to decode raw content"),
        (5, "failed to decode raw content"),
        ({}, "failed to decode raw content"),
        (b64(b"x" * 200), "more than 100 bytes"),
    ],
)
def test_raw_that_cannot_be_served(raw: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(js_bundle, "CONTENT_LIMIT", 100)
    gateway = Gateway()
    gateway.add(bundle(raw=raw))
    error = gateway.ask(LINK)
    assert error.code == 503 and message in error.message
    assert message in gateway.index.problem("e")
    assert gateway.changed == ["e"] * len(gateway.changed) and gateway.changed


@given(st.binary(max_size=40))
def test_whatever_is_encoded_twice_is_decoded_twice(data: bytes) -> None:
    assert js_bundle.decode_raw(twice(data)) == data


def test_large_content_is_prepared_in_a_thread_while_requests_wait() -> None:
    gateway = Gateway()
    gateway.add(bundle(raw=twice(BIG)))
    first, second = gateway.ask(LINK), gateway.ask(LINK, accept_encoding="gzip")
    gone = gateway.ask(LINK)
    gone.cancel()
    assert not first.called and not second.called
    assert gateway.index.problem("e") == "" and gateway.changed == ["e"]
    gateway.run_threads()
    assert first.result.body == BIG and gzip.decompress(second.result.body) == BIG
    assert gateway.content(LINK) == BIG
    assert gateway.changed == ["e", "e"]
    assert not gateway.clock.getDelayedCalls()


def test_waiting_has_an_end() -> None:
    gateway = Gateway(patience=3.0)
    gateway.add(bundle(raw=twice(BIG)))
    waiting = gateway.ask(LINK)
    gateway.clock.advance(2.9)
    assert not waiting.called
    gateway.clock.advance(0.1)
    assert waiting.result.code == 503 and waiting.result.retry_after == 1
    gateway.run_threads()
    assert gateway.content(LINK) == BIG


def test_large_content_that_is_wrong() -> None:
    gateway = Gateway()
    gateway.add(bundle(raw="!" + twice(BIG)))
    waiting = gateway.ask(LINK)
    gateway.run_threads()
    assert waiting.result.code == 503 and "failed to decode" in waiting.result.message


def test_a_thread_that_breaks_is_logged(monkeypatch: pytest.MonkeyPatch, logged_errors: Any) -> None:
    monkeypatch.setattr(js_bundle, "decode_raw", lambda raw: 1 / 0)
    gateway = Gateway()
    gateway.add(bundle(raw=twice(BIG)))
    gateway.run_threads()
    assert len(logged_errors.take()) == 1
    assert gateway.ask(LINK).code == 503


def test_a_bundle_that_goes_while_its_content_is_prepared() -> None:
    gateway = Gateway()
    value = bundle(raw=twice(BIG))
    gateway.add(value)
    waiting = gateway.ask(LINK)
    gateway.index.apply(value, None)
    assert waiting.result.code == 503
    gateway.run_threads()
    assert gateway.status(LINK) == 404
    assert not gateway.clock.getDelayedCalls()


# -- ConfigMaps and Secrets ----------------------------------------------------------------------------


def reference(kind: str = "configMapKeyRef", **more: Any) -> dict[str, Any]:
    return {kind: {"namespace": "ns", "name": "content", "key": "index.js", **more}}


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (CONFIG_MAPS, "configMapKeyRef", {"data": {"index.js": SCRIPT.decode()}}),
        (CONFIG_MAPS, "configMapKeyRef", {"binaryData": {"index.js": b64(SCRIPT)}}),
        (CONFIG_MAPS, "configMapKeyRef", {"data": {"x": "y"}, "binaryData": {"index.js": b64(SCRIPT)}}),
        (SECRETS, "secretKeyRef", {"data": {"index.js": b64(SCRIPT)}}),
    ],
)
def test_referenced_content(kind: Kind, key: str, value: dict[str, Any]) -> None:
    gateway = Gateway()
    gateway.cluster.put(kind, "content", value)
    gateway.add(bundle(rawFrom=reference(key)))
    answer = gateway.ask(LINK)
    assert answer.body == SCRIPT
    assert (b"Content-Type", js_bundle.SCRIPT) in answer.headers


def test_text_of_a_config_map_is_not_decoded() -> None:
    gateway = Gateway()
    gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": "YWJj \N{SNOWMAN}"}})
    gateway.add(bundle(rawFrom=reference()))
    assert gateway.content(LINK) == "YWJj \N{SNOWMAN}".encode()


def test_a_secret_is_decoded_once() -> None:
    gateway = Gateway()
    gateway.cluster.put(SECRETS, "content", {"data": {"index.js": twice(SCRIPT)}})
    gateway.add(bundle(rawFrom=reference("secretKeyRef")))
    assert gateway.content(LINK) == b64(SCRIPT).encode()


def test_requests_wait_until_the_object_is_known() -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom=reference()))
    waiting = gateway.ask(LINK)
    assert not waiting.called
    gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": "1"}})
    assert waiting.result.body == b"1"


@pytest.mark.parametrize(
    ("key", "optional", "code", "message"),
    [
        ("configMapKeyRef", None, 503, "failed to fetch content from configMap"),
        ("configMapKeyRef", False, 503, "failed to fetch content from configMap"),
        ("configMapKeyRef", True, 404, "failed to fetch content from configMap"),
        ("secretKeyRef", None, 503, "failed to fetch content from secret"),
        ("secretKeyRef", True, 404, "failed to fetch content from secret"),
    ],
)
def test_an_object_that_does_not_exist(key: str, optional: bool | None, code: int, message: str) -> None:
    gateway = Gateway()
    gateway.cluster.put(SECRETS if key == "secretKeyRef" else CONFIG_MAPS, "content", None)
    gateway.add(bundle(rawFrom=reference(key, optional=optional)))
    error = gateway.ask(LINK)
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("configMapKeyRef", {}, 404),
        ("configMapKeyRef", {"data": {"other": "x"}}, 404),
        ("configMapKeyRef", {"data": [], "binaryData": 5}, 404),
        ("configMapKeyRef", {"data": {"index.js": 5}}, 404),
        ("configMapKeyRef", {"binaryData": {"index.js": "%%"}}, 503),
        ("configMapKeyRef", {"data": {"index.js": "\ud800"}}, 503),
        ("secretKeyRef", {"data": {"index.js": "%%"}}, 503),
        ("secretKeyRef", {"binaryData": {"index.js": b64(SCRIPT)}}, 404),
    ],
)
def test_a_value_that_is_missing_or_broken(key: str, value: dict[str, Any], code: int) -> None:
    gateway = Gateway()
    gateway.cluster.put(SECRETS if key == "secretKeyRef" else CONFIG_MAPS, "content", value)
    gateway.add(bundle(rawFrom=reference(key)))
    assert gateway.status(LINK) == code
    assert gateway.index.problem("e")


def test_content_follows_the_object() -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom=reference()))
    for text in ("1", "2"):
        gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": text}})
        assert gateway.content(LINK) == text.encode()
    gateway.cluster.put(CONFIG_MAPS, "content", {"data": {}})
    assert gateway.status(LINK) == 404
    gateway.cluster.put(CONFIG_MAPS, "content", None)
    assert gateway.status(LINK) == 503
    gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": "2"}})
    assert gateway.content(LINK) == b"2"


def test_old_content_is_served_while_new_is_prepared() -> None:
    gateway = Gateway()
    gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": "old"}})
    gateway.add(bundle(rawFrom=reference()))
    gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": BIG.decode()}})
    assert gateway.content(LINK) == b"old"
    gateway.run_threads()
    assert gateway.content(LINK) == BIG


def test_the_newest_content_wins_whichever_thread_ends_first() -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom=reference()))
    for digit in "12":
        gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": digit * 50000}})
    first, second = gateway.threads
    second()
    first()
    assert gateway.content(LINK) == b"2" * 50000


def test_a_change_beside_the_key_prepares_nothing() -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom=reference()))
    gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": BIG.decode()}})
    gateway.run_threads()
    gateway.cluster.put(CONFIG_MAPS, "content", {"data": {"index.js": BIG.decode(), "other": "x"}})
    assert not gateway.threads


def test_nothing_is_followed_in_vain() -> None:
    gateway = Gateway()
    value = bundle(rawFrom=reference())
    gateway.add(value)
    assert list(gateway.cluster.followers) == [("ConfigMap", "ns", "content")]
    gateway.index.apply(value, bundle(rawFrom=reference("secretKeyRef")))
    assert list(gateway.cluster.followers) == [("Secret", "ns", "content")]
    gateway.index.apply(value, bundle(rawFrom=reference(), state="Disabled"))
    assert not gateway.cluster.followers


@pytest.mark.parametrize(
    "ref",
    [{}, [], 5, {"name": "content", "namespace": "ns"}, {"name": "a/b", "namespace": "ns", "key": "k"}],
)
def test_a_reference_that_is_none(ref: Any, logged: list[str]) -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom={"configMapKeyRef": ref}))
    error = gateway.ask(LINK)
    assert error.code == 503 and error.message == "failed to fetch content: configMapKeyRef is incomplete"
    assert gateway.index.problem("e") == error.message
    assert len(logged) == 1 and not gateway.cluster.followers


# -- remote content ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path", "target"),
    [
        ("http://b.test/bundle/index.js?be=1", LINK + "?v=2", b"/bundle/index.js?v=2"),
        ("http://b.test/bundle/index.js?be=1", LINK, b"/bundle/index.js"),
        ("http://b.test/x", LINK + "?", b"/x?"),
        ("http://b.test", LINK, b"/"),
    ],
)
def test_remote_content(url: str, path: str, target: bytes) -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom={"url": url}))
    assert gateway.ask(path) is None
    ((exchange, plan, sent),) = gateway.forwarded
    assert sent == target
    assert plan.pool.target == Target("http", "b.test", 80) and plan.host == b"b.test"
    assert {b"authorization", b"cookie"} <= plan.drop and not plan.identity
    assert exchange.upgrade is None
    assert exchange.node == plan.name == "JSBundle e"


def changed_by(plan: Plan, status: int, *items: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    answer = Answer(status, [(name.lower(), name, value) for name, value in items], None, False)
    assert plan.on_answer is not None
    plan.on_answer(SimpleNamespace(), answer)  # type: ignore[arg-type]
    assert all(key == name.lower() for key, name, _ in answer.items)
    return sorted((name, value) for _, name, value in answer.items)


NOSNIFF = (b"X-Content-Type-Options", b"nosniff")


def test_a_remote_script_has_one_type() -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom={"url": "http://b.test"}))
    gateway.ask(LINK)
    ((_, plan, _),) = gateway.forwarded
    typed = (b"Content-Type", js_bundle.SCRIPT)
    html = (b"content-type", b"text/html")
    assert changed_by(plan, 200, html, html, (b"Set-Cookie", b"a=b"), (b"ETag", b'"1"')) == [
        typed,
        (b"ETag", b'"1"'),
        NOSNIFF,
    ]
    assert changed_by(plan, 304, (b"X-CONTENT-TYPE-OPTIONS", b"x")) == [typed, NOSNIFF]
    # An error page is no script.
    assert changed_by(plan, 404, html) == [NOSNIFF, html]


ASSETS = {
    "style": {"link": "/dist/e/style.css", "url": "http://b.test/s.css"},
    "files": [
        {"name": "a", "link": "/dist/e/a.svg", "url": "http://b.test/a", "mimeType": "image/svg+xml"},
        {"name": "b", "link": "/dist/e/b.bin", "service": {"name": "s", "namespace": "n", "path": "/b"}},
    ],
}


@pytest.mark.parametrize(
    ("path", "target", "path_there", "types"),
    [
        ("/dist/e/style.css", Target("http", "b.test", 80), b"/s.css", [b"x/y"]),
        ("/dist/e/a.svg", Target("http", "b.test", 80), b"/a", [b"image/svg+xml"]),
        ("/dist/e/b.bin", Target("https", "s.n.svc", 443, TrustPolicy()), b"/b", [b"x/y"]),
    ],
)
def test_assets(path: str, target: Target, path_there: bytes, types: list[bytes]) -> None:
    gateway = Gateway()
    gateway.add(bundle(raw=b64(SCRIPT), assets=ASSETS))
    assert gateway.content(LINK) == SCRIPT
    gateway.ask(path)
    ((_, plan, sent),) = gateway.forwarded
    assert (plan.pool.target, sent) == (target, path_there)
    items = changed_by(plan, 200, (b"Content-Type", b"x/y"))
    assert [value for name, value in items if name == b"Content-Type"] == types


def test_pools_are_held_as_long_as_links_are_there() -> None:
    gateway = Gateway()
    value = bundle(raw=b64(SCRIPT), assets=ASSETS)
    gateway.add(value)
    assert len(gateway.held) == 3
    gateway.index.apply(value, bundle(raw=b64(SCRIPT), assets={"style": ASSETS["style"]}))
    assert gateway.held == [Target("http", "b.test", 80)]
    gateway.index.apply(value, None)
    assert not gateway.held


@pytest.mark.parametrize(
    "endpoint",
    [
        {"url": ""},
        {"url": "b.test:80"},
        {"url": "https://inner.test", "caBundle": "%%"},
        {"url": "https://inner.test", "caBundle": b64(b"x"), "insecureSkipVerify": True},
        {"service": {}},
    ],
)
def test_an_endpoint_that_cannot_be_used(endpoint: dict[str, Any], logged: list[str]) -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom=endpoint, assets={"style": {"link": "/dist/e/s.css", **endpoint}}))
    for path in (LINK, "/dist/e/s.css"):
        error = gateway.ask(path)
        assert error.code == 503 and error.message == "failed to fetch content: the endpoint cannot be used"
    # What is wrong is for the author's eyes, not for every client's.
    assert len(logged) == 2 and "inner.test" not in error.message


@pytest.mark.parametrize("media_type", ["html", "text/x\r\nX: y", "text/\N{SNOWMAN}", 5, ["a/b"]])
def test_a_media_type_that_is_none(media_type: Any, logged: list[str]) -> None:
    gateway = Gateway()
    file = {"link": "/dist/e/f", "url": "http://b.test", "mimeType": media_type}
    gateway.add(bundle(raw=b64(SCRIPT), assets={"files": [file]}))
    assert gateway.status("/dist/e/f") == 404
    assert len(logged) == 1 and "is no media type" in logged[0]


# -- links ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["Disabled", "Enabled", "Unavailable", "available", "", None, True, ["Available"]])
def test_only_available_bundles_are_served(state: Any) -> None:
    gateway = Gateway()
    value = bundle(raw=b64(SCRIPT), assets=ASSETS)
    gateway.add(value)
    gateway.index.apply(value, bundle(raw=b64(SCRIPT), assets=ASSETS, state=state))
    assert gateway.status(LINK) == 404 and not list(gateway.tree.walk()) and not gateway.held


@pytest.mark.parametrize("spec", [{}, {"raw": ""}, {"raw": None}, {"rawFrom": {}}, {"rawFrom": {"url": None}}])
def test_a_bundle_without_content(spec: dict[str, Any], logged: list[str]) -> None:
    gateway = Gateway()
    gateway.add(bundle(**spec))
    assert gateway.status(LINK) == 404
    assert logged == ["JSBundle e: status.link: there is no content: write raw or rawFrom"]


def test_an_extension_stays_below_its_own_name(logged: list[str]) -> None:
    gateway = Gateway()
    gateway.add(bundle("a", "/dist/devops/index.js", labels={EXTENSION_REF: "dev"}, raw=b64(b"thief")))
    gateway.add(bundle("b", "/dist/devops/index.js", NEW, labels={EXTENSION_REF: "devops"}, raw=b64(SCRIPT)))
    assert gateway.content("/dist/devops/index.js") == SCRIPT
    assert logged == ['JSBundle a: status.link: "/dist/devops/index.js" is not below /dist/dev/']


def test_problems_are_said_when_they_change(logged: list[str]) -> None:
    gateway = Gateway()
    value = bundle()
    gateway.add(value)
    gateway.index.apply(value, value | {"status": {"state": "Available", "link": LINK, "conditions": []}})
    assert len(logged) == 1
    gateway.index.apply(value, bundle(raw=b64(SCRIPT)))
    gateway.index.apply(value, value)
    assert len(logged) == 2


def test_precedence_and_handover() -> None:
    gateway = Gateway()
    link = "/dist/x/index.js"
    by_file = bundle(
        "file", "/dist/x/other.js", raw=b64(b"-"), assets={"files": [{"link": link, "url": "http://f.test"}]}
    )
    by_style = bundle(
        "style", "/dist/x/more.js", NEW, raw=b64(b"-"), assets={"style": {"link": link, "url": "http://s.test"}}
    )
    newest = bundle("a", link, NEW, raw=b64(b"newest"))
    second = bundle("c", link, OLD, raw=b64(b"second"))
    first = bundle("b", link, OLD, raw=b64(b"first"))
    gateway.add(by_file)
    gateway.ask(link)
    assert gateway.forwarded.pop()[1].pool.target.host == "f.test"
    gateway.add(by_style)
    gateway.ask(link)
    assert gateway.forwarded.pop()[1].pool.target.host == "s.test"
    for value, content in ((newest, b"newest"), (second, b"second"), (first, b"first")):
        gateway.add(value)
        assert gateway.content(link) == content
    for value, content in ((first, b"second"), (second, b"newest")):
        gateway.index.apply(value, None)
        assert gateway.content(link) == content
    gateway.index.apply(newest, bundle("a", link, NEW, raw=b64(b"x"), state="Disabled"))
    gateway.ask(link)
    assert gateway.forwarded.pop()[1].pool.target.host == "s.test"
    gateway.index.apply(by_style, None)
    gateway.ask(link)
    assert gateway.forwarded.pop()[1].pool.target.host == "f.test"
    gateway.index.apply(by_file, None)
    assert not list(gateway.tree.walk())


def test_a_loser_is_told(logged: list[str]) -> None:
    gateway = Gateway()
    gateway.add(bundle("a", "/dist/x", raw=b64(SCRIPT)), bundle("b", "/dist/x", raw=b64(SCRIPT)))
    assert logged == ["JSBundle b: /dist/x is served for status.link of JSBundle a"]
    assert gateway.index.problem("b") == ""


def test_a_path_of_the_gateways_own_is_not_taken(logged: list[str]) -> None:
    gateway = Gateway()
    own: Any = SimpleNamespace(handle=lambda exchange: Response.text(200, "own"), describe=lambda: "own")
    gateway.tree.mount("/dist/own", own)
    value = bundle("a", "/dist/own", raw=b64(SCRIPT))
    gateway.add(value)
    assert gateway.content("/dist/own") == b"own"
    assert logged == ["status.link of JSBundle a is taken by the gateway itself"]
    gateway.index.apply(value, None)
    assert gateway.content("/dist/own") == b"own"


def test_what_does_not_concern_the_content_keeps_the_node() -> None:
    gateway = Gateway()
    value = bundle(raw=twice(BIG), assets=ASSETS)
    gateway.add(value)
    node = gateway.tree.find(LINK)
    labelled = bundle(raw=twice(BIG), labels={"x": "y"}, assets={})
    labelled["status"]["conditions"] = [{"type": "Available"}]
    gateway.index.apply(value, labelled)
    assert gateway.tree.find(LINK) is node and len(gateway.threads) == 1
    gateway.index.apply(labelled, bundle(raw=b64(SCRIPT)))
    assert gateway.tree.find(LINK) is not node and gateway.content(LINK) == SCRIPT


def test_a_link_that_moves() -> None:
    gateway = Gateway()
    value = bundle(raw=b64(SCRIPT))
    gateway.add(value)
    gateway.index.apply(value, bundle(link="/dist/e/new.js", raw=b64(SCRIPT)))
    assert gateway.status(LINK) == 404 and gateway.content("/dist/e/new.js") == SCRIPT


def test_conditions() -> None:
    gateway = Gateway()
    gateway.add(bundle(rawFrom=reference()))
    assert gateway.index.conditions("e") == [Condition("ContentReady", "True", "Served", "")]
    gateway.cluster.put(CONFIG_MAPS, "content", None)
    message = "failed to fetch content from configMap"
    assert gateway.index.conditions("e") == [Condition("ContentReady", "False", "NotServed", message)]
    assert gateway.index.conditions("other") == []


def test_descriptions() -> None:
    gateway = Gateway()
    gateway.add(bundle(raw=b64(SCRIPT), assets=ASSETS), bundle("f", rawFrom=reference()), bundle("g", raw=5))
    assert [(path, node.describe()) for path, node in gateway.tree.walk()] == [
        ("/dist/e/a.svg", "JSBundle e: http://b.test/a"),
        ("/dist/e/b.bin", "JSBundle e: https://s.n.svc/b"),
        ("/dist/e/index.js", "JSBundle e: raw"),
        ("/dist/e/style.css", "JSBundle e: http://b.test/s.css"),
        ("/dist/f/index.js", "JSBundle f: ConfigMap ns/content key index.js"),
        ("/dist/g/index.js", "JSBundle g: failed to decode raw content: it is no string"),
    ]


def test_closing() -> None:
    gateway = Gateway()
    gateway.add(bundle(raw=twice(BIG), assets=ASSETS), bundle("f", rawFrom=reference()))
    gateway.index.close()
    assert not list(gateway.tree.walk()) and not gateway.held and not gateway.cluster.followers
    gateway.index.apply(None, None)


# -- any shape, any order ------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
odd_endpoints = st.fixed_dictionaries(
    {}, optional={"url": json_values | st.just("http://b.test"), "caBundle": json_values, "link": json_values}
)
odd_specs = st.fixed_dictionaries(
    {},
    optional={
        "raw": json_values | st.just(b64(SCRIPT)),
        "rawFrom": json_values
        | odd_endpoints
        | st.just(reference())
        | st.fixed_dictionaries({"secretKeyRef": json_values}),
        "assets": json_values
        | st.fixed_dictionaries({"style": json_values | odd_endpoints, "files": json_values | st.lists(odd_endpoints)}),
    },
)
odd_bundles = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.sampled_from("ab")}, optional={"labels": json_values, "creationTimestamp": json_values}
        ),
        "spec": json_values | odd_specs,
        "status": json_values | st.just({"state": "Available", "link": "/dist/x"}),
    }
)


@given(st.lists(st.tuples(odd_bundles, st.booleans()), max_size=6))
def test_any_shape_is_taken(events: list[tuple[dict[str, Any], bool]]) -> None:
    gateway = Gateway()
    stored: dict[str, dict[str, Any]] = {}
    for value, gone in events:
        name = value["metadata"]["name"]
        old = stored.pop(name, None)
        if gone:
            gateway.index.apply(old, None)
        else:
            stored[name] = value
            gateway.index.apply(old, value)
        for path, node in gateway.tree.walk():
            assert node.describe()
            gateway.ask(path)
    for value in stored.values():
        gateway.index.apply(value, None)
    assert not list(gateway.tree.walk()) and not gateway.held and not gateway.cluster.followers


links = st.sampled_from(["/dist/1", "/dist/2", "/dist/3"])
names = st.sampled_from("abcd")
plain_bundles = st.builds(
    lambda name, created, link, style, files, available: bundle(
        name,
        link,
        created,
        state="Available" if available else "Disabled",
        raw=b64(f"{name} {created}".encode()),
        assets={
            "style": {"link": style, "url": f"http://{name}.test/style"},
            "files": [{"link": file, "url": f"http://{name}.test/file{i}"} for i, file in enumerate(files)],
        },
    ),
    names,
    st.sampled_from([OLD, NEW]),
    links,
    links,
    st.lists(links, max_size=2),
    st.booleans(),
)


@settings(max_examples=200)
@given(st.lists(st.one_of(plain_bundles, names), max_size=12))
def test_after_any_events_the_right_claims_are_served(events: list[Any]) -> None:
    gateway = Gateway()
    stored: dict[str, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, str):
            old = stored.pop(event, None)
            if old is not None:
                gateway.index.apply(old, None)
        else:
            name = event["metadata"]["name"]
            old = stored.get(name)
            stored[name] = event
            gateway.index.apply(old, event)
    claims = []
    for name, value in stored.items():
        if value["status"]["state"] != "Available":
            continue
        age = (value["metadata"]["creationTimestamp"], name)
        claims.append((0, age, 0, value["status"]["link"], f"JSBundle {name}: raw"))
        assets = value["spec"]["assets"]
        where = f"JSBundle {name}: http://{name}.test"
        claims.append((1, age, 0, assets["style"]["link"], f"{where}/style"))
        claims += [(2, age, i, f["link"], f"{where}/file{i}") for i, f in enumerate(assets["files"])]
    expected = {link: what for _, _, _, link, what in sorted(claims, reverse=True)}
    assert {path: node.describe() for path, node in gateway.tree.walk()} == expected
    for path, what in expected.items():
        if what.endswith("raw"):
            name = what.split()[1].rstrip(":")
            assert gateway.content(path) == f"{name} {stored[name]['metadata']['creationTimestamp']}".encode()

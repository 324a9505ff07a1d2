from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from contract.objects import config_map
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ksproxyd.model.message import Fields, Pairs, Response
from ksproxyd.model.status import too_large
from ksproxyd.standalone import serve
from ksproxyd.standalone.access import Access
from ksproxyd.standalone.api import StandaloneAPI
from ksproxyd.standalone.bootstrap import fill
from ksproxyd.standalone.serve import BODY_LIMIT, StandaloneNode
from ksproxyd.standalone.storage.store import Store

PATH = "/api/v1/namespaces/default/configmaps"
TOKEN = "secret"


class Reactor(Clock):
    def getThreadPool(self) -> None:
        return None


class FakeExchange:
    """An exchange that keeps what it is answered; ``slow`` lets the client stop reading."""

    def __init__(self, method: str, target: str, body: bytes = b"", token: str | None = TOKEN, **headers: str) -> None:
        path, _, query = target.partition("?")
        self.method = method
        self.path = path.encode()
        self.query = query.encode()
        self.fields = Fields([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])
        if token is not None:
            self.fields.add(b"Authorization", f"Bearer {token}".encode())
        self._body = body
        self.length = len(body)
        self.id = "test"
        self.status = 0
        self.finished = False
        self.aborted = False
        self.headers: Pairs = []
        self.sent = b""
        self._collected = b""
        self.flushes = 0
        self.slow = False
        self.producer: Any = None
        self.on_gone: Callable[[], object] | None = None

    def read_body(self, limit: int) -> Deferred[bytes]:
        if len(self._body) > limit:
            return fail(too_large("too much"))
        return succeed(self._body)

    def respond(self, response: Response) -> None:
        self.start(response.status, response.headers, len(response.body))
        self.write(response.body)
        self.finish()

    def start(self, status: int, headers: Pairs, length: int | None) -> None:
        assert not self.status
        self.status, self.headers = status, headers

    def write(self, data: bytes) -> None:
        assert not self.finished
        self._collected += data

    def flush(self) -> None:
        self.sent += self._collected
        if self._collected:
            self.flushes += 1
        self._collected = b""
        if self.slow and self.producer is not None:
            self.producer.pauseProducing()

    def finish(self) -> None:
        self.flush()
        self.finished = True

    def abort(self) -> None:
        self.finished = self.aborted = True

    def set_producer(self, producer: Any) -> None:
        self.producer = producer

    def leave(self) -> None:
        """The client goes away."""
        self.finished = True
        if self.on_gone is not None:
            self.on_gone()

    @property
    def json(self) -> Any:
        return json.loads(self.sent)

    @property
    def events(self) -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in self.sent.splitlines()]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in lines]


class World:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.store = Store()
        self.api = StandaloneAPI(self.store, self.reactor)
        self.api.start()
        fill(self.api, [])
        self.reactor.advance(0)
        self.node = StandaloneNode(self.api, Access(TOKEN), self.reactor)

    def ask(self, method: str, target: str, body: Any = None, **rest: Any) -> FakeExchange:
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        exchange = FakeExchange(method, target, raw, **rest)
        self.node.handle(exchange)  # type: ignore[arg-type]
        return exchange

    def fill(self, count: int, size: int = 1) -> None:
        for number in range(count):
            assert self.ask("POST", PATH, config_map(f"c{number:04}", x="y" * size)).status == 201
        self.reactor.advance(0)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("token", [None, "wrong"])
def test_nobody_gets_in_without_the_token(world: World, token: str | None) -> None:
    for method, target in (("GET", PATH), ("GET", "/api"), ("POST", PATH), ("GET", "/metrics"), ("GET", "/")):
        exchange = world.ask(method, target, token=token)
        assert exchange.status == 401
        assert exchange.json["reason"] == "Unauthorized"


@pytest.mark.parametrize("target", ["/healthz", "/livez", "/readyz", "/version", "/version/"])
def test_health_and_version_are_public(world: World, target: str) -> None:
    assert world.ask("GET", target, token=None).status == 200


def test_paths_that_only_look_public_are_not(world: World) -> None:
    for target in ("/healthz/../api", "/version/x", "/%2fversion", "/readyz%00"):
        assert world.ask("GET", target, token=None).status == 401


def test_objects_are_made_and_read(world: World) -> None:
    made = world.ask("POST", PATH, config_map("a", x="1"))
    assert (made.status, made.finished) == (201, True)
    assert world.ask("GET", f"{PATH}/a").json == made.json


def test_bad_path_is_a_bad_request(world: World) -> None:
    assert world.ask("GET", "/%zz").status == 400


def test_body_is_bounded(world: World) -> None:
    exchange = world.ask("POST", PATH, b"x" * (BODY_LIMIT + 1))
    assert exchange.status == 413


def test_errors_come_as_the_client_wants_them(world: World) -> None:
    exchange = world.ask("GET", f"{PATH}/nothing", Accept="application/yaml")
    assert exchange.status == 404
    assert b"reason: NotFound" in exchange.sent


def test_mistake_of_ours_is_a_500_and_logged(world: World, monkeypatch: pytest.MonkeyPatch, logged_errors: Any) -> None:
    def fail(request: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr(world.api, "handle", fail)
    for exchange in (world.ask("GET", PATH), world.ask("POST", PATH, {})):
        assert exchange.status == 500
        assert "test" in exchange.json["message"]
        assert "ours" not in exchange.json["message"]
    assert len(logged_errors.take()) == 2


def test_client_that_left_with_its_body_gets_nothing(world: World) -> None:
    exchange = FakeExchange("POST", PATH, b"{}")
    waiting: Deferred[bytes] = Deferred()
    exchange.read_body = lambda limit: waiting  # type: ignore[method-assign]
    world.node.handle(exchange)  # type: ignore[arg-type]
    exchange.leave()
    waiting.callback(b'{"metadata": {"name": "a"}}')
    assert exchange.status == 0
    assert world.ask("GET", f"{PATH}/a").status == 404


# -- lists -----------------------------------------------------------------------------------------------------


def test_long_list_is_sent_over_several_turns(world: World) -> None:
    world.fill(350)
    exchange = world.ask("GET", PATH)
    assert not exchange.finished
    world.reactor.advance(0)
    assert exchange.finished
    assert exchange.flushes > 2
    assert len(exchange.json["items"]) == 350


def test_long_list_waits_for_a_slow_client(world: World) -> None:
    world.fill(350)
    exchange = FakeExchange("GET", PATH)
    exchange.slow = True
    world.node.handle(exchange)  # type: ignore[arg-type]
    world.reactor.advance(0)
    first = len(exchange.sent)
    world.reactor.advance(60)
    assert len(exchange.sent) == first
    while not exchange.finished:
        exchange.producer.resumeProducing()
        world.reactor.advance(0)
    assert len(exchange.json["items"]) == 350


def test_list_of_a_client_that_left_is_dropped(world: World) -> None:
    world.fill(350)
    exchange = FakeExchange("GET", PATH)
    exchange.slow = True
    world.node.handle(exchange)  # type: ignore[arg-type]
    exchange.leave()
    sent = len(exchange.sent)
    exchange.producer.resumeProducing()
    world.reactor.advance(0)
    assert len(exchange.sent) == sent
    world.store.compact(world.store.revision)
    assert world.store.floor == world.store.revision


def test_list_that_breaks_off_is_cut(world: World, monkeypatch: pytest.MonkeyPatch, logged_errors: Any) -> None:
    world.fill(350)
    exchange = FakeExchange("GET", PATH)
    exchange.slow = True
    world.node.handle(exchange)  # type: ignore[arg-type]
    monkeypatch.setattr(world.store, "page", lambda *_: 1 / 0)
    exchange.producer.resumeProducing()
    while not exchange.finished:
        exchange.producer.resumeProducing()
        world.reactor.advance(0)
    assert exchange.aborted
    assert len(logged_errors.take()) == 1


# -- watches ---------------------------------------------------------------------------------------------------


def test_watch_begins_at_once_and_goes_on(world: World) -> None:
    exchange = world.ask("GET", f"{PATH}?watch=1")
    assert (exchange.status, exchange.finished, exchange.sent) == (200, False, b"")
    assert (b"Content-Type", b"application/json") in exchange.headers
    world.ask("POST", PATH, config_map("a"))
    assert exchange.sent == b""
    world.reactor.advance(0)
    world.ask("DELETE", f"{PATH}/a")
    world.reactor.advance(0)
    assert exchange.events == [("ADDED", "a"), ("DELETED", "a")]


def test_slow_watch_is_sent_no_more_than_it_takes(world: World) -> None:
    exchange = FakeExchange("GET", f"{PATH}?watch=1")
    exchange.slow = True
    world.node.handle(exchange)  # type: ignore[arg-type]
    exchange.producer.resumeProducing()
    world.reactor.advance(0)
    world.fill(50, size=20_000)
    first = len(exchange.events)
    assert 0 < first < 50
    for _ in range(100):
        exchange.producer.resumeProducing()
        world.reactor.advance(0)
    assert exchange.events == [("ADDED", f"c{number:04}") for number in range(50)]


def test_watch_that_is_behind_goes_on_by_itself(world: World) -> None:
    world.fill(50, size=20_000)
    exchange = world.ask("GET", f"{PATH}?watch=1")
    world.reactor.advance(0)
    assert len(exchange.events) == 50


def test_watch_of_a_client_that_left_is_closed(world: World) -> None:
    before = len(world.reactor.getDelayedCalls())
    exchange = world.ask("GET", f"{PATH}?watch=1")
    exchange.leave()
    world.ask("POST", PATH, config_map("a"))
    world.reactor.advance(0)
    assert exchange.sent == b""
    assert len(world.reactor.getDelayedCalls()) == before


def test_watch_is_finished_at_its_timeout(world: World) -> None:
    exchange = world.ask("GET", f"{PATH}?watch=1&timeoutSeconds=3")
    world.reactor.advance(3)
    world.reactor.advance(0)
    assert exchange.finished
    assert not exchange.aborted


def test_watch_that_cannot_go_on_says_so_and_ends(world: World) -> None:
    exchange = world.ask("GET", f"{PATH}?watch=1&resourceVersion=1")
    assert exchange.finished
    assert json.loads(exchange.sent)["object"]["code"] == 410


def test_refused_watch_is_an_answer(world: World) -> None:
    exchange = world.ask("GET", f"{PATH}?watch=1&labelSelector=%3D")
    assert (exchange.status, exchange.finished) == (400, True)


def test_stop_ends_everything_that_is_open(world: World) -> None:
    world.fill(350)
    watch = world.ask("GET", f"{PATH}?watch=1&resourceVersion={world.store.revision}")
    slow = FakeExchange("GET", PATH)
    slow.slow = True
    world.node.handle(slow)  # type: ignore[arg-type]
    assert world.node.stop() is None
    assert (watch.finished, slow.finished) == (True, True)


# -- YAML ------------------------------------------------------------------------------------------------------


class Threads:
    """In place of threads: the calls, which the test lets return."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], Deferred[Any]]] = []
        monkeypatch.setattr(serve, "deferToThreadPool", self._defer)

    def _defer(self, reactor: Any, pool: Any, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.calls.append((function, arguments, done))
        return done

    def run(self) -> None:
        function, arguments, done = self.calls.pop()
        try:
            done.callback(function(*arguments))
        except Exception:
            done.errback(Failure())


def test_long_yaml_is_read_in_a_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(monkeypatch)
    text = b"metadata:\n  name: a\ndata:\n  x: " + b"y" * 50_000
    exchange = world.ask("POST", PATH, text, Content_Type="application/yaml")
    assert exchange.status == 0
    threads.run()
    assert (exchange.status, exchange.json["data"]) == (201, {"x": "y" * 50_000})


def test_long_yaml_that_is_wrong_is_a_bad_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(monkeypatch)
    text = b"metadata: [" + b"y, " * 20_000
    exchange = world.ask("POST", PATH, text, Content_Type="application/yaml")
    threads.run()
    assert exchange.status == 400
    assert "error converting YAML to JSON" in exchange.json["message"]


def test_short_yaml_and_json_need_no_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(monkeypatch)
    world.ask("POST", PATH, b"metadata: {name: a}", Content_Type="application/yaml")
    world.ask("POST", PATH, config_map("b", x="y" * 50_000))
    assert threads.calls == []


def test_description(world: World) -> None:
    assert world.node.describe() == "embedded Kubernetes API"

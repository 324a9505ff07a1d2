"""The node of an APIService: what is forwarded, what is redirected, what is refused."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ksproxyd.model.message import Fields, Response
from ksproxyd.model.request_info import classify
from ksproxyd.model.status import StatusError
from ksproxyd.server.exchange import Exchange
from ksproxyd.tree.api_service import APIServiceNode
from ksproxyd.tree.endpoint import Endpoint
from ksproxyd.tree.redirect import Redirect, RedirectRule
from ksproxyd.upstream.plan import Plan
from ksproxyd.upstream.relay import Proxy
from ksproxyd.upstream.target import Target

PATH = b"/kapis/ex.example.org/v1/things"


class FakeProxy:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def forward(self, exchange: Any, plan: Any, target: bytes) -> None:
        self.sent.append(target)


class FakeExchange:
    def __init__(self, path: bytes, secure: bool = False) -> None:
        self.path, self.query, self.has_query, self.target = path, b"a=1", True, path + b"?a=1"
        self.info = classify("GET", path, self.query)
        self.fields = Fields([(b"Host", b"gw.example")])
        self.secure, self.trusted, self.peer, self.client = secure, False, "192.0.2.1", "192.0.2.1"


class Scene:
    def __init__(self, rule: RedirectRule | None = None, path: bytes = b"", available: bool = True) -> None:
        self.proxy = FakeProxy()
        redirect = Redirect(rule, "/kapis/ex.example.org/v1") if rule is not None else None
        plan = cast(Plan, object()) if available else None
        endpoint = Endpoint(Target("http", "b.test", 80), path)
        self.node = APIServiceNode("v1.ex", cast(Proxy, self.proxy), plan, endpoint, redirect)

    def handle(self, path: bytes = PATH, secure: bool = False) -> Any:
        return self.node.handle(cast(Exchange, FakeExchange(path, secure)))


def test_the_target_goes_on_as_sent() -> None:
    scene = Scene()
    assert scene.handle() is None
    assert scene.proxy.sent == [PATH + b"?a=1"]


def test_below_the_path_of_the_endpoint() -> None:
    scene = Scene(path=b"/base")
    scene.handle()
    assert scene.proxy.sent == [b"/base" + PATH + b"?a=1"]


def test_a_redirect_stands_for_the_backend() -> None:
    scene = Scene(RedirectRule(hostname="other.example"))
    answer = scene.handle()
    assert isinstance(answer, Response)
    assert dict(answer.headers)[b"Location"] == b"http://other.example" + PATH + b"?a=1"
    assert scene.proxy.sent == []


def test_what_the_redirect_leaves_is_forwarded() -> None:
    scene = Scene(RedirectRule(https_only=True))
    answer = scene.handle()
    assert isinstance(answer, Response)
    assert dict(answer.headers)[b"Location"] == b"https://gw.example" + PATH + b"?a=1"
    assert scene.handle(secure=True) is None
    assert scene.proxy.sent == [PATH + b"?a=1"]


def test_an_api_service_that_cannot_be_used() -> None:
    scene = Scene(RedirectRule(hostname="other.example"), available=False)
    with pytest.raises(StatusError) as caught:
        scene.handle()
    assert (caught.value.code, caught.value.message) == (503, "apiService v1.ex is not available")


def test_discovery_is_not_the_extensions() -> None:
    with pytest.raises(StatusError) as caught:
        Scene().handle(b"/kapis/ex.example.org/v1")
    assert caught.value.code == 404

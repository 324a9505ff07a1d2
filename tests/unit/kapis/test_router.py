"""Methods and paths to handlers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.kapis.router import Route, Router
from ksproxyd.model.message import Response
from ksproxyd.model.status import StatusError


def answers(name: str) -> Any:
    def handler(exchange: Any, **parameters: str) -> Response:
        return Response.json(200, [name, parameters])

    return handler


ROUTER = Router(
    "/kapis/x.io/v1",
    "x",
    [
        Route("GET", "/users", answers("list")),
        Route("POST", "/users", answers("create")),
        Route("GET", "/users/{user}", answers("get")),
        Route("GET", "/users/me", answers("me")),
        Route("PUT", "/users/{user}/password", answers("password")),
        Route("GET", "/{kind}/{name}/{part}", answers("part")),
    ],
)


def ask(method: str, path: str) -> Any:
    exchange: Any = SimpleNamespace(method=method, info=SimpleNamespace(path="/kapis/x.io/v1" + path))
    return ROUTER.handle(exchange)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/users", b'["list",{}]'),
        ("HEAD", "/users", b'["list",{}]'),
        ("GET", "/users/", b'["list",{}]'),
        ("POST", "/users", b'["create",{}]'),
        ("GET", "/users/alice", b'["get",{"user":"alice"}]'),
        ("GET", "/users/me", b'["me",{}]'),
        ("PUT", "/users/alice/password", b'["password",{"user":"alice"}]'),
        ("GET", "/a/b/c", b'["part",{"kind":"a","name":"b","part":"c"}]'),
    ],
)
def test_found(method: str, path: str, body: bytes) -> None:
    assert ask(method, path).body == body


@pytest.mark.parametrize(
    ("method", "path", "code", "allow"),
    [
        ("GET", "", 404, None),
        ("GET", "/nothing", 404, None),
        ("GET", "//users", 404, None),
        ("GET", "/users/alice/password/x", 404, None),
        ("DELETE", "/users", 405, b"GET, HEAD, POST"),
        ("GET", "/users/alice/password", 405, b"PUT"),
    ],
)
def test_refused(method: str, path: str, code: int, allow: bytes | None) -> None:
    with pytest.raises(StatusError) as caught:
        ask(method, path)
    assert caught.value.code == code
    assert dict(caught.value.headers).get(b"Allow") == allow


def test_the_same_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="twice"):
        Router("/x", "x", [Route("GET", "/a", answers("a")), Route("GET", "/a", answers("b"))])


@given(st.text(alphabet="abusermpwod/{}", max_size=30))
def test_parameters_are_never_empty(path: str) -> None:
    try:
        answer = ask("GET", "/" + path)
    except StatusError as error:
        assert error.code in (404, 405)
    else:
        assert b'""' not in answer.body

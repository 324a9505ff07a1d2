"""Spec 01, 1.6, fact 6 of section 8, and the recorded cases ``basic-version*``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ksproxyd.model.message import Fields, Response
from ksproxyd.model.status import StatusError
from ksproxyd.observe.build import BuildInfo
from ksproxyd.tree.version import Version, accepts_json

GOLDEN = Path(__file__).parents[4] / "shared/golden/ks-apiserver.jsonl"

KUBERNETES = b'{"major":"1","minor":"36","gitVersion":"v1.36.2","later":{"a":[1,2.5,null]}}'
BUILD = BuildInfo("v1.2.3", "1", "2", "abc", "clean", "2026-01-01", "python3.11.7", "cpython", "linux/amd64")


class Asked:
    """As much of an exchange as the node reads."""

    def __init__(self, method: str = "GET", accept: bytes | None = None) -> None:
        self.method = method
        self.fields = Fields([] if accept is None else [(b"Accept", accept)])


def ask(method: str = "GET", accept: bytes | None = None) -> Response:
    return Version(BUILD, KUBERNETES).handle(Asked(method, accept))


def test_the_document() -> None:
    answer = ask()
    assert answer.status == 200
    assert answer.headers == [(b"Content-Type", b"application/json")]
    assert json.loads(answer.body) == {
        "gitVersion": "v1.2.3",
        "gitMajor": "1",
        "gitMinor": "2",
        "gitCommit": "abc",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01",
        "goVersion": "python3.11.7",
        "compiler": "cpython",
        "platform": "linux/amd64",
        "kubernetes": json.loads(KUBERNETES),
    }


def test_head_is_as_get() -> None:
    """Whoever sends it leaves the body out."""
    assert ask("HEAD").status == 200


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "get"])
def test_other_methods(method: str) -> None:
    with pytest.raises(StatusError) as caught:
        ask(method)
    assert caught.value.code == 405
    assert caught.value.headers == [(b"Allow", b"GET, HEAD")]


def test_a_client_that_does_not_take_json() -> None:
    with pytest.raises(StatusError) as caught:
        ask(accept=b"application/xml")
    assert (caught.value.code, caught.value.reason) == (406, "NotAcceptable")
    assert "Available representations: application/json" in caught.value.message


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        (None, True),
        (b"", True),
        (b" ", True),
        (b"*/*", True),
        (b"application/*", True),
        (b"Application/JSON;charset=utf-8", True),
        (b"text/html, application/json;q=0.1", True),
        (b"text/html, */*;q=0.8", True),
        (b"text/html", False),
        (b"application/xml", False),
        (b"application/json;q=0", False),
        (b"*/*, application/json; q=0.000", False),
        (b"application/json, */*;q=0", True),
        (b",;,", False),
    ],
)
def test_accept(accept: bytes | None, accepted: bool) -> None:
    assert accepts_json(accept) is accepted


class TestKubernetes:
    def test_refreshed(self) -> None:
        node = Version(BUILD, KUBERNETES)
        node.refresh(b'{"gitVersion":"v1.37.0"}')
        assert json.loads(node.handle(Asked()).body)["kubernetes"] == {"gitVersion": "v1.37.0"}

    @pytest.mark.parametrize("bad", [b"", b"nope", b"[]", b"{}", b'{"gitVersion":5}', b'"v1"'])
    def test_nonsense_is_refused_and_the_old_one_stays(self, bad: bytes) -> None:
        with pytest.raises(ValueError):
            Version(BUILD, bad)
        node = Version(BUILD, KUBERNETES)
        with pytest.raises(ValueError):
            node.refresh(bad)
        assert json.loads(node.handle(Asked()).body)["kubernetes"] == json.loads(KUBERNETES)


def recorded() -> list[Any]:
    """The recorded requests for ``/version`` that the node answers."""
    if not GOLDEN.exists():
        return [
            pytest.param(None, marks=pytest.mark.skip(reason=f"no recordings at {GOLDEN.name} beside the checkout"))
        ]
    cases = map(json.loads, GOLDEN.read_text().splitlines())
    return [
        pytest.param(case, id=case["id"])
        for case in cases
        if case["request"].get("path") == "/version" and case["response"]["status"] in (200, 405, 406)
    ]


@pytest.mark.parametrize("case", recorded())
def test_recorded(case: dict[str, Any]) -> None:
    """Status, Allow, and the members of the document, as the original; HEAD is allowed where GET is."""
    request, response = case["request"], case["response"]
    accept = dict(request["headers"]).get("Accept")
    asked = Asked(request.get("method", "GET"), None if accept is None else accept.encode())
    status = 200 if case["id"] == "basic-version-head" else response["status"]
    try:
        answer = Version(BUILD, KUBERNETES).handle(asked)
    except StatusError as error:
        assert error.code == status
        allow = dict(response["headers"]).get("Allow")
        assert [value for name, value in error.headers if name == b"Allow"] == ([b"GET, HEAD"] if allow else [])
    else:
        assert answer.status == status
        assert (b"Content-Type", b"application/json") in answer.headers
        if request.get("method", "GET") == "GET":
            assert list(json.loads(answer.body)) == list(json.loads(response["body"]))

"""What is asked of the API server where users are concerned, and what becomes of its answers."""

from __future__ import annotations

import gzip
import json
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from ksproxyd.kube.errors import KubeError, KubeUnreachable, failure_status
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Fields
from ksproxyd.model.request_info import classify
from ksproxyd.model.status import StatusError
from ksproxyd.tree.user_secrets import UserSecrets, check_operations, concerns, json_only
from ksproxyd.upstream.plan import Answer

TEXT = json.dumps({"spec": {"email": "", "password": "$2a$10$x"}}).encode()


@pytest.mark.parametrize(
    ("accept", "asked"),
    [
        (None, b"application/json"),
        (b"", b"application/json"),
        (b"*/*", b"application/json"),
        (b"application/yaml", b"application/json"),
        (b"application/vnd.kubernetes.protobuf, */*", b"application/json"),
        (b"Application/JSON;as=Table;v=v1;g=meta.k8s.io, text/html", b"Application/JSON;as=Table;v=v1;g=meta.k8s.io"),
        (b"application/json;as=Table,application/json", b"application/json;as=Table, application/json"),
        (b"application/jsonx, application/yaml;x=application/json", b"application/json"),
    ],
)
def test_the_form_is_json(accept: bytes | None, asked: bytes) -> None:
    assert json_only(accept) == asked


def test_what_it_is_about() -> None:
    for path, ours in [
        (b"/apis/iam.kubesphere.io/v1beta1/users", True),
        (b"/apis/iam.kubesphere.io/v1alpha2/users/alice", True),
        (b"/apis/iam.kubesphere.io/v1beta1/users/alice/status", True),
        (b"/apis/iam.kubesphere.io/v1beta1/%75sers", True),
        (b"/apis/iam.kubesphere.io/v1beta1/watch/users/alice", True),
        (b"/apis/iam.kubesphere.io/v1beta1/groups", False),
        (b"/apis/example.org/v1/users", False),
        (b"/api/v1/users", False),
        (b"/apis/iam.kubesphere.io/v1beta1", False),
    ]:
        assert concerns(classify("GET", path, b"")) is ours, path


def changed(answer: Answer, method: str = "GET", body: bytes = TEXT) -> bytes:
    exchange: Any = SimpleNamespace(method=method)
    UserSecrets.on_answer(exchange, answer)
    assert answer.body is not None
    return b"".join(answer.body.steps(body)) + answer.body.end()


def answer(status: int = 200, **fields: str) -> Answer:
    items = [(n.replace("_", "-").encode(), n.encode(), v.encode()) for n, v in fields.items()]
    return Answer(status, items, len(TEXT), False)


def test_bodies() -> None:
    clean = b'{"spec": {"email": ""}}'
    assert changed(answer(content_type="application/json")) == clean
    assert changed(answer(content_type="application/json;stream=watch", content_encoding="identity")) == clean
    assert changed(answer(422, content_type="application/json")) == clean
    # Words of a filter in front of the API server.
    assert changed(answer(503, content_type="text/plain"), body=b"slow down") == b"slow down"


def test_codings_are_undone_and_done_again() -> None:
    """Nobody is asked for one, but a proxy in between may like to."""
    packed = changed(answer(content_type="application/json", content_encoding="GZIP"), body=gzip.compress(TEXT))
    assert json.loads(gzip.decompress(packed)) == {"spec": {"email": ""}}
    packed = changed(answer(content_type="application/json", content_encoding="deflate"), body=zlib.compress(TEXT))
    assert json.loads(zlib.decompress(packed)) == {"spec": {"email": ""}}


def test_what_describes_the_bytes_goes() -> None:
    given = answer(content_type="application/json", etag='"1"', content_length="7", digest="x", warning="299 - x")
    changed(given)
    assert [name for name, _, _ in given.items] == [b"content-type", b"warning"]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("DELETE", 204)])
def test_answers_without_a_body(method: str, status: int) -> None:
    assert changed(answer(status, content_type="application/yaml"), method) == b""


@pytest.mark.parametrize(
    "fields",
    [
        {"content_type": "application/yaml"},
        {"content_type": "application/vnd.kubernetes.protobuf"},
        {"content_type": "application/cbor"},
        {},
        {"content_type": "application/json", "content_encoding": "zstd"},
        {"content_type": "application/json", "content_encoding": "gzip, gzip"},
    ],
)
def test_what_cannot_be_looked_at_stays_here(fields: dict[str, str]) -> None:
    with pytest.raises(StatusError) as caught:
        changed(answer(**fields))
    assert caught.value.code == 502


def test_parts_of_a_body_stay_here() -> None:
    with pytest.raises(StatusError):
        changed(answer(206, content_type="application/json"))


@pytest.mark.parametrize(
    "pointer", ["", "/spec", "/spec/password", "/spec/password/0", "x/spec/password", "/spec/passw~0rd/../password"]
)
def test_pointers(pointer: str) -> None:
    for key in ("path", "from"):
        patch = [{"op": "copy", "path": "/metadata/labels/a", "from": "/metadata/labels/b", key: pointer}]
        if "~" in pointer:
            check_operations("a", patch)
        else:
            with pytest.raises(StatusError) as caught:
                check_operations("a", patch)
            assert caught.value.code == 422
    for harmless in ("/spec/email", "/spec/passwords", "/status", "/metadata/annotations/password", "spec"):
        if harmless != "spec":
            check_operations("a", [{"op": "remove", "path": harmless}])


class Reader:
    def __init__(self, found: Any) -> None:
        self._found = found

    async def get(self, resource: Any, name: str) -> Any:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def put(body: Any, reader: Reader) -> tuple[Any, Any]:
    """What becomes of a PUT: what is sent on, or the error."""
    sent: list[bytes] = []

    class Exchange:
        upgrade = None
        info = classify("PUT", b"/apis/iam.kubesphere.io/v1beta1/users/a", b"")
        user = Identity("admin")
        fields = Fields([(b"Content-Type", b"application/json; charset=utf-8")])

        def read_body(self, limit: int) -> Deferred[bytes]:
            done: Deferred[bytes] = Deferred()
            done.callback(json.dumps(body).encode())
            return done

        def replace_body(self, content: bytes) -> None:
            sent.append(content)

    exchange: Any = Exchange()
    forwarded: list[int] = []
    results: list[Any] = []
    waiting: Any = UserSecrets(lambda user: True, reader).admit(exchange, lambda: forwarded.append(1))
    Deferred.fromCoroutine(waiting).addBoth(results.append)
    assert len(forwarded) == len(sent)
    return (json.loads(sent[0]) if sent else None), getattr(results[0], "value", None)


def test_the_stored_hash_goes_along() -> None:
    body = {"metadata": {"name": "a"}, "spec": {"email": ""}}
    for stored, password in [({"spec": {"password": "h"}}, "h"), ({"spec": {}}, None), ({}, None)]:
        sent, error = put(body, Reader(stored))
        assert error is None and sent["spec"].get("password") == password
    missing = KubeError(failure_status(404, "NotFound", "no"))
    sent, error = put(body, Reader(missing))
    assert error is None and sent == body
    odd: Any
    for odd in ([], 7, None, {"spec": None}, {"spec": []}):
        assert put(odd, Reader({"spec": {"password": "h"}})) == (odd, None)


def test_while_kubernetes_is_away_nothing_is_written() -> None:
    sent, error = put({"spec": {"email": ""}}, Reader(KubeUnreachable("gone", "connect")))
    assert sent is None and error.code == 502

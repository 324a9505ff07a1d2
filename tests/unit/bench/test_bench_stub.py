"""The stand-in for backends and for the Kubernetes API."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from bench.objects import DOCUMENT, Route, installation
from bench.stub import Connection, Stub

KINDS = "/few/apis/extensions.kubesphere.io/v1alpha1"


class Transport(StringTransport):
    """Takes ``room`` bytes, then stops whoever writes."""

    room = 10_000_000

    def setTcpNoDelay(self, enabled: bool) -> None:
        """The stub's connections are TCP's."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.value()) >= self.room and self.producer is not None:
            self.producer.pauseProducing()


@pytest.fixture
def stub() -> Stub:
    return Stub({"few": installation([Route(0, "http://127.0.0.1:1"), Route(1, "https://127.0.0.1:2", "Q0E=")])})


@pytest.fixture
def connect(stub: Stub) -> Callable[[], Connection]:
    def connect() -> Connection:
        connection = stub.buildProtocol(None)
        connection.makeConnection(Transport())
        return connection

    return connect


def get(connection: Connection, path: str) -> tuple[int, bytes]:
    """Status and body of the answer that is there at once."""
    connection.transport.clear()
    connection.dataReceived(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = connection.transport.value().partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    return int(head.split()[1]), body


def test_it_says_what_a_gateway_asks_at_start(connect: Callable[[], Connection]) -> None:
    connection = connect()
    assert json.loads(get(connection, "/few/version")[1])["gitVersion"].startswith("v1.")
    groups = json.loads(get(connection, "/few/apis")[1])["groups"]
    assert [group["name"] for group in groups] == ["extensions.kubesphere.io"]


def test_it_lists_the_objects_of_the_installation(connect: Callable[[], Connection]) -> None:
    connection = connect()
    page = json.loads(get(connection, f"{KINDS}/apiservices?limit=500")[1])
    assert [item["spec"]["group"] for item in page["items"]] == ["g0.bench.ksproxyd.io", "g1.bench.ksproxyd.io"]
    assert page["items"][1]["spec"]["caBundle"] == "Q0E="
    assert page["metadata"]["resourceVersion"]
    assert json.loads(get(connection, f"{KINDS}/jsbundles")[1])["items"] == []
    assert get(connection, "/few/apis/cluster.kubesphere.io/v1alpha1/clusters")[0] == 404
    assert get(connection, "/openapi/v2")[0] == 404


def test_other_paths_are_the_document(connect: Callable[[], Connection]) -> None:
    assert get(connect(), "/few/api/v1/namespaces/bench/configmaps/settings") == (200, DOCUMENT)


def test_a_watch_begins_with_a_bookmark_and_gets_more(stub: Stub, connect: Callable[[], Connection]) -> None:
    connection = connect()
    connection.dataReceived(f"GET {KINDS}/apiservices?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    first = connection.transport.value()
    assert b"Transfer-Encoding: chunked" in first
    assert first.count(b"BOOKMARK") == 1
    stub.bookmark()
    assert connection.transport.value().count(b"BOOKMARK") == 2
    assert get(connect(), "/watching") == (200, b"1")
    connection.connectionLost(Failure(ConnectionDone()))
    assert get(connect(), "/watching") == (200, b"0")


def test_held_answers_come_when_they_are_released(connect: Callable[[], Connection]) -> None:
    waiting = connect()
    waiting.dataReceived(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
    assert waiting.transport.value() == b""
    other = connect()
    assert get(other, "/held") == (200, b"1")
    assert get(other, "/release")[0] == 200
    assert waiting.transport.value().endswith(DOCUMENT)
    assert get(other, "/held") == (200, b"0")


def test_a_big_body_stops_where_the_reader_does(connect: Callable[[], Connection]) -> None:
    connection = connect()
    transport = connection.transport
    transport.room = 300_000
    connection.dataReceived(b"GET /big/1000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert 300_000 <= len(transport.value()) < 600_000
    transport.room = 10_000_000
    connection.resumeProducing()
    head, _, body = transport.value().partition(b"\r\n\r\n")
    assert b"Content-Length: 1000000" in head
    assert len(body) == 1_000_000
    assert transport.producer is None


def test_a_head_may_come_in_pieces(connect: Callable[[], Connection]) -> None:
    connection = connect()
    for piece in (b"GET /x HT", b"TP/1.1\r\nHost: x\r", b"\n\r", b"\n"):
        assert connection.transport.value() == b""
        connection.dataReceived(piece)
    assert connection.transport.value().endswith(DOCUMENT)

"""Runs a table of requests that must not pass against a gateway with backends that would take anything.

Each is sent whole on a connection of its own, byte by byte, and behind a request that is in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ksproxyd.testing import Backend, Client, MemoryGateway, api_service, reverse_proxy
from ksproxyd.testing.gateway import SETTINGS

NO_METHOD = "does not begin with a method"
UNKNOWN_METHOD = "method is not known here"


class Case(NamedTuple):
    """``status`` is the answer's, ``says`` is in its message."""

    name: str
    raw: bytes
    status: int
    says: str
    #: The connection stays usable afterwards.
    stays: bool = False


class Site:
    """A gateway, and everything behind it that must not notice."""

    def __init__(self, settings: str = SETTINGS) -> None:
        self.gateway = MemoryGateway(settings)
        self.backend = self.gateway.serve("http://backend.example", Backend())
        self.gateway.apply(
            reverse_proxy("b", "/proxy/b/*", "http://backend.example"),
            reverse_proxy("root", "/proxy*", "http://backend.example"),
            api_service("v1.g.example", url="http://backend.example"),
        )
        # A connection that waits for work takes a request the moment it is let through.
        assert self.gateway.get("/proxy/b/warm").status == 200
        assert self.gateway.get("/api/v1/warm").status == 200

    def reached(self) -> tuple[int, int]:
        """Bytes at the backends: they change if anything is let through."""
        return self.backend.bytes_received, self.gateway.kube.bytes_received

    def complete(self) -> int:
        """Requests at the backends that look whole."""
        return len(self.backend.complete) + len(self.gateway.kube.complete)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One for all cases: what one of them breaks, the next one shows."""
    site = Site()
    yield site
    answer = site.gateway.get("/proxy/b/after")
    assert answer.status == 200
    site.gateway.close()


def refused(client: Client, case: Case, pieces: bool = False) -> None:
    """The answer to ``case`` is next, and the connection is what it should be."""
    method = "HEAD" if case.raw.startswith(b"HEAD ") else "GET"
    answer = client.answer(method)
    assert answer.get("content-type") == b"application/json"
    if pieces and case.says in (NO_METHOD, UNKNOWN_METHOD):
        # It is refused at the first byte that no method has there; what would have followed is not known.
        assert answer.status in (400, 501)
    else:
        assert answer.status == case.status, answer
        if method != "HEAD":
            assert case.says in answer.message(), answer.message()
    if case.stays:
        assert answer.get("connection") is None
        assert client.open
    else:
        assert answer.get("connection") == b"close"
        assert not client.open
        assert not client.reset, "the answer was to be read"
    assert client.nothing_more()


def check_whole(site: Site, case: Case) -> None:
    """Sent at once, nothing of it reaches anybody."""
    before = site.reached()
    # The second time nothing that is remembered of the first makes it any better.
    for _ in range(2):
        client = site.gateway.connect()
        client.send(case.raw)
        refused(client, case)
        assert site.reached() == before
        client.close()
        assert site.reached() == before


def check_bytewise(site: Site, case: Case) -> None:
    """Sent byte by byte: of a request whose body breaks the beginning has gone on, but never the whole."""
    before = site.complete()
    client = site.gateway.connect()
    for byte in case.raw:
        if not client.open:
            break
        client.send(bytes((byte,)))
    refused(client, case, True)
    client.close()
    assert site.complete() == before


def check_behind(site: Site, case: Case) -> None:
    """Behind requests that are in order: those are answered first, then it is refused."""
    client = site.gateway.connect()
    head = b"GET /proxy/b/first HTTP/1.1\r\nHost: g.example\r\n\r\n"
    chunked = (
        b"POST /proxy/b/second HTTP/1.1\r\nHost: g.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )
    fixed = b"POST /proxy/b/third HTTP/1.1\r\nHost: g.example\r\nContent-Length: 1\r\n\r\nx"
    before = site.complete()
    client.send(head + chunked + fixed + case.raw)
    for _ in range(3):
        assert client.answer().status == 200
    refused(client, case)
    client.close()
    assert site.complete() == before + 3


def table(cases: list[Case]) -> pytest.MarkDecorator:
    """Parametrizes a test with ``cases``."""
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return pytest.mark.parametrize("case", cases, ids=names)

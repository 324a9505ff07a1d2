"""Connections follow what is configured: objects that change or go, the API server that moves."""

from __future__ import annotations

from typing import Any

import pytest

from ksproxyd.testing import Backend, Conversation, MemoryGateway, Request, api_service, reverse_proxy
from ksproxyd.testing.backend import answer, echo
from ksproxyd.upstream.target import Target

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def watchable(conversation: Conversation, request: Request) -> bytes | None:
    """Streams for ``…/watch``, echoes the rest."""
    return HEAD if request.target.endswith(b"/watch") else echo(conversation, request)


class Streams:
    """A watch, a tunnel and an idle connection through a gateway to ``host``."""

    def __init__(self, gateway: MemoryGateway, prefix: str, host: str) -> None:
        self.backend = gateway.serve(f"http://{host}", Backend(watchable))
        self.gateway = gateway
        self.prefix = prefix
        self.host = host

    def open(self) -> None:
        prefix = self.prefix.encode()
        self.watch, self.tunnel = self.gateway.connect(), self.gateway.connect()
        self.watch.send(b"GET %b/watch HTTP/1.1\r\nHost: g\r\n\r\n" % prefix)
        self.tunnel.send(b"GET %b/shell HTTP/1.1\r\nHost: g\r\n" % prefix + UPGRADE)
        assert self.tunnel.answer().status == 101
        assert self.gateway.get(f"{self.prefix}/quick").status == 200
        assert self.backend.open == 3

    def still_work(self) -> None:
        (watched,) = [c for c in self.backend.conversations if c.requests[0].target.endswith(b"/watch")]
        watched.answer(b"5\r\nevent\r\n")
        self.watch.next_answer()
        assert self.watch.partial is not None
        assert self.watch.partial.body.endswith(b"event")
        self.tunnel.send(b"ping")
        assert self.tunnel.take() == b"ping"

    def end(self) -> None:
        (watched,) = [c for c in self.backend.conversations if c.requests[0].target.endswith(b"/watch")]
        watched.answer(b"0\r\n\r\n")
        assert self.watch.answer().body.endswith(b"event")
        self.tunnel.finish()


def service(host: str, **more: Any) -> Any:
    return api_service("v1.g.io", url=f"http://{host}", **more)


def proxy(host: str, **more: Any) -> Any:
    return reverse_proxy("p", "/proxy/p/*", f"http://{host}", **more)


@pytest.mark.parametrize(
    ("prefix", "make"), [("/kapis/g.io/v1/x", service), ("/proxy/p", proxy)], ids=["APIService", "ReverseProxy"]
)
@pytest.mark.parametrize("change", ["deleted", "disabled", "moved", "edited"])
def test_objects_that_change(prefix: str, make: Any, change: str) -> None:
    with MemoryGateway() as gateway:
        gateway.apply(make("old.example"))
        streams = Streams(gateway, prefix, "old.example")
        streams.open()
        gateway.serve("http://new.example", Backend())
        if change == "deleted":
            gateway.delete(make("old.example"))
        elif change == "disabled":
            gateway.apply(make("old.example", state="Disabled"))
        elif change == "moved":
            gateway.apply(make("new.example"))
        else:
            gateway.apply(make("old.example", metadata={"labels": {"a": "b"}}))
        # The idle connection stays only where the same requests could use it.
        assert streams.backend.open == (3 if change == "edited" else 2)
        expected = {"deleted": 404, "disabled": 503, "moved": 200, "edited": 200}
        assert gateway.get(f"{prefix}/quick").status == expected[change]
        streams.still_work()
        gateway.wait(1000.0)
        streams.still_work()
        streams.end()
        # What has carried the watch serves on where it can.
        assert streams.backend.open == (1 if change == "edited" else 0)


def test_other_objects_do_not_notice() -> None:
    with MemoryGateway() as gateway:
        gateway.apply(service("old.example"))
        streams = Streams(gateway, "/kapis/g.io/v1/x", "old.example")
        streams.open()
        for n in range(20):
            gateway.apply(api_service("v1.h.io", url=f"http://h{n}.example"))
            gateway.apply(reverse_proxy("h", "/proxy/h/*", "http://old.example", directives={"method": f"M{n}"}))
        gateway.delete(api_service("v1.h.io"), reverse_proxy("h", "/proxy/h/*", ""))
        assert streams.backend.open == 3
        streams.still_work()
        streams.end()


def test_api_server_that_moves() -> None:
    """As when a client certificate is renewed: new connections use the new one, streams live on."""
    with MemoryGateway() as gateway:
        watch = gateway.connect()
        gateway.kube.handler, serve = watchable, gateway.kube.handler
        watch.send(b"GET /api/v1/watch-me/watch HTTP/1.1\r\nHost: g\r\n\r\n")
        gateway.kube.handler = serve
        moved = gateway.serve("http://moved.example:6443", Backend())
        gateway.access.move(Target("http", "moved.example", 6443))
        gateway.reactor.settle()
        assert gateway.get("/api/v1/nodes").json()["target"] == "/api/v1/nodes"
        assert moved.requests[-1].target == b"/api/v1/nodes"
        (conversation,) = [c for c in gateway.kube.conversations if c.requests[-1].target.endswith(b"/watch")]
        conversation.answer(b"4\r\nlast\r\n0\r\n\r\n")
        assert watch.answer().body == b"last"


def test_credentials_that_change() -> None:
    with MemoryGateway() as gateway:
        for token in (b"one", b"two"):
            gateway.access.credentials = ((b"Authorization", b"Bearer " + token), (b"X-Extra", b"1"))
            gateway.get("/api/v1/nodes", [(b"Authorization", b"")])
            request = gateway.kube.requests[-1]
            assert request.all("authorization") == [b"Bearer " + token]
            assert request.get("x-extra") == b"1"


def test_refused_credentials_are_reported() -> None:
    with MemoryGateway() as gateway:
        before = gateway.access.refusals
        gateway.kube.handler, serve = (lambda conversation, request: answer(401, b"no")), gateway.kube.handler
        found = gateway.get("/api/v1/nodes")
        gateway.kube.handler = serve
        assert (found.status, found.body) == (401, b"no")
        assert gateway.access.refusals == before + 1


def test_api_server_below_a_path() -> None:
    """D21: the path of the kubeconfig's server is part of where it is."""
    with MemoryGateway(path_prefix=b"/k8s/clusters/c-1") as gateway:
        gateway.get("/api/v1/nodes?a=1")
        assert gateway.kube.requests[-1].target == b"/k8s/clusters/c-1/api/v1/nodes?a=1"


def test_a_waiting_connection_is_used_for_the_next_request_of_anybody() -> None:
    with MemoryGateway() as gateway:
        gateway.apply(service("b.example"))
        backend = gateway.serve("http://b.example", Backend())
        for n in range(10):
            assert gateway.get(f"/kapis/g.io/v1/x{n}").status == 200
        assert len(backend.conversations) == 1

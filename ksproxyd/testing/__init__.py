"""The server and the whole gateway in memory, for our tests and those of extension authors.

Bytes go in and bytes come out; there are no sockets, no threads and no waiting. Twisted's own TCP transport runs on
:class:`~ksproxyd.testing.sockets.MemorySocket` instead of the kernel's sockets, so buffers that fill up, half-closes
and resets are what they are in production, and time stands still until a test says how long to wait.

A gateway with an extension behind it::

    from ksproxyd.testing import Backend, MemoryGateway, api_service

    with MemoryGateway() as gateway:
        backend = gateway.serve("http://books.example:80", Backend())
        gateway.apply(api_service("v1.books.example", url="http://books.example"))
        answer = gateway.get("/kapis/books.example/v1/shelves")
        assert answer.status == 200
        assert backend.requests[0].target == b"/kapis/books.example/v1/shelves"

Leaving the ``with`` block closes everything and fails if something is left: a connection, a timer, a request without
an end.
"""

from __future__ import annotations

from ksproxyd.testing.backend import Backend, Conversation
from ksproxyd.testing.certificates import Authority, Issued
from ksproxyd.testing.dialer import MemoryDialer
from ksproxyd.testing.gateway import MemoryGateway
from ksproxyd.testing.kube import KubeBackend, api_service, js_bundle, reverse_proxy
from ksproxyd.testing.messages import Answer, Malformed, Request
from ksproxyd.testing.peer import Peer
from ksproxyd.testing.reactor import MemoryReactor
from ksproxyd.testing.server import Client, MemoryServer

__all__ = [
    "Answer",
    "Authority",
    "Backend",
    "Client",
    "Conversation",
    "Issued",
    "KubeBackend",
    "Malformed",
    "MemoryDialer",
    "MemoryGateway",
    "MemoryReactor",
    "MemoryServer",
    "Peer",
    "Request",
    "api_service",
    "js_bundle",
    "reverse_proxy",
]

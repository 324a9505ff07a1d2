"""Backends for a gateway in memory: they keep what they were asked and answer what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from ksproxyd.testing.messages import Malformed, Request, RequestReader
from ksproxyd.testing.peer import Peer
from ksproxyd.upstream.tunnel import accept_of

#: An answer's bytes, or None for "later" (the test answers through :class:`Conversation`).
Handler = Callable[["Conversation", Request], bytes | None]


class Conversation:
    """One connection of the gateway's to a backend."""

    def __init__(self, backend: Backend, peer: Peer) -> None:
        self.backend = backend
        self.peer = peer
        #: The requests on this connection, the last one perhaps not complete.
        self.requests: list[Request] = []
        #: What came after a 101.
        self.tunnelled = bytearray()
        #: The gateway will send nothing more.
        self.over = False
        #: Do not close when the gateway has finished sending.
        self.hold = False
        self._reader = RequestReader()
        self._switched = False
        peer.listener = self

    def answer(self, data: bytes) -> None:
        """Send ``data`` now, as it is, and let everything happen that follows."""
        self.peer.send(data)

    def received(self, data: bytes) -> None:
        """Bytes from the gateway."""
        self.backend.bytes_received += len(data)
        if self._switched:
            self._tunnel(data)
            return
        reader = self._reader
        reader.buffer += data
        try:
            while (request := reader.next()) is not None:
                self._heard(request)
                if self._switched:
                    rest = bytes(reader.buffer)
                    reader.buffer.clear()
                    if rest:
                        self._tunnel(rest)
                    return
                if not request.complete:
                    return
        except Malformed as error:
            self.backend.problems.append(str(error))
            self.peer.leave()

    def _heard(self, request: Request) -> None:
        backend = self.backend
        if request not in self.requests:
            self.requests.append(request)
            backend.requests.append(request)
            if backend.on_head is not None:
                self._reply(backend.on_head(self, request))
        if request.complete:
            self._reply(backend.handler(self, request))

    def _reply(self, answer: bytes | None) -> None:
        if answer is None:
            return
        self.peer.write(answer)
        if answer.startswith(b"HTTP/1.1 101"):
            self._switched = True

    def _tunnel(self, data: bytes) -> None:
        self.tunnelled += data
        if self.backend.echo_tunnels:
            self.peer.write(data)

    def ended(self) -> None:
        """The gateway has finished sending, or the connection is gone."""
        self.over = True
        for request in self.requests:
            request.broken = not request.complete
        # A server that has nothing more to read closes; what it has sent goes out first.
        if not self.hold:
            self.peer.leave()


class Backend:
    """A server behind the gateway.

    ``handler`` answers complete requests, by default with what was asked as JSON (:func:`echo`); ``on_head`` may
    answer before the body has come. Everything that arrived is in :attr:`requests`.
    """

    def __init__(self, handler: Handler | None = None, *, on_head: Handler | None = None) -> None:
        self.handler: Handler = handler or echo
        self.on_head = on_head
        #: Every request on every connection, in the order their heads came; those without an end too.
        self.requests: list[Request] = []
        self.conversations: list[Conversation] = []
        self.bytes_received = 0
        #: What the gateway sent that is not HTTP.
        self.problems: list[str] = []
        #: Send back what comes through a tunnel.
        self.echo_tunnels = True
        #: Bytes that each direction of a new connection holds.
        self.capacity = 65536

    def connected(self, peer: Peer) -> None:
        """The gateway has connected."""
        self.conversations.append(Conversation(self, peer))

    @property
    def complete(self) -> list[Request]:
        """The requests that arrived completely."""
        return [request for request in self.requests if request.complete]

    @property
    def open(self) -> int:
        """Connections that are open."""
        return sum(1 for conversation in self.conversations if conversation.peer.open)


def echo(conversation: Conversation, request: Request) -> bytes:
    """What was asked, as JSON: method, target, headers and body (Latin-1, so that every byte survives)."""
    if any(option.strip().lower() == b"upgrade" for v in request.all("connection") for option in v.split(b",")):
        protocol = request.get("upgrade") or b""
        lines = [b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: " + protocol]
        key = request.get("sec-websocket-key")
        if key is not None:
            lines.append(b"Sec-WebSocket-Accept: " + accept_of(key))
        return b"\r\n".join([*lines, b"", b""])
    body = msgspec.json.encode(
        {
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers],
            "body": request.body.decode("latin-1"),
        }
    )
    return answer(200, body if request.method != b"HEAD" else b"", length=len(body))


def answer(
    status: int, body: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = (), *, length: int | None = None
) -> bytes:
    """A plain answer with ``Content-Length``: that of the body, or ``length``."""
    lines = [b"HTTP/1.1 %d X" % status, *(name + b": " + value for name, value in headers)]
    if status != 204:
        lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join([*lines, b"", body])


def scripted(*answers: bytes | None) -> Handler:
    """A handler that gives these answers, one a request; None leaves the request without."""
    rest = list(answers)

    def handler(conversation: Conversation, request: Request) -> bytes | None:
        return rest.pop(0)

    return handler

"""What the tests of the server alone have in common: requests as bytes, and handlers that do as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange


def get(target: str = "/", *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    """A request without a body."""
    lines = [f"{method} {target} HTTP/{version}", "Host: gateway.example", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, target: str = "/", *fields: str, version: str = "1.1", expect: bool = False) -> bytes:
    """A request with a body of known length; with ``expect`` only the head."""
    length = [f"Content-Length: {len(body)}"]
    if expect:
        length.append("Expect: 100-continue")
    head = get(target, *length, *fields, version=version, method="POST")
    return head if expect else head + body


def chunked(pieces: Iterable[bytes], target: str = "/", *fields: str, end: bytes = b"0\r\n\r\n") -> bytes:
    """A request with a chunked body."""
    head = get(target, "Transfer-Encoding: chunked", *fields, method="POST")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def path_back(exchange: Exchange) -> None:
    """Answer at once, with the path."""
    exchange.respond(Response(200, (), exchange.path))


class Sink:
    """Takes a request's body, and may hold it back."""

    def __init__(self, exchange: Exchange, done: Callable[[Exchange, bytes], None] | None = None) -> None:
        self.exchange = exchange
        self.body = b""
        self.complete = 0
        self.aborted = 0
        self._done = done
        exchange.send_body_to(self)

    def body_data(self, data: bytes) -> None:
        self.body += data

    def body_end(self) -> None:
        self.complete += 1
        if self._done is not None:
            self._done(self.exchange, self.body)

    def body_aborted(self) -> None:
        self.aborted += 1


def body_back(exchange: Exchange) -> None:
    """Answer with the body, when it is complete."""
    Sink(exchange, lambda exchange, body: exchange.respond(Response(200, (), body)))


class Later:
    """A handler that keeps exchanges for the test to answer."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        #: How often each exchange's work was cancelled.
        self.gone: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        exchange.on_gone = lambda: self.gone.append(exchange)

    @property
    def last(self) -> Exchange:
        return self.exchanges[-1]


class Feeder:
    """Writes an answer as fast as it may."""

    def __init__(self, exchange: Exchange, size: int, piece: bytes = b"x" * 8192) -> None:
        self.exchange = exchange
        self.left = size
        self.paused = False
        self.pauses = 0
        self._piece = piece
        exchange.start(200, [], size)
        exchange.set_producer(self)

    def run(self) -> None:
        """Write until paused, or done."""
        while self.left and not self.paused:
            piece = self._piece[: self.left]
            self.left -= len(piece)
            self.exchange.write(piece)
            self.exchange.flush()
        if not self.left:
            self.exchange.finish()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.paused = False
        self.run()

    def stopProducing(self) -> None:
        pass

"""Bodies seen in passing (spec 03, 6.3 and D36).

Only exchanges whose bodies are asked for are touched: the methods through which their bodies pass are replaced for this
one exchange. All others go on as if there were no auditing. At most ``most`` bytes are kept of a body; one that turns
out to be longer is let go at once, and only its size is known. Nothing is held back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ksproxyd.audit.event import Body
from ksproxyd.server.exchange import BodySink, Exchange

if TYPE_CHECKING:
    from ksproxyd.model.message import Pairs
    from ksproxyd.transport.stream import Stream

TOO_LARGE = "too large"


class Kept:
    """The beginning of a body, as long as it may be all of it."""

    __slots__ = ("_most", "_parts", "complete", "size")

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self.size = 0
        self.complete = True

    def add(self, data: bytes) -> None:
        """A piece has passed."""
        self.size += len(data)
        if not self.complete:
            return
        if self.size > self._most:
            self.complete = False
            self._parts.clear()
        else:
            self._parts.append(data)

    @property
    def data(self) -> bytes:
        """All of it; empty if it was too long."""
        return b"".join(self._parts)

    def body(self, content_type: bytes, encoding: bytes, most: int) -> Body | None:
        """What has passed, if it is no longer than ``most`` bytes; None if nothing has."""
        if not self.size:
            return None
        whole = self.complete and self.size <= most
        data, left_out = (self.data, "") if whole else (b"", TOO_LARGE)
        return Body(data, content_type, encoding, self.size, left_out)


class Capture:
    """What is remembered of one exchange until it is over. Undone with :meth:`release`."""

    __slots__ = ("_answer_fields", "answer", "before", "exchange", "id", "received", "request", "said")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.request: Kept | None = None
        self.answer: Kept | None = None
        #: The state of the user that the request is about, before it.
        self.before = ""
        #: Set once an event has been made: all events of a request have the same, and the same time of its coming.
        self.id = ""
        self.received = 0.0
        #: What else there is to say when it is over, by name.
        self.said: Callable[[], dict[str, str]] | None = None
        self._answer_fields = (b"", b"")

    # Each of these shadows a method of the exchange by an attribute of the same name.

    def tap_request(self, most: int) -> None:
        """Keep the request's body, if somebody reads it. Only the first reading counts: a later one may be of a body
        that a node has put in its place."""
        exchange = self.exchange
        send_body_to = exchange.send_body_to

        def tapped(sink: BodySink) -> None:
            if self.request is None:
                self.request = kept = Kept(most)
                sink = _Tap(sink, kept)
            send_body_to(sink)

        exchange.send_body_to = tapped  # type: ignore[method-assign]

    def tap_answer(self, most: int) -> None:
        """Keep the body of the answer."""
        exchange = self.exchange
        write, start, start_lines = exchange.write, exchange.start, exchange.start_lines
        self.answer = kept = Kept(most)

        def written(data: bytes) -> None:
            kept.add(data)
            write(data)

        def started(status: int, headers: Pairs, length: int | None) -> None:
            index = {name.lower(): value for name, value in headers}
            self._answer_fields = index.get(b"content-type", b""), index.get(b"content-encoding", b"")
            start(status, headers, length)

        def lines_started(status: int, lines: bytes, *more: Any) -> None:
            if not any(self._answer_fields):
                self._answer_fields = _field(lines, b"content-type"), _field(lines, b"content-encoding")
            start_lines(status, lines, *more)

        exchange.write = written  # type: ignore[method-assign]
        exchange.start = started  # type: ignore[method-assign]
        exchange.start_lines = lines_started  # type: ignore[method-assign, assignment]

    def tell_of_upgrade(self, began: Callable[[Exchange], object]) -> None:
        """Have ``began`` called when the exchange becomes a tunnel."""
        exchange = self.exchange
        hijack = exchange.hijack

        def hijacked(head: bytes) -> Stream:
            stream = hijack(head)
            began(exchange)
            return stream

        exchange.hijack = hijacked  # type: ignore[method-assign]

    def request_body(self, most: int) -> Body | None:
        """The request's body, as far as it was read, if it is no longer than ``most`` bytes."""
        if self.request is None:
            return None
        get = self.exchange.fields.get
        return self.request.body(get(b"content-type") or b"", (get(b"content-encoding") or b"").lower(), most)

    def answer_body(self, most: int) -> Body | None:
        """The answer's body, if it is no longer than ``most`` bytes."""
        if self.answer is None:
            return None
        kind, encoding = self._answer_fields
        return self.answer.body(kind, encoding.strip().lower(), most)

    def release(self) -> None:
        """The exchange is over: give it back its own methods, so that nothing keeps it."""
        for name in ("send_body_to", "write", "start", "start_lines", "hijack"):
            self.exchange.__dict__.pop(name, None)


class _Tap:
    """Lets a body pass to the sink that it is for."""

    __slots__ = ("_kept", "_sink")

    def __init__(self, sink: BodySink, kept: Kept) -> None:
        self._sink = sink
        self._kept = kept

    def body_data(self, data: bytes) -> None:
        self._kept.add(data)
        self._sink.body_data(data)

    def body_end(self) -> None:
        self._sink.body_end()

    def body_aborted(self) -> None:
        self._sink.body_aborted()


def _field(lines: bytes, key: bytes) -> bytes:
    """The value of a field in the lines of an answer's head."""
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.lower() == key:
            return value.strip()
    return b""

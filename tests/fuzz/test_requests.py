"""Generated requests, valid and mutated, against h11: whatever we take for a request, h11 takes for the same one.

The other way round there are differences, and they are meant: h11 lets pass what a gateway must not hand on (bare LF,
folded lines, Content-Length beside Transfer-Encoding, lists of equal lengths, hosts and targets of any shape). Where we
take what h11 refuses, :func:`differs` says why; there is nothing else.

``KSPROXYD_FUZZ=50`` makes fifty times as many examples, and different ones in each run.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import h11
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.testing import MemoryServer

TIMES = int(os.environ.get("KSPROXYD_FUZZ", "1"))


def examples(number: int) -> settings:
    return settings(
        max_examples=number * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Seen(NamedTuple):
    """A request as one of the two understood it."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool


class Recorder:
    """Keeps every request and answers it when it is complete."""

    def __init__(self) -> None:
        self.sinks: list[RecordingSink] = []

    def __call__(self, exchange: Exchange) -> None:
        self.sinks.append(RecordingSink(exchange))

    def seen(self) -> list[Seen]:
        return [
            Seen(
                sink.exchange.method.encode(),
                sink.exchange.target,
                tuple(
                    (key, value.lower() if key == b"transfer-encoding" else value)
                    for key, _, value in sink.exchange.fields
                ),
                sink.body,
                sink.complete,
            )
            for sink in self.sinks
        ]


class RecordingSink:
    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body = b""
        self.complete = False
        exchange.send_body_to(self)

    def body_data(self, data: bytes) -> None:
        self.body += data

    def body_end(self) -> None:
        self.complete = True
        self.exchange.respond(Response(200))

    def body_aborted(self) -> None:
        pass


def ours(pieces: list[bytes]) -> tuple[list[Seen], list[int]]:
    """What we made of it, and the statuses of our answers."""
    recorder = Recorder()
    with MemoryServer(recorder) as server:
        client = server.connect()
        for piece in pieces:
            if client.open:
                client.send(piece)
        # Answers are well-formed, one for each request that was finished, and nothing stands behind them.
        statuses = [client.answer(exchange.method).status for exchange in server.finished]
        assert client.next_answer() is None
        seen = recorder.seen()
    return seen, statuses


def theirs(data: bytes) -> list[Seen]:
    """What h11 makes of it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    found: list[Seen] = []
    request: h11.Request | None = None
    body = b""

    def keep(complete: bool) -> None:
        if request is not None:
            headers = tuple(
                (bytes(name), bytes(value).lower() if name == b"transfer-encoding" else bytes(value))
                for name, value in request.headers
            )
            found.append(Seen(bytes(request.method), bytes(request.target), headers, body, complete))

    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                keep(True)
                request = None
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    break
                connection.start_next_cycle()
            else:
                break
    except h11.RemoteProtocolError:
        pass
    keep(False)
    return found


def normal(seen: Seen) -> Seen:
    """The target as we hand it on: of the absolute form the origin form is left."""
    match = re.fullmatch(rb"https?://[^/?]*(/?)(.*)", seen.target, re.IGNORECASE)
    return seen._replace(target=b"/" + match[2]) if match is not None else seen


def differs(data: bytes) -> str:
    """Why h11 may refuse what we take; empty if it should not."""
    for match in re.finditer(rb"([\r\n]*)[A-Z]+ [/hH*]", data):
        if match[1] not in (b"", b"\r\n\r\n") or (match[1] and not match.start()):
            return "empty lines before a request are skipped (RFC 9112, 2.2)"
    if re.search(rb"\b0{20}", data):
        return "a chunk size may have any number of zeros (RFC 9112, 7.1)"
    return ""


def same(one: Seen, other: Seen) -> bool:
    """How much is seen of a body that is not complete depends on the reader."""
    if one.complete:
        return one == other
    return one[:3] == other[:3] and (other.body.startswith(one.body) or one.body.startswith(other.body))


def agree(data: bytes) -> None:
    """What we have let through is what h11 has understood, and does not depend on the pieces it came in."""
    seen, statuses = ours([data])
    known = [normal(request) for request in theirs(data)]
    for number, request in enumerate(seen):
        if number >= len(known) or not same(request, known[number]):
            assert differs(data), f"we: {request}, h11: {known[number:]}"
            break
    for pieces in ([bytes((byte,)) for byte in data], [data[: len(data) // 2], data[len(data) // 2 :]]):
        if len(data) > 600:
            break
        again, other_statuses = ours(pieces)
        assert [r for r in again if r.complete] == [r for r in seen if r.complete]
        # A method is refused at the first byte that cannot be one: 400 or 501 then depends on what is there.
        either = {501: 400, 505: 400}
        assert [either.get(s, s) for s in other_statuses] == [either.get(s, s) for s in statuses]


# -- valid requests ------------------------------------------------------------------------------------------------

TOKEN = st.text(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=12
)
NAMES = TOKEN.map(str.encode).filter(
    lambda name: (
        name.lower()
        not in {
            b"host",
            b"content-length",
            b"transfer-encoding",
            b"connection",
            b"expect",
            b"upgrade",
            b"proxy-connection",
        }
    )
)
VALUES = st.lists(
    st.sampled_from([bytes((b,)) for b in (9, *range(0x20, 0x7F), *range(0x80, 0x100))]), max_size=20
).map(b"".join)
PATHS = st.text("abcXYZ019-._~!$&'()*+,;=:@/%|[]{}^`", max_size=20).map(lambda text: b"/" + text.encode())
QUERIES = st.one_of(
    st.just(b""), st.text("abc019-._~!$&'()*+,;=:@/%?|[]", max_size=20).map(lambda t: b"?" + t.encode())
)
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"QUERY"])
SPACE = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t "])
HOSTS = st.sampled_from([b"a", b"g.example", b"g.example:80", b"[::1]:8080", b"192.0.2.1", b"G_x.example."])
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b c"', b";a=b;c=d"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Framing fields and the body as it is sent."""
    kind = draw(st.sampled_from(["none", "none", "length", "chunked"]))
    if kind == "none":
        return b"", b""
    if kind == "length":
        body = draw(st.binary(max_size=40))
        return b"Content-Length:%b%d\r\n" % (draw(SPACE), len(body)), body
    sent = b""
    for piece in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(piece)
        sent += size + draw(EXTENSIONS) + b"\r\n" + piece + b"\r\n"
    sent += draw(st.sampled_from([b"0", b"00"])) + draw(EXTENSIONS) + b"\r\n"
    sent += draw(st.sampled_from([b"", b"", b"X-Trailer: y\r\n", b"A: b\r\nC:\r\n"])) + b"\r\n"
    return b"Transfer-Encoding: " + draw(st.sampled_from([b"chunked", b"Chunked", b"CHUNKED"])) + b"\r\n", sent


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    host = draw(HOSTS)
    target = draw(PATHS) + draw(QUERIES)
    if draw(st.integers(0, 9)) == 0:
        target = draw(st.sampled_from([b"http://", b"HTTPS://"])) + host + target
    framing, body = draw(bodies())
    lines = [
        name + b":" + draw(SPACE) + value + draw(SPACE) + b"\r\n"
        for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))
    ]
    extra = [framing, draw(st.sampled_from([b"", b"", b"", b"Connection: keep-alive\r\n", b"Connection: x, Y\r\n"]))]
    lines += [b"Host:" + draw(SPACE) + host + b"\r\n", *(line for line in extra if line)]
    lines = draw(st.permutations(lines))
    return b"%b %b HTTP/1.1\r\n" % (draw(METHODS), target) + b"".join(lines) + b"\r\n" + body


@examples(400)
@given(st.lists(requests(), min_size=1, max_size=3))
def test_valid_requests(several: list[bytes]) -> None:
    data = b"".join(several)
    seen, statuses = ours([data])
    assert len(seen) == len(several), statuses
    assert all(request.complete for request in seen)
    agree(data)


# -- mutated requests ----------------------------------------------------------------------------------------------

ODD = st.sampled_from(
    [
        *(bytes((byte,)) for byte in (0, 1, 9, 10, 11, 12, 13, 27, 32, 35, 37, 44, 47, 58, 59, 92, 127, 128, 160, 255)),
        *(
            b"\r\n",
            b"\n\n",
            b"\r\r\n",
            b"\n\r",
            b"\r\n ",
            b"\r\n\t",
            b"  ",
            b"\t ",
            b" \r\n",
            b"\r\n\r\n",
            b"0\r\n\r\n",
        ),
        *(b"Content-Length: 5\r\n", b"content-length:0\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: x\r\n"),
        *(b"Transfer-Encoding: identity\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n"),
        *(b"Expect: 100-continue\r\n", b", chunked", b", 5", b"+", b"-", b"0x", b"_", b";", b"HTTP/1.1", b"HTTP/1.0"),
        *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"http://", b"*", b"f" * 17, b"9" * 20),
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(b"".join(draw(st.lists(requests(), min_size=1, max_size=2))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 5)):
            case 0 | 1:
                data[at:at] = draw(ODD)
            case 2:
                data[at : at + draw(st.integers(1, 3))] = draw(ODD)
            case 3:
                del data[at : at + draw(st.integers(1, 6))]
            case 4:
                # A line twice, or somewhere else.
                lines = bytes(data).split(b"\r\n")
                line = draw(st.sampled_from(lines))
                lines.insert(draw(st.integers(0, len(lines))), line)
                data = bytearray(b"\r\n".join(lines))
            case 5:
                data = bytearray(bytes(data).replace(b"\r\n", draw(st.sampled_from([b"\n", b"\r"])), 1))
    return bytes(data)


@examples(1200)
@given(mutated())
@example(b"GET  / HTTP/1.1\r\nHost: a\r\nX: GET / HTTP/1.1\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET  / HTTP/1.1\r\nHost: a\r\n\r\n")
def test_mutated_requests(data: bytes) -> None:
    agree(data)


@examples(300)
@given(
    st.lists(
        st.one_of(ODD, st.binary(max_size=10), st.sampled_from([b"GET / HTTP/1.1\r\n", b"Host: a\r\n"])), max_size=12
    )
)
def test_anything(parts: list[bytes]) -> None:
    agree(b"".join(parts))

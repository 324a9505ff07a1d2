"""Bodies both ways, and everything that can happen while they are under way."""

from __future__ import annotations

import pytest
from support_gate import OK, Gate, everything, ok, take_head, values
from support_policy import Policy

from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.testing import Client
from ksproxyd.upstream.pool import UpstreamTimeouts

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MEBIBYTE = bytes(range(256)) * 4096

#: What may be held for one connection: what Twisted keeps before it pauses, and the piece that was too much.
HELD = 65536 * 3


def post(gate: Gate, *fields: str, body: bytes = b"", client: Client | None = None) -> Client:
    client = client or gate.connect()
    lines = ("POST /x HTTP/1.1", "Host: g", *fields, "", "")
    client.send("\r\n".join(lines).encode() + body)
    return client


# -- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 1000, 100_000])
def test_answer_in_pieces(step: int) -> None:
    body = MEBIBYTE[: 40 * step][:200_000]
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(ok(body), at_once=step)
        assert client.answer().body == body


@pytest.mark.parametrize("step", [1, 13, 70_000])
def test_chunked_answer(step: int) -> None:
    """The chunks' borders are the sender's own business; the bytes are not."""
    pieces = [b"a", b"bc" * 50, b"d" * 1000, b"\r\n0\r\n\r\n"]
    data = b"".join(b"%x;extension=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(CHUNKED + data + b"0\r\nX-Trailer: 1\r\n\r\n", at_once=step)
        answer = client.answer()
        assert answer.body == b"".join(pieces)
        assert answer.framing == "chunked"
        assert not answer.all("x-trailer")


def test_not_modified_has_no_type() -> None:
    """What a client has keeps the type that it came with."""
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(b'HTTP/1.1 304 Not Modified\r\nContent-Type: text/x\r\nETag: "a"\r\n\r\n')
        answer = client.answer()
        assert (answer.status, answer.all("content-type"), answer.all("etag")) == (304, [], [b'"a"'])


def test_each_piece_arrives_at_once() -> None:
    """Events, watches and logs are not held back until there are more of them."""
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.next_answer() is None
        assert client.partial is not None
        for n in range(5):
            gate.peer.send(b"6\r\nevent%d\r\n" % n)
            client.next_answer()
            assert client.partial.body.endswith(b"event%d" % n)
        gate.peer.send(b"0\r\n\r\n")
        assert client.answer().body == b"event0event1event2event3event4"


def test_answer_without_a_length() -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(OK + b"\r\npart one, ")
        gate.peer.send(b"part two")
        gate.peer.finish()
        answer = client.answer()
        assert (answer.body, answer.framing) == (b"part one, part two", "chunked")
        assert client.open


def test_http_1_0_client() -> None:
    with Gate() as gate:
        client = gate.connect()
        client.send(b"GET /x HTTP/1.0\r\n\r\n")
        assert take_head(gate.peer).startswith(b"GET /x HTTP/1.1\r\nHost: backend.example\r\n")
        gate.peer.send(b"HTTP/1.1 103 Early\r\n\r\n" + CHUNKED + b"4\r\nfine\r\n0\r\n\r\n")
        answer = client.answer()
        assert (answer.body, answer.framing, answer.interim) == (b"fine", "close", [])
        assert not answer.all("transfer-encoding")
        assert gate.pool.idle == 1


def test_http_1_0_client_that_keeps_its_connection() -> None:
    with Gate() as gate:
        client = gate.connect()
        for _ in range(2):
            client.send(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            gate.peer.send(ok(b"fine"))
            answer = client.answer()
            assert (answer.body, answer.get("connection")) == (b"fine", b"keep-alive")
        assert gate.pool.dials == 1


def test_http_1_0_client_of_a_body_that_breaks_off() -> None:
    with Gate() as gate:
        client = gate.connect()
        client.send(b"GET /x HTTP/1.0\r\n\r\n")
        gate.peer.send(CHUNKED + b"4\r\nfine\r\n")
        gate.peer.cut()
        # Only a reset tells it from the end of the body.
        assert client.reset


@pytest.mark.parametrize("answer", [ok(b""), OK + b"Content-Length: 77\r\n\r\n", CHUNKED, OK + b"\r\n"])
def test_head(answer: bytes) -> None:
    with Gate() as gate:
        client = gate.get(method="HEAD")
        gate.peer.send(answer)
        found = client.answer("HEAD")
        assert (found.status, found.body) == (200, b"")
        assert found.all("content-length") == [v.encode() for v in values(answer, "content-length")]
        assert client.nothing_more()


def test_fields_come_through_in_order_and_as_they_are() -> None:
    fields = [b"X-B: 2", b"x-a: 1", b"X-B: 3", b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"X-Empty:", b"X-Latin: \xe9"]
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(ok(b"fine", *fields))
        answer = client.answer()
        found = [(name, value) for name, value in answer.headers if name not in (b"Date", b"Content-Length")]
        assert found == [tuple(f.replace(b":", b": ", 1).replace(b":  ", b": ").split(b": ", 1)) for f in fields]


def test_hop_by_hop_fields_of_an_answer_end_here() -> None:
    fields = [
        b"Connection: X-Named, keep-alive",
        b"X-Named: 1",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authenticate: Basic",
        b"TE: trailers",
        b"Trailer: X-T",
        b"Upgrade: h2c",
        b"X-Kept: 1",
    ]
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(ok(b"fine", *fields))
        names = {name.lower() for name, _ in client.answer().headers}
        assert names == {b"date", b"content-length", b"x-kept"}


def test_date_is_the_backends_or_ours() -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(ok(b"", b"Date: Tue, 03 Mar 2020 00:00:00 GMT"))
        assert client.answer().all("date") == [b"Tue, 03 Mar 2020 00:00:00 GMT"]
        gate.get(client=client)
        gate.peer.send(ok(b""))
        assert client.answer().all("date") == [b"Wed, 01 Jan 2020 00:00:01 GMT"]


def test_content_type_is_not_guessed() -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(ok(b"<html><script>alert(1)</script></html>"))
        assert not client.answer().all("content-type")


def test_accept_encoding_is_not_invented_and_content_not_touched() -> None:
    with Gate() as gate:
        client = gate.get()
        assert not values(take_head(gate.peer), "accept-encoding")
        gate.peer.send(ok(b"\x1f\x8b\x08garbage", b"Content-Encoding: gzip"))
        answer = client.answer()
        assert (answer.body, answer.get("content-encoding")) == (b"\x1f\x8b\x08garbage", b"gzip")


# -- interim answers -----------------------------------------------------------------------------------------------


def test_interim_answers_pass() -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n")
        gate.peer.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Odd\r\nContent-Length: 0\r\n\r\n")
        gate.peer.send(ok(b"fine"))
        answer = client.answer()
        assert answer.body == b"fine"
        interim = [(i.status, i.headers) for i in answer.interim]
        assert interim == [(103, [(b"Link", b"</a.css>")]), (102, []), (199, [])]
        assert gate.pool.idle == 1


def test_continue_that_nobody_waits_for_is_swallowed() -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"fine"))
        answer = client.answer()
        assert (answer.body, answer.interim) == (b"fine", [])


# -- expectations ----------------------------------------------------------------------------------------------------


def test_expectation_is_the_backends_to_meet() -> None:
    with Gate() as gate:
        client = post(gate, "Content-Length: 4", "Expect: 100-continue")
        assert values(take_head(gate.peer), "expect") == ["100-continue"]
        assert not client.received
        gate.peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"body")
        assert gate.peer.take() == b"body"
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"
        assert gate.pool.idle == 1
        assert client.open


@pytest.mark.parametrize("status", [417, 401, 413, 200])
def test_expectation_is_not_met(status: int) -> None:
    with Gate() as gate:
        client = post(gate, "Content-Length: 1000000", "Expect: 100-continue")
        gate.peer.send(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status)
        answer = client.answer()
        assert (answer.status, answer.interim, answer.body) == (status, [], b"no")
        # Whether the body still comes, nobody can know.
        assert answer.get("connection") == b"close"
        assert not client.open
        assert not gate.peer.open
        gate.wait(5.0)
        assert client.nothing_more()


def test_answer_that_streams_before_the_body_was_wanted() -> None:
    with Gate() as gate:
        client = post(gate, "Content-Length: 1000000", "Expect: 100-continue")
        gate.peer.send(CHUNKED + b"1\r\na\r\n")
        # The patience for a 100 is over, but nobody asks for the body any more.
        gate.wait(5.0)
        gate.peer.send(b"1\r\nb\r\n0\r\n\r\n")
        answer = client.answer()
        assert (answer.interim, answer.body) == ([], b"ab")


def test_backend_that_knows_no_expectations() -> None:
    with Gate(timeouts=UpstreamTimeouts(expect_continue=2.0)) as gate:
        client = post(gate, "Content-Length: 4", "Expect: 100-continue")
        take_head(gate.peer)
        gate.wait(1.0)
        assert not client.received
        gate.wait(1.5)
        assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"body")
        assert gate.peer.take() == b"body"
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"


def test_client_that_does_not_wait_for_the_continue() -> None:
    with Gate() as gate:
        client = post(gate, "Content-Length: 4", "Expect: 100-continue", body=b"body")
        take_head(gate.peer)
        gate.peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert gate.peer.take() == b"body"
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"


def test_client_leaves_while_it_waits_for_the_continue() -> None:
    with Gate() as gate:
        client = post(gate, "Content-Length: 4", "Expect: 100-continue")
        client.close()
        assert gate.peer.reset
        assert gate.pool.size == 0


def test_backend_fails_while_the_client_waits_for_the_continue() -> None:
    with Gate() as gate:
        client = post(gate, "Content-Length: 4", "Expect: 100-continue")
        gate.peer.finish()
        answer = client.answer()
        assert (answer.status, answer.interim) == (502, [])


# -- request bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 5, 1000, 70_000])
def test_body_with_a_length(step: int) -> None:
    body = MEBIBYTE[: 30 * step][:150_000]
    with Gate() as gate:
        client = gate.connect()
        client.send(b"POST /x HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), at_once=step)
        head, _, rest = gate.peer.take().partition(b"\r\n\r\n")
        assert rest == body
        assert values(head, "content-length") == [str(len(body))]
        assert not values(head, "transfer-encoding")
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"


@pytest.mark.parametrize("step", [1, 11, 70_000])
def test_chunked_body(step: int) -> None:
    pieces = [b"one", b"two" * 100, b"three" * 1000]
    data = b"".join(b"%x;e\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Trailer: 1\r\n\r\n"
    with Gate() as gate:
        client = gate.connect()
        client.send(b"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n" + data, at_once=step)
        head, _, rest = gate.peer.take().partition(b"\r\n\r\n")
        assert values(head, "transfer-encoding") == ["chunked"]
        assert not values(head, "content-length")
        assert b"X-Trailer" not in rest
        assert unchunk(rest) == b"".join(pieces)
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"
        assert gate.pool.idle == 1


def unchunk(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body += data[:length]
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
        if not length:
            assert not data
            return body


def test_empty_bodies() -> None:
    with Gate() as gate:
        client = gate.connect()
        post(gate, "Content-Length: 0", client=client)
        assert values(take_head(gate.peer), "content-length") == ["0"]
        gate.peer.send(ok(b"1"))
        assert client.answer().body == b"1"
        post(gate, "Transfer-Encoding: chunked", body=b"0\r\n\r\n", client=client)
        assert gate.peer.take().endswith(b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        gate.peer.send(ok(b"2"))
        assert client.answer().body == b"2"
        assert gate.pool.dials == 1


@pytest.mark.parametrize(("method", "length"), [("POST", ["0"]), ("PUT", ["0"]), ("DELETE", []), ("GET", [])])
def test_no_body_is_an_empty_one_where_one_is_expected(method: str, length: list[str]) -> None:
    with Gate() as gate:
        client = gate.get(method=method)
        assert values(take_head(gate.peer), "content-length") == length
        gate.peer.send(ok(b"fine"))
        assert client.answer(method).body == b"fine"
        gate.method = b"POST"
        gate.get(client=client, method=method)
        assert values(take_head(gate.peer), "content-length") == ["0"]
        gate.peer.send(ok(b"fine"))
        assert client.answer(method).body == b"fine"


def test_both_bodies_at_once() -> None:
    """A backend that answers as it reads, as an echo or a compressor does."""
    with Gate() as gate:
        client = post(gate, "Transfer-Encoding: chunked")
        take_head(gate.peer)
        gate.peer.send(CHUNKED)
        for n in range(10):
            client.send(b"2\r\n%02d\r\n" % n)
            data = gate.peer.take()
            assert data == b"2\r\n%02d\r\n" % n
            gate.peer.send(data)
        client.send(b"0\r\n\r\n")
        assert gate.peer.take() == b"0\r\n\r\n"
        gate.peer.send(b"0\r\n\r\n")
        assert client.answer().body == b"00010203040506070809"
        assert gate.pool.idle == 1


# -- slow readers ----------------------------------------------------------------------------------------------------


def test_slow_client_of_a_big_answer() -> None:
    size = 8 * len(MEBIBYTE)
    with Gate(client_timeouts=Timeouts(write=100.0)) as gate:
        client = gate.connect(capacity=4096)
        client.reading = False
        gate.get(client=client)
        gate.peer.send(OK + b"Content-Length: %d\r\n\r\n" % size)
        gate.peer.write(MEBIBYTE * 8)
        gate.reactor.settle()
        assert gate.peer.unsent > size - 2 * HELD
        assert client.transport.memory < HELD
        most = 0
        body = bytearray()
        while len(body) < size:
            # As much as fits into the client's buffer, and then the buffer is full again.
            client.reading = True
            client._read()
            client.reading = False
            gate.reactor.settle()
            most = max(most, client.transport.memory)
            body += client.take()
            if len(body) > 3 * HELD:
                break
        assert most < HELD
        client.reading = True
        gate.reactor.settle()
        body += client.take()
        assert bytes(body).partition(b"\r\n\r\n")[2] == MEBIBYTE * 8


def test_client_that_stops_reading_is_given_up() -> None:
    with Gate(client_timeouts=Timeouts(write=5.0)) as gate:
        client = gate.connect(capacity=4096)
        client.reading = False
        gate.get(client=client)
        gate.peer.send(OK + b"Content-Length: 10000000\r\n\r\n" + MEBIBYTE)
        gate.wait(15.0)
        assert gate.peer.reset
        assert gate.pool.size == 0
        assert len(gate.finished) == 1


def test_slow_backend_of_a_big_body() -> None:
    size = 8 * len(MEBIBYTE)
    with Gate(client_timeouts=Timeouts(body=5.0)) as gate:
        gate.backend.deaf = True
        client = post(gate, f"Content-Length: {size}")
        client.write(MEBIBYTE * 8)
        gate.reactor.settle()
        assert client.unsent > size - 2 * HELD
        (connection,) = [t for t in gate.reactor.transports if t is not client.transport]
        assert connection.memory < HELD
        # The client is not to blame, however long it takes.
        gate.wait(60.0)
        assert client.open
        gate.peer.reading = True
        gate.reactor.settle()
        assert gate.peer.take().partition(b"\r\n\r\n")[2] == MEBIBYTE * 8
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"


def test_backend_that_takes_no_more_of_a_body_is_given_up() -> None:
    with Gate(timeouts=UpstreamTimeouts(response_header=20.0)) as gate:
        gate.backend.deaf = True
        client = post(gate, f"Content-Length: {len(MEBIBYTE)}", body=MEBIBYTE)
        gate.wait(15.0)
        assert client.nothing_more()
        gate.wait(10.0)
        assert client.answer().status == 504
        assert gate.pool.size == 0


def test_slow_on_all_sides() -> None:
    """An echo of a big body, where neither side reads before the other does."""
    with Gate() as gate:
        client = post(gate, "Transfer-Encoding: chunked")
        take_head(gate.peer)
        gate.peer.send(CHUNKED)
        client.reading = gate.peer.reading = False
        piece = b"10000\r\n" + MEBIBYTE[:65536] + b"\r\n"
        for peer in (client, gate.peer):
            peer.write(piece * 40)
        gate.reactor.settle()
        assert client.unsent > 30 * 65536
        assert gate.peer.unsent > 30 * 65536
        assert all(transport.memory < HELD for transport in gate.reactor.transports)
        client.reading = gate.peer.reading = True
        gate.reactor.settle()
        client.send(b"0\r\n\r\n")
        assert unchunk(gate.peer.take()) == MEBIBYTE[:65536] * 40
        gate.peer.send(b"0\r\n\r\n")
        assert client.answer().body == MEBIBYTE[:65536] * 40


# -- answers before the request is complete --------------------------------------------------------------------------


def test_early_answer_with_little_left() -> None:
    """The rest of the body is read and dropped, and the client's connection serves on."""
    with Gate() as gate:
        client = post(gate, "Content-Length: 1000", body=b"x" * 100)
        gate.peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        assert client.answer().status == 403
        assert not gate.peer.open
        client.send(b"x" * 900)
        gate.get("/next", client=client)
        assert take_head(gate.peer).startswith(b"GET /next ")
        gate.peer.send(ok(b"fine"))
        assert client.answer().body == b"fine"


@pytest.mark.parametrize("framing", ["Content-Length: 100000000", "Transfer-Encoding: chunked"])
def test_early_answer_with_much_left(framing: str) -> None:
    with Gate() as gate:
        client = post(gate, framing, body=b"2710\r\n" + b"x" * 10000 + b"\r\n")
        gate.peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        answer = client.answer()
        assert (answer.status, answer.body, answer.get("connection")) == (413, b"no", b"close")
        assert not gate.peer.open


def test_early_answer_while_the_backend_reads_nothing() -> None:
    with Gate() as gate:
        gate.backend.deaf = True
        client = post(gate, f"Content-Length: {len(MEBIBYTE) * 4}")
        client.write(MEBIBYTE)
        gate.reactor.settle()
        gate.peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        assert client.answer().status == 413
        # What it was to be sent is not waited for without end.
        gate.wait(30.0)
        assert gate.pool.size == 0


def test_early_answer_and_reset() -> None:
    """As servers do that answer 413 and close without reading."""
    with Gate() as gate:
        client = post(gate, f"Content-Length: {len(MEBIBYTE) * 4}")
        gate.peer.write(b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
        gate.peer.turn()
        client.write(MEBIBYTE)
        gate.reactor.settle()
        assert client.answer().status == 413


# -- somebody leaves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "cut", "finish"])
@pytest.mark.parametrize("moment", ["sent", "head", "body", "upload"])
def test_client_leaves(moment: str, way: str) -> None:
    with Gate() as gate:
        if moment == "upload":
            client = post(gate, "Content-Length: 1000", body=b"x")
        else:
            client = gate.get()
        if moment == "head":
            gate.peer.send(OK)
        elif moment == "body":
            gate.peer.send(CHUNKED + b"1\r\na\r\n")
        getattr(client, way)()
        assert gate.peer.reset
        assert gate.pool.size == 0
        (exchange,) = gate.finished
        assert exchange.status == (200 if moment == "body" else 499)


def test_client_leaves_behind_a_complete_answer() -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(ok(b"fine"))
        client.close()
        assert gate.pool.idle == 1


def test_upload_that_breaks_off_in_its_framing() -> None:
    with Gate() as gate:
        client = post(gate, "Transfer-Encoding: chunked", body=b"1\r\na\r\n")
        client.send(b"nonsense\r\n")
        assert client.answer().status == 400
        assert gate.peer.reset


def test_upload_above_the_limit() -> None:
    with Gate(limits=Limits(body_bytes=10)) as gate:
        client = post(gate, "Transfer-Encoding: chunked", body=b"1\r\na\r\n")
        client.send(b"14\r\n" + b"x" * 20 + b"\r\n")
        assert client.answer().status == 413
        assert gate.peer.reset


def test_upload_that_stalls() -> None:
    with Gate(client_timeouts=Timeouts(body=5.0)) as gate:
        client = post(gate, "Content-Length: 1000", body=b"x")
        gate.wait(10.0)
        assert client.answer().status == 408
        assert gate.peer.reset


@pytest.mark.parametrize("way", ["finish", "cut"])
def test_backend_leaves_during_an_upload(way: str) -> None:
    with Gate() as gate:
        client = post(gate, "Content-Length: 1000", body=b"x")
        getattr(gate.peer, way)()
        assert client.answer().status == 502
        assert gate.pool.size == 0


@pytest.mark.parametrize("way", ["finish", "cut"])
def test_backend_leaves_in_a_body(way: str) -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(CHUNKED + b"1\r\na\r\n")
        getattr(gate.peer, way)()
        assert client.reset
        assert client.next_answer() is None
        (exchange,) = gate.finished
        assert (exchange.status, exchange.sent) == (200, 1)


# -- refusals by the plan --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (ok(b"fine"), ["answered 200", "done"]),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", ["answered 500", "done"]),
        (b"garbage", ["failed protocol", "done"]),
        (CHUNKED + b"nonsense\r\n", ["answered 200", "failed protocol", "done"]),
        (b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", ["failed protocol", "done"]),
    ],
)
def test_policy_is_told_of_every_end_once(answer: bytes, told: list[str]) -> None:
    policy = Policy()
    with Gate(policy=policy) as gate:
        client = gate.get()
        assert len(policy.inside) == 1
        gate.peer.send(answer)
        assert not policy.inside
        assert [text.partition(":")[0] for text in policy.told] == told
        client.close()


@pytest.mark.parametrize("moment", ["connecting", "waiting", "streaming"])
def test_policy_is_told_when_a_client_leaves(moment: str) -> None:
    policy = Policy()
    with Gate(policy=policy) as gate:
        if moment == "connecting":
            gate.dialer.silent.add(("backend.example", 80))
        client = gate.get()
        if moment == "streaming":
            gate.peer.send(CHUNKED + b"1\r\na\r\n")
        assert len(policy.inside) == 1
        client.close()
        assert not policy.inside
        assert policy.told[-1] == "done"


def test_policy_is_told_of_failed_attempts() -> None:
    policy = Policy()
    with Gate(policy=policy) as gate:
        gate.dialer.refusing.add(("backend.example", 80))
        assert gate.get().answer().status == 502
        assert policy.told == ["failed connect: connection refused", "done"]


# -- another method than the client's ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 1000\r\n\r\n",
        CHUNKED,
        OK + b"\r\n",
        b"HTTP/1.1 404 No\r\nContent-Length: 7\r\n\r\n",
        b"HTTP/1.1 304 Same\r\nContent-Length: 7\r\n\r\n",
    ],
)
@pytest.mark.parametrize("upgrade", [False, True])
def test_head_sent_for_a_get(answer: bytes, upgrade: bool) -> None:
    """As a ReverseProxy's ``method`` directive has it: the client must not wait for a body that nobody sends."""
    with Gate() as gate:
        gate.method = b"HEAD"
        more = ("Connection: Upgrade", "Upgrade: x") if upgrade else ()
        client = gate.get("/one", *more)
        assert gate.peer.take().startswith(b"HEAD /one ")
        gate.peer.send(answer)
        found = client.answer()
        assert found.complete
        assert found.body == b"" or (upgrade and found.status == 502)
        assert client.nothing_more()
        if not upgrade:
            gate.get("/two", client=client)
            gate.peer.send(OK + b"Content-Length: 0\r\n\r\n")
            assert client.answer().status == 200


def test_get_sent_for_a_head() -> None:
    with Gate() as gate:
        gate.method = b"GET"
        client = gate.get("/one", method="HEAD")
        assert gate.peer.take().startswith(b"GET /one ")
        gate.peer.send(ok(b"a body"))
        assert client.answer("HEAD").get("content-length") == b"6"
        assert client.nothing_more()
        assert gate.pool.idle == 1


def test_the_time_of_the_upstream_does_not_begin_before_it_was_asked() -> None:
    """Neither while a pipelined request waits for its turn, nor before it came."""
    with Gate() as gate:
        client = gate.get()
        take_head(gate.peer)
        gate.get("/behind", client=client)
        gate.wait(5.0)
        gate.peer.send(ok(b"first"))
        take_head(gate.peer)
        gate.wait(2.0)
        gate.peer.send(ok(b"second"))
        assert [answer.body for answer in everything(client)] == [b"first", b"second"]
        assert [round(exchange.upstream_seconds) for exchange in gate.handled] == [5, 2]

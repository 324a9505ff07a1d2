"""Backends that break HTTP. Each ends in a 502 or 504 Status or in a body that visibly breaks off; the connection is
never used again, and no other request ever sees a byte of it.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from support_gate import OK, Gate, ok, take_head, target_of

from ksproxyd.server.limits import Timeouts
from ksproxyd.testing import Client, Peer
from ksproxyd.upstream.http1 import HEAD_BYTES, HEAD_FIELDS
from ksproxyd.upstream.pool import UpstreamTimeouts

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"

#: What becomes of the request: refused with 502, begun and broken off, or answered with "fine" and nothing else.
BAD, CUT, FINE = "bad", "cut", "fine"


class Case(NamedTuple):
    name: str
    data: bytes
    outcome: str = BAD
    #: How the backend ends: stays open, sends FIN, or resets.
    end: str = ""
    method: str = "GET"


def _head(*lines: bytes, body: bytes = b"EVIL") -> bytes:
    return OK + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


CASES = [
    # -- status lines
    Case("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    Case("http-0.9", b"<html>hello</html>"),
    Case("text-and-fin", b"hello\r\n\r\n", end="fin"),
    Case("http-2-frames", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"),
    Case("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case("a-request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Case("version-2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("version-1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("version-0.9", b"HTTP/0.9 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("version-11", b"HTTP/11 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("lower-case-protocol", b"http/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("rtsp", b"RTSP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("icecast", b"ICY 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("ice", b"ICE/1.0 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("line-break-first", b"\r\n\r\n" + EVIL),
    Case("space-first", b" " + EVIL),
    Case("status-000", b"HTTP/1.1 000 x\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-099", b"HTTP/1.1 099 x\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-600", b"HTTP/1.1 600 x\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-999", b"HTTP/1.1 999 x\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-two-digits", b"HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-four-digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-negative", b"HTTP/1.1 -200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-word", b"HTTP/1.1 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-missing", b"HTTP/1.1\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-two-spaces", b"HTTP/1.1  200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("status-tab", b"HTTP/1.1\t200 OK\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("reason-cr", b"HTTP/1.1 200 O\rK\r\nContent-Length: 4\r\n\r\nEVIL"),
    # -- fields
    Case("bare-lf-status", b"HTTP/1.1 200 OK\nContent-Length: 4\n\nEVIL"),
    Case("bare-lf-field", OK + b"Content-Length: 4\n\r\nEVIL"),
    Case("bare-lf-end", OK + b"Content-Length: 4\r\n\nEVIL"),
    Case("bare-cr-value", _head(b"X-A: a\rb", b"Content-Length: 4")),
    Case("nul-in-value", _head(b"X-A: a\x00b", b"Content-Length: 4")),
    Case("nul-in-name", _head(b"X\x00A: a", b"Content-Length: 4")),
    Case("control-in-value", _head(b"X-A: a\x01b", b"Content-Length: 4")),
    Case("space-in-name", _head(b"X A: 1", b"Content-Length: 4")),
    Case("space-before-colon", _head(b"Content-Length : 4")),
    Case("no-colon", _head(b"X-A", b"Content-Length: 4")),
    Case("no-name", _head(b": x", b"Content-Length: 4")),
    Case("non-ascii-name", _head(b"\xc3\xa9: x", b"Content-Length: 4")),
    Case("folded", _head(b"X-A: 1\r\n 2", b"Content-Length: 4")),
    Case("folded-first", OK + b" X-A: 1\r\nContent-Length: 4\r\n\r\nEVIL"),
    Case("too-long-value", OK + b"X-A: " + b"a" * (HEAD_BYTES + 70000)),
    Case("too-long-name", OK + b"A" * (HEAD_BYTES + 70000)),
    Case("too-long-line", b"HTTP/1.1 200 " + b"a" * (HEAD_BYTES + 70000)),
    Case("too-many-fields", _head(*[b"X-%d: 1" % n for n in range(HEAD_FIELDS + 1)])),
    Case("too-many-hop-fields", _head(*[b"Keep-Alive: %d" % n for n in range(HEAD_FIELDS + 1)])),
    # -- lengths
    Case("length-twice", _head(b"Content-Length: 4", b"Content-Length: 4")),
    Case("length-differs", _head(b"Content-Length: 4", b"Content-Length: 9")),
    Case("length-list", _head(b"Content-Length: 4, 4")),
    Case("length-plus", _head(b"Content-Length: +4")),
    Case("length-minus", _head(b"Content-Length: -4")),
    Case("length-hex", _head(b"Content-Length: 0x4")),
    Case("length-word", _head(b"Content-Length: four")),
    Case("length-empty", _head(b"Content-Length:")),
    Case("length-inner-space", _head(b"Content-Length: 4 4")),
    Case("length-overflow", _head(b"Content-Length: 99999999999999999999")),
    Case("length-and-chunked", _head(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Case("chunked-and-length", _head(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n")),
    Case("length-and-identity", _head(b"Transfer-Encoding: identity", b"Content-Length: 4")),
    # -- codings
    Case("coding-gzip", _head(b"Transfer-Encoding: gzip"), end="fin"),
    Case("coding-gzip-chunked", _head(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")),
    Case("coding-chunked-gzip", _head(b"Transfer-Encoding: chunked, gzip"), end="fin"),
    Case("coding-twice", _head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Case("coding-identity", _head(b"Transfer-Encoding: identity"), end="fin"),
    Case("coding-misspelt", _head(b"Transfer-Encoding: xchunked"), end="fin"),
    Case("coding-parameter", _head(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n"), end="fin"),
    Case("coding-empty", _head(b"Transfer-Encoding:")),
    Case("coding-vertical-tab", _head(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")),
    Case("coding-on-1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    # -- chunks
    Case("chunk-size-word", CHUNKED + b"four\r\nEVIL\r\n0\r\n\r\n", CUT),
    Case("chunk-size-0x", CHUNKED + b"0x4\r\nEVIL\r\n0\r\n\r\n", CUT),
    Case("chunk-size-minus", CHUNKED + b"-4\r\nEVIL\r\n0\r\n\r\n", CUT),
    Case("chunk-size-space", CHUNKED + b"4 \r\nEVIL\r\n0\r\n\r\n", CUT),
    Case("chunk-size-empty", CHUNKED + b"\r\nEVIL\r\n0\r\n\r\n", CUT),
    Case("chunk-size-overflow", CHUNKED + b"fffffffffffffffff\r\nEVIL\r\n0\r\n\r\n", CUT),
    Case("chunk-bare-lf", CHUNKED + b"4\nfine\n0\n\n", CUT),
    Case("chunk-too-long", CHUNKED + b"4\r\nfineEVIL\r\n0\r\n\r\n", CUT),
    Case("chunk-too-short", CHUNKED + b"8\r\nfine", CUT, end="fin"),
    Case("chunk-extension-nul", CHUNKED + b"4;a\x00b\r\nEVIL\r\n0\r\n\r\n", CUT),
    Case("chunk-extension-endless", CHUNKED + b"4;" + b"a" * (HEAD_BYTES + 140000), CUT),
    Case("chunks-without-end", CHUNKED + b"4\r\nfine\r\n", CUT, end="fin"),
    Case("chunks-end-in-size", CHUNKED + b"4\r\nfine\r\n0", CUT, end="fin"),
    Case("chunks-end-in-data", CHUNKED + b"4\r\nfi", CUT, end="fin"),
    Case("chunks-end-in-last-line", CHUNKED + b"4\r\nfine\r\n0\r\n", CUT, end="fin"),
    Case("trailer-malformed", CHUNKED + b"4\r\nfine\r\n0\r\nX A: 1\r\n\r\n", CUT),
    Case("trailer-length", CHUNKED + b"4\r\nfine\r\n0\r\nContent-Length: 4\r\n\r\n", CUT),
    Case("trailers-endless", CHUNKED + b"4\r\nfine\r\n0\r\n" + b"X-A: 1\r\n" * 60000, CUT),
    # -- breaking off
    Case("nothing-and-fin", b"", end="fin"),
    Case("nothing-and-reset", b"", end="reset"),
    Case("half-a-status-line", b"HTTP/1.", end="fin"),
    Case("half-a-field", OK + b"Content-Le", end="fin"),
    Case("half-a-head", OK + b"Content-Length: 4\r\n", end="fin"),
    Case("half-a-head-reset", OK + b"Content-Length: 4\r\n", end="reset"),
    Case("length-too-long", OK + b"Content-Length: 9\r\n\r\nfine", CUT, end="fin"),
    Case("length-too-long-reset", OK + b"Content-Length: 9\r\n\r\nfine", CUT, end="reset"),
    Case("length-but-no-body", OK + b"Content-Length: 9\r\n\r\n", CUT, end="fin"),
    Case("until-close-reset", OK + b"\r\nfine", CUT, end="reset"),
    Case("chunks-reset", CHUNKED + b"4\r\nfine\r\n", CUT, end="reset"),
    # -- interim answers
    Case("101-unasked", b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\nEVIL"),
    Case("101-bare", b"HTTP/1.1 101 x\r\n\r\n" + EVIL),
    Case("interim-with-length", b"HTTP/1.1 105 x\r\nContent-Length: 4\r\n\r\nEVIL" + EVIL),
    Case("interim-with-coding", b"HTTP/1.1 105 x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n" + EVIL),
    Case("interim-100-with-body", b"HTTP/1.1 100 x\r\nContent-Length: 4\r\n\r\nEVIL" + EVIL),
    Case("interim-without-end", b"HTTP/1.1 103 x\r\nLink: </a>\r\n\r\n" * 12000),
    Case("interim-and-fin", b"HTTP/1.1 103 x\r\n\r\n", end="fin"),
    Case("interim-close", b"HTTP/1.1 103 x\r\nConnection: close\r\n\r\n" + EVIL),
    # -- more than was asked for
    Case("two-answers", OK + b"Content-Length: 4\r\n\r\nfine" + EVIL, FINE),
    Case("two-answers-chunked", CHUNKED + b"4\r\nfine\r\n0\r\n\r\n" + EVIL, FINE),
    Case("ten-answers", OK + b"Content-Length: 4\r\n\r\nfine" + EVIL * 9, FINE),
    Case("longer-than-length", OK + b"Content-Length: 4\r\n\r\nfineEVIL", FINE),
    Case("after-chunks", CHUNKED + b"4\r\nfine\r\n0\r\n\r\nEVIL", FINE),
    Case("half-an-answer-more", OK + b"Content-Length: 4\r\n\r\nfineHTTP/1.1 2", FINE),
    Case("after-close", OK + b"Connection: close\r\nContent-Length: 4\r\n\r\nfine" + EVIL, FINE),
    Case("interim-behind", OK + b"Content-Length: 4\r\n\r\nfineHTTP/1.1 100 Continue\r\n\r\n", FINE),
    Case("204-with-length", b"HTTP/1.1 204 x\r\nContent-Length: 4\r\n\r\nEVIL", FINE),
    Case("204-chunked", b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n", FINE),
    Case("304-with-body", b"HTTP/1.1 304 x\r\nContent-Length: 4\r\n\r\nEVIL", FINE),
    Case("204-and-an-answer", b"HTTP/1.1 204 x\r\n\r\n" + EVIL, FINE),
    Case("head-with-body", OK + b"Content-Length: 4\r\n\r\nEVIL", FINE, method="HEAD"),
    Case("head-with-chunks", CHUNKED + b"4\r\nEVIL\r\n0\r\n\r\n", FINE, method="HEAD"),
    Case("head-with-last-chunk", CHUNKED + b"0\r\n\r\n", FINE, method="HEAD"),
    Case("head-and-an-answer", OK + b"Content-Length: 0\r\n\r\n" + EVIL, FINE, method="HEAD"),
    Case("head-without-length", OK + b"\r\nEVIL", FINE, method="HEAD"),
    Case("head-half-a-chunk-line", CHUNKED + b"4\r", FINE, method="HEAD"),
]


def pieces(data: bytes, way: str) -> list[bytes]:
    if way == "whole" or len(data) > 20000:
        return [data[at : at + 60000] for at in range(0, len(data), 60000)] or [b""]
    if way == "bytes":
        return [bytes([byte]) for byte in data]
    half = len(data) // 2
    return [data[:half], data[half:]]


def misbehave(peer: Peer, case: Case, way: str) -> None:
    for piece in pieces(case.data, way):
        if not peer.open:
            break
        peer.send(piece)
    if case.end == "fin":
        peer.finish()
    elif case.end == "reset":
        peer.cut()


def serve(gate: Gate, bad: Peer) -> None:
    """Answer every request that waits on another connection than ``bad`` with its own target."""
    while True:
        waiting = [(peer, peer.take()) for peer in gate.backend.peers if peer is not bad]
        if not any(data for _, data in waiting):
            return
        for peer, data in waiting:
            for head in data.split(b"\r\n\r\n")[:-1]:
                peer.send(ok(target_of(head)))


def check(case: Case, client: Client) -> None:
    """What the client of the bad answer got is what it may get."""
    assert b"EVIL" not in client.received
    answer = client.next_answer(case.method)
    if case.outcome == BAD:
        assert answer is not None
        assert answer.status == 502
        assert answer.message().startswith("Error while proxying request: ")
        assert answer.json()["reason"] == "Bad Gateway"
    elif case.outcome == CUT:
        assert answer is None
        assert client.partial is not None
        assert client.partial.status == 200
        assert b"fine".startswith(client.partial.body)
        assert client.reset
    else:
        assert answer is not None
        assert answer.status in (200, 204, 304)
        assert answer.body in (b"", b"fine")
    assert client.nothing_more() or case.outcome == CUT


@pytest.mark.parametrize("way", ["whole", "halves", "bytes"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_answer(case: Case, way: str) -> None:
    with Gate() as gate:
        client = gate.get("/bad", method=case.method)
        bad = gate.peer
        misbehave(bad, case, way)

        # A request behind it is sent somewhere else, and gets its own answer.
        other = gate.get("/other")
        serve(gate, bad)
        assert other.answer().body == b"/other"
        assert len(gate.backend.peers) == 2

        check(case, client)
        assert not bad.open, "the connection is kept"
        # Whatever else the backend sends there reaches nobody.
        bad.send(EVIL)
        assert client.nothing_more() or case.outcome == CUT
        assert other.nothing_more()
        assert gate.pool.size == gate.pool.idle == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_answer_on_a_used_connection(case: Case) -> None:
    """As above, on a connection that has served before, while other requests are under way."""
    with Gate() as gate:
        bad = gate.used()
        client = gate.get("/bad", method=case.method)
        assert target_of(take_head(bad)) == b"/bad"
        before = [gate.get(f"/before{n}") for n in range(3)]
        misbehave(bad, case, "whole")
        after = [gate.get(f"/after{n}") for n in range(3)]
        serve(gate, bad)
        for name, others in (("before", before), ("after", after)):
            for n, other in enumerate(others):
                assert other.answer().body == f"/{name}{n}".encode()
        if case.name in ("nothing-and-fin", "nothing-and-reset"):
            # Not a byte came: the request was sent once more.
            assert client.answer().body == b"/bad"
            assert gate.proxy.retries == 1
        else:
            check(case, client)
            assert gate.proxy.retries == 0
        assert not bad.open


@pytest.mark.parametrize("case", [case for case in CASES if case.outcome == FINE], ids=lambda case: case.name)
def test_pipelined_request_does_not_get_the_rest(case: Case) -> None:
    """The next request of the same client begins while the piece with the surplus is still being handled."""
    with Gate() as gate:
        client = gate.connect()
        head = f"{case.method} /bad HTTP/1.1\r\nHost: gateway.example\r\n\r\n"
        client.send(f"{head}GET /next HTTP/1.1\r\nHost: gateway.example\r\n\r\n".encode())
        bad = gate.peer
        misbehave(bad, case, "whole")
        serve(gate, bad)
        assert client.answer(case.method).body in (b"", b"fine")
        assert client.answer().body == b"/next"
        assert client.nothing_more()
        assert b"/next" not in bad.take()


def test_answer_before_the_request() -> None:
    with Gate() as gate:
        bad = gate.used()
        bad.send(EVIL)
        assert not bad.open
        assert gate.pool.idle == 0
        assert gate.pool.stale == 1
        client = gate.get("/two")
        serve(gate, bad)
        assert client.answer().body == b"/two"


def test_no_answer_is_a_timeout() -> None:
    with Gate(timeouts=UpstreamTimeouts(response_header=5.0)) as gate:
        client = gate.get("/slow")
        gate.wait(4.0)
        assert client.nothing_more()
        gate.wait(3.0)
        answer = client.answer()
        assert answer.status == 504
        assert answer.message() == "Error while proxying request: the upstream did not answer within 5 seconds"
        assert answer.json()["reason"] == "Timeout"
        assert gate.peer.reset
        assert gate.pool.size == 0


def test_slow_head_is_a_timeout() -> None:
    """Bytes of a head are no progress: only the whole head is."""
    with Gate(timeouts=UpstreamTimeouts(response_header=5.0)) as gate:
        client = gate.get("/slow")
        gate.peer.send(OK)
        for n in range(20):
            gate.wait(0.5)
            gate.peer.send(b"X-%d: 1\r\n" % n)
        assert client.answer().status == 504
        assert gate.peer.reset


def test_stalled_body_is_cut_where_that_is_wanted() -> None:
    with Gate(timeouts=UpstreamTimeouts(stream_idle=5.0)) as gate:
        client = gate.get("/stall")
        gate.peer.send(OK + b"Content-Length: 8\r\n\r\nfine")
        gate.wait(4.0)
        gate.peer.send(b"fi")
        gate.wait(4.0)
        assert not client.reset
        gate.wait(3.0)
        assert client.reset
        assert gate.peer.reset


def test_slow_client_is_no_stalled_body() -> None:
    """While it is the client that does not read, the backend has all the time it wants."""
    with Gate(
        timeouts=UpstreamTimeouts(stream_idle=5.0), client_timeouts=Timeouts(write=1000.0)
    ) as gate:
        client = gate.connect(capacity=1024)
        client.reading = False
        gate.get("/big", client=client)
        body = b"x" * 400_000
        gate.peer.send(OK + b"Content-Length: 400000\r\n\r\n" + body)
        assert gate.peer.unsent
        gate.wait(30.0)
        client.reading = True
        gate.reactor.settle()
        assert client.answer().body == body


def test_stalled_body_is_waited_for_by_default() -> None:
    with Gate() as gate:
        client = gate.get("/watch")
        gate.peer.send(CHUNKED + b"4\r\nfine\r\n")
        gate.wait(1800.0)
        gate.peer.send(b"4\r\nmore\r\n0\r\n\r\n")
        assert client.answer().body == b"finemore"

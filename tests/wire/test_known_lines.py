"""Answers that differ from earlier ones in values only: read without the parser, and as the parser reads them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_gate import OK, Gate, ok

from ksproxyd.upstream.answer import known_heads, known_lines
from ksproxyd.upstream.http1 import UpstreamConnection

#: As kube-apiserver answers.
ID = b"Audit-Id: 2f0e2a4c-7d0a-4b43-9f5e-%012d"
FIELDS = (
    b"Cache-Control: no-cache, private",
    b"Content-Type: application/json",
    b"Date: Sun, 29 Nov 2026 16:18:%02d GMT",
)


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    known_heads.clear()
    known_lines.clear()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One more for each answer that the parser has read."""
    found: list[int] = []
    began = UpstreamConnection.on_message_begin

    def begin(connection: UpstreamConnection) -> None:
        found.append(1)
        began(connection)

    monkeypatch.setattr(UpstreamConnection, "on_message_begin", begin)
    return found


def answer(number: int, body: bytes = b"{}") -> bytes:
    return ok(body, ID % number, FIELDS[0], FIELDS[1], FIELDS[2] % (number % 60))


def test_another_id_date_and_length(parsed: list[int]) -> None:
    with Gate() as gate:
        client = gate.connect()
        for number in range(5):
            gate.get(client=client)
            gate.peer.send(answer(number, b"x" * number))
            found = client.answer()
            assert found.body == b"x" * number
            assert found.get("audit-id") == (ID % number)[10:]
            assert found.get("date") == b"Sun, 29 Nov 2026 16:18:%02d GMT" % number
            assert found.get("content-length") == b"%d" % number
        assert len(parsed) == 1 and gate.pool.dials == 1
        # An id never comes again.
        assert len(known_heads) == 1


def test_a_date_alone_may_come_again(parsed: list[int]) -> None:
    with Gate() as gate:
        for second in (1, 2, 2):
            client = gate.get()
            gate.peer.send(ok(b"fine", FIELDS[2] % second))
            assert client.answer().body == b"fine"
        assert len(parsed) == 1 and len(known_heads) == 2


@pytest.mark.parametrize(
    "lines",
    [
        (ID % 1, b"Content-Length: 2"),
        (ID % 1, b"Transfer-Encoding: chunked"),
        (ID % 1, b"Connection: close"),
        (ID % 1, b"Connection: Audit-Id"),
        (ID % 1, b"Keep-Alive: timeout=5"),
        (ID % 1, b"Never-Seen: x"),
        (b"audit-id: other",),
        (b"Audit-Id:other",),
        (b"Audit-Id:  other",),
        (b"Audit-Id: other ",),
        (b"Audit-Id: \xe4",),
        (b"Audit-Id: a\tb",),
        (b"Audit-Id: ",),
        (b"Audit-Id: a", b" folded: b"),
        (b"Audit-Id: a\nX-Evil: b",),
        (b"Audit-Id: a\rX-Evil: b",),
        (b"Audit-Id: a\x00b",),
        (b"Audit-Id : a",),
    ],
)
def test_whatever_else_is_the_parsers(parsed: list[int], lines: tuple[bytes, ...]) -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(answer(1))
        assert client.answer().body == b"{}"
        client = gate.get()
        gate.peer.send(ok(b"{}", *lines, *FIELDS[:2]))
        gate.peer.finish()
        client.take()
        assert len(parsed) == 2


@pytest.mark.parametrize("length", [b"+2", b"2 ", b"0x2", b"2,2", b"\xb2", b"-0", b"2" * 16, b""])
def test_lengths_that_are_none_are_the_parsers(parsed: list[int], length: bytes) -> None:
    with Gate() as gate:
        client = gate.get()
        gate.peer.send(answer(1))
        assert client.answer().body == b"{}"
        client = gate.get()
        gate.peer.send(OK + ID % 2 + b"\r\nContent-Length: " + length + b"\r\n\r\n{}")
        gate.peer.finish()
        client.take()
        assert len(parsed) == 2


@pytest.mark.parametrize(
    "status", [b"204 No Content", b"304 Not Modified", b"103 Early Hints", b"700 Odd", b"200 Fine"]
)
def test_another_status_is_the_parsers(parsed: list[int], status: bytes) -> None:
    with Gate() as gate:
        for number, line in enumerate((b"200 OK", status, status)):
            client = gate.get()
            gate.peer.send(answer(number, b"").replace(b"200 OK", line))
            gate.peer.finish()
            client.take()
        assert len(parsed) == (2 if status == b"200 Fine" else 3)


NAMES = [b"Audit-Id", b"audit-id", b"ETag", b"Date", b"Content-Type", b"Set-Cookie", b"X-Other"]
HOP = [b"Connection", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Keep-Alive", b"Upgrade", b"Trailer"]
VALUES = [b"a", b"a b", b"2", b"0", b"chunked", b"close", b"keep-alive", b"", b" a", b"a ", b"\xe4", b"a\tb", b"a: b"]
lines = st.tuples(
    st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(HOP)),
    st.sampled_from([b": ", b": ", b": ", b":", b":  ", b" : "]),
    st.sampled_from(VALUES),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"]),
).map(b"".join)
heads = st.tuples(
    st.sampled_from([OK, OK, b"HTTP/1.1 404 Not Found\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 304 Not Modified\r\n"]),
    st.lists(lines, max_size=4).map(b"".join),
    st.sampled_from([b"Content-Length: 2\r\n", b"Content-Length: 2\r\n", b"Content-Length: 0\r\n", b""]),
    st.sampled_from([b"\r\n", b"\r\n", b"\n"]),
    st.sampled_from([b"{}", b"{}", b"", b"{}HTTP/1.1 200 OK\r\n\r\n"]),
).map(b"".join)


def outcome(earlier: list[bytes], data: bytes) -> tuple[bytes, bool, int]:
    """What the client gets for ``data``, whether the connection to the backend is used again, and what else is open."""
    with Gate() as gate:
        for each in earlier:
            client = gate.get()
            gate.peer.send(each)
            gate.peer.finish()
            client.close()
        client = gate.get()
        peer = gate.peer
        peer.send(data)
        got = client.take()
        return got, peer.open, gate.pool.idle


@given(st.lists(heads, max_size=4), heads)
def test_as_the_parser_reads_it(earlier: list[bytes], data: bytes) -> None:
    forget()
    expected = outcome([], data)
    forget()
    assert outcome(earlier, data) == expected
    # And again, with what was learnt of itself.
    assert outcome([], data) == expected

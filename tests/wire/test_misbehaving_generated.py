"""Generated answers, against h11: what is passed on as a complete answer is one, and says the same."""

from __future__ import annotations

import h11
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from support_gate import Gate

STARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 \r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.1 404 Not Found\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 103 Early\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.2 200 OK\r\n",
        b"HTTP/2.0 200 OK\r\n",
        b"http/1.1 200 OK\r\n",
        b"HTTP/1.1 600 OK\r\n",
        b"HTTP/1.1 99 OK\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n",
        b"",
    ]
)
FIELDS = st.sampled_from(
    [
        b"Content-Length: 0\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 5 \r\n",
        b"Content-Length:5\r\n",
        b"content-length: 05\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 5\n",
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-encoding: CHUNKED\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: X-A\r\n",
        b"X-A: 1\r\n",
        b"X-A:\r\n",
        b"X-A: \xe9\r\n",
        b"X-A: a\x00b\r\n",
        b"X-A: 1\r\n 2\r\n",
        b"X A: 1\r\n",
        b": 1\r\n",
        b"X-A\r\n",
    ]
)
BODIES = st.one_of(
    st.sampled_from(
        [
            b"",
            b"abc",
            b"abcde",
            b"abcdefgh",
            b"3\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            b"3;x=1\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
            b"3\nabc\n0\n\n",
            b"03\r\nabc\r\n00\r\n\r\n",
            b"4\r\nabc\r\n0\r\n\r\n",
            b"2\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\r\n0\r\n",
            b"3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"abcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ]
    ),
    st.binary(max_size=20),
)
CUTS = st.lists(st.integers(1, 12), max_size=40)


def h11_answer(method: str, data: bytes) -> tuple[int, bytes] | None:
    """What h11 makes of ``data`` and the end behind it, or None if it is no complete answer."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/x", headers=[("Host", "b")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        connection.receive_data(data)
        at_end = False
        while True:
            found = connection.next_event()
            if isinstance(found, h11.Response):
                status = found.status_code
            elif isinstance(found, h11.Data):
                body += bytes(found.data)
            elif isinstance(found, h11.EndOfMessage):
                return status, body
            elif found is h11.NEED_DATA and not at_end:
                at_end = True
                connection.receive_data(b"")
            elif found is h11.NEED_DATA or isinstance(found, h11.ConnectionClosed):
                return None
    except h11.RemoteProtocolError:
        return None


def our_answer(method: str, data: bytes, cuts: list[int]) -> tuple[int, bytes] | None:
    """What a client gets of it, in pieces; None for a refusal or a body that breaks off."""
    with Gate() as gate:
        client = gate.get(method=method)
        peer = gate.peer
        rest = data
        for size in cuts:
            if not rest or not peer.open:
                break
            peer.send(rest[:size])
            rest = rest[size:]
        if rest and peer.open:
            peer.send(rest)
        if peer.open:
            peer.finish()
        found = client.next_answer(method)
        if found is None:
            assert client.reset
            return None
        assert client.nothing_more()
        if found.status == 502:
            assert method == "HEAD" or found.message()
            return None
        return found.status, found.body


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["GET", "HEAD"]), STARTS, st.lists(FIELDS, max_size=4), BODIES, CUTS)
@example("GET", b"HTTP/1.1 200 OK\r\n", [b"Content-Length: 5 \r\n"], b"abcde", [])
@example("GET", b"HTTP/1.0 200 OK\r\n", [], b"abcde", [1] * 20)
@example("GET", b"HTTP/1.1 200 OK\r\n", [b"Transfer-Encoding: chunked\r\n"], b"3;x=1\r\nabc\r\n0\r\n\r\n", [3] * 20)
def test_complete_answers(method: str, start: bytes, fields: list[bytes], body: bytes, cuts: list[int]) -> None:
    data = start + b"".join(fields) + b"\r\n" + body
    ours, theirs = our_answer(method, data, cuts), h11_answer(method, data)
    event("passed on" if ours is not None else "refused")
    if ours is not None:
        assert ours == theirs
    # However it is cut, it is the same.
    assert our_answer(method, data, []) == ours


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), CUTS)
def test_anything_at_all(data: bytes, cuts: list[int]) -> None:
    assert our_answer("GET", data, cuts) is None or data.startswith(b"HTTP/1.")


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=60), st.integers(0, 60), CUTS)
def test_noise_in_an_answer(noise: bytes, place: int, cuts: list[int]) -> None:
    """Whatever stands in the middle of a good answer, what comes out is whole or visibly not."""
    good = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    data = good[:place] + noise + good[place:]
    ours = our_answer("GET", data, cuts)
    if ours is not None:
        assert ours[0] in range(200, 600)

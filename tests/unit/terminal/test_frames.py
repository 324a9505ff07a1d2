"""Frames of WebSocket, on the client's side."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.terminal.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    FrameError,
    Reader,
    close_payload,
    frame,
    masked,
)


def server_frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """As a server writes it."""
    first = (0x80 if final else 0) | opcode
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def read(pieces: list[bytes], limit: int = 1 << 20) -> list[Frame]:
    reader, found = Reader(limit), list[Frame]()
    for piece in pieces:
        reader.feed(piece, found.append)
    return found


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_a_frame_of_ours_is_masked_and_says_its_length(size: int) -> None:
    payload, key = b"x" * size, b"\x01\x02\x03\x04"
    sent = frame(BINARY, payload, key)
    assert sent[0] == 0x82
    assert sent[1] & 0x80
    plain = server_frame(BINARY, payload)
    at = len(plain) - size
    assert (sent[1] & 0x7F, sent[2:at]) == (plain[1], plain[2:at])
    assert sent[at : at + 4] == key
    assert masked(sent[at + 4 :], key) == payload


@given(st.binary(), st.binary(min_size=4, max_size=4))
def test_masking(payload: bytes, key: bytes) -> None:
    expected = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    assert masked(payload, key) == expected


messages = st.lists(
    st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=300), min_size=1, max_size=4)), max_size=5
)


@given(messages, st.lists(st.integers(0, 2000)), st.booleans())
def test_messages_in_pieces_of_any_size(sent: list[tuple[int, list[bytes]]], cuts: list[int], pinging: bool) -> None:
    stream, expected = b"", []
    for opcode, parts in sent:
        for place, part in enumerate(parts):
            stream += server_frame(opcode if place == 0 else 0, part, final=place == len(parts) - 1)
            if pinging and place < len(parts) - 1:
                stream += server_frame(PING, b"p")
                expected.append(Frame(PING, b"p"))
        expected.append(Frame(opcode, b"".join(parts)))
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    assert read([stream[a:b] for a, b in itertools.pairwise(places)]) == expected
    assert read([bytes([byte]) for byte in stream]) == expected


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x82\x80\x00\x00\x00\x00", 1002),
        (b"\xc2\x00", 1002),
        (b"\x83\x00", 1002),
        (b"\x8b\x00", 1002),
        (b"\x80\x00", 1002),
        (b"\x02\x00\x82\x00", 1002),
        (b"\x09\x00", 1002),
        (server_frame(PING, b"x" * 126), 1002),
        (server_frame(BINARY, b"x" * 101), 1009),
        (server_frame(BINARY, b"x" * 60, final=False) + server_frame(0, b"x" * 60), 1009),
        (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
    ],
)
def test_what_is_no_frame(stream: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        read([stream], limit=100)
    assert caught.value.code == code
    with pytest.raises(FrameError):
        read([bytes([byte]) for byte in stream], limit=100)


def test_what_came_before_a_mistake_counts() -> None:
    reader, found = Reader(), list[Frame]()
    with pytest.raises(FrameError):
        reader.feed(server_frame(BINARY, b"a") + b"\x83\x00", found.append)
    assert found == [Frame(BINARY, b"a")]


def test_the_end() -> None:
    assert close_payload(1000) == b"\x03\xe8"
    assert close_payload(4410, "pod deleted") == b"\x11\x3apod deleted"
    long = close_payload(1011, "\u20ac" * 100)
    assert len(long) <= 125
    assert long[2:].decode() == "\u20ac" * 41
    assert read([server_frame(CLOSE, b"\x03\xe8"), server_frame(PONG, b"")]) == [
        Frame(CLOSE, b"\x03\xe8"),
        Frame(PONG, b""),
    ]

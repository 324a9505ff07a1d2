"""Forms that come in pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.multipart import Malformed, Reader, boundary_of


class Heard:
    """What a reader has told."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, str | None, bytes]] = []
        self._now: tuple[str, str | None] | None = None
        self._content = b""

    def part(self, name: str, filename: str | None, kind: str) -> None:
        assert self._now is None
        self._now, self._content = (name, filename), b""

    def content(self, data: bytes) -> None:
        assert self._now is not None
        assert data
        self._content += data

    def part_end(self) -> None:
        assert self._now is not None
        self.parts.append((*self._now, self._content))
        self._now = None


def read(pieces: list[bytes], boundary: bytes = b"B") -> list[tuple[str, str | None, bytes]]:
    heard = Heard()
    reader = Reader(boundary, heard)
    for piece in pieces:
        reader.feed(piece)
    reader.end()
    return heard.parts


def form(*parts: tuple[str, str | None, bytes], boundary: bytes = b"B") -> bytes:
    made = b""
    for name, filename, content in parts:
        made += b"--" + boundary + b'\r\nContent-Disposition: form-data; name="' + name.encode() + b'"'
        if filename is not None:
            made += b'; filename="' + filename.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
        made += b"\r\nContent-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
    return made + b"--" + boundary + b"--\r\n"


names = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters='"\\'), min_size=1, max_size=10)
contents = st.binary(max_size=60) | st.sampled_from([b"\r\n--A", b"\r\n", b"--B", b"\r\n-", b"\r\r\n--", b""])
parts = st.lists(st.tuples(names, st.none() | names, contents), max_size=4)


@given(parts, st.lists(st.integers(0, 800)))
def test_pieces_do_not_matter(sent: list[tuple[str, str | None, bytes]], cuts: list[int]) -> None:
    boundary = b"Bxyz123"
    body = form(*sent, boundary=boundary)
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    assert read([body[a:b] for a, b in itertools.pairwise(places)], boundary) == sent
    assert read([bytes([byte]) for byte in body], boundary) == sent


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'Content-Disposition: form-data; name="a"; filename="b\\"c.txt"', ("a", 'b"c.txt')),
        (b"content-disposition: form-data; name=a; filename=b.txt", ("a", "b.txt")),
        (b'Content-Disposition: form-data; name="a"', ("a", None)),
        (b'Content-Disposition: form-data; filename=""; name="a"', ("a", "")),
        (b'X: y\r\nContent-Disposition: form-data; name="\xe2\x82\xac"; filename="\xff"', ("\u20ac", "\ufffd")),
        (b'Content-Disposition: form-data; name="a"; filename="C:\\x.txt"', ("a", "C:\\x.txt")),
    ],
)
def test_heads(head: bytes, expected: tuple[str, str | None]) -> None:
    assert read([b"--B\r\n" + head + b"\r\n\r\nx\r\n--B--"]) == [(*expected, b"x")]


def test_what_stands_around_the_parts_means_nothing() -> None:
    assert read([b"before\r\n--B \t\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--B--after it all"]) == [
        ("a", None, b"")
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--B",
        b"--B\r\n",
        b"--Bx\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--B--",
        b"--B\r\nContent-Disposition: form-data; name=a\r\n\r\nabc",
        b"--B\r\nContent-Disposition: form-data; name=a\r\n\r\nabc\r\n--B",
        b"--B\r\nContent-Type: text/plain\r\n\r\nabc\r\n--B--",
        b"--B\r\nContent-Disposition: attachment; name=a\r\n\r\nabc\r\n--B--",
        b"--B\r\n" + b"X: " + b"y" * 9000 + b"\r\n\r\n\r\n--B--",
        b"z" * 5000,
        b"--B\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * 1001 + b"--B--",
    ],
)
def test_what_is_no_form(body: bytes) -> None:
    with pytest.raises(Malformed):
        read([body])
    with pytest.raises(Malformed):
        read([bytes([byte]) for byte in body])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_not(body: bytes) -> None:
    for prefix in (b"", b"--B\r\nContent-Disposition: form-data; name=a\r\n\r\n"):
        try:
            read([prefix + body])
        except Malformed:
            continue


def test_memory_is_bounded() -> None:
    reader = Reader(b"B", Heard())
    reader.feed(b"--B\r\nContent-Disposition: form-data; name=a\r\n\r\n")
    for _ in range(100):
        reader.feed(b"\r\n--" * 4096)
        assert len(reader._buffer) < 10


def test_boundaries() -> None:
    assert boundary_of(b"multipart/form-data; boundary=abc") == b"abc"
    assert boundary_of(b'multipart/form-data; charset=x; Boundary="a b"') == b"a b"
    with pytest.raises(Malformed):
        boundary_of(b"multipart/form-data")

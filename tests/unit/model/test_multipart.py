"""Forms with files: what is read of them, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.multipart import Malformed, Part, read_parts

TYPE = b"multipart/form-data; boundary=b"
FILE = b'Content-Disposition: form-data; name="image"; filename="x.png"\r\nContent-Type: Image/PNG; a=b\r\n'


def read(body: bytes, kind: bytes = TYPE) -> list[Part]:
    return read_parts(kind, body, 100)


def form(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def test_a_file() -> None:
    (part,) = read(form(FILE + b"\r\nPNG\r\nDATA"))
    assert part == ("image", "x.png", "image/png", b"PNG\r\nDATA")


def test_fields_and_files_in_order() -> None:
    plain = b"content-disposition: Form-Data; name=a\r\n\r\n1"
    parts = read(b"before\r\n" + form(plain, FILE + b"\r\n") + b"behind")
    assert [(part.name, part.filename, part.content) for part in parts] == [("a", None, b"1"), ("image", "x.png", b"")]


def test_a_part_without_a_body() -> None:
    assert [part.content for part in read(b"--b\r\n" + FILE + b"\r\n--b--")] == [b""]


def test_an_empty_form() -> None:
    assert read(b"--b--\r\n") == []


@pytest.mark.parametrize(
    ("said", "name"),
    [(rb'"a\"b\\c.png"', 'a"b\\c.png'), (b"plain.png", "plain.png"), (b'""', ""), ("“.svg".encode(), "“.svg")],
)
def test_names_of_files(said: bytes, name: str) -> None:
    (part,) = read(form(b'Content-Disposition: form-data; name="x"; filename=' + said + b"\r\n\r\n"))
    assert (part.name, part.filename) == ("x", name)


def test_a_quoted_boundary() -> None:
    body = b'--a b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--a b--'
    assert [part.content for part in read(body, b'multipart/form-data; charset=x; Boundary="a b"')] == [b"1"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"multipart/form-data", form()),
        (b"multipart/form-data; boundary=", form()),
        (b"multipart/form-data; boundary=" + b"b" * 71, b"--" + b"b" * 71 + b"--"),
        (TYPE, b""),
        (TYPE, b"something"),
        (TYPE, b"--b\r\n" + FILE + b"\r\nx"),
        (TYPE, b"--b\r\n" + FILE + b"\r\nx\r\n--b"),
        (TYPE, b"--bx\r\n\r\n\r\n--b--"),
        (TYPE, form(b"no colon\r\n\r\nx")),
        (TYPE, form(b"Content-Type: image/png\r\n\r\nx")),
        (TYPE, form(b"X: " + b"y" * 9000 + b"\r\n\r\nx")),
        (TYPE, form(*[FILE + b"\r\n"] * 101)),
    ],
)
def test_what_is_none(kind: bytes, body: bytes) -> None:
    with pytest.raises(Malformed):
        read(body, kind)


@given(st.binary(max_size=200).map(lambda text: text.replace(b"--b", b"")))
def test_whatever_a_file_holds_comes_out(content: bytes) -> None:
    (part,) = read(form(FILE + b"\r\n" + content))
    assert part.content == content


@given(st.lists(st.sampled_from([b"--b", b"--", b"\r\n", b"\r", b"Content-Disposition: form-data", b";", b'"', b"x"])))
def test_anything_is_a_form_or_malformed(pieces: list[bytes]) -> None:
    try:
        read(b"".join(pieces))
    except Malformed as error:
        assert str(error)

"""What is spoken with browsers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.terminal.channels import resize
from ksproxyd.terminal.dialects import EndOfInput, dialect, resume_of, select
from ksproxyd.terminal.exit_status import EXITED, LOST, Ended, read_status
from ksproxyd.terminal.messages import Ignored, Malformed, Message, Resize, Stdin

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        ([], ""),
        ([V4], V4),
        (["base64.channel.k8s.io", V5, V4], V5),
        (["nope"], ""),
        (["ksproxyd.json", V4], "ksproxyd.json"),
        (["ksproxyd.resume.x", "ksproxyd.json"], "ksproxyd.json"),
        (["ksproxyd.resume.x"], ""),
    ],
)
def test_what_is_selected(offered: list[str], expected: str) -> None:
    assert select(offered) == expected


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (["ksproxyd.json", "ksproxyd.resume.a.b"], "a.b"),
        (["ksproxyd.json"], ""),
        (["ksproxyd.resume.a.b"], ""),
        ([V4, "ksproxyd.json", "ksproxyd.resume.a.b"], ""),
    ],
)
def test_who_comes_back(offered: list[str], expected: str) -> None:
    assert resume_of(offered) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", Ignored("")),
        (b"\x00", Stdin(b"")),
        (b"\x00ls\xff\r", Stdin(b"ls\xff\r")),
        (resize(132, 40), Resize(132, 40)),
        (b'\x04{"width":80,"height":24}', Resize(80, 24)),
        (b'\x04{"Width":1,"Height":1}\n{"Width":80,"Height":24}\n', Resize(80, 24)),
        (b'\x04{"Width":0,"Height":24}', Ignored("resize")),
        (b"\x04", Ignored("resize")),
        (b"\x01x", Ignored("1")),
        (b"\x09x", Ignored("9")),
        (b"\xff\x00", EndOfInput()),
        (b"\xff\x01", Ignored("close")),
    ],
)
def test_channels_of_a_browser(payload: bytes, expected: Message | EndOfInput) -> None:
    assert dialect(V5).parse(payload) == expected


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\xff", 1002),
        (b"\xff\x05", 1002),
        (b"\xff\x00\x00", 1002),
        (b"\x04{", 1007),
        (b"\x04\xff", 1007),
        (b"\x04[]", 1007),
        (b"\x04" + b"[" * 100_000, 1007),
        (b'\x04{"Width":-1,"Height":2}', 1002),
        (b'\x04{"Width":"8","Height":2}', 1002),
    ],
)
def test_mistakes_in_channels(payload: bytes, code: int) -> None:
    with pytest.raises(Malformed) as caught:
        dialect(V4).parse(payload)
    assert caught.value.code == code


@given(st.binary())
def test_output_in_channels_is_what_was_printed(data: bytes) -> None:
    said = dialect(V4).output(data)
    assert said == (b"\x01" + data if data else b"")


@pytest.mark.parametrize("code", [0, 1, 137, 255])
def test_the_status_in_channels(code: int) -> None:
    said = dialect(V5).status(Ended(EXITED, code), "")
    assert isinstance(said, bytes)
    assert said[:1] == b"\x03"
    assert (read_status(said[1:]).kind, read_status(said[1:]).code) == (EXITED, code)


def test_another_end_in_channels() -> None:
    for result in (None, Ended(LOST, message="10.0.0.1")):
        said = dialect(V5).status(result, "pod d/p was deleted")
        assert isinstance(said, bytes)
        status = json.loads(said[1:])
        assert (status["status"], status["message"]) == ("Failure", "pod d/p was deleted")
    assert not dialect(V5).toast("any")
    assert not dialect(V5).session("secret")
    assert dialect(V5).established() == b"\x01"


def data_of(said: str | bytes) -> tuple[str, str]:
    assert isinstance(said, str)
    message = json.loads(said)
    assert set(message) == {"Op", "Data", "Rows", "Cols"}
    return message["Op"], message["Data"]


def test_json() -> None:
    plain, returning = dialect(""), dialect("ksproxyd.json")
    assert not plain.session("i.k")
    assert data_of(returning.session("i.k")) == ("session", "i.k")
    assert data_of(plain.established()) == ("stdout", "")
    assert plain.output(b"\xe2\x82") == ""
    assert data_of(plain.output(b"\xac<")) == ("stdout", "\u20ac<")
    assert plain.output(b"\xe2") == ""
    assert data_of(plain.rest()) == ("stdout", "\ufffd")
    assert plain.rest() == ""
    assert plain.status(Ended(EXITED), "") == ""
    assert data_of(plain.status(Ended(EXITED, 3), "code 3")) == ("toast", "\r\n[code 3]\r\n")
    assert data_of(plain.status(None, "deleted")) == ("toast", "\r\n[deleted]\r\n")

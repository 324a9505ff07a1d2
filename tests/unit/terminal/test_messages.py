"""What a browser says to a terminal, and what it is told."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.terminal.decoding import Output
from ksproxyd.terminal.messages import Ignored, Malformed, Message, Pace, Resize, Stdin, parse, stdout, toast


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ('{"Op":"stdin","Data":"a"}', Stdin(b"a")),
        ('{"op":"stdin","data":"a"}', Stdin(b"a")),
        ('{"Op":"stdin","Data":"\u20ac"}', Stdin("\u20ac".encode())),
        ('{"Op":"stdin","Data":"\\ud83d\\ude00"}', Stdin("\U0001f600".encode())),
        ('{"Op":"stdin","Data":"\\ud83d"}', Stdin(b"\xef\xbf\xbd")),
        ('{"Op":"stdin","Data":"a\\udc00b"}', Stdin(b"a\xef\xbf\xbdb")),
        ('{"Op":"stdin"}', Stdin(b"")),
        ('{"Op":"stdin","Data":null,"Extra":[1]}', Stdin(b"")),
        (' \n{"Op":"stdin","Data":"a"} and more', Stdin(b"a")),
        ('{"Op":"resize","Cols":132,"Rows":40}', Resize(132, 40)),
        ('{"op":"resize","cols":132.0,"rows":4e1}', Resize(132, 40)),
        ('{"Op":"resize","Cols":65535,"Rows":2000}', Resize(1000, 1000)),
        ('{"Op":"resize","Cols":0,"Rows":24}', Ignored("resize")),
        ('{"Op":"resize","Cols":80}', Ignored("resize")),
        ('{"Op":"pause"}', Pace(False)),
        ('{"op":"resume","Data":null}', Pace(True)),
        ('{"Op":"nope","Data":3}', Ignored("nope")),
        ("{}", Ignored("")),
        ('{"Op":null}', Ignored("")),
    ],
)
def test_messages_of_a_browser(payload: str, expected: Message) -> None:
    assert parse(payload.encode()) == expected


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"not json", 1007),
        (b"", 1007),
        (b'{"Op":"stdin","Data":"\xff"}', 1007),
        (b'["stdin"]', 1007),
        (b'"stdin"', 1007),
        (b"[" * 100_000, 1007),
        (b'{"Op":3}', 1002),
        (b'{"Op":"stdin","Data":3}', 1002),
        (b'{"Op":"resize","Rows":-1,"Cols":80}', 1002),
        (b'{"Op":"resize","Rows":1.5,"Cols":80}', 1002),
        (b'{"Op":"resize","Rows":65536,"Cols":80}', 1002),
        (b'{"Op":"resize","Rows":true,"Cols":80}', 1002),
        (b'{"Op":"resize","Rows":"24","Cols":80}', 1002),
        (b'{"Op":"resize","Rows":1e999,"Cols":80}', 1002),
    ],
)
def test_what_cannot_be_meant(payload: bytes, code: int) -> None:
    with pytest.raises(Malformed) as caught:
        parse(payload)
    assert caught.value.code == code


@given(
    st.binary(max_size=100)
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
    | st.dictionaries(st.sampled_from(["Op", "Data", "Rows", "Cols", "x"]), st.integers() | st.text()).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_whatever_comes_is_a_message_or_malformed(payload: bytes) -> None:
    try:
        found = parse(payload)
    except Malformed as error:
        assert error.code in (1002, 1007)
    else:
        assert isinstance(found, Stdin | Resize | Pace | Ignored)


@given(st.text())
def test_what_is_typed_arrives(text: str) -> None:
    assert parse(json.dumps({"Op": "stdin", "Data": text}).encode()) == Stdin(text.encode())


@given(st.text())
def test_messages_to_a_browser(text: str) -> None:
    sent = stdout(text)
    assert json.loads(sent) == {"Op": "stdout", "Data": text, "Rows": 0, "Cols": 0}
    assert not set(sent) & set("<>&\u2028\u2029")
    assert all(character >= " " for character in sent)


def test_the_form_of_messages() -> None:
    assert stdout("$ ") == '{"Op":"stdout","Data":"$ ","Rows":0,"Cols":0}'
    assert json.loads(toast("pod deleted"))["Data"] == "\r\n[pod deleted]\r\n"


def decoded(pieces: list[bytes]) -> list[str]:
    decoder = Output()
    return [*map(decoder.feed, pieces), decoder.end()]


@given(st.binary(), st.lists(st.integers(0, 50)))
def test_pieces_do_not_matter(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert "".join(decoded(pieces)) == data.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"\xe2\x82", b"\xac"], ["", "\u20ac", ""]),
        ([b"\xff\xfe"], ["\ufffd\ufffd", ""]),
        ([b"\xf0\x9f\x98"], ["", "\ufffd"]),
        ([b"a\xf0\x9f", b"b"], ["a", "\ufffdb", ""]),
    ],
)
def test_characters_in_pieces(pieces: list[bytes], expected: list[Any]) -> None:
    assert decoded(pieces) == expected

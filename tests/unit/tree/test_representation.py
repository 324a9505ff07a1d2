"""Served content: validators, conditional requests and content codings."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.message import Fields, Response
from ksproxyd.model.status import StatusError
from ksproxyd.tree.representation import GZIP_FROM, Representation, names_entity, prefers_gzip

SMALL = Representation(b"small", [(b"Content-Type", b"text/x")], b"no-cache")
TEXT = b"console.log('x');\n" * 100
BIG = Representation(TEXT, [(b"Content-Type", b"text/x")], b"no-cache")


def ask(content: Representation, method: str = "GET", **fields: str) -> Response:
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
    return content.answer(method, Fields(pairs))


def headers(response: Response) -> dict[bytes, bytes]:
    found = dict(response.headers)
    assert len(found) == len(response.headers)
    return found


def test_a_plain_answer() -> None:
    answer = ask(SMALL)
    assert (answer.status, answer.body) == (200, b"small")
    assert headers(answer) == {
        b"Content-Type": b"text/x",
        b"ETag": SMALL.etag,
        b"Cache-Control": b"no-cache",
        b"Vary": b"Accept-Encoding",
    }
    assert SMALL.body == b"small"


def test_a_head_request_gets_the_same_answer() -> None:
    assert ask(BIG, "HEAD").headers == ask(BIG).headers
    assert ask(BIG, "HEAD", if_none_match=BIG.etag.decode()).status == 304


def test_the_tag_follows_the_content() -> None:
    assert Representation(b"small", [], b"x").etag == SMALL.etag
    assert Representation(b"smalm", [], b"x").etag != SMALL.etag
    assert names_entity(SMALL.etag, SMALL.etag, weak=False)


def test_compressed() -> None:
    answer = ask(BIG, accept_encoding="gzip")
    assert headers(answer)[b"Content-Encoding"] == b"gzip"
    assert gzip.decompress(answer.body) == TEXT
    assert headers(answer)[b"ETag"] not in (BIG.etag, b"W/" + BIG.etag)
    assert headers(answer)[b"Vary"] == b"Accept-Encoding"
    # Every replica makes the same bytes for the same content.
    assert Representation(TEXT, [], b"x").answer("GET", Fields([(b"accept-encoding", b"gzip")])).body == answer.body


@pytest.mark.parametrize("body", [b"x" * (GZIP_FROM - 1), bytes(range(256)) * 5, gzip.compress(TEXT * 9)])
def test_what_is_not_worth_compressing(body: bytes) -> None:
    if len(body) >= GZIP_FROM:
        body = gzip.compress(body)
    answer = ask(Representation(body, [], b"x"), accept_encoding="gzip")
    assert answer.body == body and b"Content-Encoding" not in headers(answer)


def test_each_coding_has_its_own_tag() -> None:
    plain, packed = BIG.etag.decode(), dict(ask(BIG, accept_encoding="gzip").headers)[b"ETag"].decode()
    assert ask(BIG, if_none_match=plain).status == 304
    assert ask(BIG, if_none_match=packed).status == 200
    assert ask(BIG, accept_encoding="gzip", if_none_match=packed).status == 304
    assert ask(BIG, accept_encoding="gzip", if_none_match=plain).status == 200


def test_unchanged_repeats_what_caches_need() -> None:
    answer = ask(BIG, if_none_match=BIG.etag.decode())
    # Content-Length of a 304 is that of the 200.
    assert (answer.status, answer.body) == (304, TEXT)
    assert headers(answer) == {
        b"ETag": BIG.etag,
        b"Cache-Control": b"no-cache",
        b"Vary": b"Accept-Encoding",
    }


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        (b"*", True, True),
        (b" * ", True, True),
        (b'"tag"', True, True),
        (b'W/"tag"', False, True),
        (b'w/"tag"', False, False),
        (b'"other"', False, False),
        (b'"other", "tag"', True, True),
        (b'"other","tag"', True, True),
        (b'"other" ,\t W/"tag"', False, True),
        (b', ,"tag",', True, True),
        (b'"a,b", "tag"', True, True),
        (b'"a,\\", "tag"', True, True),
        (b'"", "tag"', True, True),
        (b"tag", False, False),
        (b'"tag', False, False),
        (b'"ta g", "tag"', False, False),
        (b'"tag"x', False, False),
        (b'"other" "tag"', False, False),
        (b'"tag", *', True, True),
        (b'"x", *', False, False),
        (b"", False, False),
        (b'"\x80\xff", "tag"', True, True),
    ],
)
def test_entity_tags(value: bytes, strong: bool, weak: bool) -> None:
    assert names_entity(value, b'"tag"', weak=False) is strong
    assert names_entity(value, b'"tag"', weak=True) is weak


def test_if_match() -> None:
    assert ask(SMALL, if_match="*").status == 200
    assert ask(SMALL, if_match=SMALL.etag.decode()).status == 200
    # If-Match is looked at first (RFC 9110, 13.2.2).
    for condition in ('"else"', "W/" + SMALL.etag.decode()):
        with pytest.raises(StatusError) as refused:
            ask(SMALL, if_match=condition, if_none_match="*")
        assert refused.value.code == 412
    assert ask(SMALL, if_match="*", if_none_match="*").status == 304


def test_other_methods_are_never_told_that_nothing_changed() -> None:
    assert ask(SMALL, "POST", if_none_match="*").status == 200


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (None, False),
        (b"", False),
        (b"gzip", True),
        (b"GZIP", True),
        (b"x-gzip", True),
        (b"gzip, deflate, br", True),
        (b"deflate, br", False),
        (b"*", True),
        (b"br, *;q=0.5", True),
        (b"*;q=0", False),
        (b"gzip;q=0", False),
        (b"gzip;q=0.0", False),
        (b"gzip;q=0.000", False),
        (b"gzip;q=0, *", False),
        (b"gzip;q=0.001", True),
        (b"gzip ; Q=1.000", True),
        (b"gzip;q=0.5, identity;q=0.5", True),
        (b"gzip;q=0.5, identity", False),
        (b"gzip;q=0.5, identity;q=0", True),
        (b"identity;q=0", False),
        (b"gzip;q=2", False),
        (b"gzip;q=", False),
        (b"gzip;level=1", False),
        (b"gzi p", False),
        (b"br;q=1;;, gzip", True),
    ],
)
def test_accept_encoding(value: bytes | None, packed: bool) -> None:
    assert prefers_gzip(value) is packed


@given(st.binary(max_size=60), st.sampled_from(["if_none_match", "if_match", "accept_encoding"]))
def test_any_field_is_answered(value: bytes, name: str) -> None:
    try:
        answer = ask(BIG, **{name: value.decode("latin-1")})
    except StatusError as error:
        assert error.code == 412 and name == "if_match"
        return
    assert answer.status in ((200, 304) if name == "if_none_match" else (200,))


@given(st.lists(st.text("!#,$%&'*+-.^_`|~0aZ\xe9", max_size=8), max_size=4), st.booleans(), st.booleans())
def test_a_tag_is_found_in_any_list_of_tags(others: list[str], weak: bool, last: bool) -> None:
    tags = [f'"{other}"'.encode("latin-1") for other in others if other != "tag"]
    tags.insert(len(tags) if last else 0, b'W/"tag"' if weak else b'"tag"')
    assert names_entity(b" , ".join(tags), b'"tag"', weak=True)
    assert names_entity(b",".join(tags), b'"tag"', weak=False) is not weak

"""JSON without passwords, however it is cut, indented and spelled."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ksproxyd.tree.user_redaction import APPLIED, UserRedaction
from ksproxyd.upstream.errors import UpstreamError

HASH = "$2a$10$abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1"
KEPT = APPLIED.decode()


def redacted(text: bytes, cuts: list[int] | None = None) -> bytes:
    redaction = UserRedaction()
    out, last = [], 0
    for cut in sorted(min(cut, len(text)) for cut in cuts or []):
        out.append(redaction.feed(text[last:cut]))
        last = cut
    return b"".join([*out, redaction.feed(text[last:]), redaction.end()])


def stripped(value: Any, ascii: bool) -> Any:
    """What should be left of a document, said the slow way."""
    if isinstance(value, list):
        return [stripped(each, ascii) for each in value]
    if not isinstance(value, dict):
        return value
    left = {}
    for name, each in value.items():
        if name == "password":
            continue
        if name == KEPT and not (
            isinstance(each, str)
            and "password" not in each.lower()
            and "\\u" not in json.dumps(each, ensure_ascii=ascii)
        ):
            continue
        left[name] = stripped(each, ascii)
    return left


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.sampled_from(
    [
        "",
        "password",
        '"password":"x"',
        '\\"password\\":',
        "\\",
        '\\"',
        'x","password":"y',
        ',"',
        KEPT,
        HASH,
        '{"spec":{"password":"x"}}',
        '{"spec":{"email":"a@b"}}',
        "passwor",
        "é\u2028",
    ]
) | st.text(max_size=12)
NAMES = st.sampled_from(
    ["password", KEPT, "spec", "passwords", "Password", "f:password", 'x"password', "a", ""]
) | st.text(max_size=8).filter(lambda name: name not in ("password", KEPT))


def objects(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def fitting(value: dict[str, Any]) -> dict[str, Any]:
        # A password or a record of kubectl's is text, or nothing.
        return {
            name: (each if not isinstance(each, dict | list) else None) if name in ("password", KEPT) else each
            for name, each in value.items()
        }

    return st.lists(children, max_size=4) | st.dictionaries(NAMES, children, max_size=5).map(fitting)


DOCUMENTS = st.recursive(SCALARS | TEXTS, objects, max_leaves=25)


@given(
    DOCUMENTS,
    st.lists(st.integers(0, 600), max_size=8),
    st.sampled_from([None, 1, 4]),
    st.booleans(),
)
@example({"password": "x"}, [1, 3, 12], None, False)
@example({"a": 1, "password": "x"}, [6, 7, 8, 16, 17], None, False)
@example({"a": 1, "password": "x", "b": 2}, list(range(60)), None, False)
@example({"a": {"password": "x", KEPT: "y"}, KEPT: "password"}, list(range(200)), 2, False)
@example({"a": "\\", "password": '\\"', "b": "\\\\"}, list(range(60)), None, False)
def test_nothing_but_the_members_goes(value: Any, cuts: list[int], indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii).encode()
    left = redacted(text, cuts)
    assert json.loads(left) == stripped(value, ascii)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_other_text_stays_as_it_is(text: bytes, cuts: list[int]) -> None:
    if b"password" not in text and APPLIED not in text:
        assert redacted(text, cuts) == text


@given(st.lists(st.sampled_from([b'"', b"password", b":", b",", b"{", b"}", b" ", b"\\", b"x", APPLIED]), max_size=40))
def test_what_is_no_json_ends_too(pieces: list[bytes]) -> None:
    with contextlib.suppress(UpstreamError):
        redacted(b"".join(pieces), list(range(0, 400, 7)))


def test_a_user_as_the_api_server_writes_it() -> None:
    user = {
        "apiVersion": "iam.kubesphere.io/v1beta1",
        "kind": "User",
        "metadata": {"name": "alice", "managedFields": [{"fieldsV1": {"f:spec": {"f:password": {}}}}]},
        "spec": {"email": "a@ks.test", "password": HASH},
    }
    text = json.dumps(user, separators=(",", ":")).encode()
    assert redacted(text) == text.replace(b',"password":"%b"' % HASH.encode(), b"")
    for cut in range(len(text)):
        assert redacted(text, [cut]) == redacted(text)


def test_an_event_goes_on_at_once() -> None:
    """A watch is quiet for minutes: no part of an event may wait for the next one."""
    event = {"type": "ADDED", "object": {"metadata": {"name": "a"}, "spec": {"email": "", "password": HASH}}}
    redaction = UserRedaction()
    for _ in range(3):
        passed = redaction.feed(json.dumps(event).encode() + b"\n")
        assert passed.endswith(b"}\n") and json.loads(passed)["object"]["spec"] == {"email": ""}


def test_what_kubectl_applied_stays_where_it_is_harmless() -> None:
    for applied, stays in [
        ('{"spec":{"email":"a@b"}}\n', True),
        ('{"spec":{"email":"a@b","password":"Secret1x"}}\n', False),
        ('{"spec":{"PassWord":"Secret1x"}}\n', False),
        ('{"spec":{"p\\u0061ssword":"Secret1x"}}\n', False),
        ("x" * 600_000, False),
    ]:
        text = json.dumps({"metadata": {"annotations": {"a": "b", KEPT: applied, "c": "d"}}}).encode()
        annotations = json.loads(redacted(text, list(range(0, len(text), 1000))))["metadata"]["annotations"]
        assert (annotations.pop(KEPT, None) == applied) is stays
        assert annotations == {"a": "b", "c": "d"}


def test_a_password_that_is_no_text() -> None:
    assert redacted(b'{"password": null, "a": 1}') == b'{ "a": 1}'
    assert redacted(b'{"a":1,"password":12.5}') == b'{"a":1}'
    for value in (b"{}", b"[1]"):
        with pytest.raises(UpstreamError):
            redacted(b'{"password":' + value + b"}")


def test_what_breaks_off_in_a_password_shows_nothing_of_it() -> None:
    for end in range(1, 12):
        assert b"ecre" not in redacted(b'{"a":1,"password":"secret-1'[: 18 + end])
    assert redacted(b'{"a":1,"passwor') == b'{"a":1,"passwor'


def test_it_is_fast() -> None:
    user = json.dumps({"metadata": {"name": "a", "x": "y" * 700}, "spec": {"email": "", "password": HASH}}).encode()
    text = b'{"items":[' + b",".join([user] * 10_000) + b"]}"
    redaction = UserRedaction()
    begun = time.process_time()
    for at in range(0, len(text), 32768):
        redaction.feed(text[at : at + 32768])
    # 8 MB; the scan of a step of 32 KiB takes a fraction of a millisecond.
    assert time.process_time() - begun < 2.0

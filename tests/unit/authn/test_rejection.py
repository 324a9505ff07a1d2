"""What is said of a credential that is not accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.authn.rejection import EXPIRED, INVALID, Rejected, credentials_required, not_understood


def challenge(error: object) -> list[bytes]:
    return [value for name, value in error.headers if name == b"WWW-Authenticate"]  # type: ignore[attr-defined]


def test_a_token_is_named_as_the_reason() -> None:
    error = Rejected(EXPIRED, "it ended 3 s ago; log in again").error()
    assert (error.code, error.reason) == (401, "Unauthorized")
    assert error.message == "token expired: it ended 3 s ago; log in again"
    assert challenge(error) == [
        b'Bearer realm="kubesphere", error="invalid_token", '
        b'error_description="token expired: it ended 3 s ago; log in again"'
    ]


def test_a_password_is_not() -> None:
    assert challenge(Rejected(INVALID, token=False).error()) == [b'Bearer realm="kubesphere"']


def test_what_would_do() -> None:
    assert challenge(credentials_required(True))[1].startswith(b"Basic ")
    assert len(challenge(credentials_required(False))) == 1
    assert not_understood().message == "The request cannot be authenticated."


@given(st.text(max_size=60))
def test_nothing_leaves_the_quotes(hint: str) -> None:
    (value,) = challenge(Rejected(INVALID, hint).error())
    assert value.isascii() and value.decode().isprintable()
    description = value.split(b'error_description="', 1)[1]
    assert description.endswith(b'"')
    assert b'"' not in description[:-1] and b"\\" not in description

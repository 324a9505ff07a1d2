"""PKCE."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.authn.code_challenge import challenge_of, is_challenge, verifies

ALLOWED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def test_the_example_of_the_specification() -> None:
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert verifies(challenge_of(verifier), verifier)


@given(st.text(ALLOWED, min_size=43, max_size=128), st.text(ALLOWED, min_size=43, max_size=128))
def test_a_challenge_fits_its_verifier_and_no_other(one: str, other: str) -> None:
    challenge = challenge_of(one)
    assert is_challenge(challenge)
    assert verifies(challenge, one)
    assert verifies(challenge, other) == (one == other)


@given(st.text())
def test_nothing_but_a_verifier_is_one(text: str) -> None:
    assert not verifies("", text) or not text
    if not 43 <= len(text) <= 128 or set(text) - set(ALLOWED):
        assert not verifies("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", text)


@pytest.mark.parametrize("text", ["", "a" * 42, "a" * 44, "a" * 42 + "=", "a" * 42 + "\n", "é" * 43])
def test_what_is_no_challenge(text: str) -> None:
    assert not is_challenge(text)

"""Wycheproof's vectors of JOSE signatures and keys, where they are there; they are not part of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ksproxyd.authn.tokens.jws import JWKSet, verify_compact

FOLDER = Path(__file__).resolve().parents[5] / "shared" / "vectors" / "wycheproof"
ALGORITHMS = frozenset(
    {"HS256", "HS384", "HS512", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
)

#: Called valid there, and refused here: by file and number, why.
REFUSED = {
    **{("signature", n): "the key says PS256, the token PS384 (RFC 7517, 4.4)" for n in (346, 350)},
    **{("signature", n): "the key's algorithm is called ES521, which is none" for n in (347, 351)},
    **{
        ("signature", n): "characters that are not base64url (RFC 7515, 2), not under the signature" for n in (372, 373)
    },
}
#: Called invalid there, and byte for byte the token that 357 calls valid.
SAME_AS_VALID = {("signature", 367), ("signature", 370)}


def load(name: str) -> list[Any]:
    path = FOLDER / f"json_web_{name}_test.json"
    if not path.is_file():
        print(f"no vectors at {path}")
        pytest.skip(f"no vectors at {path}")
    groups: list[Any] = json.loads(path.read_text())["testGroups"]
    return groups


def accepted(token: str, keys: Any) -> bool:
    try:
        verify_compact(token, JWKSet.read(keys), ALGORITHMS)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", ["signature", "key", "crypto"])
def test_vectors(name: str) -> None:
    wrong, seen = [], {True: 0, False: 0}
    valid_tokens = set()
    for group in load(name):
        keys = group.get("public") or group["private"]
        for case in group["tests"]:
            token = case.get("jws")
            if not isinstance(token, str):
                # Encrypted tokens and the JSON serialization, neither of which there is a reader for.
                continue
            valid = case["result"] == "valid"
            valid_tokens |= {token} if valid else set()
            seen[valid] += 1
            place = (name, case["tcId"])
            if place in SAME_AS_VALID:
                assert token in valid_tokens
            elif accepted(token, keys) != (valid and place not in REFUSED):
                wrong.append((place, group["comment"], case["comment"], case["result"]))
    assert not wrong
    print(f"{name}: {seen[True]} valid, {seen[False]} invalid")
    assert seen[True] and seen[False]

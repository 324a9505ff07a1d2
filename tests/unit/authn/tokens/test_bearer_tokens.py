"""What is accepted as a bearer's token, and what is not (spec 02, 8.2; the numbers are those of its table).

Tokens that are refused for what they say are signed with the right secret and known to the store.
"""

from __future__ import annotations

import base64
import hmac
import json
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from ksproxyd.authn.rejection import EXPIRED, INVALID, MALFORMED, REVOKED, Rejected
from ksproxyd.authn.tokens import ACCESS, ID, REFRESH, STATIC
from ksproxyd.authn.tokens.compact import encode
from tests.unit.authn.tokens.issuing import (
    ISSUER,
    NOW,
    SECRET,
    Issuing,
    claims_of,
    header_of,
    now_or_never,
    phrase,
    rsa_pem,
    settings,
    signed,
)

ROBOT = "kubesphere:serviceaccount:demo:robot"


def test_an_issued_token_is_accepted_and_is_as_upstream_has_it() -> None:
    issuing = Issuing()
    issued = issuing.open(extra=(("uninitialized", ("true",)),))
    claims = issuing.verify(issued.access_token)
    assert (claims.username, claims.sub, claims.client_id, claims.token_type) == (
        "alice",
        "alice",
        "kubesphere",
        ACCESS,
    )
    assert claims.extra == (("uninitialized", ("true",)),) and claims.session == issued.session
    said = claims_of(issued.access_token)
    assert said["iss"] == ISSUER and said["exp"] - said["iat"] == 7200 == issued.expires_in
    assert said["extra"] == {"uninitialized": ["true"]} and "aud" not in said
    refresh = claims_of(issued.refresh_token)
    assert refresh["token_type"] == REFRESH and refresh["exp"] - refresh["iat"] == 7200 + 1800
    assert header_of(issued.access_token) == {"alg": "HS256", "typ": "at+jwt"}
    assert header_of(issued.refresh_token) == {"alg": "HS256", "typ": "JWT"}
    # Another implementation reads it, too.
    assert jwt.decode(issued.access_token, OctKey.import_key(SECRET), algorithms=["HS256"]).claims == said
    for shown in (repr(claims), repr(issued), str(issued)):
        assert issued.access_token not in shown and issued.refresh_token not in shown


def test_020_no_algorithm() -> None:
    issuing = Issuing()
    _, payload, _ = issuing.open().access_token.split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    assert issuing.refusal(f"{header}.{payload}.") == INVALID


def test_021_another_hash_with_the_right_secret() -> None:
    issuing = Issuing()
    said = claims_of(issuing.open().access_token)
    for algorithm, digest in (("HS512", "sha512"), ("HS384", "sha384"), ("hs256", "sha256")):
        assert issuing.refusal(signed(said, {"alg": algorithm, "typ": "JWT"}, digest=digest)) == INVALID


def test_022_the_public_key_as_the_secret() -> None:
    issuing = Issuing()
    said = claims_of(issuing.open().access_token)
    public = serialization.load_pem_private_key(rsa_pem(), None).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    n = issuing.tokens.public_keys()["keys"][0]["n"]
    for secret in (pem, n, base64.urlsafe_b64decode(n + "=="), b""):
        assert issuing.refusal(signed(said, secret=secret)) == INVALID


def test_023_an_id_token() -> None:
    issuing = Issuing()
    token = issuing.tokens.id_token(subject="alice", client="rp1", claims={}, lifetime=60)
    assert now_or_never(issuing.tokens.examine(token, types=frozenset({ID}))).aud == ("rp1",)
    assert issuing.refusal(token) == INVALID


def test_024_ended() -> None:
    issuing = Issuing()
    token = issuing.open().access_token
    issuing.clock.advance(7199)
    issuing.verify(token)
    # No second longer, whatever the clocks' skew: it was this clock that set the end.
    issuing.clock.advance(1)
    assert issuing.refusal(token) == EXPIRED
    assert issuing.refusal(Issuing().known(exp=NOW - 1)) == EXPIRED


@pytest.mark.parametrize(("ahead", "accepted"), [(60, False), (11, False), (10, True), (5, True)])
def test_025_026_issued_ahead(ahead: int, accepted: bool) -> None:
    issuing = Issuing()
    for changes in ({"iat": NOW + ahead}, {"nbf": NOW + ahead}):
        token = issuing.known(**changes)
        if accepted:
            issuing.verify(token)
        else:
            assert issuing.refusal(token) == INVALID


def test_027_never_issued() -> None:
    issuing = Issuing()
    assert issuing.refusal(issuing.known(jti="other")) == REVOKED
    assert issuing.refusal(issuing.known(jti=None)) == REVOKED
    assert issuing.refusal(issuing.known(sid="other")) == REVOKED
    assert issuing.refusal(issuing.known(sid=None)) == REVOKED
    # Nor is one of somebody else's session, with names that are known.
    assert issuing.refusal(issuing.known(sub="bob", username="bob")) == REVOKED


def test_028_after_logout() -> None:
    issuing = Issuing()
    issued = issuing.open()
    claims = issuing.verify(issued.access_token)
    now_or_never(issuing.tokens.end_session(claims.session))
    assert issuing.refusal(issued.access_token) == REVOKED
    assert not now_or_never(issuing.tokens.still_good(claims))
    assert phrase(lambda: issuing.refresh(issued.refresh_token)) == REVOKED


def test_029_another_issuer() -> None:
    issuing = Issuing()
    for issuer in ("https://evil.test", ISSUER + "/", None):
        assert issuing.refusal(issuing.known(iss=issuer)) == INVALID
    listed = Issuing(settings(more="  credentials: {trustedIssuers: [https://old.test]}"))
    listed.verify(listed.known(iss="https://old.test"))
    listed.verify(listed.known())
    assert listed.refusal(listed.known(iss="https://evil.test")) == INVALID


def test_030_for_somebody_else() -> None:
    issuing = Issuing()
    for audience in (["rp1"], "rp1", [ISSUER, "rp1"], [""]):
        assert issuing.refusal(issuing.known(aud=audience)) == INVALID
    for audience in ([ISSUER], ISSUER, []):
        issuing.verify(issuing.known(aud=audience))


def test_031_032_033_other_classes() -> None:
    issuing = Issuing()
    issued = issuing.open()
    assert issuing.refusal(issued.refresh_token) == INVALID
    for kind in ("code", "", "ACCESS_TOKEN", None, 1, ["access_token"], REFRESH, ID):
        assert issuing.refusal(issuing.known(token_type=kind)) == INVALID
    # A static token of a user.
    assert issuing.refusal(issuing.known(token_type=STATIC, exp=None)) == INVALID
    # An access token that is labelled as one in its header only.
    typed = {"alg": "HS256", "typ": "at+jwt"}
    assert issuing.refusal(signed(claims_of(issued.refresh_token), typed)) == INVALID
    # An access token of a ServiceAccount, or of somebody whom Kubernetes knows.
    for user in (ROBOT, "system:masters", "system:admin", "kubesphere:x"):
        assert issuing.refusal(issuing.known(sub=user, username=user)) == INVALID


def test_034_036_static_tokens_are_good_while_they_are_in_a_secret() -> None:
    known: set[str] = set()
    issuing = Issuing(static_bound=lambda claims, digest: digest in known)
    token = issuing.tokens.static_token("demo", "robot", "uid-1", "robot-abcde")
    assert issuing.refusal(token) == REVOKED
    known.add(now_or_never(issuing.tokens.examine(token, types=frozenset({STATIC}))).digest)
    claims = issuing.verify(token)
    assert (claims.username, claims.uid, claims.secret, claims.exp) == (ROBOT, "uid-1", "robot-abcde", 0)
    known.clear()
    assert not now_or_never(issuing.tokens.still_good(claims))
    assert issuing.refusal(token) == REVOKED
    # Nobody to ask is no yes.
    assert Issuing().refusal(token) == REVOKED
    unbound = Issuing(settings(more="  compat: {unboundStaticTokens: true}"))
    assert unbound.verify(token).username == ROBOT


@pytest.mark.parametrize(
    "subject", ["alice", "kubesphere:serviceaccount:demo", "kubesphere:serviceaccount:demo:a:b", ROBOT + ":", "::", ""]
)
def test_static_tokens_are_for_service_accounts(subject: str) -> None:
    issuing = Issuing(static_bound=lambda claims, digest: True)
    payload = {"iss": ISSUER, "sub": subject, "username": subject, "token_type": STATIC, "iat": NOW}
    assert issuing.refusal(signed(payload)) == INVALID


def test_040_a_member_keeps_nothing_and_believes_any_issuer() -> None:
    member = Issuing(settings(role="member", issuer="    accessTokenMaxAge: 0s"))
    token = Issuing().known(iss="https://host.test")
    claims = member.verify(token)
    now_or_never(member.tokens.end_session(claims.session))
    now_or_never(member.tokens.end_user("alice"))
    now_or_never(member.tokens.revoke(claims))
    member.verify(token)
    issued = member.open()
    assert issued.expires_in == 0 and "exp" not in claims_of(issued.access_token)
    assert claims_of(issued.refresh_token)["exp"] == NOW + 1800
    assert len(member.store) == 0
    member.verify(issued.access_token)
    again = member.refresh(issued.refresh_token)
    member.verify(again.access_token)
    assert phrase(lambda: member.refresh(issued.refresh_token, "rp1")) == INVALID
    assert len(member.store) == 0
    # It is still only what the secret has signed, of the right class, and in its time.
    assert member.refusal(issued.refresh_token) == INVALID
    assert member.refusal(signed(claims_of(token), secret="x" * 40)) == INVALID
    member.clock.advance(31 * 86400)
    assert phrase(lambda: member.refresh(again.refresh_token)) == EXPIRED


def test_042_043_damage() -> None:
    issuing = Issuing()
    token = issuing.open().access_token
    head, body, signature = token.split(".")
    for damaged in (
        f"{head}=.{body}.{signature}",
        f"{head}.{body}.{signature}=",
        f"{token}.",
        f"{token}.x",
        f"{head}.{body}",
        head,
        "",
        "..",
        f"{head}.{body}. {signature}",
        f"{head}.{body}.{signature}\n",
        f"{head}.{body}.{signature}é",
        f"{head}.{body}.{signature[:-1]}+",
        "a" * 1_000_000,
        f"{head}.{'a' * 1_000_000}.{signature}",
        f"[.{body}.{signature}",
        f"W10.{body}.{signature}",
    ):
        assert issuing.refusal(damaged) == MALFORMED
    assert issuing.refusal(f"{head}.{body}.") == INVALID
    # The signature is looked at first; one that is right does not make these any better.
    for other in (f"{body}=", f"{body} ", f" {body}", f"{body}+", body[:-1] + "\n"):
        assert issuing.refusal(f"{head}.{other}.{signature}") == INVALID
        text = f"{head}.{other}"
        right = encode(hmac.digest(SECRET.encode(), text.encode(), "sha256"))
        assert issuing.refusal(f"{text}.{right}") == MALFORMED


def test_a_signature_can_be_written_in_one_way_only() -> None:
    """32 bytes are 43 characters, the last of which holds two bits of nothing."""
    issuing = Issuing()
    token = issuing.open().access_token
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [token[:-1] + each for each in alphabet if each != token[-1]]
    assert {issuing.refusal(each) for each in others} == {INVALID, MALFORMED}
    issuing.verify(token)


def test_046_no_two_are_the_same() -> None:
    issuing = Issuing()
    issued = [issuing.open() for _ in range(20)]
    assert len({each.access_token for each in issued} | {each.refresh_token for each in issued}) == 40
    assert all(len(claims_of(each.access_token)["jti"]) >= 22 for each in issued)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256", "typ": "JWT", "crit": ["x"]},
        {"alg": "HS256", "typ": "JWT", "crit": "x"},
        {"alg": "HS256", "typ": "JWT", "crit": None},
        {"alg": "HS256", "typ": "JWT", "crit": ["b64"], "b64": False},
        {"alg": "HS256", "typ": "JWT", "b64": False},
        {"alg": "HS256", "typ": "dpop+jwt"},
        {"alg": "HS256", "typ": 1},
        {"alg": "HS256"},
        {"alg": ["HS256"], "typ": "JWT"},
        {"typ": "JWT"},
        b'{"alg":"HS256","typ":"JWT","alg":"HS256"}',
        b'{"alg":"HS256","typ":"JWT","alg":"none"}',
        b'{"alg":"HS256","typ":"JWT"} x',
        b'{"alg":"HS256","typ":"JWT","x":NaN}',
        b'\xef\xbb\xbf{"alg":"HS256","typ":"JWT"}',
        b'{"alg":"HS256","typ":"JWT","x":"\xff"}',
        b'{"alg":"HS256","typ":"JWT","x":"' + b"a" * 4096 + b'"}',
        b"[]",
    ],
)
def test_047_headers(header: Any) -> None:
    issuing = Issuing()
    assert issuing.refusal(issuing.known(header=header)) == MALFORMED
    issuing.verify(issuing.known(header={"alg": "HS256", "typ": "JWT", "crit": []}))
    issuing.verify(issuing.known(header={"alg": "HS256", "typ": "application/at+jwt", "kid": "x"}))


@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize("value", [True, 1.8e9, "1800000000", -1, 0, 2**53, [], {}, 10**400])
def test_times_are_whole_numbers(name: str, value: Any) -> None:
    issuing = Issuing()
    assert issuing.refusal(issuing.known(**{name: value})) == MALFORMED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sub", 1),
        ("username", ["alice"]),
        ("iss", {}),
        ("jti", 7),
        ("sid", False),
        ("client_id", []),
        ("aud", {"a": 1}),
        ("aud", [1]),
        ("extra", []),
        ("extra", {"a": "b"}),
        ("extra", {"a": [1]}),
        ("scopes", "openid"),
        ("sub", "a" * 513),
        ("aud", ["x"] * 101),
    ],
)
def test_claims_are_of_their_kinds(name: str, value: Any) -> None:
    issuing = Issuing()
    assert issuing.refusal(issuing.known(**{name: value})) == MALFORMED


def test_subject_and_user_are_one() -> None:
    issuing = Issuing()
    assert issuing.refusal(issuing.known(sub="admin")) == INVALID
    assert issuing.refusal(issuing.known(username="admin")) == INVALID
    assert issuing.refusal(issuing.known(sub=None)) == INVALID
    assert issuing.refusal(issuing.known(sub="", username="")) == INVALID


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + b',"username":"admin"}',
        lambda text: text[:-1] + b',"extra":{"a":["1"],"a":["2"]}}',
        lambda text: text + b"{}",
        lambda text: b"[" + text + b"]",
        lambda text: text.replace(b'"alice"', b'"\\ud800"'),
        lambda text: text.replace(b'"alice"', b'"\xed\xa0\x80"'),
        lambda text: b"[" * 8000,
        lambda text: text[:-1] + b',"x":Infinity}',
    ],
)
def test_contents_that_two_would_read_differently(change: Any) -> None:
    issuing = Issuing()
    text = json.dumps(claims_of(issuing.open().access_token)).encode()
    assert issuing.refusal(signed(change(text))) == MALFORMED


def test_without_a_secret_nothing_is_good() -> None:
    issuing = Issuing(settings(secret=""))
    token = signed(claims_of(Issuing().open().access_token), secret=b"")
    assert issuing.refusal(token) == INVALID
    member = Issuing(settings(secret="", role="member", issuer="    accessTokenMaxAge: 0s"))
    assert member.refusal(token) == INVALID


def test_what_is_refused_says_nothing_of_the_token() -> None:
    issuing = Issuing()
    for token in (issuing.known(sub="somebody-else"), issuing.known(iss="https://elsewhere.test"), "junk-of-mine.x.y"):
        with pytest.raises(Rejected) as refused:
            issuing.verify(token)
        for word in ("somebody-else", "elsewhere", "junk-of-mine"):
            assert word not in refused.value.message


@cache
def _one_for_all() -> Issuing:
    return Issuing()


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=80))
def test_any_text_is_refused_in_one_of_our_ways(text: str) -> None:
    assert _one_for_all().refusal(text) in (MALFORMED, INVALID)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    ["iss", "sub", "username", "token_type", "iat", "exp", "nbf", "jti", "sid", "aud", "extra", "scopes", "client_id"]
)


@given(st.dictionaries(_NAMES, _VALUES, max_size=3), st.sampled_from(["sha256", "sha512"]), st.booleans())
def test_what_we_accept_others_accept(changes: dict[str, Any], digest: str, right: bool) -> None:
    """joserfc as the second opinion: on signatures both agree, and we are never the more lenient one."""
    issuing = _one_for_all()
    payload = claims_of(issuing.open().access_token) | changes
    secret = SECRET if right else SECRET[::-1]
    token = signed(json.dumps(payload).encode(), secret=secret, digest=digest)
    try:
        claims = issuing.verify(token)
    except Rejected:
        return
    theirs = jwt.decode(token, OctKey.import_key(SECRET), algorithms=["HS256"])
    jwt.JWTClaimsRegistry(now=NOW, leeway=10, iss={"essential": True, "value": ISSUER}).validate(theirs.claims)
    assert theirs.claims["sub"] == claims.username == "alice"

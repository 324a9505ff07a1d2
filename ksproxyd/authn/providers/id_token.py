"""Whether an id_token is what it says, is for us, and is for this sign-in (OpenID Connect Core, 3.1.3.7)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import msgspec

from ksproxyd.authn.providers.provider import ProviderError
from ksproxyd.authn.tokens.compact import Malformed
from ksproxyd.authn.tokens.jws import BadSignature, JWKSet, UnknownKey, verify_compact

#: What a provider may sign with. None of these can be made with a key that is published.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"})


class NoSuchKey(Exception):
    """The keys that we have do not verify it; newer ones might."""


def signed_claims(token: str, keys: JWKSet, algorithms: frozenset[str]) -> tuple[str, dict[str, Any]]:
    """Algorithm and claims of a token that one of ``keys`` has signed.

    Raises :class:`NoSuchKey`, and :class:`ProviderError` for what is wrong whatever the keys are.
    """
    try:
        header, payload = verify_compact(token, keys, algorithms & ALGORITHMS)
    except UnknownKey:
        raise NoSuchKey("the provider has published no key for it") from None
    except BadSignature as error:
        # A provider may also put another key in a name's place.
        raise NoSuchKey(str(error)) from None
    except Malformed as error:
        raise ProviderError("answer", f"the id_token is malformed: {error}") from None
    try:
        claims = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProviderError("answer", "the claims of the id_token are not JSON") from None
    if not isinstance(claims, dict):
        raise ProviderError("answer", "the claims of the id_token are not an object")
    return str(header["alg"]), claims


def check_claims(claims: dict[str, Any], *, issuer: str, client_id: str, nonce: str, now: float, skew: float) -> str:
    """The subject. Raises :class:`ProviderError` for claims that are not good now and for us.

    ``now`` and ``skew`` are in seconds; ``skew`` is how far the provider's clock may differ from ours, either way. An
    empty ``nonce`` is none that was asked for. With an empty ``issuer`` any will do: the keys are its.
    """
    found = claims.get("iss")
    if not isinstance(found, str) or (issuer and found != issuer):
        raise _bad(f"its issuer is {_shown(found)}, not {issuer!r}")
    audience = claims.get("aud")
    for_whom = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if client_id not in for_whom:
        raise _bad(f"it is for {_shown(audience)}, not for {client_id!r} (clientID)")
    party = claims.get("azp")
    if party is None and len(for_whom) > 1:
        raise _bad("it is for several clients and does not say who has asked for it (azp)")
    if party is not None and party != client_id:
        raise _bad(f"{_shown(party)} has asked for it (azp), not {client_id!r}")
    _check_times(claims, now, skew)
    if nonce:
        given = claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), nonce.encode()):
            raise _bad("its nonce is not that of this sign-in")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise _bad("it names no subject (sub)")
    return subject


def check_access_token(claims: dict[str, Any], algorithm: str, access_token: str) -> None:
    """Raises :class:`ProviderError` if the id_token came with another access token (``at_hash``; Core, 3.1.3.8)."""
    given = claims.get("at_hash")
    if given is None:
        return
    digest = hashlib.new(f"sha{algorithm[2:]}", access_token.encode("ascii")).digest()
    wanted = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode()):
        raise _bad("its at_hash is not that of the access token it came with")


def _check_times(claims: dict[str, Any], now: float, skew: float) -> None:
    expires = _time(claims, "exp")
    issued = _time(claims, "iat")
    if expires is None or issued is None:
        raise _bad("it does not say when it was issued and when it expires (iat, exp)")
    if expires + skew <= now:
        raise _bad(f"it expired {now - expires:.0f} s ago by our clock, which is more than clockSkew ({skew:.0f} s)")
    for name, when in (("iat", issued), ("nbf", _time(claims, "nbf"))):
        if when is not None and when - skew > now:
            raise _bad(
                f"its {name} is {when - now:.0f} s ahead of our clock, which is more than clockSkew ({skew:.0f} s): "
                "set the clocks"
            )


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e12:
        raise _bad(f"its {name} is no time")
    return float(value)


def _bad(why: str) -> ProviderError:
    return ProviderError("answer", f"the id_token is not accepted: {why}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:99] + "…"

"""Signatures of tokens that others have made, by the keys that they publish (RFC 7515, 7517, 7518).

A key is good for the algorithms of its kind, and for one of them only if it says so itself; which of them are accepted
at all is for the caller to say. The header of a token chooses among these and among the keys, and brings none.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ksproxyd.authn.tokens.compact import Malformed, decode, read_header, split

#: RFC 7518, 3.3 and RFC 8725, 3.5.
RSA_BITS = 2048
_MOST_RSA_BITS = 16384

#: Keys that one set may have; more are not looked at.
MOST_KEYS = 100

_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}

#: Name of the curve: the curve, the algorithm, the bytes of a coordinate (RFC 7518, 3.4 and 6.2.1.1).
_CURVES: dict[str, tuple[ec.EllipticCurve, str, int]] = {
    "P-256": (ec.SECP256R1(), "ES256", 32),
    "P-384": (ec.SECP384R1(), "ES384", 48),
    "P-521": (ec.SECP521R1(), "ES512", 66),
}

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

#: What a set with public keys is used with, unless the caller says otherwise.
PUBLIC_ALGORITHMS = frozenset({"RS256", "PS256", "ES256"})


class BadSignature(ValueError):
    """A token is not signed by one of the keys. The message says why and holds nothing of the token."""


class UnknownKey(BadSignature):
    """None of the keys is the one that the token names: they may have been changed."""


class UnusableKey(ValueError):
    """A key cannot verify signatures here. The message says why."""


class Key:
    """A key that verifies. ``algorithms`` are those it may be used with, ``kid`` its name or empty."""

    __slots__ = ("_public", "algorithms", "kid")

    def __init__(
        self, public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | bytes, algorithms: Iterable[str], kid: str = ""
    ) -> None:
        self._public = public
        self.algorithms = frozenset(algorithms)
        self.kid = kid

    @property
    def symmetric(self) -> bool:
        """Whether it is a secret, which signs as well."""
        return isinstance(self._public, bytes)

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is that of ``signed``."""
        if algorithm not in self.algorithms:
            return False
        digest = _HASHES[algorithm[2:]]()
        key = self._public
        if isinstance(key, bytes):
            return hmac.compare_digest(hmac.digest(key, signed, digest.name), signature)
        try:
            if isinstance(key, rsa.RSAPublicKey):
                if len(signature) != (key.key_size + 7) // 8:
                    return False
                if algorithm.startswith("PS"):
                    # RFC 7518, 3.5: the salt is as long as the hash.
                    scheme: Any = padding.PSS(padding.MGF1(digest), digest.digest_size)
                else:
                    scheme = padding.PKCS1v15()
                key.verify(signature, signed, scheme, digest)
            else:
                size = (key.curve.key_size + 7) // 8
                if len(signature) != 2 * size:
                    return False
                numbers = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
                key.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(digest))
        except InvalidSignature:
            return False
        return True


class JWKSet:
    """Keys to verify with."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def read(cls, document: Any) -> JWKSet:
        """The keys of a JWK set (RFC 7517, 5), or of one JWK. Raises :class:`UnusableKey` for what is neither.

        Keys that are not for signatures, or of a kind or size that is not accepted, are passed over, as RFC 7517
        asks. Secrets are only taken where all keys are secrets: one among public keys is a mistake of theirs.
        """
        if not isinstance(document, dict):
            raise UnusableKey("it is no JWK set")
        listed = document.get("keys", [document])
        if not isinstance(listed, list):
            raise UnusableKey("its keys are no list")
        keys = []
        listed = listed[:MOST_KEYS]
        names = Counter(_name(jwk) for jwk in listed)
        for jwk in listed:
            # Of two keys with one name, neither is the one that is meant, even if one of them is broken.
            if names[_name(jwk)] > 1 and isinstance(jwk, dict) and jwk.get("kid"):
                continue
            try:
                keys.append(read_key(jwk))
            except UnusableKey:
                continue
        if not all(key.symmetric for key in keys):
            keys = [key for key in keys if not key.symmetric]
        return cls(keys)

    def find(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """The keys that a token with this header may be signed by.

        Raises :class:`UnknownKey` if there is none, :class:`BadSignature` if the name stands for more than one.
        """
        able = [key for key in self.keys if algorithm in key.algorithms]
        if kid is None:
            found = able
        else:
            found = [key for key in able if key.kid == kid]
            if len(found) > 1:
                raise BadSignature("more than one key has the name that the token gives")
            found = found or [key for key in able if not key.kid]
        if not found:
            raise UnknownKey("no key has the name and the algorithm that the token gives")
        return tuple(found)


def read_key(jwk: Any) -> Key:
    """The key in a JWK (RFC 7517, 4; RFC 7518, 6). Of a private key, the public half. Raises :class:`UnusableKey`."""
    if not isinstance(jwk, dict):
        raise UnusableKey("it is no JSON object")
    kid = jwk.get("kid", "")
    if not isinstance(kid, str):
        raise UnusableKey("its kid is no text")
    if jwk.get("use", "sig") != "sig":
        raise UnusableKey("it is not for signatures")
    operations = jwk.get("key_ops")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        raise UnusableKey("it is not for verifying signatures")
    kind = jwk.get("kty")
    try:
        if kind == "RSA":
            public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | bytes = _rsa(jwk)
            algorithms = _RSA_ALGORITHMS
        elif kind == "EC":
            public, algorithm = _ec(jwk)
            algorithms = frozenset({algorithm})
        elif kind == "oct":
            public = decode(_text(jwk, "k"))
            # RFC 7518, 3.2: not shorter than the hash.
            algorithms = frozenset(f"HS{bits}" for bits in _HASHES if 8 * len(public) >= int(bits))
        else:
            raise UnusableKey("it is of an unknown kind")
    except Malformed:
        raise UnusableKey("a number in it is not base64url") from None
    except ValueError as error:
        # The library's own words are left out.
        raise error if isinstance(error, UnusableKey) else UnusableKey("its numbers are no key") from None
    if "alg" in jwk:
        algorithms = algorithms & {jwk["alg"]} if isinstance(jwk["alg"], str) else frozenset()
    if not algorithms:
        raise UnusableKey("its algorithm is not one of its kind, or it is too short for it")
    return Key(public, algorithms, kid)


def verify_compact(
    token: bytes | str, keys: JWKSet, algorithms: Iterable[str] = PUBLIC_ALGORITHMS
) -> tuple[Mapping[str, Any], bytes]:
    """Header and payload of a token that one of ``keys`` has signed by one of ``algorithms``.

    Raises :class:`~ksproxyd.authn.tokens.compact.Malformed` for what is no token, :class:`UnknownKey` if it names a key
    that is not there, :class:`BadSignature` otherwise. What the payload says is for the caller to look at.
    """
    if isinstance(token, bytes):
        try:
            token = token.decode("ascii")
        except UnicodeDecodeError:
            raise Malformed("it is not base64url") from None
    parts = split(token)
    header = read_header(parts.header)
    payload = decode(parts.payload)
    algorithm, kid = header["alg"], header.get("kid")
    if algorithm not in frozenset(algorithms):
        raise BadSignature("its algorithm is not accepted")
    if kid is not None and not isinstance(kid, str):
        raise Malformed("its kid is no text")
    for key in keys.find(kid, algorithm):
        if key.verifies(algorithm, parts.signed, parts.signature):
            return header, payload
    raise BadSignature("its signature is not by the key it names")


def check_rsa(key: rsa.RSAPublicKey) -> None:
    """Raise :class:`UnusableKey` for an RSA key that proves nothing."""
    numbers = key.public_numbers()
    if not RSA_BITS <= key.key_size <= _MOST_RSA_BITS:
        raise UnusableKey(f"an RSA key has from {RSA_BITS} to {_MOST_RSA_BITS} bits, this one {key.key_size}")
    if numbers.e < 3 or numbers.e % 2 == 0:
        raise UnusableKey("its exponent is no exponent")
    if _from_infineon(numbers.n):
        raise UnusableKey("it was made by a generator whose keys can be computed (CVE-2017-15361)")


def _name(jwk: Any) -> tuple[str, ...]:
    """By what a token finds a key in its set; the same for what is no key at all."""
    return tuple(str(jwk.get(part, "")) for part in ("kid", "kty", "alg", "use")) if isinstance(jwk, dict) else ()


def _text(jwk: dict[str, Any], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str) or not value or len(value) > _MOST_RSA_BITS // 4:
        raise UnusableKey(f"its {name} is missing, or no text of a sensible size")
    return value


def _rsa(jwk: dict[str, Any]) -> rsa.RSAPublicKey:
    n, e = int.from_bytes(decode(_text(jwk, "n"))), int.from_bytes(decode(_text(jwk, "e")))
    if n.bit_length() < RSA_BITS or e < 3:
        raise UnusableKey("its modulus or exponent is too small")
    key = rsa.RSAPublicNumbers(e, n).public_key()
    check_rsa(key)
    return key


def _ec(jwk: dict[str, Any]) -> tuple[ec.EllipticCurvePublicKey, str]:
    known = _CURVES.get(jwk["crv"]) if isinstance(jwk.get("crv"), str) else None
    if known is None:
        raise UnusableKey("its curve is not one of P-256, P-384 and P-521")
    curve, algorithm, size = known
    x, y = decode(_text(jwk, "x")), decode(_text(jwk, "y"))
    if len(x) != size or len(y) != size:
        raise UnusableKey("its coordinates are not as long as its curve has them")
    # Points that are not on the curve are refused by the library.
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key(), algorithm


#: Small primes, each with the numbers below it that are powers of 65537: moduli of the broken generator are among these
#: for every prime (Nemec et al., "The Return of Coppersmith's Attack", 2017, 4.2), others hardly ever.
_POWERS = {
    prime: frozenset(pow(65537, exponent, prime) for exponent in range(prime))
    for prime in (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
}


def _from_infineon(modulus: int) -> bool:
    return all(modulus % prime in powers for prime, powers in _POWERS.items())

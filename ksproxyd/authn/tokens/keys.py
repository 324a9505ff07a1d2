"""The keys that tokens are signed with (spec 02, 2.3).

Access, refresh and static tokens are signed with the secret ``jwtSecret``, id tokens with a private key whose public
half is published at ``/oauth/keys``. That key is, in this order: the file ``signKey``, ``signKeyData``, or one that is
made when the gateway starts.

A made key must be the same for all replicas, or what one of them signs fails at whoever asked another for its keys. So
the first that starts puts it into the common store, encrypted with a key that only who knows ``jwtSecret`` can derive
(HKDF-SHA-256, AES-256-GCM): Redis, its dumps and its replicas never have it in clear. Where the store is the memory of
one process, the key is that process's own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared.store import SharedStore
from ksproxyd.authn.tokens.compact import encode, write_object
from ksproxyd.authn.tokens.jws import JWKSet, Key, UnusableKey, check_rsa
from ksproxyd.settings import Settings
from ksproxyd.state.backoff import Backoff

#: Where the key that was made is kept.
_SHARED_KEY = "sign-key"
_PURPOSE = b"ksproxyd: the key that signs id tokens"

#: Keys of before a reload that are still published. Id tokens live for hours, reloads that change the key are rare.
_MOST_FORMER = 8

_Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_Public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class KeyProblem(ValueError):
    """A key that the settings name cannot be used. The message says which and why, and shows nothing of it."""


class PublishedKey:
    """The public half of a key that signs id tokens or has done so."""

    __slots__ = ("algorithm", "kid", "public")

    def __init__(self, public: _Public, kid: str) -> None:
        self.public = public
        self.kid = kid
        self.algorithm = _algorithm(public)

    def jwk(self) -> dict[str, str]:
        """As a JWK. Written member by member, so that nothing private can get into it."""
        head = {"use": "sig", "kid": self.kid, "alg": self.algorithm}
        return head | _members(self.public)

    def key(self) -> Key:
        """As one that verifies."""
        return Key(self.public, {self.algorithm}, self.kid)


class SigningKey(PublishedKey):
    """A private key that signs id tokens."""

    __slots__ = ("_private",)

    def __init__(self, private: _Private, kid: str) -> None:
        super().__init__(private.public_key(), kid)
        self._private = private

    def sign(self, payload: dict[str, Any]) -> str:
        """The token that says ``payload``. Takes about a millisecond with RSA."""
        signed = write_object({"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}) + "." + write_object(payload)
        data = signed.encode("ascii")
        if isinstance(self._private, rsa.RSAPrivateKey):
            signature = self._private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        else:
            # RFC 7518, 3.4: both numbers with their full length.
            r, s = decode_dss_signature(self._private.sign(data, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32) + s.to_bytes(32)
        return signed + "." + encode(signature)


class KeyRing:
    """All keys of the gateway's own tokens.

    ``in_thread`` calls a function outside the reactor's thread. Raises :class:`KeyProblem` for a key that is no good.
    """

    log = Logger()

    def __init__(self, settings: Settings, in_thread: Callable[[Callable[[], bytes]], Deferred[bytes]]) -> None:
        self._in_thread = in_thread
        self.secret = settings.authentication.issuer.jwt_secret.get_secret_value().encode("utf-8")
        # To begin with a key takes longer than the rest of a MAC.
        self._keyed = hmac.new(self.secret, digestmod="sha256")
        self._former: list[PublishedKey] = []
        self._generated: SigningKey | None = None
        self._configured, self._retired = _configured(settings), _retired(settings)
        self._changed()

    def mac(self, data: bytes) -> bytes:
        """HMAC-SHA-256 of ``data`` under :attr:`secret`, which is not to be empty (RFC 7518, 3.2)."""
        mac = self._keyed.copy()
        mac.update(data)
        return mac.digest()

    def reload(self, settings: Settings) -> None:
        """Read the keys again. One that signs no more stays published until the gateway is restarted.

        Raises :class:`KeyProblem`, and then nothing has changed.
        """
        configured, retired = _configured(settings), _retired(settings)
        before = self._configured or self._generated
        self._configured, self._retired = configured, retired
        now = configured or self._generated
        if before is not None and (now is None or before.kid != now.kid):
            self._former = [PublishedKey(before.public, before.kid), *self._former][:_MOST_FORMER]
        self._changed()

    @property
    def signing(self) -> SigningKey:
        """The key that signs. Raises :class:`SharedUnavailable` as long as it is not known."""
        key = self._configured or self._generated
        if key is None:
            raise SharedUnavailable("the key that signs id tokens is not known yet")
        return key

    @property
    def algorithms(self) -> tuple[str, ...]:
        """How id tokens are signed."""
        key = self._configured or self._generated
        return (key.algorithm,) if key is not None else ("RS256",)

    @property
    def ready(self) -> bool:
        """Whether id tokens can be signed."""
        return (self._configured or self._generated) is not None

    def public_keys(self) -> dict[str, list[dict[str, str]]]:
        """The JWK set (RFC 7517, 5): the key that signs first, then those that have signed before."""
        return {"keys": [key.jwk() for key in self._published]}

    async def prepare(self, store: SharedStore) -> None:
        """Get the key that is made, if one is needed: the others' or, if there is none, a new one.

        Fails with :class:`SharedUnavailable` while the common store cannot be asked; call it again then.
        """
        if self._configured is not None or self._generated is not None:
            return
        # A key that is derived from no secret would keep none.
        shared = store.common and bool(self.secret)
        pem = await self._common(store) if shared else await self._in_thread(_make)
        private = serialization.load_pem_private_key(pem, None)
        assert isinstance(private, rsa.RSAPrivateKey)
        self._generated = SigningKey(private, _thumbprint(private.public_key()))
        self._changed()

    async def keep_trying(self, clock: IReactorTime, store: SharedStore) -> None:
        """:meth:`prepare` until it succeeds. Whoever starts this may cancel it."""
        waits = Backoff(0.5, 10.0, secrets.SystemRandom().random)
        while True:
            try:
                return await self.prepare(store)
            except SharedUnavailable as error:
                self.log.warn("the key that signs id tokens is not known yet: {error}", error=str(error))
            await deferLater(clock, waits.next())

    async def _common(self, store: SharedStore) -> bytes:
        """The PEM text of the key that all replicas use."""
        box = AESGCM(HKDF(hashes.SHA256(), 32, None, _PURPOSE).derive(self.secret))
        for _ in range(10):
            sealed = await store.get(_SHARED_KEY)
            if sealed is not None:
                try:
                    return box.decrypt(sealed[:12], sealed[12:], _PURPOSE)
                except InvalidTag:
                    # Encrypted with another jwtSecret: whoever has that one does not serve with us any more.
                    self.log.info("the common key that signs id tokens is of another jwtSecret and is replaced")
            pem = await self._in_thread(_make)
            nonce = os.urandom(12)
            fresh = nonce + box.encrypt(nonce, pem, _PURPOSE)
            if sealed is None:
                done = await store.add(_SHARED_KEY, fresh, None)
            else:
                done = await store.replace(_SHARED_KEY, sealed, fresh, None)
            if done:
                return pem
        raise SharedUnavailable("gateways with different values of jwtSecret replace each other's key in Redis")

    def _changed(self) -> None:
        published: dict[str, PublishedKey] = {}
        for key in (self._configured or self._generated, self._generated, *self._former, *self._retired):
            if key is not None:
                published.setdefault(key.kid, key)
        self._published = tuple(published.values())
        #: What verifies id tokens.
        self.verifying = JWKSet(key.key() for key in self._published)


def fnv1a(data: bytes) -> str:
    """The 32-bit FNV-1a hash in decimal, by which ks-apiserver names its key."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return str(value)


def _configured(settings: Settings) -> SigningKey | None:
    issuer = settings.authentication.issuer
    data = issuer.sign_key_data.get_secret_value()
    if issuer.sign_key:
        where, pem = f"authentication.issuer.signKey ({issuer.sign_key})", _read(issuer.sign_key)
    elif data:
        where = "authentication.issuer.signKeyData"
        try:
            pem = base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError):
            raise KeyProblem(f"{where} is not base64 of a PEM text") from None
    else:
        return None
    try:
        private = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise KeyProblem(f"{where} holds no private key in PEM (PKCS#1, PKCS#8 or SEC 1, not encrypted)") from None
    except Exception as error:
        # The library has more kinds of errors for keys that it knows of and does not support.
        raise KeyProblem(f"{where} holds a key of a kind that is not supported ({type(error).__name__})") from None
    if not isinstance(private, _Private):
        raise KeyProblem(f"{where} holds neither an RSA key nor one of the curve P-256")
    _check(private.public_key(), where)
    return SigningKey(private, fnv1a(pem))


def _retired(settings: Settings) -> tuple[PublishedKey, ...]:
    """The keys that have signed before. A private key may be given as it was then, which keeps its name."""
    keys = []
    for path in settings.ksproxyd.oauth.retired_keys:
        where, pem = f"ksproxyd.oauth.retiredKeys ({path})", _read(path)
        try:
            if b"PRIVATE KEY-----" in pem:
                public: Any = serialization.load_pem_private_key(pem, None).public_key()
            else:
                public = serialization.load_pem_public_key(pem)
        except (ValueError, TypeError):
            raise KeyProblem(f"{where} holds no key in PEM that is not encrypted") from None
        except Exception as error:
            raise KeyProblem(f"{where} holds a key of a kind that is not supported ({type(error).__name__})") from None
        if not isinstance(public, _Public):
            raise KeyProblem(f"{where} holds neither an RSA key nor one of the curve P-256")
        _check(public, where)
        keys.append(PublishedKey(public, fnv1a(pem)))
    return tuple(keys)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise KeyProblem(f"{path} cannot be read: {error.strerror}") from None


def _check(public: _Public, where: str) -> None:
    if isinstance(public, rsa.RSAPublicKey):
        try:
            check_rsa(public)
        except UnusableKey as error:
            raise KeyProblem(f"{where} holds a key that cannot be used: {error}") from None
    elif not isinstance(public.curve, ec.SECP256R1):
        raise KeyProblem(f"{where} holds a key of the curve {public.curve.name}; use P-256")


def _algorithm(public: _Public) -> str:
    return "RS256" if isinstance(public, rsa.RSAPublicKey) else "ES256"


def _members(public: _Public) -> dict[str, str]:
    """The members of a public JWK that are its numbers (RFC 7518, 6)."""
    if isinstance(public, rsa.RSAPublicKey):
        rsa_numbers = public.public_numbers()
        return {"kty": "RSA", "n": _number(rsa_numbers.n), "e": _number(rsa_numbers.e)}
    point = public.public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": encode(point.x.to_bytes(32)), "y": encode(point.y.to_bytes(32))}


def _number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8))


def _thumbprint(public: _Public) -> str:
    """The name of a key that is derived from itself (RFC 7638)."""
    members = _members(public)
    text = "{" + ",".join(f'"{name}":"{members[name]}"' for name in sorted(members)) + "}"
    return encode(hashlib.sha256(text.encode("ascii")).digest())


def _make() -> bytes:
    """A new key in PEM. Takes a tenth of a second or more."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

"""Authorization codes: what a browser carries from the authorization endpoint to a client (RFC 6749, 4.1; D-03).

A code is 256 random bits and means nothing by itself; what it stands for is kept where the gateways share what they
know, under the code's hash. It is good once, for a minute or so, and for the client and the address it was made for. An
attempt to redeem it uses it up, whether it succeeds or not: nobody gets a second try at the verifier.

A code that comes a second time has been seen by somebody else than its client. Then what was issued from it ends
(RFC 9700, 2.1.1), also if both attempts arrive at the same moment.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal, Protocol

import msgspec
from twisted.internet.defer import Deferred

from ksproxyd.authn.code_challenge import Challenge

#: Seconds for which a code that was redeemed is remembered, to know it when it comes again.
REMEMBERED = 600.0

#: How often the state of a code may change under us before we give up: it changes twice in its life.
_TRIES = 5


class CodeStore(Protocol):
    """The part of :class:`ksproxyd.authn.shared.store.SharedStore` that is needed here."""

    def get(self, key: str) -> Deferred[bytes | None]: ...

    def put(self, key: str, value: bytes, ttl: float | None) -> Deferred[None]: ...

    def replace(self, key: str, expected: bytes, value: bytes, ttl: float | None) -> Deferred[bool]: ...


class CodeGrant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ``user`` has granted ``client``.

    ``redirect_uri`` is the address that the request named, empty if it named none (and the client's only one was
    taken): the token request must say the same. ``challenge`` is that of PKCE (S256), empty if there was none.
    ``auth_time`` is when the user showed who they are, in Unix time. ``session`` is for the caller's own use.
    """

    client: str
    redirect_uri: str
    user: str
    scopes: tuple[str, ...] = ()
    nonce: str = ""
    challenge: Challenge = ""
    auth_time: float = 0
    session: str = ""


class Replayed(Exception):
    """A code came again. ``session`` is the session that was issued from it and must end; empty if there is none."""

    def __init__(self, session: str) -> None:
        super().__init__("an authorization code was used twice")
        self.session = session


class _Kept(msgspec.Struct, frozen=True):
    """A code's life: ``new``, ``used`` (with the session, once there is one), ``replayed``."""

    grant: CodeGrant
    state: Literal["new", "used", "replayed"] = "new"
    session: str = ""


_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(_Kept).decode


class Codes:
    """``lifetime`` is that of a code, in seconds.

    Every method may raise :class:`~ksproxyd.authn.rejection.SharedUnavailable`.
    """

    def __init__(self, store: CodeStore, lifetime: float) -> None:
        self._store = store
        self._lifetime = lifetime

    async def issue(self, grant: CodeGrant) -> str:
        """A new code for ``grant``."""
        code = secrets.token_urlsafe(32)
        await self._store.put(_key(code), _encode(_Kept(grant)), self._lifetime)
        return code

    async def redeem(self, code: str) -> CodeGrant | None:
        """What ``code`` stands for, once; None for one that there is not (any more).

        Raises :class:`Replayed` for one that was redeemed before. Whether the grant is for who asks is the caller's to
        check. What is issued from it must be told to :meth:`redeemed`.
        """
        for _ in range(_TRIES):
            raw = await self._store.get(_key(code))
            if raw is None:
                return None
            kept = _decode(raw)
            if kept.state == "replayed":
                raise Replayed("")
            new = _Kept(kept.grant, "used" if kept.state == "new" else "replayed")
            if await self._store.replace(_key(code), raw, _encode(new), REMEMBERED):
                if kept.state == "new":
                    return kept.grant
                raise Replayed(kept.session)
        return None

    async def redeemed(self, code: str, grant: CodeGrant, session: str) -> bool:
        """``session`` has been opened for ``code``, as :meth:`redeem` has allowed.

        False: the code came again meanwhile, and the session must end at once.
        """
        used, known = _Kept(grant, "used"), _Kept(grant, "used", session)
        return await self._store.replace(_key(code), _encode(used), _encode(known), REMEMBERED)


def _key(code: str) -> str:
    # The code itself is not kept: who reads the store must not be able to use it.
    return "code:" + hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()

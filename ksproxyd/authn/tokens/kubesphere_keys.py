"""Tokens in the store as ks-apiserver keeps them, for running beside it on one Redis (spec 02, 2.5).

A token is good while the key ``kubesphere:user:<name>:token:<token>`` is there; its value is the token again. Either
server finds what the other has issued, and ends it by removing the key. What ks-apiserver has issued knows no session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ksproxyd.authn.shared.store import SharedStore
from ksproxyd.authn.tokens.claims import Claims
from ksproxyd.authn.tokens.compact import Malformed, decode, read_object, split


class KubeSphereKeys:
    """The keys of tokens in ``store``."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store.verbatim()

    async def keep(self, user: str, token: str, ttl: float) -> None:
        """A token has been issued."""
        await self._store.put(_key(user, token), token.encode("ascii"), ttl)

    async def has(self, claims: Claims) -> bool:
        """Whether a token is good. One question to the store."""
        return await self._store.get(_of(claims)) is not None

    async def spend(self, claims: Claims) -> bool:
        """End a token; whether it was good until now."""
        return await self._store.delete(_of(claims)) > 0

    async def end_sessions(self, user: str, sids: Iterable[str]) -> None:
        """End the tokens of these sessions of a user."""
        wanted = frozenset(sids)
        await self._end(user, lambda sid: sid in wanted)

    async def end_user(self, user: str, keep: str) -> None:
        """End all tokens of a user, other than those of the session ``keep`` if it has a name."""
        await self._end(user, lambda sid: not keep or sid != keep)

    async def _end(self, user: str, wanted: Callable[[str], bool]) -> None:
        beginning = _key(user, "")
        found = await self._store.find(beginning, "")
        ending = [key for key in found if wanted(_session_of(key[len(beginning) :]))]
        if ending:
            await self._store.delete(*ending)


def _key(user: str, token: str) -> str:
    return f"kubesphere:user:{user}:token:{token}"


def _of(claims: Claims) -> str:
    assert claims.whole is not None, "claims were read without the token"
    return _key(claims.username, claims.whole.reveal())


def _session_of(token: str) -> str:
    """The session that a stored token names. What is stored has been issued by one who knows the secret."""
    try:
        sid = read_object(decode(split(token).payload)).get("sid", "")
    except Malformed:
        return ""
    return sid if isinstance(sid, str) else ""

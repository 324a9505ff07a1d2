"""Browsers in which somebody has signed in (spec 02, D-07 and D-26).

A signed-in browser has an opaque cookie and may be given codes for it; it is no credential for anything outside
``/oauth``. What belongs to the cookie is in the shared store under the cookie's digest, so that every gateway knows it
and nobody can use what they read there.

A session ends with its lifetime, at sign-out, and with what it rests on: a user that is gone, disabled or another of
the same name, a password that was changed, or :meth:`Browsers.end_user`.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.user_record import DISABLED, UserRecord
from ksproxyd.kapis.oauth.cookies import cookie, set_cookie
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.message import Pairs
from ksproxyd.server.exchange import Exchange

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore

#: Name of the cookie.
SESSION_COOKIE = "ksproxyd_session"


class Users(Protocol):
    """The part of :class:`ksproxyd.authn.directory.Directory` that is needed here."""

    def find(self, name: str) -> UserRecord | None: ...


class BrowserSession(msgspec.Struct, frozen=True):
    """Somebody in a browser. ``auth_time`` is when they proved who they are; ``id`` is the cookie's digest.

    ``csrf`` is the key of the tokens of the forms that they are shown.
    """

    user: str
    auth_time: float
    csrf: str
    id: str

    def __repr__(self) -> str:
        return f"<BrowserSession of {self.user}>"


class _Stored(msgspec.Struct, frozen=True):
    user: str
    auth_time: float
    csrf: str
    #: What the user and their password were (see :func:`_stamp`), and the user's epoch.
    stamp: str
    epoch: str


class Browsers:
    """The sessions. ``lifetime`` is in seconds. Methods fail with ``SharedUnavailable`` where the store is away."""

    def __init__(self, clock: IReactorTime, store: SharedStore, users: Users, site: Site, lifetime: float) -> None:
        self._clock = clock
        self._store = store
        self._users = users
        self._site = site
        self._lifetime = lifetime

    async def open(self, exchange: Exchange, user: str, auth_time: float) -> Pairs:
        """``user`` has signed in; returns the ``Set-Cookie`` fields. A session that the browser had before ends.

        The cookie is always a new one, whatever the browser has sent (session fixation). Raises :class:`LookupError`
        for a user who is gone, or disabled, by now.
        """
        record = self._usable(user)
        if record is None:
            raise LookupError(f"there is no user {user} who could sign in")
        await self._forget(exchange)
        epoch = await self._epoch(user)
        value = secrets.token_urlsafe(32)
        stored = _Stored(user, auth_time, secrets.token_urlsafe(32), _stamp(record), epoch)
        await self._store.put(_key(_digest(value)), msgspec.json.encode(stored), self._lifetime)
        return [set_cookie(self._site, exchange, SESSION_COOKIE, value)]

    async def find(self, exchange: Exchange) -> BrowserSession | None:
        """Who has signed in in this browser; None if nobody has, or they may not be let in any more."""
        value = cookie(self._site, exchange, SESSION_COOKIE)
        if not value:
            return None
        return await self._session(_digest(value))

    async def standing(self, id: str) -> bool:
        """Whether the session of this :attr:`BrowserSession.id` has not ended."""
        return await self._session(id) is not None

    async def _session(self, digest: str) -> BrowserSession | None:
        raw = await self._store.get(_key(digest))
        if raw is None:
            return None
        stored = msgspec.json.decode(raw, type=_Stored)
        record = self._usable(stored.user)
        if record is None or _stamp(record) != stored.stamp or await self._epoch(stored.user) != stored.epoch:
            await self._store.delete(_key(digest))
            return None
        return BrowserSession(stored.user, stored.auth_time, stored.csrf, digest)

    async def close(self, exchange: Exchange) -> Pairs:
        """End the session of this browser; returns the fields that take the cookie away."""
        await self._forget(exchange)
        return [set_cookie(self._site, exchange, SESSION_COOKIE, "")]

    async def end_user(self, user: str) -> None:
        """End every session of ``user``, in whatever browser: their password was changed, they were disabled."""
        # A session from before cannot outlive the new epoch's own entry.
        await self._store.put(_epoch_key(user), secrets.token_hex(8).encode(), self._lifetime + 60.0)

    async def _forget(self, exchange: Exchange) -> None:
        value = cookie(self._site, exchange, SESSION_COOKIE)
        if value:
            await self._store.delete(_key(_digest(value)))

    async def _epoch(self, user: str) -> str:
        return (await self._store.get(_epoch_key(user)) or b"").decode()

    def _usable(self, user: str) -> UserRecord | None:
        record = self._users.find(user)
        if record is None or record.state == DISABLED or record.deleting:
            return None
        return record


def _stamp(record: UserRecord) -> str:
    """Changes when the user is another one, or has another password."""
    return hashlib.sha256(f"{record.uid}\n{record.password_hash}".encode()).hexdigest()[:32]


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _key(digest: str) -> str:
    return f"browser:{digest}"


def _epoch_key(user: str) -> str:
    return f"browser-epoch:{user}"

"""Requests that wait for a person: to sign in, to allow something. Kept here, known outside by an opaque handle.

The handle goes through addresses and forms; what was asked for does not, so that nobody can change it on the way, and
no address that is not our own ever stands where a browser is told to go on (spec 02, D-26; RFC 9700, 4.11).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING

import msgspec

from ksproxyd.authn.source import network_of
from ksproxyd.model.status import StatusError

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore

#: For so long somebody may take to sign in, in seconds.
LIFETIME = 600.0

#: Largest request that is kept, in bytes: who asks is not known yet, and each is kept for :data:`LIFETIME`.
LARGEST = 8192

_HANDLE = re.compile(r"[A-Za-z0-9_-]{43}")


#: Requests that may begin to wait within :data:`LIFETIME` from one network, as nobody has signed in for them.
MOST = 3000


class TooLarge(Exception):
    """A request has more to remember than anybody honestly asks for."""


class TooManyWaiting(Exception):
    """More requests of one network wait than people could have sent."""

    def error(self) -> StatusError:
        """The 429."""
        message = "too many sign-ins have been begun from this network; try again in a few minutes"
        return StatusError(429, "TooManyRequests", message, retry_after=60)


class AuthorizeRequest(msgspec.Struct, frozen=True, tag="authorize"):
    """An authorization request that has been checked (RFC 6749, 4.1.1; OpenID Connect Core, 3.1.2.1).

    ``redirect_uri`` is the registered one to answer at; ``redirect_given`` whether the request named it, so that the
    token request must, too. ``max_age`` is in seconds, -1 without; ``hint`` is the user of an ``id_token_hint``;
    ``at`` is the time when it came.
    """

    client_id: str
    redirect_uri: str
    redirect_given: bool
    response_type: str
    scopes: tuple[str, ...]
    at: float
    state: str | None = None
    nonce: str = ""
    challenge: str = ""
    prompt: tuple[str, ...] = ()
    max_age: int = -1
    login_hint: str = ""
    locales: str = ""
    hint: str = ""


class DeviceRequest(msgspec.Struct, frozen=True, tag="device"):
    """Somebody is about to let a device in (RFC 8628, 3.3); ``user_code`` may be empty."""

    user_code: str


class TerminalVisit(msgspec.Struct, frozen=True, tag="terminal"):
    """Somebody has come to the page with a terminal; ``query`` says where the terminal is to be."""

    query: str


Waiting = AuthorizeRequest | DeviceRequest | TerminalVisit

_encode = msgspec.json.encode
_decoder: msgspec.json.Decoder[Waiting] = msgspec.json.Decoder(Waiting)


class Pending:
    """The requests that wait. All methods fail with ``SharedUnavailable`` where the store cannot be asked."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    async def keep(self, request: Waiting, source: str) -> str:
        """Remember ``request``, which came from the address ``source``; returns its handle.

        Raises :class:`TooLarge`, or :class:`TooManyWaiting`.
        """
        value = _encode(request)
        if len(value) > LARGEST:
            raise TooLarge
        if await self._store.count(f"pending-begun:{network_of(source)}", LIFETIME) > MOST:
            raise TooManyWaiting
        handle = secrets.token_urlsafe(32)
        await self._store.put(_key(handle), value, LIFETIME)
        return handle

    async def look(self, handle: str) -> Waiting | None:
        """The request of ``handle``; None if there is none (any more)."""
        return _read(await self._store.get(_key(handle))) if well_formed(handle) else None

    async def take(self, handle: str) -> Waiting | None:
        """As :meth:`look`, but nobody gets it a second time."""
        return _read(await self._store.take(_key(handle))) if well_formed(handle) else None


def well_formed(handle: str) -> bool:
    """Whether ``handle`` can be one at all."""
    return _HANDLE.fullmatch(handle) is not None


def _key(handle: str) -> str:
    # Whoever reads the store cannot take part in a sign-in by it.
    return "pending:" + hashlib.sha256(handle.encode()).hexdigest()


def _read(value: bytes | None) -> Waiting | None:
    return None if value is None else _decoder.decode(value)

"""Logins for programs without a browser of their own: the device flow (RFC 8628).

The program is given two codes: one that it asks for its tokens with, 256 random bits, and a short one that a person
types in a browser where they sign in. :class:`Devices` keeps what belongs to both, under their hashes, where the
gateways share what they know:

    begin ── by_user_code ── decide(approved) ── poll → Approved, once
                          └─ decide(refused) ─── poll → access_denied

The short code has 34 bits and lives for minutes. What keeps it from being guessed is that only signed-in users may
enter one, and each of them only a few (RFC 8628, 5.1).
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

import msgspec
from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.shared.store import SharedStore
from ksproxyd.authn.source import network_of

#: Letters of user codes: no vowels, so that they spell nothing, and none that looks like a digit (RFC 8628, 6.1).
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH = 8

#: How often somebody may enter a user code, right or wrong, within :data:`GUESSING`, in seconds. Each is counted before
#: it is looked at, so that no more are, however many come at once. A login takes two or three.
GUESSES, GUESSING = 30, 900.0

#: By how many seconds the interval grows for a program that asks too often (RFC 8628, 3.5).
SLOWER = 5.0

#: Devices may begin this many times within their lifetime, from one network: what they are given is kept.
MOST_BEGUN = 100

#: Seconds for which a device code that has expired is remembered, so that its program learns why.
_AFTERWARDS = 120.0

_TRIES = 5

_FROM_TYPED = str.maketrans("", "", "- \t\r\n._")


class TooMany(Exception):
    """Too many codes were entered, or asked for. ``retry_after`` are seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many; try again in {retry_after} s")
        self.retry_after = retry_after


class DeviceAuthorization(msgspec.Struct, frozen=True):
    """What a program is told (RFC 8628, 3.2). ``expires_in`` and ``interval`` are seconds."""

    device_code: str
    user_code: str
    expires_in: int
    interval: int

    def __repr__(self) -> str:
        return f"DeviceAuthorization(expires_in={self.expires_in})"


class DeviceQuestion(msgspec.Struct, frozen=True):
    """What a person decides about. ``source`` is the address that the program has asked from."""

    user_code: str
    client: str
    scopes: tuple[str, ...]
    source: str
    state: Literal["pending", "approved", "refused"]


class Approved(msgspec.Struct, frozen=True):
    """A program has been let in as ``user``, who had shown who they are at ``auth_time`` (Unix time)."""

    user: str
    scopes: tuple[str, ...]
    auth_time: float


#: What a program is told that asks for its tokens and does not get them (RFC 8628, 3.5).
NotYet = Literal["authorization_pending", "slow_down", "expired_token", "access_denied", "invalid_grant"]


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    client: str
    expires: float
    interval: float
    #: When it may be asked for next.
    next: float
    scopes: tuple[str, ...] = ()
    source: str = ""
    state: Literal["pending", "approved", "refused"] = "pending"
    user: str = ""
    auth_time: float = 0.0


_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(_Kept).decode


class Devices:
    """``lifetime`` is that of the codes and ``interval`` the time between two questions, in seconds.

    Every method may raise :class:`~ksproxyd.authn.rejection.SharedUnavailable`.
    """

    def __init__(self, clock: IReactorTime, store: SharedStore, lifetime: float, interval: float) -> None:
        self._clock = clock
        self._store = store
        self._lifetime = lifetime
        self._interval = interval

    async def begin(self, client: str, scopes: tuple[str, ...], source: str = "") -> DeviceAuthorization:
        """New codes for a program that is ``client``, for what ``scopes`` allow. Raises :class:`TooMany`.

        ``source`` is the address that it asks from, which the person is shown.
        """
        begun = f"device-begun:{network_of(source)}"
        if await self._store.count(begun, self._lifetime) > MOST_BEGUN:
            raise TooMany(await self._left(begun))
        device_code = secrets.token_urlsafe(32)
        now = self._clock.seconds()
        for _ in range(_TRIES):
            letters = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
            kept = _Kept(client, now + self._lifetime, self._interval, now + self._interval, tuple(scopes), source)
            # The short one first: of the two it is the one that may be there already.
            if await self._store.add(_short(letters), _digest(device_code).encode(), self._lifetime):
                await self._store.put(_long(device_code), _encode(kept), self._lifetime + _AFTERWARDS)
                return DeviceAuthorization(
                    device_code, shown(letters), max(1, int(self._lifetime)), max(1, int(self._interval))
                )
        raise TooMany(max(1, int(self._interval)))

    async def by_user_code(self, code: str, who: str) -> DeviceQuestion | None:
        """What the code stands for that the signed-in user ``who`` has typed, in any spelling; None for a wrong one.

        Raises :class:`TooMany` once ``who`` has entered too many.
        """
        found = await self._find(code, who)
        if found is None:
            return None
        _, _, kept = found
        return DeviceQuestion(shown(normalised(code)), kept.client, kept.scopes, kept.source, kept.state)

    async def decide(self, user_code: str, user: str, approved: bool, *, auth_time: float = 0.0) -> bool:
        """``user``, who is signed in since ``auth_time``, lets the program in as themselves, or does not.

        False if there is nothing to decide (any more). Raises :class:`TooMany` as :meth:`by_user_code`.
        """
        for _ in range(_TRIES):
            found = await self._find(user_code, user)
            if found is None or found[2].state != "pending":
                return False
            key, raw, kept = found
            decided = msgspec.structs.replace(
                kept, state="approved" if approved else "refused", user=user, auth_time=auth_time
            )
            left = kept.expires - self._clock.seconds()
            if await self._store.replace(key, raw, _encode(decided), left + _AFTERWARDS):
                # It has done its work, and is good for nobody else.
                await self._store.delete(_short(normalised(user_code)))
                return True
        return False

    async def poll(self, device_code: str, client: str) -> Approved | NotYet:
        """A program asks for its tokens. :class:`Approved` is returned once."""
        key = _long(device_code)
        raw = await self._store.get(key)
        kept = None if raw is None else _decode(raw)
        if raw is None or kept is None or kept.client != client:
            return "invalid_grant"
        now = self._clock.seconds()
        if now >= kept.expires:
            return "expired_token"
        if kept.state == "pending":
            return await self._asked_again(key, raw, kept, now)
        # Of all who ask at this moment, one gets it.
        if await self._store.take(key) is None:
            return "invalid_grant"
        if kept.state == "refused":
            return "access_denied"
        return Approved(kept.user, kept.scopes, kept.auth_time)

    async def _asked_again(self, key: str, raw: bytes, kept: _Kept, now: float) -> NotYet:
        # Clocks and networks shake: a second is nobody's haste.
        early = now < kept.next - 1.0
        interval = kept.interval + SLOWER if early else kept.interval
        changed = msgspec.structs.replace(kept, interval=interval, next=now + interval)
        if not await self._store.replace(key, raw, _encode(changed), kept.expires - now + _AFTERWARDS):
            # Decided, or asked for, at this very moment: the next answer tells.
            return "authorization_pending"
        return "slow_down" if early else "authorization_pending"

    async def _find(self, code: str, who: str) -> tuple[str, bytes, _Kept] | None:
        """The key of what a typed code stands for, and what is there."""
        counter = f"device-guesses:{who}"
        if await self._store.count(counter, GUESSING) > GUESSES:
            raise TooMany(await self._left(counter))
        letters = normalised(code)
        return await self._look(letters) if letters else None

    async def _look(self, letters: str) -> tuple[str, bytes, _Kept] | None:
        digest = await self._store.get(_short(letters))
        if digest is None:
            return None
        key = f"device:{digest.decode()}"
        raw = await self._store.get(key)
        kept = None if raw is None else _decode(raw)
        if raw is None or kept is None or self._clock.seconds() >= kept.expires:
            return None
        return key, raw, kept

    async def _left(self, key: str) -> int:
        return max(1, int((await self._store.counted(key))[1]))


def normalised(code: str) -> str:
    """The letters of a user code as somebody has typed it, in any case and with dashes and blanks; empty for none."""
    letters = code[:64].upper().translate(_FROM_TYPED) if code.isascii() else ""
    return letters if len(letters) == LENGTH and all(letter in ALPHABET for letter in letters) else ""


def shown(letters: str) -> str:
    """A user code as a person reads it best."""
    return f"{letters[: LENGTH // 2]}-{letters[LENGTH // 2 :]}"


def _digest(device_code: str) -> str:
    return hashlib.sha256(device_code.encode("utf-8", "replace")).hexdigest()


def _long(device_code: str) -> str:
    return f"device:{_digest(device_code)}"


def _short(letters: str) -> str:
    return "device-user:" + hashlib.sha256(letters.encode()).hexdigest()

"""Passwords that were right a moment ago, so that a client which sends one with every request does not cost a compare
each time.

What is kept is a MAC of the password and the hash it matched, under a key that only this process has. It is good for
that very hash: a changed password is another one.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b

from twisted.internet.interfaces import IReactorTime

#: Seconds, and users of whom one password is kept.
FOR, MOST = 60.0, 1000


class RememberedPasswords:
    """``key`` is random and secret, 32 bytes."""

    def __init__(self, clock: IReactorTime, key: bytes, *, seconds: float = FOR, most: int = MOST) -> None:
        self._clock = clock
        self._key = key
        self._seconds = seconds
        self._most = most
        self._entries: dict[str, tuple[bytes, float]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, name: str, hash: str, password: bytes) -> None:
        """``password`` has matched ``hash``, the one of user ``name``."""
        self._entries.pop(name, None)
        if len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[name] = (self._mac(hash, password), self._clock.seconds() + self._seconds)

    def has(self, name: str, hash: str, password: bytes) -> bool:
        """Whether that was so lately."""
        entry = self._entries.get(name)
        if entry is None:
            return False
        if entry[1] <= self._clock.seconds():
            del self._entries[name]
            return False
        return hmac.compare_digest(entry[0], self._mac(hash, password))

    def drop(self, name: str) -> None:
        """Forget a user: they have changed."""
        self._entries.pop(name, None)

    def _mac(self, hash: str, password: bytes) -> bytes:
        # A hash has no NUL in it, so this is one pair only. BLAKE2 with a key is a MAC (RFC 7693, 2.9), and needs none
        # of what OpenSSL looks up for each of its own.
        pair = hash.encode("utf-8", "surrogatepass") + b"\0" + password
        return blake2b(pair, key=self._key, digest_size=32).digest()

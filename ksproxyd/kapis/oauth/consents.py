"""What users have allowed to clients, so that they are asked once (spec 02, D-08).

Remembered for a user, a client and the scopes; a client that asks for more asks again. A user who is another one of
the same name has allowed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ksproxyd.authn.user_record import UserRecord

if TYPE_CHECKING:
    from ksproxyd.authn.shared.store import SharedStore

#: After so many seconds without being used, a consent is asked for again: a year.
LIFETIME = 31_536_000.0


class _Consent(msgspec.Struct, frozen=True):
    uid: str
    scopes: list[str]


class Consents:
    """The consents. All methods fail with ``SharedUnavailable`` where the store cannot be asked."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    async def given(self, user: UserRecord, client_id: str, scopes: Iterable[str]) -> bool:
        """Whether ``user`` has allowed all of ``scopes`` to the client."""
        known = await self._find(user, client_id)
        return known is not None and set(scopes) <= set(known.scopes)

    async def give(self, user: UserRecord, client_id: str, scopes: Iterable[str]) -> None:
        """``user`` allows ``scopes`` to the client, besides what they have allowed before."""
        known = await self._find(user, client_id)
        every = sorted({*scopes, *(known.scopes if known else ())})
        await self._store.put(_key(user.name, client_id), msgspec.json.encode(_Consent(user.uid, every)), LIFETIME)
        await self._store.add_member(_index(user.name), client_id, LIFETIME)

    async def clients(self, user: UserRecord) -> list[str]:
        """The clients that ``user`` has allowed something, sorted."""
        found = []
        for client_id in sorted(await self._store.members(_index(user.name))):
            if await self._find(user, client_id) is not None:
                found.append(client_id)
        return found

    async def revoke(self, user: str, client_id: str) -> None:
        """``user`` takes back what they have allowed to the client."""
        await self._store.delete(_key(user, client_id))
        await self._store.remove_member(_index(user), client_id)

    async def _find(self, user: UserRecord, client_id: str) -> _Consent | None:
        raw = await self._store.get(_key(user.name, client_id))
        if raw is None:
            return None
        consent = msgspec.json.decode(raw, type=_Consent)
        return consent if consent.uid == user.uid else None


def _key(user: str, client_id: str) -> str:
    # Names of users have no colon (RFC 1123); ids of clients may.
    return f"consent:{user}:{client_id}"


def _index(user: str) -> str:
    return f"consents:{user}"

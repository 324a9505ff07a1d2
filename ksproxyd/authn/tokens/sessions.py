"""What is kept about logins: one record for each, and for each user a set of them.

::

    session:<sid>     the record; a token of the session is good while the record is there and names its jti
    user:<name>       the user's sessions, as "<sid> <client>", each until its record is gone for certain
    only:<client>:<user>   the session that may be, where a user may have one with each client (multipleLogin: false)

Ending a session is deleting one key, whatever tokens it has had. Everything that changes a record replaces what was
read, so that of two who do it at once one has to look again. No token is kept, only the random name that it holds.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.shared.store import SharedStore
from ksproxyd.authn.tokens.claims import Extra

#: Access tokens of one session that are good at the same time; with more the oldest ends. A session that is refreshed
#: as it should be has one or two.
MOST_ACCESS = 16

#: A change that comes upon another this often in a row is given up.
_ATTEMPTS = 20


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """One login of a user with a client. Times are seconds since 1970.

    ``refresh`` is the ``jti`` of the refresh token that is good; ``access`` are those of the access tokens, each with
    its end (0: none). ``ends`` is when the session is over, however active it is.
    """

    user: str
    client: str
    started: int
    ends: int
    refresh: str = ""
    access: dict[str, int] = {}
    auth_time: int = 0
    scopes: tuple[str, ...] = ()
    extra: Extra = ()
    registration: bool = False

    def with_access(self, jti: str, exp: int, now: float) -> Session:
        """With one more access token, and without those that have ended."""
        access = {name: end for name, end in self.access.items() if not end or end > now}
        while len(access) >= MOST_ACCESS:
            del access[next(iter(access))]
        access[jti] = exp
        return msgspec.structs.replace(self, access=access)

    def without_access(self, jti: str) -> Session:
        """Without an access token."""
        return msgspec.structs.replace(self, access={name: end for name, end in self.access.items() if name != jti})


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Session).decode


def read_session(data: bytes | None) -> Session | None:
    """A record; None if there is none."""
    return None if data is None else _decode(data)


class Sessions:
    """The records in a store. ``now`` is the time in seconds since 1970."""

    def __init__(self, store: SharedStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def find(self, sid: str) -> Session | None:
        """The session, None if it has ended or never was. One question to the store."""
        return read_session(await self._store.get(_session(sid))) if sid else None

    async def find_raw(self, sid: str) -> tuple[Session, bytes] | None:
        """The same with what :meth:`change` needs."""
        data = await self._store.get(_session(sid)) if sid else None
        return None if data is None else (_decode(data), data)

    async def open(self, sid: str, session: Session, until: int, *, listed: bool, only: bool) -> list[str]:
        """Keep a new session until then; returns the sessions that it takes the place of, which are not ended yet.

        ``listed``: it is one of its user's. ``only``: the user has no other with the same client.
        """
        await self._store.put(_session(sid), _encode(session), self._left(until))
        return await self.enlist(sid, session, only=only) if listed else []

    async def enlist(self, sid: str, session: Session, *, only: bool) -> list[str]:
        """Make a session one of its user's; returns the sessions that it takes the place of."""
        replaced = await self._take_place(sid, session) if only else []
        await self._store.add_member(_user(session.user), f"{sid} {session.client}", self._left(session.ends))
        return replaced

    async def change(self, sid: str, before: bytes, session: Session, until: int) -> bool:
        """Replace the record that was read; False if it is another by now."""
        return await self._store.replace(_session(sid), before, _encode(session), self._left(until))

    async def end(self, sid: str, session: Session | None) -> bool:
        """End a session. ``session`` is what is known of it. Returns whether it was there."""
        gone = await self._store.delete(_session(sid))
        if session is not None:
            await self._store.remove_member(_user(session.user), f"{sid} {session.client}")
        return gone > 0

    async def drop_access(self, sid: str, jti: str) -> bool:
        """End one access token of a session; whether there was one."""
        for _ in range(_ATTEMPTS):
            found = await self.find_raw(sid)
            if found is None or jti not in found[0].access:
                return False
            session, raw = found
            if await self.change(sid, raw, session.without_access(jti), session.ends):
                return True
        raise SharedUnavailable("a session is changed by too many at once")

    async def of_user(self, user: str) -> list[tuple[str, str]]:
        """The user's sessions with their clients. Some may have ended."""
        found = [member.partition(" ") for member in await self._store.members(_user(user))]
        return [(sid, client) for sid, _, client in found]

    async def end_all(self, user: str, sids: list[str]) -> int:
        """End these sessions of a user; how many there were."""
        clients = dict(await self.of_user(user))
        gone = await self._store.delete(*map(_session, sids)) if sids else 0
        for sid in sids:
            if sid in clients:
                await self._store.remove_member(_user(user), f"{sid} {clients[sid]}")
        return gone

    async def _take_place(self, sid: str, session: Session) -> list[str]:
        """Become the only session of a user with a client. Of any number that try at once, one is so in the end.

        Whoever sets the name of the only session ends the one that stood there: so each but the last is ended, by its
        successor and by nobody else.
        """
        key, value = f"only:{session.client}:{session.user}", sid.encode("ascii")
        left = self._left(session.ends)
        for _ in range(_ATTEMPTS):
            before = await self._store.get(key)
            if before is not None:
                if await self._store.replace(key, before, value, left):
                    return [before.decode("ascii")]
                continue
            # The first since logins were limited to one, or for a long time: there may be others from before.
            others = [each for each, client in await self.of_user(session.user) if client == session.client]
            if await self._store.add(key, value, left):
                return [each for each in others if each != sid]
        raise SharedUnavailable("a user logs in too often at once")

    def _left(self, until: int) -> float:
        return max(1.0, until - self._now())


def _session(sid: str) -> str:
    return f"session:{sid}"


def _user(name: str) -> str:
    return f"user:{name}"

"""Tokens for the way to a member cluster, for who has shown no token here.

Who comes with a password or a client certificate is known to this gateway only: the password goes no further, and the
certificate cannot. The member gets a token in their place, as if its user had logged in (spec 02, D-04): signed with
the secret that the clusters share, good for a moment, and of no session, so that this gateway would not take it itself.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authn.user_record import ACTIVE, LIMITED
from ksproxyd.model.identity import Identity

#: Seconds for which a token is good, for which it is used again, and users of whom one is kept. Clocks may differ by
#: what lies between the first two.
LIFETIME, REUSED, MOST = 120.0, 30.0, 1000


class HopTokens:
    """``make(user, lifetime)`` signs a token. ``directory`` knows who is a user, and tells when one changes.

    :meth:`stop` at the end.
    """

    def __init__(self, clock: IReactorTime, make: Callable[[str, float], str], directory: Directory) -> None:
        self._clock = clock
        self._make = make
        self._directory = directory
        self._kept: dict[str, tuple[bytes, float]] = {}
        self._unsubscribe = directory.subscribe(self._drop, self._kept.keys())

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def stop(self) -> None:
        """Hear of no more changes."""
        self._unsubscribe()

    def forget(self) -> None:
        """Somebody's logins have ended: make new tokens for everybody."""
        self._kept.clear()

    def authorization(self, user: Identity) -> bytes | None:
        """What the ``Authorization`` of a request of ``user`` is on the way; None for who is no User here.

        Raises the 503 as long as nothing can be signed.
        """
        record = self._directory.find(user.name)
        if record is None or record.deleting or record.state not in (ACTIVE, LIMITED):
            return None
        now = self._clock.seconds()
        kept = self._kept.get(user.name)
        if kept is not None and now < kept[1]:
            return kept[0]
        self._kept.pop(user.name, None)
        if len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]
        try:
            line = b"Bearer " + self._make(user.name, LIFETIME).encode("ascii")
        except SharedUnavailable as error:
            raise error.error() from None
        self._kept[user.name] = (line, now + REUSED)
        return line

    def _drop(self, name: str) -> None:
        self._kept.pop(name, None)

"""What takes long is looked at again and again: a watch or a tunnel ends when its user may not have it any more.

Who has been deleted or disabled, whose session was ended or token revoked, and who has lost the role that let them in,
is cut off; they are told why when they come back. What cannot be asked at the moment ends nothing.

Nothing is kept for it: each round looks through the connections for requests that are older than a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.authenticator import Authenticator
from ksproxyd.authn.rejection import SharedUnavailable
from ksproxyd.authz.decision import Authorizer
from ksproxyd.authz.engine import Engine, settled_whole
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.identity import Identity
from ksproxyd.model.status import StatusError
from ksproxyd.server.connection import ServerConnection
from ksproxyd.server.exchange import Exchange


class Server(Protocol):
    """The part of :class:`ksproxyd.server.server.Server` that is needed here."""

    connections: set[ServerConnection]


class Recheck:
    """The rounds. ``interval`` are seconds; ``servers`` gives those whose connections are looked through."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        servers: Callable[[], Iterable[Server]],
        authenticator: Authenticator,
        authorizer: Authorizer,
        interval: float,
        engine: Engine | None = None,
    ) -> None:
        self._clock = clock
        self._servers = servers
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._engine = engine
        self.interval = interval
        #: Exchanges that were ended.
        self.ended = 0
        self._pacer = Pacer(clock)
        self._call: IDelayedCall | None = None
        self._round: Deferred[None] | None = None

    def start(self) -> None:
        """Have the first round after one interval."""
        self._call = self._clock.callLater(self.interval, self._begin)

    def stop(self) -> None:
        """No more rounds."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._round is not None:
            self._round.cancel()

    def _begin(self) -> None:
        self._call = None
        self._round = Deferred.fromCoroutine(self._look())
        self._round.addBoth(self._looked)

    def _looked(self, result: Failure | None) -> None:
        self._round = None
        if isinstance(result, Failure):
            if result.check(CancelledError):
                return
            self.log.failure("looking again at what takes long failed", result)
        self.start()

    async def _look(self) -> None:
        before = self._clock.seconds() - self.interval
        #: One user's watches are many; their tokens are few.
        standing: dict[object, Identity | None] = {}
        self._pacer.begin()
        for server in tuple(self._servers()):
            for connection in tuple(server.connections):
                exchange = connection.current
                if exchange is None or exchange.finished or exchange.info is None or exchange.started > before:
                    continue
                why = await self._objection(exchange, standing)
                if why and not exchange.finished:
                    self._end(exchange, why)
                if self._pacer.spent():
                    await self._pacer.turn()

    async def _objection(self, exchange: Exchange, standing: dict[object, Identity | None]) -> str:
        """Why ``exchange`` must not go on; empty if it may."""
        claims = exchange.claims
        certificate = exchange.connection.certificate is not None
        key = claims if claims is not None else (exchange.user, certificate)
        try:
            if key not in standing:
                standing[key] = await self._authenticator.standing(exchange.user, claims, certificate)
            user = standing[key]
            if user is None:
                return "the login has ended"
            # What a member cluster serves, it authorizes.
            if exchange.cluster is None:
                decision, _ = await settled_whole(
                    self._authorizer, self._engine, user, exchange.info, exchange.upgrade is not None
                )
                if not decision.allowed:
                    return "the right to it was withdrawn"
        except (SharedUnavailable, StatusError):
            return ""
        return ""

    def _end(self, exchange: Exchange, why: str) -> None:
        self.ended += 1
        exchange.note({"withdrawn": why})
        self.log.info("ended {exchange} of {user}: {why}", exchange=exchange, user=exchange.user.name, why=why)
        if exchange.on_gone is not None and exchange.hijacked:
            # Whoever has the connection can say so before it ends.
            on_gone, exchange.on_gone = exchange.on_gone, None
            on_gone()
        else:
            exchange.connection.abort()

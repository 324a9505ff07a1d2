"""Keeps the Leases of pods in use, in the rhythm that sweepers expect."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import pause
from ksproxyd.terminal.pods.lease import RENEW, Leases

#: How long deletions that have begun may still take when the gateway stops, and how often it is looked, in seconds.
LAST, _LOOK = 5.0, 0.05


class Keeper:
    """Renews the Lease of one pod until it is stopped; one for all sessions in the pod."""

    log = Logger()

    def __init__(self, clock: IReactorTime, leases: Leases, namespace: str, pod: str, uid: str) -> None:
        self._clock = clock
        self._leases = leases
        self._namespace = namespace
        self.pod = pod
        self.uid = uid
        self._call: IDelayedCall | None = clock.callLater(RENEW, self._renew)
        self._renewing: Deferred[None] | None = None

    def stop(self) -> None:
        """Renew it no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._renewing is not None:
            self._renewing.cancel()

    def _renew(self) -> None:
        self._call = self._clock.callLater(RENEW, self._renew)
        if self._renewing is None:
            self._renewing = Deferred.fromCoroutine(self._leases.renew(self._namespace, self.pod, self.uid))
            self._renewing.addBoth(self._renewed)

    def _renewed(self, result: Failure | None) -> None:
        self._renewing = None
        if not isinstance(result, Failure) or result.check(CancelledError):
            return
        if result.check(KubeError):
            # The next one may succeed before anybody takes the pod for unused.
            self.log.warn("renewing the lease of {pod} failed: {error}", pod=self.pod, error=result.getErrorMessage())
        else:
            self.log.failure("renewing the lease of {pod} failed", result, pod=self.pod)


class Later:
    """Deferred work of pods that somebody owns: begun here, cancelled at the end."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: set[IDelayedCall] = set()
        self._running: set[Deferred[None]] = set()

    def after(self, seconds: float, work: Callable[[], Deferred[None]]) -> None:
        """Do ``work`` after that time."""

        def begin() -> None:
            self._calls.discard(call)
            self.now(work())

        call = self._clock.callLater(seconds, begin)
        self._calls.add(call)

    def now(self, running: Deferred[None]) -> None:
        """See to the end of something that has begun."""
        self._running.add(running)
        running.addBoth(self._over, running)

    async def stop(self) -> None:
        """Nothing more is begun; what has begun has :data:`LAST` seconds to end."""
        for call in self._calls:
            call.cancel()
        self._calls.clear()
        end = self._clock.seconds() + LAST
        while self._running and self._clock.seconds() < end:
            await pause(self._clock, _LOOK)
        for running in tuple(self._running):
            running.cancel()

    def _over(self, result: object, running: Deferred[None]) -> None:
        self._running.discard(running)
        if isinstance(result, Failure) and not result.check(CancelledError):
            if result.check(KubeError):
                self.log.warn("cleaning up a pod failed: {error}", error=result.getErrorMessage())
            else:
                self.log.failure("cleaning up a pod failed", result)

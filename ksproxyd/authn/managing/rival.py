"""Whether ks-controller-manager, which looks after User objects as well, is at work.

It holds a Lease while it is. A Lease that is renewed has somebody who renews it; one that has not changed for some time
by our own clock, or has no holder, or does not exist, has not. Before that is certain it counts as held: two who write
are worse than none for a minute.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.state.election import LEASES
from ksproxyd.state.kinds import NAMESPACE
from ksproxyd.state.validation import field, text

#: The Lease of the original's controllers.
NAME = "ks-controller-manager-leader-election"

#: Seconds between two looks; how often a Lease's duration may pass without a change; the duration of one that names
#: none.
PERIOD, PATIENCE, DURATION = 10.0, 2.0, 30.0


class Rival:
    """``running`` is whether it is there; ``changed()`` is called when that has changed."""

    log = Logger()

    def __init__(self, clock: IReactorTime, client: KubeClient) -> None:
        self.running = True
        self._clock = clock
        self._client = client
        self._changed: Callable[[], object] = lambda: None
        self._seen: tuple[str, str] | None = None
        self._since = 0.0
        self._said = ""
        self._timer: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._stopped = False

    def start(self, changed: Callable[[], object]) -> None:
        """Begin to look. Called once."""
        self._changed = changed
        self._look()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        self._timer = None
        self._looking = looking = Deferred.fromCoroutine(self._round())
        looking.addErrback(self._failed)
        looking.addCallback(self._again)

    def _again(self, _: None) -> None:
        self._looking = None
        if not self._stopped:
            self._timer = self._clock.callLater(PERIOD, self._look)

    async def _round(self) -> None:
        try:
            lease = await self._client.get(LEASES, NAME, NAMESPACE)
        except KubeError as error:
            if error.code != 404:
                raise
            self._said = ""
            self._tell(False)
            return
        self._said = ""
        seen = (text(lease, "spec", "holderIdentity"), str(field(lease, "spec", "renewTime")))
        now = self._clock.seconds()
        if seen != self._seen:
            self._seen, self._since = seen, now
        duration = field(lease, "spec", "leaseDurationSeconds")
        lasts = float(duration) if isinstance(duration, int) and duration > 0 else DURATION
        self._tell(bool(seen[0]) and now - self._since < PATIENCE * lasts)

    def _tell(self, running: bool) -> None:
        if running == self.running:
            return
        self.running = running
        if running:
            self.log.info("ks-controller-manager looks after the users; they are left to it")
        else:
            self.log.info("no ks-controller-manager is at work; the users are looked after here")
        self._changed()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(KubeError):
            self.log.failure("looking for ks-controller-manager failed", failure)
        elif str(failure.value) != self._said:
            # What was known stays; at the start that is "running".
            self._said = str(failure.value)
            self.log.warn(
                "whether ks-controller-manager is at work cannot be found out: {error} (get on leases of "
                "coordination.k8s.io in {namespace} is needed; or set ksproxyd.iam.manageUsers to true or false)",
                error=self._said,
                namespace=NAMESPACE,
            )

"""Deletes pods of terminals that nobody uses any more, whoever has made them, and however that ended (spec 05, 3).

Every gateway sweeps: deleting what another has deleted does no harm, and none has to be the one that is left.
"""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.state.kinds import NAMESPACE
from ksproxyd.state.validation import text
from ksproxyd.terminal.pods.kubectl import PREFIX
from ksproxyd.terminal.pods.lease import LABEL, LEASES, OLD, Leases, Object, age, owner
from ksproxyd.terminal.pods.node import SUFFIX
from ksproxyd.terminal.pods.pod import PODS

#: Most and fewest seconds between rounds, and the age of a pod without a Lease at which it is nobody's.
ROUND, SOON, ORPHAN = 60.0, 5.0, 300.0

#: Seconds after which a round that has failed is repeated.
AGAIN = 10.0


class Sweeper:
    """The rounds. ``gone`` counts pods that were deleted."""

    log = Logger()

    def __init__(self, clock: IReactorTime, client: KubeClient) -> None:
        self._clock = clock
        self._client = client
        self._leases = Leases(clock, client)
        self._call: IDelayedCall | None = None
        self._round: Deferred[float] | None = None
        self.gone = 0

    def start(self) -> None:
        """Sweep at once, and then in every round."""
        self._begin()

    def stop(self) -> None:
        """No more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._round is not None:
            self._round.cancel()

    def _begin(self) -> None:
        self._call = None
        self._round = Deferred.fromCoroutine(self.sweep())
        self._round.addBoth(self._swept)

    def _swept(self, result: Failure | float) -> None:
        self._round = None
        if isinstance(result, Failure):
            if result.check(CancelledError):
                return
            if result.check(KubeError):
                self.log.warn("sweeping pods of terminals failed: {error}", error=result.getErrorMessage())
            else:
                self.log.failure("sweeping pods of terminals failed", result)
        self._call = self._clock.callLater(result if isinstance(result, float) else AGAIN, self._begin)

    async def sweep(self) -> float:
        """One round; returns when the next is due, in seconds. Raises :class:`KubeError`."""
        now = self._clock.seconds()
        due = ROUND
        leases = (await self._client.list(LEASES, NAMESPACE, label_selector=LABEL)).items
        kept = {text(lease, "metadata", "name") for lease in leases}
        for lease in leases:
            left = OLD - age(lease, now)
            if left <= 0.0:
                await self._delete(text(lease, "metadata", "name"), owner(lease))
                await self._leases.drop(lease)
            else:
                # Unless somebody renews it until then.
                due = min(due, max(SOON, left))
        for pod in (await self._client.list(PODS, NAMESPACE)).items:
            name = text(pod, "metadata", "name")
            ours = name.startswith(PREFIX) or SUFFIX in name
            if ours and name not in kept and _pod_age(pod, now) >= ORPHAN:
                await self._delete(name, text(pod, "metadata", "uid"))
        return due

    async def _delete(self, name: str, uid: str) -> None:
        try:
            await self._client.delete(PODS, name, NAMESPACE, uid=uid)
        except KubeError as error:
            if error.code not in (404, 409):
                raise
        else:
            self.gone += 1
            self.log.info("deleted the unused pod {name}", name=name)


def _pod_age(pod: Object, now: float) -> float:
    try:
        created = datetime.fromisoformat(text(pod, "metadata", "creationTimestamp"))
    except ValueError:
        return 0.0
    return now - (created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp()

"""Whether ks-controller-manager is there, which does what the gateway can do in its place.

It is if its Deployment wants any, or if somebody renews its Lease. Before that is known for certain it counts as there,
and so it does while it cannot be found out: two who put the same things in order, each in their own way, are worse
than none. A Lease is renewed if it has changed lately by our own clock; clocks need not agree.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.state.election import LEASES
from ksproxyd.state.kinds import NAMESPACE
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, text

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", namespaced=True)
DEPLOYMENT = "ks-controller-manager"
LEASE = "ks-controller-manager-leader-election"

#: Seconds between two looks; how often a Lease's duration may pass unrenewed; the duration of one that names none.
PERIOD, PATIENCE, DURATION = 10.0, 2.0, 30.0


class ControllerManager:
    """``there`` is whether it is; ``changed()`` is called when that has changed.

    ``tasks`` is what is left to it where it is there, for the log; ``setting`` the one that spares us from asking.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, client: KubeClient, tasks: str, setting: str) -> None:
        self.there = True
        self._clock = clock
        self._client = client
        self._tasks = tasks
        self._setting = setting
        self._changed: Callable[[], object] = lambda: None
        self._seen: tuple[str, str] | None = None
        self._since = 0.0
        self._said = ""
        self._told = False
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
        deployment = await self._get(DEPLOYMENTS, DEPLOYMENT)
        there = deployment is not None and field(deployment, "spec", "replicas") != 0
        if not there:
            there = self._renewed(await self._get(LEASES, LEASE))
        self._said = ""
        if self._told and there == self.there:
            return
        self._told, changed, self.there = True, there != self.there, there
        if there:
            self.log.info("ks-controller-manager is there: {tasks} are left to it", tasks=self._tasks)
        else:
            self.log.info("no ks-controller-manager is there: {tasks} are looked after here", tasks=self._tasks)
        if changed:
            self._changed()

    async def _get(self, resource: Resource, name: str) -> Object | None:
        try:
            return await self._client.get(resource, name, NAMESPACE)
        except KubeError as error:
            if error.code != 404:
                raise
            return None

    def _renewed(self, lease: Object | None) -> bool:
        if lease is None:
            return False
        seen = (text(lease, "spec", "holderIdentity"), str(field(lease, "spec", "renewTime")))
        now = self._clock.seconds()
        if seen != self._seen:
            self._seen, self._since = seen, now
        duration = field(lease, "spec", "leaseDurationSeconds")
        lasts = float(duration) if isinstance(duration, int) and duration > 0 else DURATION
        return bool(seen[0]) and now - self._since < PATIENCE * lasts

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(KubeError):
            self.log.failure("looking for ks-controller-manager failed", failure)
        elif str(failure.value) != self._said:
            # What was known stays; at the start that is "there".
            self._said = str(failure.value)
            self.log.warn(
                "whether ks-controller-manager is there, to which {tasks} would be left, cannot be found out: {error} "
                "(get on deployments of apps and leases of coordination.k8s.io in {namespace} is needed; or set "
                "{setting} to true or false)",
                tasks=self._tasks,
                error=self._said,
                namespace=NAMESPACE,
                setting=self._setting,
            )

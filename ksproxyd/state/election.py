"""One among several gateways, chosen through a Lease of the Kubernetes API.

The holder renews the Lease; whoever sees it unrenewed for its whole duration takes it. How long that is is measured
by each one's own clock, from the moment it saw the Lease change, so clocks need not agree. The holder gives up in time:
it stops to think of itself as one before others may begin to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.state.validation import field, text

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)

#: Seconds for which a Lease holds without being renewed; after which its holder gives up renewing it; and between
#: two looks at it.
DURATION, DEADLINE, PERIOD = 15.0, 10.0, 2.0


class Leadership(Protocol):
    """Whether this gateway is the one."""

    @property
    def leading(self) -> bool:
        """Whether it is now."""

    def start(self, changed: Callable[[], object]) -> None:
        """Begin; ``changed()`` is called whenever :attr:`leading` has changed."""

    def stop(self) -> Deferred[None]:
        """End, and let another one be it; fires when that is known."""


class Alone:
    """Leadership of a gateway that is the only one."""

    leading = True

    def start(self, changed: Callable[[], object]) -> None:
        """It never changes."""

    def stop(self) -> Deferred[None]:
        """Nobody takes over."""
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done


class LeaseElection:
    """Leadership through the Lease ``namespace``/``name``.

    ``identity`` is this gateway's own and unique. ``now()`` gives seconds since the epoch, for what is written;
    ``random()`` numbers from 0 up to 1. A gateway that may not use the Lease never leads, and says so.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        client: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        random: Callable[[], float],
    ) -> None:
        self.leading = False
        self._clock = clock
        self._now = now
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._random = random
        self._changed: Callable[[], object] = lambda: None
        self._timer: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        # What was seen of the Lease, and since when it is so by our clock.
        self._seen: Any = None
        self._since = 0.0
        self._said = ""
        self._stopped = False

    def start(self, changed: Callable[[], object]) -> None:
        """Begin to look at the Lease. Called once."""
        self._changed = changed
        self._look()

    def stop(self) -> Deferred[None]:
        """Stop leading, and give the Lease back if it is ours."""
        self._stopped = True
        for call in (self._timer, self._deadline):
            if call is not None and call.active():
                call.cancel()
        if self._looking is not None:
            self._looking.cancel()
        led, self.leading = self.leading, False
        if led:
            self._changed()
            return Deferred.fromCoroutine(self._give_back()).addErrback(self._not_given_back)
        return Alone().stop()

    def _look(self) -> None:
        self._timer = None
        self._looking = looking = Deferred.fromCoroutine(self._round())
        looking.addErrback(self._failed)
        looking.addCallback(self._again)

    def _again(self, _: None) -> None:
        self._looking = None
        if not self._stopped:
            # Up to a fifth later, so that gateways which started together do not stay together.
            self._timer = self._clock.callLater(PERIOD * (1.0 + self._random() / 5.0), self._look)

    def _failed(self, failure: Failure) -> None:
        if self._stopped and failure.check(CancelledError, KubeError):
            return
        error = failure.value
        if not isinstance(error, KubeError):
            self.log.failure("looking at Lease {lease} failed", failure, lease=self._lease())
        # 409: another one was faster.
        elif error.code != 409 and str(error) != self._said:
            self._said = str(error)
            self.log.warn(
                "Lease {lease} cannot be used: {error} (get, create and update on leases of coordination.k8s.io are "
                "needed for one of several gateways to write statuses)",
                lease=self._lease(),
                error=self._said,
            )

    async def _round(self) -> None:
        asked = self._clock.seconds()
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except KubeError as error:
            if error.code != 404:
                raise
            await self._client.create(LEASES, self._mine(None), self._namespace)
            self._lead(asked)
            return
        seen = (text(lease, "spec", "holderIdentity"), field(lease, "spec", "renewTime"))
        if seen != self._seen:
            self._seen, self._since = seen, self._clock.seconds()
        holder = seen[0]
        if holder and holder != self._identity:
            self._follow()
            if self._clock.seconds() - self._since < _duration(lease):
                return
        await self._client.update(LEASES, self._mine(lease))
        self._lead(asked)

    def _mine(self, lease: dict[str, Any] | None) -> dict[str, Any]:
        """The Lease with us as its holder. What else it says stays, so that an update meets what was seen."""
        time = _micro_time(self._now())
        spec = field(lease, "spec")
        spec = dict(spec) if isinstance(spec, dict) else {}
        if spec.get("holderIdentity") != self._identity:
            changes = spec.get("leaseTransitions")
            spec["leaseTransitions"] = changes + 1 if isinstance(changes, int) else 0
            spec["acquireTime"] = time
        spec |= {"holderIdentity": self._identity, "renewTime": time, "leaseDurationSeconds": int(DURATION)}
        metadata = lease["metadata"] if lease is not None else {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}

    def _lead(self, asked: float) -> None:
        self._said = ""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        # From when the request was sent: the Lease may be as old as that.
        left = asked + DEADLINE - self._clock.seconds()
        if left <= 0.0:
            self._follow()
            return
        self._deadline = self._clock.callLater(left, self._follow)
        if not self.leading:
            self.leading = True
            self.log.info("holding Lease {lease}", lease=self._lease())
            self._changed()

    def _follow(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if self.leading:
            self.leading = False
            self.log.info("Lease {lease} is lost", lease=self._lease())
            self._changed()

    async def _give_back(self) -> None:
        lease = await self._client.get(LEASES, self._name, self._namespace)
        spec = field(lease, "spec")
        if isinstance(spec, dict) and spec.get("holderIdentity") == self._identity:
            await self._client.update(LEASES, lease | {"spec": spec | {"holderIdentity": ""}})

    def _not_given_back(self, failure: Failure) -> None:
        # It runs out by itself.
        failure.trap(KubeError)
        self.log.info("Lease {lease} was not given back: {error}", lease=self._lease(), error=str(failure.value))

    def _lease(self) -> str:
        return f"{self._namespace}/{self._name}"


def _duration(lease: dict[str, Any]) -> float:
    seconds = field(lease, "spec", "leaseDurationSeconds")
    return float(seconds) if isinstance(seconds, int) and seconds > 0 else DURATION


def _micro_time(seconds: float) -> str:
    """A Kubernetes MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

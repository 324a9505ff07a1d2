"""Denied and changing requests as Event objects of Kubernetes, where people look who look at an object.

For convenience, not for the record: the same happening again is counted in one object, and what comes faster than
``rate`` objects a second may be written finds a short queue and is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.audit.event import COMPLETE, Event, moment
from ksproxyd.audit.queue import BROKEN, STOPPED, TOO_OLD, Bounds, Queue
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import pause
from ksproxyd.kube.resource import Resource
from ksproxyd.observe.redact import redact_text

EVENTS = Resource("", "v1", "events", "Event", namespaced=True)

#: Where events about what has no namespace are.
CLUSTER_NAMESPACE = "default"

COMPONENT = "ksproxyd"

#: Events that wait, and seconds (of the wall clock) after which one that was not written is of no interest any more.
WAITING, STALE = 500, 300.0

#: Happenings that are remembered, to be counted when they come again, and seconds for which they are.
REMEMBERED, FORGOTTEN = 2048, 600.0

_WRITES = frozenset(["create", "update", "patch", "delete", "deletecollection", "enable", "disable"])
_DENIED = frozenset([401, 403])

#: Kinds of what people look at; what is not here is called by its resource.
_KINDS = {
    "pods": "Pod",
    "services": "Service",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
    "namespaces": "Namespace",
    "nodes": "Node",
    "persistentvolumes": "PersistentVolume",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "replicasets": "ReplicaSet",
    "jobs": "Job",
    "cronjobs": "CronJob",
    "ingresses": "Ingress",
    "networkpolicies": "NetworkPolicy",
    "roles": "Role",
    "rolebindings": "RoleBinding",
    "clusterroles": "ClusterRole",
    "clusterrolebindings": "ClusterRoleBinding",
    "users": "User",
    "globalroles": "GlobalRole",
    "globalrolebindings": "GlobalRoleBinding",
    "workspaces": "Workspace",
    "workspacetemplates": "WorkspaceTemplate",
    "workspaceroles": "WorkspaceRole",
    "workspacerolebindings": "WorkspaceRoleBinding",
}

_Happening = tuple[str, ...]


class _Series:
    """One object, and how often what it tells of has happened."""

    __slots__ = ("count", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 1


class KubeEvents:
    """The sink. ``which`` is ``denied`` or ``writes`` (and what was denied)."""

    log = Logger()
    name = "kubernetes"

    def __init__(
        self, clock: IReactorTime, client: KubeClient, which: Literal["denied", "writes"], rate: float
    ) -> None:
        self.queue = _Picking(which, clock, Bounds(events=WAITING, batch=1, interval=0.0), self._pump)
        self.failures = 0
        self._clock = clock
        self._client = client
        self._gap = 1.0 / rate
        self._series: OrderedDict[_Happening, tuple[float, _Series]] = OrderedDict()
        self._work: Deferred[None] | None = None
        self._ended: Deferred[None] | None = None
        self._said = ""

    @property
    def in_flight(self) -> int:
        """Objects that are being written."""
        return 0 if self._work is None else 1

    def stop(self, seconds: float) -> Deferred[None]:
        """Take no more. What waits is let go: it is no record."""
        self.queue.abandon()
        ended: Deferred[None] = Deferred()
        self._ended = ended
        if self._work is not None:
            self._work.cancel()
        self._look_for_end()
        return ended

    def _pump(self) -> None:
        if self._work is None and self.queue.due:
            self._work = work = Deferred.fromCoroutine(self._run())
            work.addBoth(self._rested)

    def _rested(self, result: Any) -> None:
        self._work = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.log.failure("writing Events of Kubernetes failed", result)
        self._look_for_end()

    def _look_for_end(self) -> None:
        if self._ended is not None and not self._ended.called and self._work is None:
            self._ended.callback(None)

    async def _run(self) -> None:
        while self.queue.due:
            batch = self.queue.take()
            lost = BROKEN
            try:
                lost = await self._write(batch[0])
                await pause(self._clock, self._gap)
            except CancelledError:
                lost = STOPPED if lost == BROKEN else lost
                raise
            finally:
                self.queue.settle(batch, lost)

    async def _write(self, event: Event) -> str:
        """Write or count an event; returns why it is lost, if it is."""
        now = self._clock.seconds()
        if now - event.at > STALE:
            return TOO_OLD
        self._forget(now)
        happening = _happening(event)
        known = self._series.get(happening)
        namespace = event.info.namespace or CLUSTER_NAMESPACE
        try:
            if known is not None:
                series = known[1]
                series.count += 1
                patch = {"count": series.count, "lastTimestamp": _second(event.at)}
                await self._client.patch(EVENTS, series.name, patch, namespace)
            else:
                made = await self._client.create(EVENTS, _object(event, namespace), namespace)
                self._series[happening] = now, _Series(str(made["metadata"]["name"]))
        except KubeError as error:
            self.failures += 1
            # It may be that the namespace is gone, or the event; whatever it is, the next one is about something else.
            self._series.pop(happening, None)
            if str(error) != self._said:
                self._said = str(error)
                self.log.warn("an Event of Kubernetes could not be written: {error}", error=error)
            return BROKEN
        self.queue.recovered()
        return ""

    def _forget(self, now: float) -> None:
        series = self._series
        while series:
            began, _ = next(iter(series.values()))
            if now - began < FORGOTTEN and len(series) < REMEMBERED:
                return
            series.popitem(last=False)


class _Picking(Queue):
    """Takes only what becomes an object."""

    def __init__(self, which: str, *more: Any) -> None:
        super().__init__(KubeEvents.name, *more)
        self._writes = which == "writes"

    def put(self, event: Event) -> None:
        if event.stage != COMPLETE or event.member or not event.info.is_resource:
            return
        if event.status in _DENIED or (self._writes and event.verb in _WRITES and 200 <= event.status < 400):
            super().put(event)


def _happening(event: Event) -> _Happening:
    info = event.info
    name = event.name or info.name
    about = (info.api_group, info.resource, info.subresource, info.namespace, name)
    return (event.user.name, event.verb, str(event.status), *about)


def _object(event: Event, namespace: str) -> dict[str, Any]:
    info = event.info
    denied = event.status in _DENIED
    name = event.name or info.name
    what = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if denied:
        said = f"{event.user.name} may not {event.verb} {what} {name}".rstrip()
    else:
        said = f"{event.user.name} did {event.verb} {what} {name}".rstrip()
    when = _second(event.at)
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"generateName": "ksproxyd-audit-", "namespace": namespace},
        "involvedObject": {
            "apiVersion": f"{info.api_group}/{info.api_version}" if info.api_group else info.api_version,
            "kind": _KINDS.get(info.resource, info.resource),
            "name": name,
            "namespace": info.namespace,
        },
        "type": "Warning" if denied else "Normal",
        "reason": "RequestDenied" if denied else f"Request{event.verb.capitalize()}",
        "message": redact_text(f"{said} ({event.status}, from {event.client})")[:1024],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }


def _second(seconds: float) -> str:
    """RFC 3339 to the second, as Events have it."""
    return moment(float(int(seconds)))[:19] + "Z"

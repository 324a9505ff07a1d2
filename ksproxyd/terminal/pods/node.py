"""The pod of one session on a node (spec 05, 4): a process that has gone into the node's own namespaces.

Whoever may have it is root on the node. The pod is as short-lived as the session, and its deletion as sure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import pause
from ksproxyd.kube.resource import Resource
from ksproxyd.model.selectors import parse_labels
from ksproxyd.settings.terminal import TerminalSettings
from ksproxyd.state.kinds import NAMESPACE
from ksproxyd.state.validation import field
from ksproxyd.terminal.pods.keeping import Keeper, Later
from ksproxyd.terminal.pods.kubectl import Tell
from ksproxyd.terminal.pods.lease import Leases
from ksproxyd.terminal.pods.pod import (
    LATER,
    LOOK,
    MANAGED_BY,
    MISSING,
    OWNER,
    PODS,
    USER,
    PodFailed,
    PodRef,
    is_over,
    is_ready,
    trouble,
)

NODES = Resource("", "v1", "nodes", "Node")

SUFFIX = "-shell-access-"
CONTAINER, SHELL = "nsenter", "sh"

#: How long the pod may take to run, in seconds; and how long it outlives the longest session.
START, MARGIN = 60.0, 300

#: A label's value has at most so many characters.
_LABEL = 63

Object = dict[str, Any]


def template(node: str, user: str, session: str, settings: TerminalSettings) -> Object:
    """The pod of one session. ``session`` are random hexadecimal digits."""
    options = settings.node
    lifetime = int(settings.max_duration) + MARGIN if settings.max_duration else 0
    spec: Object = {
        "nodeName": node,
        "hostPID": True,
        "hostNetwork": True,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": CONTAINER,
                "image": options.image,
                "imagePullPolicy": options.image_pull_policy,
                "stdin": True,
                "tty": True,
                "securityContext": {"privileged": True},
                "command": ["nsenter", "-m", "-u", "-i", "-n", "-p", "-t", "1"],
                "args": ["sleep", str(lifetime)] if lifetime else ["tail", "-f", "/dev/null"],
            }
        ],
    }
    if lifetime:
        spec["activeDeadlineSeconds"] = lifetime
    if options.priority_class:
        spec["priorityClassName"] = options.priority_class
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{node[: 253 - len(SUFFIX) - len(session)]}{SUFFIX}{session}",
            "namespace": NAMESPACE,
            "labels": {MANAGED_BY: OWNER, USER: user[:_LABEL], "ksproxyd.io/session": session},
        },
        "spec": spec,
    }


class NodePods:
    """Makes them and deletes them. ``random_name()`` gives eight hexadecimal digits."""

    def __init__(
        self,
        clock: IReactorTime,
        client: KubeClient,
        settings: TerminalSettings,
        random_name: Callable[[], str],
    ) -> None:
        self._clock = clock
        self._client = client
        self._settings = settings
        self._random_name = random_name
        self._denied = parse_labels(settings.node.deny_selector)
        self._leases = Leases(clock, client)
        self._keepers: dict[str, Keeper] = {}
        self._later = Later(clock)

    async def stop(self) -> None:
        """Renew and delete nothing more, but see deletions to their end; what is left others sweep."""
        for keeper in self._keepers.values():
            keeper.stop()
        self._keepers.clear()
        await self._later.stop()

    async def prepare(self, node: str, user: str, tell: Tell) -> PodRef:
        """Have a pod on ``node`` running; :meth:`release` it later. Raises :class:`PodFailed`."""
        if not self._settings.node.enabled:
            raise PodFailed(MISSING, "terminals on nodes are switched off in this cluster")
        try:
            await self._check(node)
            pod = await self._create(template(node, user, self._random_name(), self._settings))
        except KubeError as error:
            if error.code in (403, 404, 422):
                raise PodFailed(MISSING, f"there is no terminal on node {node}: {error.message}") from error
            raise PodFailed(LATER, "the cluster does not answer as it should; try again") from error
        ref = _ref(pod)
        self._keepers[ref.pod] = Keeper(self._clock, self._leases, NAMESPACE, ref.pod, ref.uid)
        try:
            await self._leases.take(NAMESPACE, ref.pod, ref.uid)
            await self._wait(node, ref, tell)
        except KubeError as error:
            self.release(ref)
            raise PodFailed(LATER, "the cluster does not answer as it should; try again") from error
        except BaseException:
            # Also when nobody waits any more.
            self.release(ref)
            raise
        return ref

    async def _create(self, made: Object) -> Object:
        """Create a pod. If nobody waits for it any more, it is deleted as soon as it is there."""
        await self._leases.take(NAMESPACE, made["metadata"]["name"])
        waiting: Deferred[Object] = Deferred()

        async def create() -> None:
            # What the cluster has begun cannot be called back.
            try:
                pod = await self._client.create(PODS, made, NAMESPACE)
            except BaseException as error:
                if not waiting.called:
                    waiting.errback(error)
                return
            if waiting.called:
                await self._delete(_ref(pod))
            else:
                waiting.callback(pod)

        self._later.now(Deferred.fromCoroutine(create()))
        return await waiting

    async def _check(self, node: str) -> None:
        found = await self._client.get(NODES, node)
        labels = field(found, "metadata", "labels")
        if self._denied and self._denied.matches(labels if isinstance(labels, dict) else {}):
            raise PodFailed(MISSING, f"terminals on node {node} are not allowed in this cluster")
        if not is_ready(found):
            raise PodFailed(MISSING, f"node {node} is not ready")

    async def _wait(self, node: str, ref: PodRef, tell: Tell) -> None:
        end = self._clock.seconds() + START
        told = ""
        while True:
            pod = await self._client.get(PODS, ref.pod, NAMESPACE)
            phase = field(pod, "status", "phase")
            if phase == "Running":
                return
            if is_over(pod):
                raise PodFailed(MISSING, f"the pod of the terminal on node {node} has ended")
            saying = trouble(pod)
            if told != (saying or "-"):
                told = saying or "-"
                tell(f"the pod on node {node} waits: {saying}" if saying else f"preparing a pod on node {node} ...")
            if self._clock.seconds() >= end:
                raise PodFailed(LATER, f"the pod on node {node} did not start: {saying or 'it is still starting'}")
            await pause(self._clock, LOOK)

    def release(self, ref: PodRef) -> None:
        """The session is over: the pod goes at once."""
        keeper = self._keepers.pop(ref.pod, None)
        if keeper is not None:
            keeper.stop()
            self._later.now(Deferred.fromCoroutine(self._delete(ref)))

    async def _delete(self, ref: PodRef) -> None:
        try:
            await self._client.delete(PODS, ref.pod, NAMESPACE, uid=ref.uid)
        except KubeError as error:
            if error.code not in (404, 409):
                raise
        await self._leases.drop({"metadata": {"name": ref.pod, "namespace": NAMESPACE}})


def _ref(pod: Object) -> PodRef:
    return PodRef(pod["metadata"]["name"], pod["metadata"]["uid"], CONTAINER, SHELL)

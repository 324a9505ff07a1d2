"""The pod of a user's kubectl terminal (spec 05, 3): one for all of a user's sessions, also across gateways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import pause
from ksproxyd.kube.resource import Resource
from ksproxyd.settings.terminal import KubectlSettings
from ksproxyd.state.kinds import NAMESPACE
from ksproxyd.terminal.pods.keeping import Keeper, Later
from ksproxyd.terminal.pods.lease import LEASES, OLD, Leases, age, owner
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
    is_going,
    is_over,
    is_ready,
    trouble,
)

PREFIX = "ks-managed-kubectl-"
CONTAINER, SHELL = "kubectl", "bash"

SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)

Object = dict[str, Any]

#: Tells the user how it goes.
Tell = Callable[[str], object]


def template(user: str, settings: KubectlSettings) -> Object:
    """The pod of ``user``. It may do what the user's kubeconfig may, and nothing else."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": PREFIX + user,
            "namespace": NAMESPACE,
            "labels": {MANAGED_BY: OWNER, USER: user},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "activeDeadlineSeconds": int(settings.lifetime),
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": CONTAINER,
                    "image": settings.image,
                    "imagePullPolicy": "IfNotPresent",
                    "resources": {
                        "requests": {"cpu": "10m", "memory": "32Mi"},
                        "limits": {"cpu": "1", "memory": "512Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": [{"name": "kubeconfig", "mountPath": "/root/.kube"}],
                }
            ],
            "volumes": [{"name": "kubeconfig", "secret": {"secretName": f"kubeconfig-{user}"}}],
        },
    }


class KubectlPods:
    """Makes the pods, keeps their Leases while somebody uses them, and deletes them when nobody does."""

    def __init__(self, clock: IReactorTime, client: KubeClient, settings: KubectlSettings) -> None:
        self._clock = clock
        self._client = client
        self._settings = settings
        self._leases = Leases(clock, client)
        self._keepers: dict[str, Keeper] = {}
        self._sessions: dict[str, int] = {}
        self._later = Later(clock)

    async def stop(self) -> None:
        """Renew and delete nothing more, but see deletions to their end; what is left others sweep."""
        for keeper in self._keepers.values():
            keeper.stop()
        self._keepers.clear()
        await self._later.stop()

    async def prepare(self, user: str, tell: Tell) -> PodRef:
        """Have the pod of ``user`` ready; :meth:`release` it later. Raises :class:`PodFailed`."""
        try:
            return await self._prepare(user, tell)
        except KubeError as error:
            if error.code in (403, 422):
                raise PodFailed(MISSING, f"the kubectl pod cannot be created: {error.message}") from error
            raise PodFailed(LATER, "the cluster does not answer as it should; try again") from error

    async def _prepare(self, user: str, tell: Tell) -> PodRef:
        await self._need_kubeconfig(user)
        name = PREFIX + user
        end = self._clock.seconds() + self._settings.start_timeout
        told = ""
        while True:
            pod = await self._look(name)
            if pod is None:
                pod = await self._create(user)
            elif is_over(pod) and not is_going(pod):
                await self._delete(pod)
            if is_ready(pod):
                uid = pod["metadata"]["uid"]
                await self._leases.take(NAMESPACE, name, uid)
                # Last of all: what is cancelled before is released by nobody.
                self._keep(name, uid)
                return PodRef(name, uid, CONTAINER, SHELL)
            saying = trouble(pod) or "preparing the kubectl pod ..."
            if saying != told:
                told = saying
                tell(saying if saying.endswith("...") else f"the kubectl pod waits: {saying}")
            if self._clock.seconds() >= end:
                raise PodFailed(
                    LATER, f"the kubectl pod did not become ready: {trouble(pod) or 'it is still starting'}"
                )
            await pause(self._clock, LOOK)

    def release(self, ref: PodRef) -> None:
        """A session is over. The pod of the last one goes, unless another gateway still uses it."""
        name = ref.pod
        left = self._sessions.get(name, 0) - 1
        if left > 0:
            self._sessions[name] = left
            return
        self._sessions.pop(name, None)
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            keeper.stop()
            self._later.after(OLD, lambda: Deferred.fromCoroutine(self._clean_up(name, ref.uid)))

    # -- the cluster -------------------------------------------------------------------------------------------

    async def _need_kubeconfig(self, user: str) -> None:
        try:
            await self._client.get(SECRETS, f"kubeconfig-{user}", NAMESPACE)
        except KubeError as error:
            if error.code != 404:
                raise
            raise PodFailed(
                MISSING, f"there is no kubeconfig for user {user} in this cluster; ask an administrator"
            ) from error

    async def _look(self, name: str) -> Object | None:
        try:
            return await self._client.get(PODS, name, NAMESPACE)
        except KubeError as error:
            if error.code != 404:
                raise
            return None

    async def _create(self, user: str) -> Object:
        await self._leases.take(NAMESPACE, PREFIX + user)
        try:
            pod = await self._client.create(PODS, template(user, self._settings), NAMESPACE)
        except KubeError as error:
            if error.code != 409:
                raise
            # Another session of the user's was faster.
            return await self._client.get(PODS, PREFIX + user, NAMESPACE)
        await self._leases.take(NAMESPACE, PREFIX + user, pod["metadata"]["uid"])
        return pod

    async def _delete(self, pod: Object) -> None:
        metadata = pod["metadata"]
        try:
            await self._client.delete(PODS, metadata["name"], NAMESPACE, uid=metadata["uid"])
        except KubeError as error:
            if error.code not in (404, 409):
                raise

    def _keep(self, name: str, uid: str) -> None:
        self._sessions[name] = self._sessions.get(name, 0) + 1
        keeper = self._keepers.get(name)
        if keeper is None:
            self._keepers[name] = Keeper(self._clock, self._leases, NAMESPACE, name, uid)
        else:
            # It may be another pod than before.
            keeper.uid = uid

    async def _clean_up(self, name: str, uid: str) -> None:
        """Delete the pod if nobody has renewed its Lease since."""
        if name in self._keepers:
            return
        try:
            lease = await self._client.get(LEASES, name, NAMESPACE)
        except KubeError as error:
            if error.code != 404:
                raise
            lease = {}
        if age(lease, self._clock.seconds()) >= OLD:
            await self._delete({"metadata": {"name": name, "uid": uid}})
            if lease and owner(lease) == uid:
                await self._leases.drop(lease)

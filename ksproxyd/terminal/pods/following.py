"""Looks after the pod of a session: an exec whose pod is gone can stay silent for ever (spec 05, 2; fact 34)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.pacing import pause
from ksproxyd.state.validation import field, text
from ksproxyd.terminal.pods.pod import PODS, Object, is_over

#: How long one watch lasts, in seconds.
WATCH = 600

#: Seconds before the pod is looked at again when it could not be watched: the first time, and at most.
FIRST, LONGEST = 0.5, 4.0

#: A container that has ended is given so many seconds in which the exec may say so itself, with its exit code.
PATIENCE = 1.0

#: What :class:`Following` says has happened.
DELETED, RESTARTED, ENDED = "deleted", "restarted", "ended"


class Following:
    """Calls ``gone`` once, with what has happened to the container of ``pod``, an object as it was read.

    Begins at once; :meth:`stop` when nobody wants to know any more.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, client: KubeClient, pod: Object, container: str, gone: Callable[[str], object]
    ) -> None:
        self._clock = clock
        self._client = client
        self._name, self._namespace = text(pod, "metadata", "name"), text(pod, "metadata", "namespace")
        self._uid = text(pod, "metadata", "uid")
        self._container = container
        self._runs = _runs(pod, container)
        self._version = text(pod, "metadata", "resourceVersion")
        self._gone: Callable[[str], object] | None = gone
        self._wait: IDelayedCall | None = None
        self._following: Deferred[None] | None = Deferred.fromCoroutine(self._follow())
        self._following.addBoth(self._over)

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self._gone = None
        if self._wait is not None and self._wait.active():
            self._wait.cancel()
        self._wait = None
        following, self._following = self._following, None
        if following is not None:
            following.cancel()

    # -- a watch's receiver --------------------------------------------------------------------------------------

    def opened(self) -> None:
        """The watch has begun."""

    def alive(self) -> None:
        """Something came."""

    def event(self, kind: str, obj: dict[str, Any], received: float) -> None:
        """The pod has changed."""
        version = text(obj, "metadata", "resourceVersion")
        if version:
            self._version = version
        if kind == "DELETED":
            self._say(DELETED)
        elif kind in ("ADDED", "MODIFIED"):
            self._look(obj)

    # -- the loop --------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        delay = FIRST
        while True:
            begun = self._clock.seconds()
            try:
                if not self._version:
                    self._look(await self._client.get(PODS, self._name, self._namespace))
                    if self._gone is None:
                        # That was the end, and whoever was told has stopped us already.
                        return
                await self._client.watch(
                    PODS,
                    self,
                    resource_version=self._version,
                    timeout_seconds=WATCH,
                    namespace=self._namespace,
                    field_selector=f"metadata.name={self._name}",
                ).done
            except KubeError as error:
                if error.code == 404 and not self._version:
                    self._say(DELETED)
                    return
                self.log.debug(
                    "watching pod {namespace}/{name} failed: {error}",
                    namespace=self._namespace,
                    name=self._name,
                    error=error,
                )
            # Whatever has happened meanwhile, looking finds it.
            self._version = ""
            if self._clock.seconds() - begun > LONGEST:
                delay = FIRST
            await pause(self._clock, delay)
            delay = min(delay * 2, LONGEST)

    def _over(self, result: Failure | None) -> None:
        self._following = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self.log.failure("following a pod failed", result)

    def _look(self, pod: Object) -> None:
        self._version = text(pod, "metadata", "resourceVersion")
        if text(pod, "metadata", "uid") != self._uid:
            self._say(DELETED)
        elif is_over(pod):
            self._say_later(ENDED)
        elif _runs(pod, self._container) != self._runs:
            self._say_later(RESTARTED)

    def _say_later(self, what: str) -> None:
        if self._wait is None:
            self._wait = self._clock.callLater(PATIENCE, self._say, what)

    def _say(self, what: str) -> None:
        gone, self._gone = self._gone, None
        if self._wait is not None and self._wait.active():
            self._wait.cancel()
        self._wait = None
        if gone is not None:
            gone(what)


def _runs(pod: Object, container: str) -> Any:
    """How often the container was started again; an ended one counts, too. None where the pod does not say."""
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        statuses = field(pod, "status", key)
        for status in statuses if isinstance(statuses, list) else ():
            if text(status, "name") == container:
                ended = isinstance(field(status, "state", "terminated"), dict)
                return field(status, "restartCount"), ended
    return None

"""What the Kubernetes API says of itself: its version and its groups, at start and again from time to time."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.access import ClusterAccess
from ksproxyd.kube.errors import KubeError
from ksproxyd.observe.build import BuildInfo
from ksproxyd.observe.known import KnownResources
from ksproxyd.tree.version import Version
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.errors import UpstreamError

#: Largest answer to what is asked, in bytes.
_DOCUMENT = 8 * 1024 * 1024


class Unusable(Exception):
    """There is no API server, or it is none; the text is one line."""


class ApiServer:
    """Asks. ``timeout`` and ``interval`` are seconds and may be changed at any time; ``known`` hears of the groups."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: Client,
        access: ClusterAccess,
        known: KnownResources,
        timeout: float,
        interval: float,
    ) -> None:
        self._clock = clock
        self._client = client
        self._access = access
        self._known = known
        self.timeout = timeout
        self.interval = interval
        self._version: Version | None = None
        self._call: IDelayedCall | None = None
        self._asking: Deferred[None] | None = None

    async def ask(self) -> Version:
        """Ask for the first time; returns the node that tells versions. Raises :class:`Unusable`."""
        try:
            self._version = Version(BuildInfo.current(), await self._document(b"/version"))
            await self._discover()
        except (UpstreamError, KubeError, ValueError) as error:
            access = self._access
            raise Unusable(
                f"the Kubernetes API at {access.target} ({access.origin}) cannot be used: {error}"
            ) from error
        return self._version

    def start(self) -> None:
        """Ask again from time to time: the API server may have been upgraded, and serve other groups."""
        self._call = self._clock.callLater(self.interval, self._begin)

    def stop(self) -> None:
        """Ask no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._asking is not None:
            self._asking.cancel()

    def _begin(self) -> None:
        self._call = None
        self._asking = Deferred.fromCoroutine(self._again())
        self._asking.addBoth(self._asked)

    async def _again(self) -> None:
        assert self._version is not None
        self._version.refresh(await self._document(b"/version"))
        await self._discover()

    def _asked(self, result: Any) -> None:
        self._asking = None
        if isinstance(result, Failure):
            if result.check(CancelledError):
                return
            if result.check(UpstreamError, KubeError, ValueError):
                self.log.warn("asking the API server about itself failed: {error}", error=result.getErrorMessage())
            else:
                self.log.failure("asking the API server about itself failed", result)
        self.start()

    async def _document(self, path: bytes) -> bytes:
        access = self._access
        answer = await self._client.request(
            access.target,
            b"GET",
            access.path_prefix + path,
            [*access.headers(), (b"Accept", b"application/json")],
            timeout=self.timeout,
            limit=_DOCUMENT,
        )
        if answer.status != 200:
            raise UpstreamError("protocol", f"{path.decode()} answers {answer.status}")
        return answer.body

    async def _discover(self) -> None:
        groups = msgspec.json.decode(await self._document(b"/apis"), type=_Groups)
        found = [(group.name, version.version) for group in groups.groups for version in group.versions]
        self._known.discovered([("", "v1"), *found])


class _Version(msgspec.Struct):
    version: str


class _Group(msgspec.Struct):
    name: str
    versions: list[_Version]


class _Groups(msgspec.Struct):
    groups: list[_Group] = []

"""Everything we know of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.state.kinds import GATEWAY_KINDS, Kind
from ksproxyd.state.references import References
from ksproxyd.state.reflector import Reflector, Timing
from ksproxyd.state.store import Store


class ReadyCheck(msgspec.Struct, frozen=True):
    """One line of ``/readyz?verbose``: whether the kind is known at all, and how current that is."""

    name: str
    ok: bool
    text: str


class State:
    """The stores of some kinds, each with the reflector that keeps it true.

    ``references`` follows single objects beside them. ``random`` gives numbers from 0 up to 1.
    """

    def __init__(
        self,
        client: KubeClient,
        random: Callable[[], float],
        kinds: Iterable[Kind] = GATEWAY_KINDS,
        timing: Timing | None = None,
    ) -> None:
        timing = timing or Timing()
        self.references = References(client, random, timing)
        self._reflectors = {kind: Reflector(client, kind, random, timing) for kind in kinds}

    def store(self, kind: Kind) -> Store:
        """The store of ``kind``. Raises :class:`KeyError` for one that is not kept."""
        return self._reflectors[kind].store

    def start(self, wait_for: Iterable[Kind] | None = None) -> Deferred[None]:
        """Begin to follow every kind; fires when all, or those of ``wait_for``, are synced.

        Subscribe first, to see every object come. It waits for as long as the API server is away; cancel it to give
        up waiting, which ends nothing else. Called once.
        """
        kinds = tuple(self._reflectors) if wait_for is None else tuple(wait_for)
        waiting = [self._reflectors[kind].store.when_synced() for kind in kinds]
        for reflector in self._reflectors.values():
            reflector.start()
        return gatherResults(waiting, consumeErrors=True).addCallbacks(_all_synced, _not_waiting)

    def stop(self) -> None:
        """Stop following; the stores keep what they have."""
        for reflector in self._reflectors.values():
            reflector.stop()
        self.references.stop()

    def retime(self, timing: Timing) -> None:
        """Use other times from now on; a watch that is open keeps those it began with."""
        self.references.timing = timing
        for reflector in self.reflectors():
            reflector.timing = timing

    def reflectors(self) -> Iterator[Reflector]:
        """Every reflector, those of the references too, for metrics."""
        yield from self._reflectors.values()
        yield from self.references.reflectors()

    def ready_checks(self) -> list[ReadyCheck]:
        """A check for each kind. It is met once the kind is synced, and stays so: an outage makes state old, not wrong.

        What the references follow has no check of its own: it concerns single objects, not the gateway.
        """
        return [
            ReadyCheck(
                f"state-{kind.title.lower() or kind.resource.plural}", reflector.store.synced, reflector.status()
            )
            for kind, reflector in self._reflectors.items()
        ]


def _all_synced(results: list[None]) -> None:
    """The kinds waited for are synced."""


def _not_waiting(failure: Failure) -> Failure:
    """Waiting was cancelled: say just that, not for which of the kinds it happened first."""
    return failure.value.subFailure if isinstance(failure.value, FirstError) else failure

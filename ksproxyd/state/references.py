"""Single Secrets and ConfigMaps that other objects refer to.

Each one that somebody wants is followed by a watch of its own with a field selector, so the gateway neither reads nor
keeps any other. Whoever wants the same one shares the watch; it ends when the last one lets go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.client import KubeClient
from ksproxyd.state.kinds import Kind
from ksproxyd.state.reflector import Reflector, Timing
from ksproxyd.state.store import Object, Subscriber


class References:
    """Follows single objects for as long as somebody wants them. ``timing`` is for those wanted from now on."""

    def __init__(self, client: KubeClient, random: Callable[[], float], timing: Timing) -> None:
        self._client = client
        self._random = random
        self.timing = timing
        self._followed: dict[tuple[Kind, str, str], _Followed] = {}
        self._stopped = False

    def want(self, kind: Kind, namespace: str, name: str, callback: Subscriber) -> Reference:
        """Follow the object ``name`` in ``namespace``; calling what is returned lets go of it.

        ``callback(old, new)`` is called as soon as the object is known: before this returns where it is known already.
        The first call has None as ``old``, and also None as ``new`` where there is no such object. Afterwards it is
        called for every change, never after letting go. What it raises is logged. Raises :class:`ValueError` for a
        name that cannot exist, and :class:`RuntimeError` after :meth:`stop`.
        """
        if self._stopped:
            raise RuntimeError("the state is no longer kept")
        address = (kind, namespace, name)
        followed = self._followed.get(address)
        if followed is not None:
            followed.count += 1
            return Reference(followed.reflector, callback, lambda: self._let_go(address))
        if not name:
            raise ValueError(f"the name of a {kind.name} is empty")
        kind.resource.path(namespace, name)
        reflector = Reflector(self._client, kind, self._random, self.timing, namespace=namespace, name=name)
        self._followed[address] = _Followed(reflector)
        reference = Reference(reflector, callback, lambda: self._let_go(address))
        reflector.start()
        return reference

    def reflectors(self) -> Iterator[Reflector]:
        """The reflectors at work, for metrics and checks."""
        return (followed.reflector for followed in tuple(self._followed.values()))

    def __len__(self) -> int:
        return len(self._followed)

    def stop(self) -> None:
        """End every watch; nobody is called any more."""
        self._stopped = True
        followed, self._followed = self._followed, {}
        for entry in followed.values():
            entry.reflector.stop()

    def _let_go(self, address: tuple[Kind, str, str]) -> None:
        followed = self._followed.get(address)
        if followed is None:
            return
        followed.count -= 1
        if not followed.count:
            del self._followed[address]
            followed.reflector.stop()


class _Followed:
    """A reflector and how many want it."""

    __slots__ = ("count", "reflector")

    def __init__(self, reflector: Reflector) -> None:
        self.reflector = reflector
        self.count = 1


class Reference:
    """One user's hold on a followed object. Call it to let go; calling it again does nothing."""

    log = Logger()

    def __init__(self, reflector: Reflector, callback: Subscriber, let_go: Callable[[], None]) -> None:
        self._reflector = reflector
        self._key = (reflector.namespace, reflector.name)
        self._callback = callback
        self._let_go = let_go
        self._released = False
        self._unsubscribe = reflector.store.subscribe(callback, replay=True)
        self._waiting = reflector.store.when_synced()
        self._waiting.addCallbacks(self._known, self._not_waiting)

    @property
    def object(self) -> Object | None:
        """The object, if it is known and exists."""
        return self._reflector.store.get(self._key)

    @property
    def synced(self) -> bool:
        """Whether it is known if the object exists."""
        return self._reflector.store.synced

    @property
    def problem(self) -> str:
        """Why the object is not known, or may be out of date; empty when all is well."""
        return self._reflector.problem

    def __call__(self) -> None:
        if self._released:
            return
        self._released = True
        self._waiting.cancel()
        self._unsubscribe()
        self._let_go()

    def _known(self, _: Any) -> None:
        if self.object is not None or self._released:
            return
        try:
            self._callback(None, None)
        except Exception:
            self.log.failure("a user of {label} failed", label=self._reflector.label)

    def _not_waiting(self, failure: Failure) -> None:
        """We were let go of before the object was known."""
        failure.trap(CancelledError)

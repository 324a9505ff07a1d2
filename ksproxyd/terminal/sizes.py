"""The size of a window on its way to the cluster: the newest counts, and not more of them than a program can use."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two messages; 50 a second are the most a cluster is sent (spec 05, fact 25).
INTERVAL = 0.025

Size = tuple[int, int]


class Sizes:
    """Forwards the newest size. :meth:`connect` gives it somewhere to go; until then it is kept."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._send: Callable[[int, int], object] | None = None
        self._sent: Size | None = None
        self._earliest = 0.0
        self._call: IDelayedCall | None = None
        self._held = False
        self._nudge = False
        #: The newest size; None before there is one.
        self.newest: Size | None = None

    def set(self, columns: int, rows: int) -> None:
        """The window has this size."""
        self.newest = (columns, rows)
        self._forward()

    def connect(self, send: Callable[[int, int], object]) -> None:
        """Send sizes there, the newest at once."""
        self.disconnect()
        self._send = send
        self._sent = None
        self._earliest = 0.0
        self._forward()

    def disconnect(self) -> None:
        """There is nowhere to send to."""
        self._send = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def hold(self, held: bool) -> None:
        """Whether to send nothing for now, as what was sent before has not been taken yet."""
        self._held = held
        self._forward()

    def nudge(self) -> None:
        """Have programs draw their screen again when the next size is set, also if that is what they know."""
        self._nudge = True

    def _forward(self) -> None:
        if self._send is None or self._held or self._call is not None or self.newest is None:
            return
        wait = self._earliest - self._clock.seconds()
        if wait > 0.0:
            self._call = self._clock.callLater(wait, self._again)
            return
        size = self.newest
        if self._nudge and size == self._sent:
            # A terminal that gets the size it has tells nobody.
            size = (size[0], size[1] - 1 if size[1] > 1 else 2)
        self._nudge = False
        if size == self._sent:
            return
        self._sent = size
        self._earliest = self._clock.seconds() + INTERVAL
        self._send(*size)
        if size != self.newest:
            self._forward()

    def _again(self) -> None:
        self._call = None
        self._forward()

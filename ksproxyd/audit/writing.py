"""Events written out: in steps that leave the reactor its turn, and each only once for all sinks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.audit.event import Event
from ksproxyd.audit.form import Writer
from ksproxyd.kube.pacing import Pacer

#: What an event becomes that cannot be written: nothing.
_NOTHING = b""


#: Random bytes that are asked for at a time: asking costs more than they do.
_POOL = 4096

_random: list[str] = []


def new_id() -> str:
    """A random UUID (RFC 9562, version 4)."""
    if not _random:
        digits = os.urandom(_POOL).hex()
        _random.extend(digits[at : at + 32] for at in range(0, len(digits), 32))
    text = _random.pop()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


class Writing:
    """Writes events with ``write`` when they are about to be sent. One for all sinks."""

    log = Logger()

    def __init__(self, write: Writer, clock: IReactorTime, pacer: Callable[[], Pacer] | None = None) -> None:
        self._write = write
        self._pacer = pacer or (lambda: Pacer(clock))
        #: Events that could not be written.
        self.broken = 0

    async def lines(self, batch: Sequence[Event]) -> list[bytes]:
        """The events of ``batch``, a JSON object each; without those that cannot be written."""
        pacer = self._pacer()
        pacer.begin()
        lines = []
        for event in batch:
            line = event.written
            if line is None:
                line = event.written = self._once(event)
            if line:
                lines.append(line)
            if pacer.spent():
                await pacer.turn()
        return lines

    def _once(self, event: Event) -> bytes:
        try:
            if not event.id:
                event.id = new_id()
            return self._write(event)
        except Exception:
            # One event that we did not think of must not keep the others from being sent.
            self.broken += 1
            self.log.failure("an audit event of {verb} {path} cannot be written", verb=event.verb, path=event.info.path)
            return _NOTHING

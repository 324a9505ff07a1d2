"""Small messages leave together, when the reactor has handled what it found ready.

A send that wakes a sleeping peer on the same machine costs two to three times one to a peer that is awake. Sent one by
one between other work, nearly every message finds its reader asleep again; sent in a row, only the first does.
"""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

#: Bytes of a stream that wait at most; a larger piece is worth a send of its own.
SMALL = 16384

#: Streams that wait at most: the first of them waits for the work of the others.
MOST = 64


class Sender(Protocol):
    """A stream that has something to send."""

    def send_held(self) -> None:
        """Send it."""


class Outbox:
    """The streams whose messages wait. One for the process, as there is one reactor.

    Nothing waits but between :meth:`collect` and :meth:`release`, which whoever runs the reactor calls around its
    events.
    """

    __slots__ = ("collecting", "senders")

    log = Logger()

    def __init__(self) -> None:
        self.collecting = False
        self.senders: list[Sender] = []

    def collect(self) -> None:
        """From now on small messages wait."""
        self.collecting = True

    def release(self) -> None:
        """Send what waits, and let nothing wait any more."""
        self.collecting = False
        self.empty()

    def empty(self) -> None:
        """Send what waits. What comes of that may add more, which is sent, too."""
        senders = self.senders
        for sender in senders:
            try:
                sender.send_held()
            except Exception:
                # One stream's trouble must not take the others' messages away.
                self.log.failure("sending failed")
        senders.clear()


outbox = Outbox()

"""One iteration of the epoll reactor without a logging context for every event, and with an outbox around it.

Twisted's reactors run each read and write inside a context that tells the old logging system whose event it is. Nothing
here logs that way, and the context costs more than parsing a request does.
"""

from __future__ import annotations

import errno
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

from ksproxyd.transport.outbox import MOST, outbox

_log = Logger()


def poll_directly(reactor: Any) -> bool:
    """Have ``reactor`` call its readers and writers directly, if it is the epoll reactor; tells whether it is.

    To be called before the reactor runs. What a reader or writer raises is still caught and logged, and ends its
    connection, by the reactor's own ``_doReadOrWrite``.
    """
    if type(reactor) is not EPollReactor:
        return False
    poller = reactor._poller
    selectables = reactor._selectables
    waiting = outbox.senders

    def poll(timeout: float | None) -> None:
        try:
            events = poller.poll(-1 if timeout is None else timeout, len(selectables))
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        act = reactor._doReadOrWrite
        outbox.collect()
        try:
            for fd, event in events:
                # An event before this one may have closed it.
                selectable = selectables.get(fd)
                if selectable is None:
                    continue
                try:
                    if event == EPOLLIN:
                        # Nearly every event: something to read and nothing else.
                        try:
                            why = selectable.doRead()
                        except Exception as error:
                            _log.failure("reading failed")
                            why = error
                        if why:
                            reactor._disconnectSelectable(selectable, why, True)
                    else:
                        act(selectable, fd, event)
                except Exception:
                    # A reader's or writer's own exceptions end its connection in there; this one came from ending it.
                    _log.failure("ending a connection failed")
                if len(waiting) >= MOST:
                    outbox.empty()
        finally:
            outbox.release()

    reactor.doIteration = poll  # type: ignore[method-assign]
    return True

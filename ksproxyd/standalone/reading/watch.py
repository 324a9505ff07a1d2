"""One watch: a place in the log that moves on as far as its reader takes it.

Nothing is queued for a slow reader. Its place stays behind, what it missed is read from the store when it catches
up, and if history has moved past it by then it is told 410 (``Expired``) and has to list again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ksproxyd.model.message import Pairs
from ksproxyd.model.status import StatusError
from ksproxyd.standalone.kinds.registry import Kind
from ksproxyd.standalone.reading.render import Renderer, error_frame, frame
from ksproxyd.standalone.reading.selection import Selection
from ksproxyd.standalone.storage.log import Clock, Log
from ksproxyd.standalone.storage.store import ADDED, DELETED, MODIFIED, Event, Store
from ksproxyd.standalone.wire.errors import expired_resource_version

#: Objects or events taken from the store at once.
_PAGE = 50

#: A read stops once it has this many bytes.
READ_SIZE = 64 * 1024


class WatchStream:
    """An endless answer: frames of JSON, one a line.

    Whoever sends it sets ``on_ready``, calls :meth:`read` as long as it gives anything (and the client takes it),
    again each time ``on_ready`` is called, and finishes the answer once :attr:`ended` is true and nothing is left to
    read. :meth:`close` when the client leaves.
    """

    status = 200

    __slots__ = (
        "_after",
        "_announce",
        "_closed",
        "_ending",
        "_error",
        "_kind",
        "_log",
        "_pinned",
        "_renderer",
        "_scope",
        "_selection",
        "_store",
        "_timer",
        "bookmark_due",
        "cursor",
        "ended",
        "headers",
        "on_ready",
        "woken",
    )

    def __init__(
        self,
        store: Store,
        log: Log,
        clock: Clock,
        kind: Kind,
        selection: Selection,
        renderer: Renderer,
        *,
        after: int | None,
        timeout: float,
        bookmarks: bool,
        announce: bool,
        headers: Pairs,
    ) -> None:
        """``after`` is the resourceVersion to start behind, None to begin with the present objects.

        ``announce`` ends those with a bookmark that says so; ``timeout`` are seconds.
        """
        self._store = store
        self._log = log
        self._kind = kind
        self._selection = selection
        self._renderer = renderer
        self._error: StatusError | None = None
        self._announce = announce
        self._after: tuple[str, str] | None = ("", "") if after is None else None
        self._pinned: int | None = None
        self._closed = False
        self._ending = False
        self.headers = headers
        self.on_ready: Callable[[], object] | None = None
        self.woken = False
        self.bookmark_due = False
        self.ended = False
        start = store.revision if after is None else after
        self.cursor: int | None = start
        if after is None:
            store.pin(start)
            self._pinned = start
        self._scope = selection.scope
        log.follow(kind.topic, self._scope, self, bookmarks)
        self._timer: Any = clock.callLater(timeout, self._time_out)

    # -- for the sender ------------------------------------------------------------------------------------

    def read(self) -> bytes:
        """What is to be sent next; empty if there is nothing now."""
        if self._closed:
            return b""
        frames = bytearray()
        while len(frames) < READ_SIZE and not self.ended:
            if not self._more(frames):
                self.ended = self._ending
                break
        if self._error is not None:
            frames += error_frame(self._error)
            self._error = None
        return bytes(frames)

    def close(self) -> None:
        """Let go of everything. May be called at any time, more than once."""
        if self._closed:
            return
        self._closed = self.ended = True
        self.on_ready = None
        self._release()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- for the log ---------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There may be something to read, or the end has come."""
        if self.on_ready is not None:
            self.on_ready()

    def end(self) -> None:
        """No more events will come: the watch ends when those that are there have been read."""
        if not self.ended:
            self._ending = True
            self._log.unfollow(self._kind.topic, self._scope, self)
            self._log.soon(self)

    def _time_out(self) -> None:
        self._timer = None
        if not self.ended:
            self.ended = True
            self._release()
            self._log.soon(self)

    def _release(self) -> None:
        self._log.unfollow(self._kind.topic, self._scope, self)
        if self._pinned is not None:
            self._store.unpin(self._pinned)
            self._pinned = None

    # -- what comes next -----------------------------------------------------------------------------------

    def _more(self, frames: bytearray) -> bool:
        """Append the next few frames to ``frames`` (perhaps none yet); false if everything has been read."""
        if self._after is not None:
            self._present(self._after, frames)
        elif self.cursor is not None:
            self._events(self.cursor, frames)
        elif self.bookmark_due:
            self.bookmark_due = False
            frames += frame(b"BOOKMARK", self._renderer.bookmark(self._store.revision, False))
        else:
            return False
        return True

    def _present(self, after: tuple[str, str], frames: bytearray) -> None:
        namespace, name = self._scope
        rows = self._store.page(self._kind.topic, namespace, after, _PAGE, self._pinned, name)
        for row in rows:
            self._after = (row.namespace, row.name)
            if self._selection.matches_body(row.body):
                frames += frame(b"ADDED", self._renderer.event(row.body))
                if len(frames) >= READ_SIZE:
                    return
        if len(rows) == _PAGE:
            return
        self._after = None
        if self._pinned is not None:
            if self._announce:
                frames += frame(b"BOOKMARK", self._renderer.bookmark(self._pinned, True))
            self._store.unpin(self._pinned)
            self._pinned = None

    def _events(self, after: int, frames: bytearray) -> None:
        floor = self._log.floor(self._kind.topic)
        if after < floor:
            self._fail(expired_resource_version(after, floor))
            return
        events = self._log.read(self._kind.topic, after, _PAGE)
        if not events:
            self.cursor = None
        for event in events:
            self.cursor = event.rv
            shown = self._shown(event)
            if shown is not None:
                frames += shown
                if len(frames) >= READ_SIZE:
                    return

    def _shown(self, event: Event) -> bytes | None:
        """The frame for an event as this watch sees it: what leaves the selection is deleted, what enters is added."""
        selection = self._selection
        if not selection.in_scope(event.key):
            return None
        if selection.everything:
            return frame(event.type.encode(), self._renderer.event(event.body))
        is_in = event.type != DELETED and selection.matches(event.object)
        was_in = event.previous is not None and selection.matches(event.previous)
        if is_in:
            return frame((MODIFIED if was_in else ADDED).encode(), self._renderer.event(event.body))
        if not was_in:
            return None
        if event.type == DELETED:
            return frame(b"DELETED", self._renderer.event(event.body))
        return frame(b"DELETED", self._renderer.departed(event))

    def _fail(self, error: StatusError) -> None:
        self._error = error
        self.ended = True
        self._release()

    def __repr__(self) -> str:
        return f"<WatchStream {self._kind.topic} behind {self.cursor}>"

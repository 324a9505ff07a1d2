"""One browser at a session: what it sends is read no faster than it may, what it is sent no faster than it reads."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ksproxyd.terminal.dialects import Dialect, EndOfInput
from ksproxyd.terminal.endings import LATER, Ending, bounded
from ksproxyd.terminal.exit_status import Ended
from ksproxyd.terminal.limits import Messages
from ksproxyd.terminal.messages import Malformed, Pace, Resize, Stdin

#: Bytes that may wait: above the first one the source is told to stop, below the second to go on (spec 05, 7.4).
HIGH, LOW = 256 * 1024, 64 * 1024

#: Why a browser is not read at the moment: it talks too much, or the cluster does not take what it has said.
TALKATIVE, CLUSTER = "talkative", "cluster"


class Browser(Protocol):
    """A browser's connection (:class:`ksproxyd.terminal.websocket.WebSocket`)."""

    def send(self, text: str) -> None: ...

    def send_bytes(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    @property
    def pending(self) -> int: ...


class Attended(Protocol):
    """The session, as a browser's attachment sees it."""

    def typed(self, data: bytes) -> None: ...

    def resized(self, columns: int, rows: int) -> None: ...

    def input_ended(self) -> None: ...

    def end(self, code: int, reason: str, text: str) -> None: ...

    def left(self, attachment: Attachment, code: int) -> None: ...

    def reads(self) -> None: ...


class Attachment:
    """Takes a browser's messages, and brings it those of the session. Of no effect once it is over.

    :meth:`message`, :meth:`browser_drained` and :meth:`gone` are for the connection, the others for the session.
    """

    def __init__(
        self, clock: IReactorTime, browser: Browser, dialect: Dialect, session: Attended, slow_client: float
    ) -> None:
        self._clock = clock
        self._browser = browser
        self._dialect = dialect
        self._session = session
        self._slow_client = slow_client
        self._messages = Messages(clock.seconds)
        self._holds: set[str] = set()
        self._talkative: IDelayedCall | None = None
        self._slow: IDelayedCall | None = None
        #: The page has said that it cannot show more for now.
        self._paused = False
        #: Messages that meant nothing.
        self.ignored = 0
        self.over = False

    @property
    def returning(self) -> bool:
        """Whether the page comes back when its connection breaks."""
        return self._dialect.returning

    @property
    def full(self) -> bool:
        """Whether the browser does not read what it is sent."""
        return self._slow is not None

    # -- from the connection ---------------------------------------------------------------------------------------

    def message(self, payload: bytes, binary: bool = False) -> None:
        """A message of the browser's. Whether it was a binary one means nothing: both kinds are the same (7.1)."""
        if self.over:
            return
        wait = self._messages.take()
        if wait:
            self._rest(wait)
        try:
            message = self._dialect.parse(payload)
        except Malformed as error:
            self._session.end(error.code, "malformed message", f"session closed: {error}")
            return
        if isinstance(message, Stdin):
            self._session.typed(message.data)
        elif isinstance(message, Resize):
            self._session.resized(message.columns, message.rows)
        elif isinstance(message, Pace):
            self._pace(message.going)
        elif isinstance(message, EndOfInput):
            self._session.input_ended()
        else:
            self.ignored += 1

    def browser_drained(self, below: bool = True) -> None:
        """The browser has taken something; ``below``: it is not behind any more."""
        if below and self._slow is not None and not self._paused and self._browser.pending <= LOW:
            self._slow.cancel()
            self._slow = None
            self._session.reads()

    def gone(self, code: int, reason: str = "") -> None:
        """The connection has ended, by whomever; ``code`` is that of its close frame, 1006 if there was none."""
        if not self.over:
            self._stop()
            self._session.left(self, code)

    # -- from the session --------------------------------------------------------------------------------------------

    def introduce(self, credential: str) -> None:
        """Tell the page how to come back, if it wants to."""
        self._send(self._dialect.session(credential))

    def established(self) -> None:
        """The process may be typed to: the first message, for clients that wait for one (spec 05, 7.4)."""
        self._send(self._dialect.established())

    def output(self, data: bytes) -> None:
        """The process has printed ``data``."""
        self._send(self._dialect.output(data))

    def toast(self, text: str) -> None:
        """Something about the session, which goes on."""
        self._send(self._dialect.toast(text))

    def hold(self, why: str, held: bool) -> None:
        """Read nothing of the browser for the reason ``why``, or not for this reason any more."""
        if self.over or held is (why in self._holds):
            return
        if held:
            self._holds.add(why)
            if len(self._holds) == 1:
                self._browser.pause()
        else:
            self._holds.discard(why)
            if not self._holds:
                self._browser.resume()

    def close(self, ending: Ending, result: Ended | None = None) -> None:
        """Say what has become of the session, and goodbye. ``result`` is the process's own end, if that was it."""
        if self.over:
            return
        for said in (self._dialect.rest(), self._dialect.status(result, ending.text)):
            self._send(said)
        self._stop()
        self._browser.close(ending.code, bounded(ending.reason))

    def _send(self, said: str | bytes) -> None:
        if self.over or not said:
            return
        if isinstance(said, str):
            self._browser.send(said)
        else:
            self._browser.send_bytes(said)
        # Sending may have ended it.
        if not self.over and self._browser.pending > HIGH:
            self._fall_behind()

    def _pace(self, going: bool) -> None:
        self._paused = not going
        if going:
            self.browser_drained()
        else:
            self._fall_behind()
            self._session.reads()

    def _fall_behind(self) -> None:
        if self._slow is None:
            self._slow = self._clock.callLater(self._slow_client, self._too_slow)

    def _too_slow(self) -> None:
        # Still set: nothing goes out any more but the goodbye.
        self._session.end(LATER, "browser too slow", "session closed: the browser did not read for too long")

    def _rest(self, seconds: float) -> None:
        if self._talkative is not None:
            self._talkative.reset(seconds)
            return
        self._talkative = self._clock.callLater(seconds, self._rested)
        self.hold(TALKATIVE, True)

    def _rested(self) -> None:
        self._talkative = None
        self.hold(TALKATIVE, False)

    def _stop(self) -> None:
        self.over = True
        for call in (self._talkative, self._slow):
            if call is not None and call.active():
                call.cancel()
        self._talkative = self._slow = None

"""A terminal: a shell in the cluster and the browser that looks at it (spec 05, 7 and 8).

::

    preparing ──ready()──> running ──the shell ends──────────────────────────────> over
        │                     └──────end(), the browser leaves──> hanging up ────> over
        └────failed(), end(), the browser leaves─────────────────────────────────> over

The browser is told of an end at once. Hanging up is between us and the shell; what it prints then nobody gets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ksproxyd.model.identity import Identity
from ksproxyd.settings.terminal import TerminalSettings
from ksproxyd.settings.units import format_duration
from ksproxyd.terminal import endings
from ksproxyd.terminal.attachment import CLUSTER, HIGH, Attachment, Browser
from ksproxyd.terminal.dialects import dialect
from ksproxyd.terminal.endings import Ending, Where
from ksproxyd.terminal.execution import Output
from ksproxyd.terminal.exit_status import EXITED, Ended
from ksproxyd.terminal.hanging_up import Running
from ksproxyd.terminal.process import Process
from ksproxyd.terminal.scroll_back import ScrollBack
from ksproxyd.terminal.shells import Command
from ksproxyd.terminal.time_limits import TimeLimit

#: Begins an exec: where, the command, who hears of it, and whether it has a terminal and input.
Begin = Callable[[Where, Command, Output, bool], Running]

#: Says whether the user may still have the session: 0, or the close code 4401 or 4403.
Allowed = Callable[[], Awaitable[int]]

#: Clears a screen, for a page that comes back and may show something of before.
_RESET = b"\x1bc"

PREPARING, RUNNING, HANGING_UP, OVER = "preparing", "running", "hanging up", "over"


class Summary(msgspec.Struct, frozen=True):
    """What has become of a session. ``exit_code`` is None if nobody knows; times are seconds, sizes bytes."""

    code: int
    reason: str
    exit_code: int | None
    typed: int
    printed: int
    seconds: float


class Witness(Protocol):
    """Whoever keeps account of a session.

    What it raises is logged, and hurts nobody: it is told of nothing more then but of the end.
    """

    def began(self, session: Session) -> None:
        """There is an exec. Not called for a session that ends before."""

    def output(self, data: bytes) -> None:
        """What the browser will be shown, unless this ends the session."""

    def resized(self, columns: int, rows: int) -> None:
        """The window has this size."""

    def ended(self, session: Session, summary: Summary) -> None:
        """It is over, and nothing of it is left. Called once for every session."""


class Session:
    """One terminal. Made by :class:`ksproxyd.terminal.registry.Registry`; :meth:`attach` comes next.

    ``commands`` are tried one after the other (:func:`ksproxyd.terminal.shells.commands`).
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: TerminalSettings,
        id: str,
        key: str,
        owner: Identity,
        where: Where,
        commands: tuple[Command, ...],
        begin: Begin,
        witnesses: Sequence[Witness] = (),
    ) -> None:
        self._clock = clock
        self._settings = settings
        #: What it is called in records: 32 hexadecimal digits.
        self.id = id
        #: With the id, what a page needs to come back; a secret.
        self.key = key
        self.owner = owner
        self.where = where
        self._commands = commands
        self._witnesses = tuple(witnesses)
        self._failed_witnesses: list[Witness] = []
        self._process = Process(
            clock,
            id,
            commands,
            lambda command, output, terminal: begin(self.where, command, output, terminal),
            self,
            settings.hang_up,
        )
        self._attachment: Attachment | None = None
        self._away: IDelayedCall | None = None
        self._scroll_back: ScrollBack | None = None
        self._unseen_end: tuple[Ended, bool, bool] | None = None
        self._established = False
        self._full = False
        self._ending = Ending(endings.FAILED, "failed")
        self._on_end: list[Callable[[Session], object]] = []
        self._idle = TimeLimit(clock, settings.idle_timeout, self._warn_idle, self._end_idle)
        self._longest = TimeLimit(clock, settings.max_duration, self._warn_longest, self._end_longest)
        self._longest.start()
        #: Of the browser that was attached last.
        self.allowed: Allowed | None = None
        self.state = PREPARING
        self.begun = clock.seconds()
        #: Once it is over.
        self.summary: Summary | None = None

    def on_end(self, callback: Callable[[Session], object]) -> None:
        """Have ``callback`` called when it is over, at once if it is."""
        if self.summary is not None:
            callback(self)
        else:
            self._on_end.append(callback)

    @property
    def command(self) -> Command:
        """The shell that runs, or the one that is tried."""
        return self._process.command

    @property
    def size(self) -> tuple[int, int] | None:
        """Columns and rows of the window; None as long as the browser has not said."""
        return self._process.sizes.newest

    @property
    def going_on(self) -> bool:
        """Whether a browser may be attached: it has not ended."""
        return self.state in (PREPARING, RUNNING)

    @property
    def attended(self) -> bool:
        """Whether a browser is attached."""
        return self._attachment is not None

    # -- browsers ------------------------------------------------------------------------------------------------

    def attach(self, browser: Browser, protocol: str = "", allowed: Allowed | None = None) -> Attachment:
        """``browser`` looks at it from now on, and nobody else. ``protocol`` is what was selected for it.

        ``allowed`` asks whether the user, as they have logged in there, may still have it.
        """
        if not self.going_on:
            raise ValueError("the session is over")
        before, self._attachment = self._attachment, None
        if before is not None:
            before.close(
                Ending(endings.NORMAL, "opened elsewhere", "session closed here: it was opened in another window")
            )
        if self._away is not None:
            self._away.cancel()
            self._away = None
        attachment = Attachment(self._clock, browser, dialect(protocol), self, self._settings.slow_client)
        self._attachment = attachment
        self.allowed = allowed
        if attachment.returning and self._settings.reattach:
            attachment.introduce(f"{self.id}.{self.key}")
            if self._scroll_back is None:
                self._scroll_back = ScrollBack(self._settings.scroll_back)
        attachment.hold(CLUSTER, self._full)
        if self._established:
            attachment.established()
            self._replay(attachment)
        self.reads()
        unseen, self._unseen_end = self._unseen_end, None
        if unseen is not None:
            self._conclude(*unseen)
        return attachment

    def _replay(self, attachment: Attachment) -> None:
        scroll_back = self._scroll_back
        if scroll_back is None:
            return
        data = scroll_back.replay()
        scroll_back.seen()
        if data:
            attachment.output((_RESET if self._settings.scroll_back else b"") + data)
        self._process.sizes.nudge()

    def typed(self, data: bytes) -> None:
        """For :class:`Attachment`: the user has typed ``data``."""
        if data and self.going_on:
            self._idle.touch()
            self._process.write(data)

    def resized(self, columns: int, rows: int) -> None:
        """For :class:`Attachment`: the window has this size."""
        if self.going_on:
            self._process.sizes.set(columns, rows)
            self._tell(lambda witness: witness.resized(columns, rows))

    def input_ended(self) -> None:
        """For :class:`Attachment`: nothing more will be typed."""
        if self.going_on:
            self._process.end_input()

    def reads(self) -> None:
        """For :class:`Attachment`: output may go on, or has to wait."""
        attachment, scroll_back = self._attachment, self._scroll_back
        if attachment is not None:
            held = attachment.full
        else:
            held = scroll_back is not None and scroll_back.unseen > HIGH
        self._process.hold(held)

    def left(self, attachment: Attachment, code: int) -> None:
        """For :class:`Attachment`: the browser is gone."""
        self._attachment = None
        # Whoever closes a page, or is cut off, may open it again; who says goodbye does not come back.
        returns = attachment.returning and code in (endings.GOING_AWAY, endings.BROKEN)
        if returns and self._settings.reattach and self._scroll_back is not None:
            self._scroll_back.keep()
            self._away = self._clock.callLater(self._settings.reattach, self._stayed_away)
            self.reads()
        else:
            self._hang_up(Ending(code, "the browser left"))

    def _stayed_away(self) -> None:
        self._away = None
        self._hang_up(Ending(endings.BROKEN, "the browser did not come back"))

    # -- what others say -------------------------------------------------------------------------------------------

    def preparing(self, text: str) -> None:
        """Tell the user what they wait for, or anything else that is no end."""
        if self.going_on and self._attachment is not None:
            self._attachment.toast(text)

    def ready(self, where: Where | None = None) -> None:
        """There is a container; ``where`` says which, if that was not known before. Of no effect if it has ended."""
        if self.state != PREPARING:
            return
        if where is not None:
            self.where = where
        self.state = RUNNING
        self._idle.start()
        self._process.begin()

    def failed(self, text: str, code: int, reason: str = "failed") -> None:
        """There will be no container, for the reason ``text``."""
        self.end(code, reason, text)

    def end(self, code: int, reason: str, text: str) -> None:
        """End it. The browser is told ``text`` and ``code`` with ``reason`` at once, then the shell is hung up."""
        if self.going_on:
            self._hang_up(Ending(code, reason, text))

    # -- the process -------------------------------------------------------------------------------------------------

    def established(self) -> None:
        """For :class:`Process`."""
        self._established = True
        self._tell(lambda witness: witness.began(self))
        if self._attachment is not None and self.going_on:
            self._attachment.established()

    def printed(self, data: bytes) -> None:
        """For :class:`Process`."""
        # What must be recorded is not shown before it is.
        self._tell(lambda witness: witness.output(data))
        if not self.going_on:
            return
        if self._scroll_back is not None:
            self._scroll_back.add(data)
        if self._attachment is not None:
            self._attachment.output(data)
        self.reads()

    def full(self, full: bool) -> None:
        """For :class:`Process`."""
        self._full = full
        if self._attachment is not None:
            self._attachment.hold(CLUSTER, full)

    def process_ended(self, result: Ended, ran: bool, missing: bool) -> None:
        """For :class:`Process`."""
        if self._away is not None:
            # Whoever comes back gets its last words.
            self._unseen_end = (result, ran, missing)
        else:
            self._conclude(result, ran, missing)

    def _conclude(self, result: Ended, ran: bool, missing: bool) -> None:
        if self.going_on:
            if missing:
                names = "bash or sh" if len(self._commands) > 1 else self._commands[0][0]
                self._ending = endings.no_shell(self.where, names)
            else:
                self._ending = endings.of_exec(result, self.where, ran)
            self._say_goodbye(result)
        self._finish(result.code if result.kind == EXITED and not missing else None)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _hang_up(self, ending: Ending) -> None:
        unseen, self._unseen_end = self._unseen_end, None
        if unseen is not None:
            # There is nothing left to end.
            self._conclude(*unseen)
            return
        self._ending = ending
        self.state = HANGING_UP
        self._say_goodbye()
        if ending.code == endings.GONE:
            # With its container.
            self._process.drop()
        else:
            self._process.hang_up()

    def _say_goodbye(self, result: Ended | None = None) -> None:
        """No browser has anything to do with it any more."""
        if self.state != HANGING_UP:
            self.state = OVER
        self._idle.stop()
        self._longest.stop()
        if self._away is not None:
            self._away.cancel()
            self._away = None
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.close(self._ending, result)
        if self._scroll_back is not None:
            self._scroll_back.clear()

    def _finish(self, exit_code: int | None) -> None:
        self.state = OVER
        process, ending = self._process, self._ending
        self.summary = summary = Summary(
            ending.code, ending.reason, exit_code, process.typed, process.printed, self._clock.seconds() - self.begun
        )
        self._failed_witnesses.clear()
        self._tell(lambda witness: witness.ended(self, summary))
        callbacks, self._on_end = self._on_end, []
        for callback in callbacks:
            callback(self)

    def _tell(self, what: Callable[[Witness], object]) -> None:
        for witness in self._witnesses:
            if witness in self._failed_witnesses:
                continue
            try:
                what(witness)
            except Exception:
                self._failed_witnesses.append(witness)
                self.log.failure("keeping account of terminal {id} failed", id=self.id)

    # -- time ---------------------------------------------------------------------------------------------------------

    def _warn_idle(self) -> None:
        self.preparing("nothing is typed: this session will be closed in a minute")

    def _end_idle(self) -> None:
        limit = format_duration(self._settings.idle_timeout)
        self.end(endings.IDLE, "idle", f"session closed: nothing was typed for {limit}")

    def _warn_longest(self) -> None:
        self.preparing("this session has been open for as long as it may: it will be closed in a minute")

    def _end_longest(self) -> None:
        limit = format_duration(self._settings.max_duration)
        self.end(endings.TOO_LONG, "too long", f"session closed: it was open for {limit}, which is as long as it may")

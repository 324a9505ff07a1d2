"""The shell of a session: from the first program that is tried to the end of the one that was there.

Input that comes before a shell has shown that it is there is kept, as a program that is not there takes what it was
sent along; the next one gets all of it, in order. The one that has the session's input is always the newest exec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ksproxyd.terminal import shells
from ksproxyd.terminal.execution import Output
from ksproxyd.terminal.exit_status import LOST, NOT_STARTED, Ended
from ksproxyd.terminal.hanging_up import END_OF_FILE, HangUp, Running
from ksproxyd.terminal.shells import Command
from ksproxyd.terminal.sizes import Sizes

#: Bytes of input that are kept; with more, the browser is not read (spec 05, 3).
EARLY = 64 * 1024

#: Begins an exec: command, who hears of it, and whether it has a terminal and input.
Begin = Callable[[Command, Output, bool], Running]


class Hears(Protocol):
    """Who is told of a process: its session."""

    def established(self) -> None:
        """The first exec has started; called at most once."""

    def printed(self, data: bytes) -> None:
        """Output."""

    def full(self, full: bool) -> None:
        """Whether more input should wait."""

    def process_ended(self, result: Ended, ran: bool, missing: bool) -> None:
        """The end, called once. ``ran``: there was a shell. ``missing``: none of the programs was there."""


class Process:
    """One session's. ``session`` is its id, ``hang_up`` seconds. Nothing is begun before :meth:`begin`."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        session: str,
        commands: tuple[Command, ...],
        begin: Begin,
        hears: Hears,
        hang_up: float,
    ) -> None:
        self._clock = clock
        self._session = session
        self._commands = list(commands)
        self._begin = begin
        self._hears = hears
        self._hang_up = hang_up
        self._attempt: _Attempt | None = None
        self._deciding: IDelayedCall | None = None
        self._hanging: HangUp | None = None
        #: Input since the beginning, until a shell has shown that it is there; None from then on.
        self._kept: list[bytes] | None = []
        self._kept_size = 0
        self._input_ended = False
        self._held = False
        self._clogged = False
        self._full = False
        self._established = False
        self._over = False
        self.sizes = Sizes(clock)
        #: Bytes of input and output.
        self.typed = 0
        self.printed = 0

    @property
    def command(self) -> Command:
        """What was begun last; nothing before :meth:`begin`."""
        return self._attempt.command if self._attempt is not None else ()

    # -- from the session --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """There is a container to run it in."""
        self._next()

    def write(self, data: bytes) -> None:
        """Type ``data``."""
        if self._over or self._hanging is not None or self._input_ended:
            return
        self.typed += len(data)
        if self._kept is not None:
            self._kept.append(data)
            self._kept_size += len(data)
        attempt = self._attempt
        if attempt is not None and attempt.since is not None:
            attempt.execution.write(data)
        self._tell_full()

    def end_input(self) -> None:
        """Nothing more will be typed."""
        if self._over or self._hanging is not None or self._input_ended:
            return
        self._input_ended = True
        attempt = self._attempt
        if attempt is not None and attempt.since is not None:
            self._send_end(attempt)

    def hold(self, held: bool) -> None:
        """Whether its output is to wait."""
        if self._over or self._hanging is not None or held is self._held:
            return
        self._held = held
        if self._attempt is not None:
            self._pass_hold(self._attempt)

    def hang_up(self) -> None:
        """Make it end (8.2). :meth:`Hears.process_ended` comes when it has, or when nothing has helped."""
        if self._over or self._hanging is not None:
            return
        attempt = self._attempt
        if attempt is None:
            self.drop()
            return
        self._decide()
        self.sizes.disconnect()
        kill = None
        if self._hang_up and shells.is_marked(attempt.command):
            command = shells.hang_up(self._session)

            def kill(output: Output) -> Running:
                return self._begin(command, output, False)

        self._hanging = HangUp(self._clock, attempt.execution, self._hang_up, kill, self.drop)
        self._hanging.start()

    def drop(self) -> None:
        """Let go of it; it may go on, if it is not gone."""
        self._finish(Ended(LOST, message="the gateway has let go of it"), ran=self._kept is None, missing=False)

    # -- from the execs ----------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Try the next program."""
        attempt = self._attempt = _Attempt(self, self._commands.pop(0))
        self._clogged = False
        try:
            attempt.execution = self._begin(attempt.command, attempt, True)
        except Exception:
            self.log.failure("a shell could not be begun")
            self._finish(Ended(LOST, message="the gateway failed"), ran=False, missing=False)
            return
        attempt.execution.on_drain(attempt.drained)
        self._pass_hold(attempt)

    def _pass_hold(self, attempt: _Attempt) -> None:
        if self._held:
            attempt.execution.pause()
        elif attempt.paused:
            attempt.execution.resume()
        attempt.paused = self._held

    def attempt_started(self, attempt: _Attempt) -> None:
        """For :class:`_Attempt`."""
        attempt.since = self._clock.seconds()
        if self._hanging is not None:
            return
        # The size comes first: a shell asks for it when it begins.
        self.sizes.connect(attempt.execution.resize)
        if self._kept:
            attempt.execution.write(b"".join(self._kept))
        if self._input_ended:
            self._send_end(attempt)
        if self._kept is not None:
            self._deciding = self._clock.callLater(shells.MISSED, self._decide)
        if not self._established:
            self._established = True
            self._hears.established()

    def attempt_printed(self, attempt: _Attempt, data: bytes) -> None:
        """For :class:`_Attempt`."""
        if self._hanging is not None:
            return
        self._decide()
        self.printed += len(data)
        self._hears.printed(data)

    def attempt_drained(self, full: bool) -> None:
        """For :class:`_Attempt`."""
        self._clogged = full
        self.sizes.hold(full)
        self._tell_full()

    def attempt_ended(self, attempt: _Attempt, result: Ended) -> None:
        """For :class:`_Attempt`."""
        undecided = self._kept is not None
        seconds = 0.0 if attempt.since is None else self._clock.seconds() - attempt.since
        # Nothing was printed as long as it is undecided.
        missing = undecided and shells.is_missing(result, seconds, 0)
        if missing and self._commands:
            self._cancel_deciding()
            self.sizes.disconnect()
            self.sizes.hold(False)
            self._next()
            self._tell_full()
            return
        # Whoever had a connection to it had a shell, unless it says something else.
        ran = not missing and (not undecided or (attempt.since is not None and result.kind != NOT_STARTED))
        self._finish(result, ran=ran, missing=missing)

    def _send_end(self, attempt: _Attempt) -> None:
        # A terminal has a key for it. If the stream itself ended, nothing could be hung up any more.
        attempt.execution.write(END_OF_FILE)

    def _decide(self) -> None:
        """There is a shell; it has what was kept."""
        self._cancel_deciding()
        if self._kept is not None:
            self._kept = None
            self._kept_size = 0
            self._tell_full()

    def _cancel_deciding(self) -> None:
        call, self._deciding = self._deciding, None
        if call is not None and call.active():
            call.cancel()

    def _tell_full(self) -> None:
        full = self._clogged or self._kept_size > EARLY
        if full is not self._full and not self._over:
            self._full = full
            self._hears.full(full)

    def _finish(self, result: Ended, *, ran: bool, missing: bool) -> None:
        if self._over:
            return
        self._over = True
        self._cancel_deciding()
        self.sizes.disconnect()
        self._kept = None
        attempt, hanging = self._attempt, self._hanging
        if hanging is not None:
            hanging.stop()
        if attempt is not None:
            attempt.let_go()
        self._hears.process_ended(result, ran, missing)


class _Attempt:
    """One program that is tried, and hears of its exec."""

    execution: Running

    def __init__(self, process: Process, command: Command) -> None:
        self._process: Process | None = process
        self.command = command
        #: When the exec started.
        self.since: float | None = None
        self.paused = False

    def started(self) -> None:
        if self._process is not None:
            self._process.attempt_started(self)

    def output(self, data: bytes, stderr: bool) -> None:
        if self._process is not None:
            self._process.attempt_printed(self, data)

    def ended(self, result: Ended) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.attempt_ended(self, result)

    def drained(self, full: bool) -> None:
        """The exec takes no more input, or takes it again."""
        if self._process is not None:
            self._process.attempt_drained(full)

    def let_go(self) -> None:
        """Close the exec, unless it has ended by itself."""
        process, self._process = self._process, None
        if process is not None and hasattr(self, "execution"):
            self.execution.close()

"""Where log events end: text for people, JSON lines for machines.

Everything logs through :mod:`twisted.logger`; a :class:`LogOutput` is the one observer. It filters by level, hides
secrets (:mod:`ksproxyd.observe.redact`), escapes what is not plain text (:mod:`ksproxyd.observe.escaping`), holds
repetitions of warnings and errors back (:mod:`ksproxyd.observe.limit`), and writes one line an event; in text, the
lines of a traceback follow indented.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import floor
from typing import Any, Protocol, TextIO

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from ksproxyd.observe.escaping import LONGEST, one_line, safe_json
from ksproxyd.observe.limit import WINDOW, RepeatLimiter
from ksproxyd.observe.redact import is_secret_name, redact_text, redact_value

#: The values of ``logging.level``, from the most to the least.
LEVELS = ("debug", "info", "warn", "error", "critical")

_RANKS = {name: rank for rank, name in enumerate(LEVELS)}
_WARN = _RANKS["warn"]

#: journald's priorities (sd-daemon(3)) of the levels.
_PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}

#: Characters of a traceback that are written.
_LONGEST_TRACEBACK = 2 * LONGEST

#: Keys that Twisted's old logging adds to events; the new ones all begin with ``log_``.
_LEGACY = frozenset(("message", "time", "system", "isError", "failure", "why", "format", "logLevel"))
_OURS = frozenset(("level", "logger", "traceback"))

_encode = msgspec.json.encode


class LoggingSettings(Protocol):
    """``ksproxyd.logging`` of the settings: ``level`` is one of :data:`LEVELS`; ``format`` is ``auto``, ``text`` or
    ``json``.
    """

    @property
    def level(self) -> str: ...
    @property
    def format(self) -> str: ...


@implementer(ILogObserver)
class LogOutput:
    """Writes events. One for the process; :meth:`apply` changes it while it is in use.

    ``write`` takes a line as bytes and may raise :class:`OSError`; ``terminal`` says what ``auto`` means; with
    ``priorities`` a line begins with journald's ``<n>``.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        clock: IReactorTime,
        *,
        terminal: bool = False,
        priorities: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write = write
        self._clock = clock
        self._terminal = terminal
        self._priorities = priorities
        self._now = now
        self._least = _RANKS["info"]
        self._limiter = RepeatLimiter()
        self._flush: IDelayedCall | None = None
        #: Whether lines are JSON objects.
        self.json = not terminal
        #: Lines that could not be written, because nobody reads our output any more.
        self.lost = 0

    def apply(self, settings: LoggingSettings) -> None:
        """Take over level and format, at start and at a reload."""
        self._least = _RANKS[settings.level]
        self.json = settings.format == "json" or (settings.format == "auto" and not self._terminal)

    def close(self) -> None:
        """Say what has been held back; for the end of the process. The output stays usable."""
        call, self._flush = self._flush, None
        if call is not None and call.active():
            call.cancel()
        self._summarize()

    def __call__(self, event: LogEvent) -> None:
        """Take an event of :mod:`twisted.logger`."""
        level = (event.get("log_level") or LogLevel.info).name
        rank = _RANKS[level]
        if rank < self._least:
            return
        logger = str(event.get("log_namespace", ""))
        failure: Failure | None = event.get("log_failure")
        if rank >= _WARN:
            if self._flush is None:
                self._flush = self._clock.callLater(WINDOW, self._window_ends)
            label = f"{logger}: {event.get('log_format')}"
            kind = (logger, level, event.get("log_format"), None if failure is None else failure.type)
            if not self._limiter.allows_kind(kind, label):
                return
        message = encodable(redact_text(formatEvent(_without_secrets(event))[:LONGEST]))
        if rank >= _WARN:
            reason = "" if failure is None else f": {redact_text(failure.getErrorMessage()[:LONGEST])}"
            if not self._limiter.allows_line(f"{logger}: {message}{reason}"):
                return
        when = event["log_time"] if "log_time" in event else self._now()
        if self.json:
            record = {"time": timestamp(when), "level": level, "logger": logger, "message": message}
            record |= _simple_fields(event)
            if failure is not None:
                record["traceback"] = _traceback(failure)
            self._emit(level, json_line(record))
            return
        lines = [f"{timestamp(when)} {level.upper():<5} {one_line(logger)}: {one_line(message)}\n"]
        if failure is not None:
            lines += [f"    {one_line(line)}\n" for line in _traceback(failure).splitlines()]
        self._emit(level, "".join(lines))

    def record(self, level: str, logger: str, text: str, fields: Mapping[str, Any]) -> None:
        """Write a line that is rendered already: ``text``, or ``fields`` as JSON. For the access log.

        Neither filtered nor limited, and nothing in it is looked at for secrets; ``text`` must be one safe line.
        """
        when = timestamp(self._now())
        if self.json:
            self._emit(level, json_line({"time": when, "level": level, "logger": logger, **fields}))
        else:
            self._emit(level, f"{when} {level.upper():<5} {logger}: {text}\n")

    def _emit(self, level: str, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        if self._priorities:
            # One prefix a line, the lines of a traceback included.
            prefix = b"<%d>" % _PRIORITIES[level]
            data = b"".join(prefix + line for line in data.splitlines(keepends=True))
        try:
            self._write(data)
        except OSError:
            # There is no place left to say so, and a request must not fail for it: a metric shows the number.
            self.lost += 1

    def _window_ends(self) -> None:
        self._flush = None
        self._summarize()

    def _summarize(self) -> None:
        for summary in self._limiter.summaries():
            text = one_line(f"in the last {WINDOW:g} s, {summary}")
            self.record("warn", "ksproxyd.log", text, {"message": text})


def configure(settings: LoggingSettings, clock: IReactorTime, stream: TextIO | None = None) -> LogOutput:
    """The process's log output on ``stream`` (default: standard error), with ``settings`` applied.

    It is yet to be begun: give it to twistd as the ``logger`` option's result, or to ``globalLogBeginner``.
    """
    # Twisted replaces sys.stderr by a file that logs; the original stays in __stderr__.
    chosen = stream or sys.__stderr__ or sys.stderr
    binary = chosen.buffer

    def write(data: bytes) -> None:
        binary.write(data)
        binary.flush()

    output = LogOutput(write, clock, terminal=chosen.isatty(), priorities=_is_journal(chosen, os.environ))
    output.apply(settings)
    return output


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the stream goes to journald itself (systemd.exec(5), ``JOURNAL_STREAM``)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    if not (device.isdecimal() and inode.isdecimal()):
        return False
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (int(device), int(inode))


@lru_cache(maxsize=2)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    whole = floor(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1000):03}Z"


def json_line(record: Mapping[str, Any]) -> str:
    """The record as one line of JSON."""
    return safe_json(_encode(record).decode()) + "\n"


def encodable(text: str) -> str:
    """``text`` with lone surrogates, which UTF-8 cannot carry, written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _without_secrets(event: LogEvent) -> LogEvent:
    """The event to be formatted: fields that hold secrets by their name do not get into the message."""
    hidden = {key: redact_value(key, value) for key, value in event.items() if is_secret_name(key)}
    return {**event, **hidden} if hidden else event


def _simple_fields(event: LogEvent) -> dict[str, Any]:
    """What the event's caller gave it, as far as JSON has such values."""
    fields: dict[str, Any] = {}
    for key, value in event.items():
        if key.startswith("log_") or key in _LEGACY or key in _OURS:
            continue
        value = redact_value(key, value)
        if isinstance(value, bytes):
            value = value[:LONGEST].decode("utf-8", "backslashreplace")
        if isinstance(value, str):
            fields[encodable(key)] = encodable(redact_text(value[:LONGEST]))
        elif value is None or isinstance(value, (bool, float)):
            fields[encodable(key)] = value
        elif isinstance(value, int):
            # JSON readers take larger ones for floating point.
            fields[encodable(key)] = value if abs(value) < 1 << 53 else str(value)
    return fields


def _traceback(failure: Failure) -> str:
    return encodable(redact_text(failure.getTraceback()[-_LONGEST_TRACEBACK:]))

"""Conversations of a terminal as tables, one event a line, played against a session on a clock of its own.

What happens to the session::

    C: <JSON>, C: stdin <text>, C: size 80x24, C: bytes <text>   the browser says it
    C: drained 0, C: pending 300000, C: left 1006                it reads, does not read, is gone
    K: started, K: prints <text>, K: exited 3, K: lost, K: missing, K: refused 404, K: full, K: free
                                                                 the newest exec does it ("K0: ..." the first one)
    O: ready, O: preparing <text>, O: end 4410 reason | text, O: failed 4404 reason | text, O: attach <protocol>
    T: 2.5                                                       the clock goes on

What it does, which must be all of what it does, in that order::

    S: stdout <text>, S: toast <text>, S: bytes <text>, S: session, S: close 1000 reason, S: pause, S: resume
    X: exec <argv>, X: stdin <text>, X: size 80x24, X: pause, X: resume, X: close   (X1: ... for the second exec)
    over <exit code or -> <close code>

Text has the escapes of Python; ``␃`` and ``␄`` are Ctrl-C and Ctrl-D. Lines that begin with ``#`` are notes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from twisted.internet.task import Clock

from ksproxyd.model.identity import Identity
from ksproxyd.settings.terminal import TerminalSettings
from ksproxyd.terminal.attachment import Attachment
from ksproxyd.terminal.endings import Where
from ksproxyd.terminal.execution import Output
from ksproxyd.terminal.exit_status import EXITED, LOST, NOT_STARTED, REFUSED, Ended
from ksproxyd.terminal.registry import Registry
from ksproxyd.terminal.session import Session, Summary
from ksproxyd.terminal.shells import Command, is_marked

POD = Where("pod", "demo", "web-0", "app", shell="sh")
ANN = Identity("ann", ("devs",), "u1")

_CONTROLS = {"\x03": "␃", "\x04": "␄"}


def shown(data: bytes | str) -> str:
    """``data`` on one line."""
    text = data if isinstance(data, str) else data.decode("utf-8", "backslashreplace")
    text = "".join(_CONTROLS.get(each, each) for each in text)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def meant(text: str) -> bytes:
    """What a table's text stands for."""
    for control, symbol in _CONTROLS.items():
        text = text.replace(symbol, control)
    if text.isascii():
        return text.encode().decode("unicode_escape").encode("latin-1")
    return text.encode()


class Exec:
    """An exec of the cluster, which does nothing by itself."""

    def __init__(self, play: Play, number: int, command: Command, output: Output, terminal: bool) -> None:
        self.play = play
        self.name = "X:" if number == 0 else f"X{number}:"
        self.command = command
        self.output = output
        self.terminal = terminal
        self.written = b""
        self.sizes: list[tuple[int, int]] = []
        self.closed = 0
        self.over = False
        self.paused = False
        self.drain: Callable[[bool], object] = lambda full: None

    def _did(self, what: str) -> None:
        self.play.events.append(f"{self.name} {what}")

    def write(self, data: bytes) -> None:
        assert not self.over, "written to an exec that is over"
        self.written += data
        self._did(f"stdin {shown(data)}")

    def resize(self, columns: int, rows: int) -> None:
        assert not self.over
        self.sizes.append((columns, rows))
        self._did(f"size {columns}x{rows}")

    def pause(self) -> None:
        self.paused = True
        self._did("pause")

    def resume(self) -> None:
        if self.paused:
            self._did("resume")
        self.paused = False

    def on_drain(self, callback: Callable[[bool], object]) -> None:
        self.drain = callback

    def close(self) -> None:
        self.closed += 1
        assert self.closed == 1, "closed twice"
        assert not self.over, "closed although it has ended"
        self.over = True
        self._did("close")

    def end(self, result: Ended) -> None:
        self.over = True
        self.output.ended(result)


class Page:
    """A browser's connection."""

    def __init__(self, play: Play, number: int) -> None:
        self.play = play
        self.name = "S:" if number == 0 else f"S{number}:"
        self.pending = 0
        self.paused = False
        self.closed: tuple[int, str] | None = None
        self.said: list[str | bytes] = []
        self.credential = ""

    def _did(self, what: str) -> None:
        self.play.events.append(f"{self.name} {what}")

    def send(self, text: str) -> None:
        assert self.closed is None
        self.said.append(text)
        message = json.loads(text)
        assert list(message) == ["Op", "Data", "Rows", "Cols"]
        if message["Op"] == "session":
            self.credential = message["Data"]
            self._did("session")
        else:
            self._did(f"{message['Op']} {shown(message['Data'])}")

    def send_bytes(self, data: bytes) -> None:
        assert self.closed is None
        self.said.append(data)
        self._did(f"bytes {shown(data)}")

    def close(self, code: int, reason: str) -> None:
        assert self.closed is None, "closed twice"
        self.closed = (code, reason)
        self._did(f"close {code} {reason}")

    def pause(self) -> None:
        assert not self.paused
        self.paused = True
        self._did("pause")

    def resume(self) -> None:
        assert self.paused
        self.paused = False
        self._did("resume")

    @property
    def output(self) -> str:
        """All the process's output that it has got."""
        messages = [json.loads(each) for each in self.said if isinstance(each, str)]
        return "".join(each["Data"] for each in messages if each["Op"] == "stdout")


class Witness:
    """Keeps account."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.begun = 0
        self.printed = b""
        self.summaries: list[Summary] = []

    def began(self, session: Session) -> None:
        assert session is self.play.session
        self.begun += 1

    def output(self, data: bytes) -> None:
        self.printed += data

    def resized(self, columns: int, rows: int) -> None:
        assert self.play.session.size == (columns, rows)

    def ended(self, session: Session, summary: Summary) -> None:
        assert session is self.play.session
        self.summaries.append(summary)
        code = "-" if summary.exit_code is None else summary.exit_code
        self.play.events.append(f"over {code} {summary.code}")


class Play:
    """A session, its browsers and its execs."""

    def __init__(self, where: Where = POD, commands: tuple[Command, ...] = (), **settings: object) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.settings = TerminalSettings.model_validate(settings)
        numbers = iter(range(1, 1000))
        self.registry = Registry(self.clock, self.settings, lambda count: next(numbers).to_bytes(count, "big"))
        self.events: list[str] = []
        self.execs: list[Exec] = []
        self.pages: list[Page] = []
        self.witness = Witness(self)
        seat = self.registry.admit("ann")
        self.session = self.registry.open(seat, ANN, where, self.begin, [self.witness], commands)
        self.attachment: Attachment

    def begin(self, where: Where, command: Command, output: Output, terminal: bool) -> Exec:
        started = Exec(self, len(self.execs), command, output, terminal)
        self.execs.append(started)
        kind = "best" if is_marked(command) else "kill" if not terminal else " ".join(command)
        self.events.append(f"{started.name} exec {kind}")
        return started

    def attach(self, protocol: str = "") -> Attachment:
        page = Page(self, len(self.pages))
        self.pages.append(page)
        self.attachment = self.session.attach(page, protocol)
        return self.attachment

    def do(self, line: str) -> None:
        """One line of what happens."""
        who, _, what = line.partition(": ")
        verb, _, rest = what.partition(" ")
        if who == "T":
            self.clock.advance(float(what))
        elif who == "C":
            self._browser(verb, rest, what)
        elif who == "O":
            self._other(verb, rest)
        else:
            self._cluster(self.execs[int(who[1:]) if who[1:] else -1], verb, rest)

    def _browser(self, verb: str, rest: str, what: str) -> None:
        page = self.pages[-1]
        if verb == "stdin":
            self.attachment.message(json.dumps({"Op": "stdin", "Data": meant(rest).decode()}).encode(), False)
        elif verb == "size":
            columns, rows = map(int, rest.split("x"))
            self.attachment.message(json.dumps({"Op": "resize", "Cols": columns, "Rows": rows}).encode(), False)
        elif verb == "bytes":
            self.attachment.message(meant(rest), True)
        elif verb == "pending":
            page.pending = int(rest)
        elif verb == "drained":
            page.pending = int(rest)
            self.attachment.browser_drained(True)
        elif verb == "left":
            self.attachment.gone(int(rest), "")
        else:
            self.attachment.message(what.encode(), False)

    def _cluster(self, exec_: Exec, verb: str, rest: str) -> None:
        if verb == "started":
            exec_.output.started()
        elif verb == "prints":
            exec_.output.output(meant(rest), False)
        elif verb in ("full", "free"):
            exec_.drain(verb == "full")
        else:
            code = int(rest or 0)
            exec_.end(
                {
                    "exited": Ended(EXITED, code),
                    "lost": Ended(LOST, message="dial tcp 10.0.0.1:6443"),
                    "missing": Ended(NOT_STARTED, 500, "InternalError", "executable file not found in $PATH"),
                    "refused": Ended(REFUSED, code, "", "from 10.0.0.1"),
                }[verb]
            )

    def _other(self, verb: str, rest: str) -> None:
        first, _, second = rest.partition(" ")
        reason, _, text = second.partition(" | ")
        if verb == "ready":
            self.session.ready()
        elif verb == "preparing":
            self.session.preparing(rest)
        elif verb == "end":
            self.session.end(int(first), reason, text)
        elif verb == "failed":
            self.session.failed(text, int(first), reason)
        elif verb == "attach":
            self.attach(rest)
        else:
            raise AssertionError(verb)


def turns(table: str) -> Iterator[tuple[str, list[str]]]:
    """Each thing that happens, with what is to come of it."""
    happening, coming = "", list[str]()
    for each in table.strip().splitlines():
        line = each.strip()
        if not line or line.startswith("#"):
            continue
        if line[0] in "CKOT":
            if happening:
                yield happening, coming
            happening, coming = line, []
        else:
            coming.append(line)
    yield happening, coming


def play(table: str, protocol: str | None = "", where: Where = POD, **settings: object) -> Play:
    """Play ``table`` with a browser that is attached, unless ``protocol`` is None. Returns what is there in the end."""
    on = Play(where, **settings)
    if protocol is not None:
        on.attach(protocol)
    on.events.clear()
    for happening, coming in turns(table):
        on.do(happening)
        events, on.events = on.events, []
        assert [each.rstrip() for each in events] == coming, f"after {happening!r}"
    return on

from __future__ import annotations

import io
import json
import os
import socket
import unicodedata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from ksproxyd.observe.escaping import one_line, quoted, safe_json
from ksproxyd.observe.limit import SAME_KIND, SAME_LINE, WINDOW
from ksproxyd.observe.logging import LEVELS, LogOutput, configure, timestamp

any_text = st.text(st.characters())


def settings(level: str = "info", format: str = "auto") -> SimpleNamespace:
    return SimpleNamespace(level=level, format=format)


@implementer(ILogObserver)
class Log:
    """An output in memory and a logger that writes to it."""

    def __init__(self, **given: Any) -> None:
        self.clock = Clock()
        self.written: list[bytes] = []
        self.output = LogOutput(self.written.append, self.clock, now=lambda: 1_700_000_000.5, **given)
        self.log = Logger("ksproxyd.test", observer=self)

    def __call__(self, event: LogEvent) -> None:
        self.output({**event, "log_time": 1_700_000_000.25})

    @property
    def text(self) -> str:
        return b"".join(self.written).decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.split("\n")[:-1]]


def failure(text: str) -> Failure:
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()


def visible(text: str) -> bool:
    """Whether a terminal shows every character, in order, on one line."""
    return all(unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp", "Cs") for c in text)


class TestEscaping:
    @given(any_text)
    def test_one_line_is_one_and_plain_to_see(self, text: str) -> None:
        line = one_line(text)
        assert "\n" not in line and "\r" not in line and "\x1b" not in line
        assert visible("".join(c for c in line if ord(c) < 0xE0000 and unicodedata.category(c) != "Cf"))
        assert not any(c in line for c in "\u202e\u2066\u200b\u2028\x85\x9b\x7f")

    @given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=100))
    def test_plain_text_stays(self, text: str) -> None:
        assert one_line(text) == text

    def test_what_it_looks_like(self) -> None:
        assert one_line("a\nb\r\tc\x1b[31m\u202ed\udc80") == "a\\nb\\r\\tc\\x1b[31m\\u202ed\\udc80"

    def test_is_cut(self) -> None:
        assert one_line("x" * 30, 10) == "xxxxxxxxxx... (30 characters)"

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_quoted_is_json_and_reads_back(self, text: str) -> None:
        assert json.loads(quoted(text)) == text
        assert one_line(quoted(text)) == quoted(text)

    def test_quoted_surrogates(self) -> None:
        assert json.loads(quoted("a\udc80")) == "a\\udc80"

    def test_safe_json_escapes_del(self) -> None:
        assert safe_json('"a\x7f"') == '"a\\u007f"'


class TestText:
    def test_a_line(self) -> None:
        log = Log(terminal=True)
        log.log.info("listening on {address}", address="127.0.0.1:9090")
        assert log.text == "2023-11-14T22:13:20.250Z INFO  ksproxyd.test: listening on 127.0.0.1:9090\n"

    @given(any_text)
    def test_nobody_forges_a_line(self, text: str) -> None:
        log = Log(terminal=True)
        log.log.info("user {user} came", user=text)
        assert log.text.count("\n") == 1
        assert log.text.endswith("\n")
        assert "\x1b" not in log.text

    def test_a_traceback_is_indented(self) -> None:
        log = Log(terminal=True)
        log.log.failure("it broke", failure("first\n2023-11-14 INFO forged"))
        first, *rest = log.lines
        assert first.endswith("CRITICAL ksproxyd.test: it broke")
        assert all(line.startswith("    ") for line in rest)
        assert "    builtins.ValueError: first" in rest

    def test_a_format_that_cannot_be_formatted_is_still_a_line(self) -> None:
        log = Log(terminal=True)
        log.log.info("missing {name}")
        assert len(log.lines) == 1


class TestJSON:
    def test_a_record(self) -> None:
        log = Log()
        log.log.warn("{count} left", count=3, user="a\nb", target=object(), raw=b"\xff", none=None, big=1 << 60)
        assert log.records == [
            {
                "time": "2023-11-14T22:13:20.250Z",
                "level": "warn",
                "logger": "ksproxyd.test",
                "message": "3 left",
                "count": 3,
                "user": "a\nb",
                "raw": "\\xff",
                "none": None,
                "big": str(1 << 60),
            }
        ]

    @given(any_text, any_text)
    def test_one_line_of_plain_json_whatever_is_logged(self, key: str, value: str) -> None:
        log = Log()
        log.log.info("got {value}", value=value, **{"x" + key: value})
        [line] = log.text.split("\n")[:-1]
        assert json.loads(line)["level"] == "info"
        assert not any(c in line for c in "\x1b\u202e\u2028\x85\x9b\x7f")

    def test_a_traceback(self) -> None:
        log = Log()
        log.log.failure("it broke", failure("why"))
        [record] = log.records
        assert record["message"] == "it broke"
        assert "ValueError: why" in record["traceback"]
        assert log.text.count("\n") == 1

    def test_a_field_does_not_replace_ours(self) -> None:
        log = Log()
        log.output({"log_format": "x", "log_namespace": "ksproxyd.test", "level": "a", "logger": "b", "traceback": "c"})
        assert (log.records[0]["level"], log.records[0]["logger"]) == ("info", "ksproxyd.test")
        assert "traceback" not in log.records[0]


class TestSecrets:
    @pytest.mark.parametrize("terminal", [True, False])
    @pytest.mark.parametrize(
        ("format", "fields"),
        [
            ("logged in with {token}", {"token": "QQQQ"}),
            ("sending {authorization}", {"authorization": b"Bearer QQQQ"}),
            ("{url} failed", {"url": "https://h/x?access_token=QQQQ"}),
            ("headers {headers}", {"headers": [(b"Cookie", b"sid=QQQQ")]}),
            ("config {config!r}", {"config": {"jwtSecret": "QQQQ"}}),
            ("quiet", {"password": "QQQQ"}),
            ("code", {"client_secret": "QQQQ", "url": "/?code=QQQQ"}),
        ],
    )
    def test_are_not_written(self, terminal: bool, format: str, fields: dict[str, Any]) -> None:
        log = Log(terminal=terminal)
        log.log.info(format, **fields)
        assert "QQQQ" not in log.text
        assert len(log.lines) == 1

    @pytest.mark.parametrize("terminal", [True, False])
    def test_nor_in_a_traceback(self, terminal: bool) -> None:
        log = Log(terminal=terminal)
        log.log.failure("it broke", failure("401 for https://h/x?token=QQQQ with Bearer QQQQ"))
        assert "QQQQ" not in log.text
        assert "ValueError" in log.text


class TestLevels:
    def test_default_is_info(self) -> None:
        log = Log(terminal=True)
        log.log.debug("no")
        log.log.info("yes")
        assert [line[-3:] for line in log.lines] == ["yes"]

    def test_a_reload_changes_level_and_format(self) -> None:
        log = Log(terminal=True)
        log.output.apply(settings("error"))
        log.log.warn("no")
        log.output.apply(settings("debug", "json"))
        log.log.debug("yes")
        assert [record["message"] for record in log.records] == ["yes"]

    @pytest.mark.parametrize(
        ("terminal", "format", "json_"),
        [(True, "auto", False), (False, "auto", True), (True, "json", True), (False, "text", False)],
    )
    def test_format(self, terminal: bool, format: str, json_: bool) -> None:
        log = Log(terminal=terminal)
        log.output.apply(settings(format=format))
        assert log.output.json is json_

    @pytest.mark.parametrize("level", LEVELS)
    def test_each_level_leaves_those_below_out(self, level: str) -> None:
        log = Log()
        log.output.apply(settings(level))
        for other in LEVELS:
            log.log.emit(LogLevel.levelWithName(other), "x")
        assert tuple(record["level"] for record in log.records) == LEVELS[LEVELS.index(level) :]

    def test_an_event_without_a_level(self) -> None:
        log = Log(terminal=True)
        log.output({"log_format": "old", "log_level": None, "log_namespace": "x"})
        assert log.text == "2023-11-14T22:13:20.500Z INFO  x: old\n"


class TestRepetition:
    def test_the_same_line_is_written_a_few_times_then_counted(self) -> None:
        log = Log(terminal=True)
        for _ in range(SAME_LINE + 7):
            log.log.error("cannot reach {name}", name="a")
        assert len(log.lines) == SAME_LINE
        log.clock.advance(WINDOW)
        assert log.lines[SAME_LINE:] == [
            "2023-11-14T22:13:20.500Z WARN  ksproxyd.log: in the last 10 s, 7 more: ksproxyd.test: cannot reach a"
        ]

    def test_a_storm_is_not_even_rendered(self) -> None:
        class Counted:
            rendered = 0

            def __str__(self) -> str:
                Counted.rendered += 1
                return "a"

        log = Log(terminal=True)
        for _ in range(10_000):
            log.log.error("cannot reach {name}", name=Counted())
        assert Counted.rendered == SAME_KIND
        log.clock.advance(WINDOW)
        assert [line.partition("10 s, ")[2] for line in log.lines[SAME_LINE:]] == [
            f"{SAME_KIND - SAME_LINE} more: ksproxyd.test: cannot reach a",
            f"{10_000 - SAME_KIND} more like: ksproxyd.test: cannot reach {{name}}",
        ]

    def test_lines_that_differ_are_all_written_up_to_a_number(self) -> None:
        log = Log(terminal=True)
        for i in range(SAME_KIND + 9):
            log.log.error("cannot reach {name}", name=i)
        assert len(log.lines) == SAME_KIND
        log.clock.advance(WINDOW)
        assert log.lines[-1].endswith("9 more like: ksproxyd.test: cannot reach {name}")

    def test_then_they_are_written_again(self) -> None:
        log = Log(terminal=True)
        for _ in range(3):
            for _ in range(SAME_LINE):
                log.log.error("x")
            log.clock.advance(WINDOW)
        assert len(log.lines) == 3 * SAME_LINE
        assert log.clock.getDelayedCalls() == []

    def test_errors_differ_by_what_went_wrong(self) -> None:
        log = Log(terminal=True)
        for i in range(SAME_LINE + 2):
            log.log.failure("it broke", failure(f"reason {i}"))
        assert log.text.count("it broke") == SAME_LINE + 2

    def test_information_is_not_held_back(self) -> None:
        log = Log(terminal=True)
        for _ in range(200):
            log.log.info("x")
        assert len(log.lines) == 200
        assert log.clock.getDelayedCalls() == []

    def test_closing_says_what_was_held_back(self) -> None:
        log = Log()
        for _ in range(SAME_LINE + 1):
            log.log.warn("x")
        log.output.close()
        assert log.records[-1]["message"] == "in the last 10 s, 1 more: ksproxyd.test: x"
        assert log.clock.getDelayedCalls() == []


class TestWriting:
    def test_a_closed_output_is_counted_and_disturbs_nobody(self) -> None:
        def broken(_: bytes) -> None:
            raise BrokenPipeError

        output = LogOutput(broken, Clock())
        output({"log_format": "x", "log_level": LogLevel.info, "log_time": 0.0})
        output.record("info", "a", "b", {})
        assert output.lost == 2

    def test_journald_is_told_the_priority_of_every_line(self) -> None:
        log = Log(terminal=True, priorities=True)
        log.log.info("x")
        log.log.failure("y", failure("z"))
        assert log.lines[0].startswith("<6>2023")
        assert {line[:3] for line in log.lines[1:]} == {"<2>"}

    def test_timestamp(self) -> None:
        assert timestamp(0.0) == "1970-01-01T00:00:00.000Z"
        assert timestamp(1798761599.9996) == "2026-12-31T23:59:59.999Z"
        assert timestamp(1798761600.0125) == "2027-01-01T00:00:00.012Z"
        assert timestamp(-0.25) == "1969-12-31T23:59:59.750Z"


class Stream(io.TextIOWrapper):
    """A text stream on a descriptor that may claim to be a terminal."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def pipe() -> Callable[[], tuple[Stream, int]]:
    def make() -> tuple[Stream, int]:
        reader, writer = os.pipe()
        return Stream(os.fdopen(writer, "wb")), reader

    return make


class TestConfigure:
    def test_writes_at_once_to_the_stream(self, pipe: Callable[[], tuple[Stream, int]]) -> None:
        stream, reader = pipe()
        with stream:
            output = configure(settings(format="text"), Clock(), stream)
            output({"log_format": "é", "log_level": LogLevel.info, "log_time": 0.0, "log_namespace": "n"})
            assert os.read(reader, 1000) == "1970-01-01T00:00:00.000Z INFO  n: é\n".encode()
        os.close(reader)

    def test_auto_is_text_on_a_terminal(self, pipe: Callable[[], tuple[Stream, int]]) -> None:
        stream, reader = pipe()
        with stream:
            assert configure(settings(), Clock(), stream).json
            stream.terminal = True
            assert not configure(settings(), Clock(), stream).json
        os.close(reader)

    def test_the_journal_is_recognised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # journald's is a socket; what counts is that device and inode are those of the stream.
        ours, journal = socket.socketpair()
        status = os.fstat(ours.fileno())
        with journal, ours, Stream(ours.makefile("wb")) as stream:
            for value, prefix in (
                (f"{status.st_dev}:{status.st_ino}", b"<6>"),
                (f"{status.st_dev}:{status.st_ino + 1}", b""),
                ("nonsense", b""),
            ):
                monkeypatch.setenv("JOURNAL_STREAM", value)
                output = configure(settings(format="text"), Clock(), stream)
                output({"log_format": "x", "log_level": LogLevel.info, "log_time": 0.0, "log_namespace": "n"})
                assert journal.recv(1000) == prefix + b"1970-01-01T00:00:00.000Z INFO  n: x\n"


def test_it_is_an_observer_of_twisted() -> None:
    log = Log(terminal=True)
    globalLogPublisher.addObserver(log.output)
    try:
        Logger("ksproxyd.somewhere").info("hello")
    finally:
        globalLogPublisher.removeObserver(log.output)
    assert log.text.endswith(" INFO  ksproxyd.somewhere: hello\n")

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from ksproxyd.model.identity import Identity
from ksproxyd.observe.access import AccessLog
from ksproxyd.observe.logging import LogOutput

from .conftest import FakeExchange

Make = Callable[..., FakeExchange]


class Access:
    """An access log that writes into memory."""

    def __init__(self, access: str = "errors", slow: float = 5.0, terminal: bool = True) -> None:
        self.clock = Clock()
        self.written: list[bytes] = []
        output = LogOutput(self.written.append, self.clock, terminal=terminal, now=lambda: 1_700_000_000.25)
        self.log = AccessLog(SimpleNamespace(access=access, slow=slow), self.clock, output)

    def line(self, exchange: FakeExchange, seconds: float = 0.005) -> str:
        """What is written about the request, without time and level; empty if nothing is."""
        self.written.clear()
        self.log.finished(exchange, seconds)
        text = b"".join(self.written).decode()
        return text.partition("ksproxyd.access: ")[2]

    def record(self, exchange: FakeExchange, seconds: float = 0.005) -> Any:
        self.written.clear()
        self.log.finished(exchange, seconds)
        return json.loads(b"".join(self.written))


class TestWhich:
    @pytest.mark.parametrize(
        ("mode", "status", "seconds", "written"),
        [
            ("errors", 200, 0.1, False),
            ("errors", 399, 0.1, False),
            ("errors", 400, 0.1, True),
            ("errors", 503, 0.1, True),
            ("errors", 200, 5.0, True),
            ("errors", 200, 4.999, False),
            ("errors", 499, 0.1, False),
            ("errors", 0, 0.1, False),
            ("errors", 0, 5.0, True),
            ("all", 200, 0.0, True),
            ("all", 0, 0.0, True),
            ("off", 500, 9.0, False),
        ],
    )
    def test_by_status_and_time(self, exchange: Make, mode: str, status: int, seconds: float, written: bool) -> None:
        assert bool(Access(mode).line(exchange(status=status), seconds)) is written

    @pytest.mark.parametrize(
        ("target", "status", "written"),
        [
            (b"/api/v1/pods?watch=1", 200, False),
            (b"/api/v1/pods?watch=1", 410, True),
            (b"/api/v1/namespaces/n/pods/p/log?follow=true", 200, False),
            (b"/api/v1/namespaces/n/pods/p/log", 200, True),
            (b"/api/v1/namespaces/n/pods/p/exec", 101, False),
        ],
    )
    def test_long_running_ones_are_not_slow(self, exchange: Make, target: bytes, status: int, written: bool) -> None:
        assert bool(Access().line(exchange(target=target, status=status), 3600.0)) is written

    def test_without_a_limit_nothing_is_slow(self, exchange: Make) -> None:
        assert not Access(slow=0).line(exchange(), 1e6)

    def test_a_reload_changes_it(self, exchange: Make) -> None:
        access = Access("off")
        access.log.apply(SimpleNamespace(access="all", slow=0))
        assert access.line(exchange())

    def test_nothing_is_made_of_what_is_not_written(self) -> None:
        class Untouchable:
            status = 200
            started = 0.0

            def __getattr__(self, name: str) -> object:
                raise AssertionError(f"{name} was looked at")

        Access().log.finished(Untouchable(), 0.1)  # type: ignore[arg-type]

    def test_the_clock_says_how_long_if_nobody_else_does(self, exchange: Make) -> None:
        access = Access()
        access.clock.advance(107.0)
        access.log.finished(exchange(started=100.0))
        assert b" 7000ms " in access.written[0]


class TestText:
    def test_begins_as_the_original_s(self, exchange: Make) -> None:
        request = exchange(target=b"/healthz?verbose", status=503, sent=42)
        assert Access().line(request, 0.0126) == (
            '192.0.2.7 - "GET /healthz?verbose HTTP/1.1" 503 42 13ms '
            "id=00c0ffee00c0ffee user=system:anonymous verb=GET\n"
        )

    def test_everything(self, exchange: Make) -> None:
        request = exchange(
            "POST",
            b"/clusters/member/api/v1/namespaces/ns1/pods/p1/log?a=b",
            status=502,
            received=10,
            user=Identity("alice smith", ()),
            node="cluster/member",
            upstream_seconds=0.25,
            notes={"reason": "connection refused", "tries": 2, "token": "QQQQ"},
        )
        assert Access().line(request, 0.3) == (
            '192.0.2.7 - "POST /clusters/member/api/v1/namespaces/ns1/pods/p1/log?a=b HTTP/1.1" 502 0 300ms '
            'id=00c0ffee00c0ffee user="alice smith" received=10 verb=create cluster=member version=v1 resource=pods '
            "subresource=log namespace=ns1 name=p1 upstream=cluster/member upstream_seconds=0.25 "
            'reason="connection refused" tries=2 token=[redacted]\n'
        )

    def test_a_request_that_was_not_classified(self, exchange: Make) -> None:
        assert "verb=" not in Access().line(exchange(info=None, status=400))

    def test_levels(self, exchange: Make) -> None:
        access = Access()
        access.line(exchange(status=404))
        assert b"Z INFO  ksproxyd.access: " in access.written[0]
        access.line(exchange(status=500))
        assert b"Z WARN  ksproxyd.access: " in access.written[0]

    def test_time_never_runs_backwards(self, exchange: Make) -> None:
        assert " 0ms " in Access("all").line(exchange(), -3.0)

    @given(st.binary(max_size=60), st.text(st.characters()), st.text(st.characters()))
    def test_nobody_forges_a_line_or_a_field(self, target: bytes, user: str, method: str) -> None:
        request = FakeExchange(status=404, node="n")
        request.target, request.method, request.user = b"/" + target, method, Identity(user)
        line = Access().line(request)
        assert line.count("\n") == 1 and line.endswith("\n")
        assert "\x1b" not in line
        # The request line is the first thing in quotes, and nothing in it ends them.
        if '"' not in method:
            assert line.split('"')[2].startswith(" 404 0 5ms id=00c0ffee00c0ffee")

    def test_a_quote_in_the_target_does_not_end_the_quotes(self, exchange: Make) -> None:
        line = Access().line(exchange(target=b'/x" 200 0 1ms user="root', info=None, status=404))
        assert '"GET /x%22 200 0 1ms user=%22root HTTP/1.1" 404' in line


class TestJSON:
    def test_everything(self, exchange: Make) -> None:
        request = exchange(
            target=b"/kapis/g.io/v1/workspaces/w/things/t?token=QQQQ&x=1",
            status=500,
            sent=9,
            node="apiservice/v1.g.io",
            upstream_seconds=0.0041234567,
        )
        assert Access(terminal=False).record(request, 0.0123456789) == {
            "time": "2023-11-14T22:13:20.250Z",
            "level": "warn",
            "logger": "ksproxyd.access",
            "message": "GET /kapis/g.io/v1/workspaces/w/things/t?token=[redacted]&x=1 500",
            "client": "192.0.2.7",
            "method": "GET",
            "url": "/kapis/g.io/v1/workspaces/w/things/t?token=[redacted]&x=1",
            "protocol": "HTTP/1.1",
            "status": 500,
            "sent": 9,
            "seconds": 0.012346,
            "id": "00c0ffee00c0ffee",
            "user": "system:anonymous",
            "verb": "get",
            "group": "g.io",
            "version": "v1",
            "resource": "things",
            "name": "t",
            "upstream": "apiservice/v1.g.io",
            "upstream_seconds": 0.004123,
        }

    def test_a_client_that_left(self, exchange: Make) -> None:
        record = Access("all", terminal=False).record(exchange(status=0))
        assert (record["status"], record["level"]) == (499, "info")

    @given(st.binary(max_size=60), st.text(st.characters()))
    def test_one_line_of_plain_json(self, target: bytes, user: str) -> None:
        access = Access("all", terminal=False)
        request = FakeExchange()
        request.target, request.user = target, Identity(user)
        access.record(request)
        [line] = access.written
        assert line.count(b"\n") == 1
        assert not any(c in line.decode() for c in "\x1b\u202e\u2028\x85\x9b\x7f")

    def test_a_long_target_is_cut(self, exchange: Make) -> None:
        record = Access("all", terminal=False).record(exchange(target=b"/" + b"x" * 10_000, info=None))
        assert len(record["url"]) == 4096


class TestSecrets:
    @pytest.mark.parametrize("terminal", [True, False])
    @pytest.mark.parametrize(
        "target",
        [
            b"/oauth/callback/x?code=QQQQ&state=1",
            b"/oauth/authorize?redirect_uri=https%3A%2F%2Fh%2F%3Ftoken%3DQQQQ",
            b"/x?a=1&ACCESS_TOKEN=QQQQ",
            b"http://u:QQQQ@h/x",
        ],
    )
    def test_are_not_written(self, exchange: Make, terminal: bool, target: bytes) -> None:
        access = Access("all", terminal=terminal)
        access.log.finished(exchange(target=target, info=None), 0.1)
        assert access.written
        assert b"QQQQ" not in access.written[0]

    def test_nor_in_notes(self, exchange: Make) -> None:
        notes = {"url": "https://h/?token=QQQQ", "password": "QQQQ", "why": "sent Bearer QQQQQQ"}
        line = Access().line(exchange(status=502, notes=notes))
        assert "QQQQ" not in line

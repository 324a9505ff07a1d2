"""What is kept of a session: events in the audit log, and a recording (spec 05, D15)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support_terminals import TerminalWorld, exit_status

from ksproxyd.audit.audit import Audit
from ksproxyd.audit.form import PREFIX

AUDITED = "auditing: {enable: true}"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Events of sessions, as the log is told of them."""
    found: list[Any] = []
    record = Audit.record

    def recording(self: Audit, event: Any) -> None:
        if PREFIX + "session" in (event.annotations or {}):
            found.append(event)
        record(self, event)

    monkeypatch.setattr(Audit, "record", recording)
    return found


def said(event: Any) -> dict[str, str]:
    return {name.removeprefix(PREFIX): value for name, value in event.annotations.items()}


def test_a_session_in_the_audit_log(told: list[Any]) -> None:
    world = TerminalWorld(more=AUDITED)
    try:
        browser = world.open()
        (began,) = told
        assert (began.user.name, began.client, began.status) == ("pa", "192.0.2.7", 101)
        place = said(began)
        assert {name: place[name] for name in ("terminal", "namespace", "pod", "container")} == {
            "terminal": "pod",
            "namespace": "n1",
            "pod": "web-0",
            "container": "app",
        }
        world.gateway.wait(2.0)
        world.exec.print(b"12345")
        world.exec.end(exit_status(3))
        world.gateway.wait(1.0)
        _, ended = told
        assert ended.id == began.id
        end = said(ended)
        assert (end["exit-code"], end["printed-bytes"], end["close-code"]) == ("3", "5", "1000")
        assert 2.0 <= float(end["seconds"]) < 5.0
        assert end["session"] == place["session"]
        browser.close()
    finally:
        world.close()


def test_a_session_that_is_revoked_says_so(told: list[Any]) -> None:
    world = TerminalWorld(more=AUDITED)
    try:
        browser = world.open()
        world.gateway.delete(world.stored("/apis/iam.kubesphere.io/v1beta1/namespaces/n1/rolebindings/pa"))
        world.gateway.wait(10.0)
        assert said(told[-1])["close-code"] == "4403"
        browser.close()
    finally:
        world.close()


def test_nothing_is_kept_where_nothing_is_to_be(told: list[Any]) -> None:
    world = TerminalWorld()
    try:
        world.open().close()
        world.gateway.wait(10.0)
        assert told == []
    finally:
        world.close()


def test_a_session_is_recorded(tmp_path: Path) -> None:
    world = TerminalWorld(f"recording: {{enabled: true, directory: {tmp_path}}}")
    try:
        browser = world.open()
        world.exec.print(b"$ ")
        world.exec.end(exit_status(0))
        world.gateway.wait(2.0)
        browser.close()
    finally:
        world.close()
    (path,) = tmp_path.iterdir()
    head, *events = [json.loads(line) for line in path.read_text().splitlines()]
    assert (head["version"], head["title"]) == (2, "pa: pod n1/web-0")
    assert [event[1:] for event in events] == [["o", "$ "]]

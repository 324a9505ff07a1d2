"""A webhook that stalls under load, with real sockets: clients notice nothing, memory is bounded, the rest arrives."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .process import Program, free_port, get, ksproxyd, until

WAITING = 500
"""Events that may wait."""


class Receiver:
    """Takes events; while ``stalled`` it reads them and does not answer."""

    def __init__(self) -> None:
        self.stalled = threading.Event()
        self.ids: set[str] = set()
        self.over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.stalled.is_set():
                    receiver.over.wait(60)
                    return
                receiver.take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def take(self, body: bytes) -> None:
        text, at = body.decode(), 0
        while at < len(text):
            event, at = json.JSONDecoder().raw_decode(text, at)
            self.ids.add(event["AuditID"])

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.stop()


def metrics(port: int) -> dict[str, float]:
    """What is exposed; a page is up to a second old."""
    status, body = get(f"http://127.0.0.1:{port}/metrics")
    assert status == 200
    lines = [line.rpartition(" ") for line in body.decode().splitlines() if line.startswith("ksproxyd_audit")]
    return {name: float(value) for name, _, value in lines}


def test_a_stalled_webhook(tmp_path: Path, receiver: Receiver) -> None:
    port, kube_port = free_port(), free_port()
    config = tmp_path / "ksproxyd.yaml"
    settings = {
        "authorization": {"mode": "AlwaysAllow"},
        "auditing": {
            "enable": True,
            "eventBatchSize": 20,
            "eventBatchInterval": "200ms",
            "webhookOptions": {"webhookUrl": receiver.url, "eventSendersNum": 4},
            "logOptions": {"path": str(tmp_path / "audit" / "audit.log")},
        },
        "ksproxyd": {
            "standalone": {"enabled": True, "listen": f"tcp:{kube_port}:interface=127.0.0.1"},
            "audit": {
                "queue": {"events": WAITING},
                "webhook": {"timeout": "1s", "retryFirst": "100ms", "retryMost": "500ms"},
            },
        },
    }
    config.write_text(json.dumps(settings))
    listen = f"tcp:{port}:interface=127.0.0.1"
    state = tmp_path / "state"
    state.mkdir()
    words = ["run", "--config", str(config), "--listen", listen, "--state-dir", str(state)]
    with Program(ksproxyd(*words), tmp_path) as p:
        until(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, "ready")

        def asked(count: int) -> float:
            """Of so many requests, what all but one in a hundred take at most, in seconds."""
            taken = []
            for _ in range(count):
                begun = time.perf_counter()
                assert get(f"http://127.0.0.1:{port}/version")[0] == 200
                taken.append(time.perf_counter() - begun)
            return sorted(taken)[count * 99 // 100]

        asked(100)
        until(lambda: len(receiver.ids) >= 100, "the first events")
        assert len(receiver.ids) == 100
        receiver.stalled.set()
        # A request that waited for the webhook would take its timeout, at least.
        assert asked(3 * WAITING) < 0.9
        time.sleep(1.1)
        stalled = metrics(port)
        assert stalled['ksproxyd_audit_queue_events{sink="webhook"}'] == WAITING
        assert stalled['ksproxyd_audit_dropped_total{reason="queue_full",sink="webhook"}'] == 2 * WAITING
        until(lambda: metrics(port)['ksproxyd_audit_failures_total{sink="webhook"}'] >= 3, "failures")
        receiver.stalled.clear()
        receiver.over.set()
        until(lambda: len(receiver.ids) == 100 + WAITING, "the rest")
        asked(30)
        until(lambda: len(receiver.ids) == 130 + WAITING, "what came after")
        time.sleep(1.1)
        found = metrics(port)
        assert found['ksproxyd_audit_queue_events{sink="webhook"}'] == 0
        assert found['ksproxyd_audit_delivered_total{sink="webhook"}'] == 130 + WAITING
        # The file has had nothing to do with it.
        assert found['ksproxyd_audit_dropped_total{reason="queue_full",sink="file"}'] == 0
        written = tmp_path / "audit" / "audit.log"
        until(lambda: len(written.read_text().splitlines()) == 130 + 3 * WAITING, "a line each")
        assert {"AuditID", "ObjectRef"} <= json.loads(written.read_text().splitlines()[0]).keys()
        p.signal(signal.SIGTERM)
        assert p.wait() == 0


def test_a_log_that_cannot_be_written_is_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = tmp_path / "ksproxyd.yaml"
    settings = {
        "authorization": {"mode": "AlwaysAllow"},
        "auditing": {"enable": True, "logOptions": {"path": str(tmp_path / "file" / "audit.log")}},
        "ksproxyd": {"standalone": {"enabled": True, "listen": f"tcp:{free_port()}:interface=127.0.0.1"}},
    }
    config.write_text(json.dumps(settings))
    words = ["run", "--config", str(config), "--listen", f"tcp:{free_port()}:interface=127.0.0.1"]
    with Program(ksproxyd(*words), tmp_path) as program:
        assert program.wait() == 1
        assert "auditing.logOptions.path cannot be written" in program.output()
        assert "Traceback" not in program.output()


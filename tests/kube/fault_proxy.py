"""A proxy between the gateway and kube-apiserver that can end or refuse every watch at once."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .cluster import Cluster

# Accept-Encoding too: what is relayed must be lines of JSON.
NOT_PASSED = {"connection", "keep-alive", "transfer-encoding", "host", "authorization", "accept-encoding", "te"}

GONE = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Failure",
    "message": "too old resource version",
    "reason": "Expired",
    "code": 410,
}


class FaultProxy:
    """Plain HTTP on a loopback port, passed on to the cluster as its ``token-admin``; for ``with``.

    Upgrades are not passed on. Between :meth:`expire_all` and :meth:`recover` every new watch is answered 410, by turns
    as the response's status and as an ERROR event, the two ways kube-apiserver has.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._lock = threading.Lock()
        self._open: set[_Watch] = set()
        self._refusing = False
        self.refused = 0
        self.lists = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self.end_watches()
        self._server.server_close()

    @property
    def watches(self) -> int:
        """How many watches are open now."""
        with self._lock:
            return len(self._open)

    def expire_all(self) -> int:
        """End the open watches with an ERROR event of 410 and refuse new ones; returns how many were ended."""
        with self._lock:
            self._refusing = True
        return self.end_watches()

    def recover(self) -> None:
        with self._lock:
            self._refusing = False

    def end_watches(self) -> int:
        with self._lock:
            ended = list(self._open)
        for watch in ended:
            watch.expire()
        return len(ended)

    def opened(self, watch: _Watch) -> None:
        with self._lock:
            self._open.add(watch)

    def closed(self, watch: _Watch) -> None:
        with self._lock:
            self._open.discard(watch)

    def refusal(self) -> str | None:
        """How to refuse a new watch now: ``"status"``, ``"event"`` or not at all."""
        with self._lock:
            if not self._refusing:
                return None
            self.refused += 1
            return "event" if self.refused % 2 == 0 else "status"

    def listed(self) -> None:
        with self._lock:
            self.lists += 1


class _Watch:
    """A watch on the cluster's side, whose end another thread may bring about."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self.socket = connection.sock  # http.client forgets it once a response has no length
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        # Ends the read that the handler's thread waits in. The peer may have ended it already.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The gateway closing its end of a watch is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def answer(self) -> None:
        proxy = self.server.proxy
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if self.command == "GET" and query.get("watch", ["false"])[0] not in ("false", "0"):
            refusal = proxy.refusal()
            if refusal == "status":
                self.send_json(410, GONE)
            elif refusal == "event":
                self.start_stream(200, "application/json")
                self.send_gone_event()
            else:
                self.relay_watch(proxy)
            return
        if self.command == "GET":
            proxy.listed()
        connection = proxy.cluster.api.connect()
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            connection.request(self.command, self.path, body or None, self.passed(proxy))
            response = connection.getresponse()
            self.send_whole(response.status, response.headers.get("Content-Type", ""), response.read())
        except (OSError, http.client.HTTPException) as error:
            self.send_whole(502, "text/plain", repr(error).encode())
        finally:
            connection.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

    def passed(self, proxy: FaultProxy) -> dict[str, str]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED}
        return {**headers, "Authorization": f"Bearer {proxy.cluster.token}"}

    def relay_watch(self, proxy: FaultProxy) -> None:
        connection = proxy.cluster.api.connect(timeout=3600)
        connection.connect()
        watch = _Watch(connection)
        proxy.opened(watch)
        try:
            connection.request("GET", self.path, headers=self.passed(proxy))
            response = connection.getresponse()
            if response.status != 200:
                self.send_whole(response.status, response.headers.get("Content-Type", ""), response.read())
                return
            self.start_stream(200, response.headers.get("Content-Type", ""))
            # An expired watch's connection is broken on purpose: what ends the reading does not matter.
            with contextlib.suppress(OSError, http.client.HTTPException):
                while line := response.readline():
                    self.send_chunk(line)
            if watch.expired:
                self.send_gone_event()
            else:
                self.send_chunk(b"")
        finally:
            proxy.closed(watch)
            connection.close()

    def send_gone_event(self) -> None:
        self.send_chunk(json.dumps({"type": "ERROR", "object": GONE}).encode() + b"\n")
        self.send_chunk(b"")

    def start_stream(self, status: int, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def send_json(self, status: int, content: Any) -> None:
        self.send_whole(status, "application/json", json.dumps(content).encode())

    def send_whole(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent: a test prints what it needs."""

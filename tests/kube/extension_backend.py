"""The backend of the extensions that tests declare: says what reached it, holds answers back, echoes tunnels."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

PIECE = b"piece of a held answer\n"
PIECES = 8


class ExtensionBackend:
    """An HTTP server on a loopback port, started and stopped by ``with``.

    * a path ending in ``/hold`` is answered only after :meth:`release`, with the body it was sent;
    * one ending in ``/drip`` starts its chunked answer at once and sends the second half of it after :meth:`release`;
    * a request to upgrade to ``echo`` becomes a tunnel that sends back what it gets;
    * anything else is answered with JSON that says what arrived.
    """

    def __init__(self) -> None:
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._held = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.backend = self
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> ExtensionBackend:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def held(self) -> int:
        """How many requests wait for :meth:`release` now."""
        with self._lock:
            return self._held

    def hold(self) -> None:
        self.released.clear()

    def release(self) -> None:
        self.released.set()

    def wait_for_release(self) -> None:
        with self._lock:
            self._held += 1
        try:
            if not self.released.wait(120):
                raise TimeoutError("the test never released the held requests")
        finally:
            with self._lock:
                self._held -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2048
    backend: ExtensionBackend

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is what some tests are about; their assertions are on the client's side."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self) -> None:
        backend = self.server.backend
        path = self.path.partition("?")[0]
        if self.headers.get("Upgrade", "").lower() == "echo":
            self.echo()
        elif path.endswith("/hold"):
            body = self.body()
            backend.wait_for_release()
            self.send(200, "application/octet-stream", body)
        elif path.endswith("/drip"):
            self.drip(backend)
        else:
            seen = {"method": self.command, "target": self.path, "headers": self.headers.items()}
            self.body()
            self.send(200, "application/json", json.dumps(seen).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Served-By", "extension-backend")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drip(self, backend: ExtensionBackend) -> None:
        self.body()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(PIECES):
            if number == PIECES // 2:
                backend.wait_for_release()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
        self.wfile.write(b"0\r\n\r\n")

    def echo(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(65536):
            self.connection.sendall(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent: a test prints what it needs."""

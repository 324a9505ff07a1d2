"""A client for a server at some URL, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from contract.client import Answer, Client, Watch

#: Seconds: for an answer or an event that has to come, and for one that should not.
PATIENCE = 20.0
MOMENT = 0.5


class HttpClient(Client):
    """Talks to ``url`` with a bearer ``token``; ``ca_pem`` verifies an https server."""

    def __init__(self, url: str, token: str, ca_pem: bytes = b"") -> None:
        self._parts = urlsplit(url)
        self._token = token
        self._context = ssl.create_default_context(cadata=ca_pem.decode()) if ca_pem else None

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=PATIENCE)

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str] | None) -> Any:
        connection = self._connect()
        fields = {"Authorization": f"Bearer {self._token}", "User-Agent": "contract/1", **(headers or {})}
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if body is not None:
            fields.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, fields)
        return connection, connection.getresponse()

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection, response = self._send(method, path, body, headers)
        try:
            text = response.read().decode()
        finally:
            connection.close()
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        return Answer(response.status, _joined(response), value, text)

    def watch(self, path: str, headers: dict[str, str] | None = None) -> HttpWatch:
        return HttpWatch(*self._send("GET", path, None, headers))

    def eventually(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.05)


class HttpWatch(Watch):
    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        assert connection.sock is not None or response.fp is not None
        self._connection = connection
        self._response = response
        self._socket = connection.sock
        self.status = response.status
        self.headers = _joined(response)

    def _line(self, patience: float) -> bytes | None:
        """The next line; empty at the end, None if nothing comes."""
        if self._socket is not None:
            self._socket.settimeout(patience)
        try:
            return self._response.readline()
        except TimeoutError:
            return None

    def take(self, count: int) -> list[dict[str, Any]]:
        found = []
        for _ in range(count):
            line = self._line(PATIENCE)
            assert line, f"{count} events were expected, {len(found)} came"
            found.append(json.loads(line))
        return found

    def quiet(self) -> bool:
        line = self._line(MOMENT)
        self.close()
        return line is None

    def ended(self) -> bool:
        return self._line(PATIENCE) == b""

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def _joined(response: http.client.HTTPResponse) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found

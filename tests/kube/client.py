"""A blocking client of the Kubernetes API for tests, which owes nothing to the code under test."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPMessage
from typing import Any
from urllib.parse import urlencode, urlsplit

Object = dict[str, Any]
"""A Kubernetes object, decoded."""


class ApiError(Exception):
    """The API server refused; ``status`` is the Status object it sent, or the text of the body."""

    def __init__(self, code: int, status: Any) -> None:
        super().__init__(f"{code}: {status.get('message', status) if isinstance(status, dict) else status}")
        self.code = code
        self.status = status


class ApiClient:
    """Requests to one server, one connection a thread. ``url`` may be http or https."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None, token: str = "", timeout: float = 30.0) -> None:
        self.url = url
        self._context = context
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._local = threading.local()

    def connect(self, timeout: float | None = None) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        timeout = self._timeout if timeout is None else timeout
        if parts.scheme == "https":
            return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=self._context)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)

    def exchange(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, HTTPMessage, bytes]:
        """One request on this thread's connection: status, header fields, body. A dead idle connection is replaced."""
        sent = {**self._headers, **(headers or {})}
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            try:
                return self._exchange(connection, method, path, body, sent)
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
                connection.close()
        connection = self._local.connection = self.connect()
        return self._exchange(connection, method, path, body, sent)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[int, HTTPMessage, bytes]:
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except BaseException:
            connection.close()
            raise

    def request(self, method: str, path: str, content: Any = None, content_type: str = "application/json") -> Object:
        """Like :meth:`exchange` for JSON; raises :class:`ApiError` for anything but a 2xx."""
        body = None if content is None else json.dumps(content).encode()
        headers = {"Accept": "application/json", **({"Content-Type": content_type} if body is not None else {})}
        code, _, answer = self.exchange(method, path, body, headers)
        try:
            decoded = json.loads(answer) if answer else {}
        except ValueError:
            decoded = {"message": answer.decode(errors="replace")}
        if not 200 <= code < 300:
            raise ApiError(code, decoded)
        return decoded

    def get(self, path: str) -> Object:
        return self.request("GET", path)

    def create(self, path: str, manifest: Object) -> Object:
        return self.request("POST", path, manifest)

    def patch(self, path: str, change: Any) -> Object:
        """A JSON merge patch."""
        return self.request("PATCH", path, change, "application/merge-patch+json")

    def delete(self, path: str) -> Object:
        return self.request("DELETE", path)

    def watch(self, path: str, resource_version: str = "", seconds: int = 300) -> Watch:
        """Follow a collection from now, or from ``resource_version``, for at most ``seconds``."""
        query = {"watch": "1", "timeoutSeconds": str(seconds)}
        if resource_version:
            query["resourceVersion"] = resource_version
        connection = self.connect(timeout=seconds + 10)
        connection.connect()
        return Watch(connection, f"{path}?{urlencode(query)}", self._headers)


class Watch:
    """Events of a collection, each as it arrives; iterate in one thread, :meth:`close` from any."""

    def __init__(self, connection: http.client.HTTPConnection, target: str, headers: Mapping[str, str]) -> None:
        self._socket = connection.sock
        self._connection = connection
        self._closed = False
        connection.request("GET", target, headers=dict(headers))
        self._response = connection.getresponse()
        if self._response.status != 200:
            raise ApiError(self._response.status, self._response.read().decode(errors="replace"))

    def __iter__(self) -> Iterator[Object]:
        try:
            while line := self._response.readline():
                yield json.loads(line)
        except (OSError, http.client.HTTPException):
            if not self._closed:
                raise
        finally:
            self._connection.close()

    def close(self) -> None:
        """End the iteration, wherever it waits."""
        self._closed = True
        with contextlib.suppress(OSError):  # the server may have ended it already
            self._socket.shutdown(socket.SHUT_RDWR)

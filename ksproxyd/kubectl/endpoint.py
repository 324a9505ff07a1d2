"""Requests to a gateway's OAuth endpoints, one after the other."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

#: Seconds that an answer may take.
TIMEOUT = 30.0

_LARGEST = 1024 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Unusable(Exception):
    """The gateway cannot be asked, or answers what it should not. The text is for a person."""


class Reply(NamedTuple):
    """``body`` is a JSON object, empty where there was none."""

    status: int
    body: dict[str, Any]

    @property
    def error(self) -> str:
        """The error of RFC 6749, 5.2, if it is one."""
        error = self.body.get("error")
        return error if isinstance(error, str) else ""

    def text(self, name: str) -> str:
        """A member that is a text; empty for others."""
        value = self.body.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str, default: int) -> int:
        """A member that is a whole number from 0."""
        value = self.body.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        # A token goes to the address that it was meant for, or nowhere.
        return None


class Endpoint:
    """The gateway at ``server``. ``ca`` is a PEM file with its authorities; empty: the system's.

    Raises :class:`Unusable` for an address that tokens must not be sent to.
    """

    def __init__(self, server: str, ca: str = "") -> None:
        self.server = check_server(server)
        try:
            context = ssl.create_default_context(cafile=ca or None)
        except (OSError, ssl.SSLError) as error:
            raise Unusable(f"the authorities in {ca} cannot be read: {error}") from None
        self._opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context))

    def post(self, path: str, fields: dict[str, str]) -> Reply:
        """Send a form. Raises :class:`Unusable`."""
        body = urllib.parse.urlencode(fields).encode("ascii")
        return self._send(urllib.request.Request(self.server + path, body, {"Accept": "application/json"}))

    def get(self, path: str, token: str) -> Reply:
        """Ask with a bearer token. Raises :class:`Unusable`."""
        headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
        return self._send(urllib.request.Request(self.server + path, headers=headers))

    def _send(self, request: urllib.request.Request) -> Reply:
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return _read(answer.status, answer.read(_LARGEST))
        except urllib.error.HTTPError as error:
            with error:
                return _read(error.code, error.read(_LARGEST))
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Unusable(f"{self.server} cannot be asked: {reason}") from None


def check_server(server: str) -> str:
    """``server`` as the beginning of addresses. Raises :class:`Unusable`."""
    try:
        parts = urllib.parse.urlsplit(server)
        port = parts.port
    except ValueError:
        raise Unusable(f"{server!r} is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise Unusable(f"{server!r} is no URL of a gateway, such as https://ks.example.org")
    if parts.username is not None:
        raise Unusable("a name and a password do not belong into the URL; the browser will ask for them")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise Unusable(f"{server}: tokens are only sent over https, other than to this machine")
    return server.rstrip("/")


def _read(status: int, body: bytes) -> Reply:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = {}
    return Reply(status, found if isinstance(found, dict) else {})

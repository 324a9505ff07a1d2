"""Redirects: a ReverseProxy or APIService that answers with another address, and backends that must not.

The rule is written by the object's author; of the request only the path, the query and the host by which the client
itself has addressed the gateway go into the answer, and the path never so that it could name another host.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

import msgspec

from ksproxyd.model.message import Response
from ksproxyd.model.percent import PATH_SAFE, QUERY_SAFE, quote, requote, unquote
from ksproxyd.model.status import StatusError, bad_gateway, bad_request
from ksproxyd.server.client_address import Addressed, client_facing

STATUSES = (301, 302, 307, 308)

# Browsers read a backslash as a slash, and an address that begins with two of either as one of another host.
_LEADING = re.compile(rb"[/\\]+")
_OWN_PORTS = {b"http": 80, b"https": 443}


class RedirectRule(msgspec.Struct, frozen=True):
    """``spec.redirect``, checked; names and meaning as in Gateway API's HTTPRequestRedirectFilter.

    At most one of ``full_path`` and ``prefix_path`` is set. ``port`` 0 is the scheme's own. With ``https_only`` only
    requests that came without TLS are redirected.
    """

    scheme: str = ""
    hostname: str = ""
    port: int = 0
    full_path: str | None = None
    prefix_path: str | None = None
    status: int = 302
    https_only: bool = False


class Redirectable(Addressed, Protocol):
    """The part of an exchange that is looked at."""

    path: bytes
    query: bytes

    @property
    def has_query(self) -> bool: ...


class Redirect:
    """``rule`` for the requests below ``prefix``, the decoded path that the object is found by (without its ``*``)."""

    __slots__ = ("_full", "_hostname", "_prefix", "_replacement", "_rule", "_scheme")

    def __init__(self, rule: RedirectRule, prefix: str) -> None:
        self._rule = rule
        self._prefix = prefix.rstrip("/").encode()
        self._full = None if rule.full_path is None else requote(rule.full_path.encode())
        self._replacement = None if rule.prefix_path is None else requote(rule.prefix_path.encode())
        scheme = rule.scheme or ("https" if rule.https_only else "")
        self._scheme = scheme.encode("ascii")
        self._hostname = rule.hostname.encode("ascii")

    def answer(self, exchange: Redirectable) -> Response | None:
        """The redirect for ``exchange``, or None where the rule leaves it to the upstream.

        :raises StatusError: 400 where the address needs the request's host and it has none.
        """
        rule = self._rule
        scheme, host = client_facing(exchange)
        if rule.https_only and scheme == b"https":
            return None
        location = self._path(exchange.path)
        if exchange.has_query:
            location += b"?" + requote(exchange.query, QUERY_SAFE)
        if self._scheme or self._hostname or rule.port:
            location = self._authority(scheme, host) + location
        text = f"{rule.status} {HTTPStatus(rule.status).phrase}: {location.decode('ascii')}\n"
        return Response.text(rule.status, text, [(b"Location", location)])

    def _authority(self, scheme: bytes, host: bytes) -> bytes:
        name = self._hostname or _without_port(host)
        if not name:
            raise bad_request("a Host field is needed to say where this has moved")
        scheme = self._scheme or scheme
        port = self._rule.port
        if port in (0, _OWN_PORTS[scheme]):
            return scheme + b"://" + name
        return b"%b://%b:%d" % (scheme, name, port)

    def _path(self, path: bytes) -> bytes:
        if self._full is not None:
            path = self._full
        elif self._replacement is not None:
            path = self._replaced(path, self._replacement)
        # Quoting also keeps backslashes, line ends and whatever else is no path out of the address.
        return requote(_LEADING.sub(b"/", b"/" + path, count=1))

    def _replaced(self, path: bytes, replacement: bytes) -> bytes:
        prefix = self._prefix
        if path.startswith(prefix):
            rest = path[len(prefix) :]
        else:
            # The prefix was written with escapes; what is behind it cannot be told from the decoded path byte for
            # byte, so it is escaped anew.
            try:
                decoded = unquote(path)
            except ValueError:
                return path
            if not decoded.startswith(prefix):
                return path
            rest = quote(decoded[len(prefix) :], PATH_SAFE)
        return replacement.rstrip(b"/") + rest if rest.startswith(b"/") else replacement + rest


def refuse_redirect(name: str, status: int, location: bytes | None) -> StatusError | None:
    """The 502 for an answer of upstream ``name`` that redirects, where ``rejectForwardingRedirects`` says so."""
    if location is None or not 300 <= status < 400 or status == 304:
        return None
    return bad_gateway(
        f"Error while proxying request: upstream {name} answered with a redirect ({status}), "
        "which its rejectForwardingRedirects does not let through"
    )


def _without_port(host: bytes) -> bytes:
    if host.endswith(b"]"):
        return host
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host

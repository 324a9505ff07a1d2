"""Errors as Kubernetes ``Status`` objects: the one shape in which ksproxyd says no.

Whoever handles a request raises a :class:`StatusError`; the gateway renders it with :func:`render`, in the form the
client asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.query import TRUE, parameter

if TYPE_CHECKING:
    from ksproxyd.model.identity import Identity
    from ksproxyd.model.request_info import RequestInfo


class StatusError(Exception):
    """A request that is answered with an error.

    ``code`` is the HTTP status, ``reason`` the machine-readable word of Kubernetes, ``message`` says to a person what
    is wrong and what to do. ``details`` is the object of that name in a Status; ``retry_after`` are seconds;
    ``headers`` are sent besides the ones rendering adds.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(code, reason, message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after
        self.headers: Pairs = list(headers)

    def __str__(self) -> str:
        return f"{self.code} {self.reason}: {self.message}"

    def status_object(self) -> dict[str, Any]:
        """The error as a ``v1`` Status, keys in the order Kubernetes writes them."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        details = self.details
        if self.retry_after is not None:
            details = {**(details or {}), "retryAfterSeconds": self.retry_after}
        if details is not None:
            status["details"] = details
        status["code"] = self.code
        return status


def bad_request(message: str) -> StatusError:
    """400: what the client sent cannot be meant."""
    return StatusError(400, "BadRequest", message)


def unauthorized(message: str) -> StatusError:
    """401: nobody knows who is asking."""
    return StatusError(401, "Unauthorized", message)


def forbidden(message: str, details: dict[str, Any] | None = None) -> StatusError:
    """403; its ``details`` are always present, empty if nothing is known (see :func:`denied`)."""
    return StatusError(403, "Forbidden", message, {} if details is None else details)


def not_found(message: str, details: dict[str, Any] | None = None) -> StatusError:
    """404."""
    return StatusError(404, "NotFound", message, details)


def method_not_allowed(allow: list[str]) -> StatusError:
    """405 with the methods that would do."""
    allowed = ", ".join(allow)
    header = (b"Allow", allowed.encode("latin-1"))
    return StatusError(405, "MethodNotAllowed", f"the method is not allowed here, use {allowed}", headers=[header])


def conflict(message: str, details: dict[str, Any] | None = None) -> StatusError:
    """409: the object is not what the client thinks it is."""
    return StatusError(409, "Conflict", message, details)


def gone(message: str) -> StatusError:
    """410 ``Expired``: a resource version or continue token that is too old; list again."""
    return StatusError(410, "Expired", message)


def too_large(message: str) -> StatusError:
    """413."""
    return StatusError(413, "RequestEntityTooLarge", message)


def too_many_requests(message: str, retry_after: int) -> StatusError:
    """429; come back in ``retry_after`` seconds."""
    return StatusError(429, "TooManyRequests", message, retry_after=retry_after)


def internal(message: str) -> StatusError:
    """500: ours to mend."""
    return StatusError(500, "InternalError", message)


def bad_gateway(message: str) -> StatusError:
    """502: an upstream cannot be reached or does not speak HTTP."""
    return StatusError(502, "Bad Gateway", message)


def service_unavailable(message: str, retry_after: int | None = None) -> StatusError:
    """503; come back in ``retry_after`` seconds if that is known."""
    return StatusError(503, "ServiceUnavailable", message, retry_after=retry_after)


def gateway_timeout(message: str) -> StatusError:
    """504: an upstream took too long."""
    return StatusError(504, "Timeout", message)


# -- denials ---------------------------------------------------------------------------------------------------


def forbidden_message(user: Identity, info: RequestInfo) -> tuple[str, dict[str, str]]:
    """What a 403 says to ``user`` about the request ``info``: the message and the ``details`` of the Status.

    The words are the ones of kube-apiserver, which ``kubectl`` and KubeSphere's console show as they are.
    """
    who = _sanitised(f"User {_quoted(user.name)} cannot {info.verb}")
    if not info.is_resource:
        return f"forbidden: {who} path {_sanitised(_quoted(info.path))}", {}
    what = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    where = f"in the namespace {_quoted(info.namespace)}" if info.namespace else "at the cluster scope"
    resource = f"{info.resource}.{info.api_group}" if info.api_group else info.resource
    subject = f"{resource} {_quoted(info.name)}" if info.name else resource
    rest = _sanitised(f"resource {_quoted(what)} in API group {_quoted(info.api_group)} {where}")
    details = {"name": info.name, "group": info.api_group, "kind": info.resource}
    return f"{subject} is forbidden: {who} {rest}", {key: value for key, value in details.items() if value}


def denied(user: Identity, info: RequestInfo, why: str = "") -> StatusError:
    """The 403 for a request that authorization refused; ``why`` is appended to the message."""
    message, details = forbidden_message(user, info)
    return forbidden(f"{message}: {why}" if why else message, details)


def _sanitised(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    """``text`` in double quotes as Go's ``%q`` writes it."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    if text.isprintable():
        return f'"{text}"'
    return '"' + "".join(c if c.isprintable() else _escaped(ord(c)) for c in text) + '"'


def _escaped(code: int) -> str:
    if code in _SHORT:
        return _SHORT[code]
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SHORT = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}


# -- rendering -------------------------------------------------------------------------------------------------

_JSON = b"application/json"
_YAML = b"application/yaml"
_BROWSERS = (b"curl", b"Wget", b"Mozilla/5.0")
_NOSNIFF = (b"X-Content-Type-Options", b"nosniff")


def render(error: StatusError, accept: bytes | None, user_agent: bytes | None, query: bytes) -> Response:
    """``error`` as an answer to a request with these ``Accept`` and ``User-Agent`` fields and this raw query.

    The media type is negotiated as in kube-apiserver: JSON or YAML; for a client that accepts neither (or only
    protobuf) it is indented JSON. JSON is compact and ends with a newline, or indented by two spaces without one:
    ``?pretty=`` decides, and if that is absent whether a person seems to look (curl, Wget, a browser).
    """
    media = _negotiated(accept)
    headers: Pairs = [(b"Content-Type", media or _JSON), _NOSNIFF, *error.headers]
    if error.retry_after is not None:
        headers.append((b"Retry-After", b"%d" % error.retry_after))
    status = error.status_object()
    try:
        body = msgspec.json.encode(status)
    except UnicodeEncodeError:
        # A lone surrogate (from a decoded name, say) has no UTF-8 form.
        body = json.dumps(status, ensure_ascii=False).encode("utf-8", "replace")
    if media == _YAML:
        text = yaml.dump(msgspec.json.decode(body), Dumper=_Dumper, allow_unicode=True, width=1 << 30)
        return Response(error.code, headers, text.encode())
    for plain, escaped in _HTML:
        body = body.replace(plain, escaped)
    if media is None or _pretty(user_agent, query):
        body = msgspec.json.format(body, indent=2)
    else:
        body += b"\n"
    return Response(error.code, headers, body)


_Dumper: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

#: JSON that is safe inside HTML and JavaScript. None of these bytes occurs outside strings.
_HTML = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


def _pretty(user_agent: bytes | None, query: bytes) -> bool:
    asked = parameter(query, "pretty")
    if asked:
        return asked in TRUE
    return user_agent is not None and user_agent.startswith(_BROWSERS)


def _negotiated(accept: bytes | None) -> bytes | None:
    """The media type for an ``Accept`` field (RFC 9110, 12.5.1), None if none of ours is accepted."""
    if not accept or accept == b"*/*":
        return _JSON
    clauses: list[tuple[float, bytes]] = []
    for clause in accept.split(b","):
        media, *params = [part.strip() for part in clause.split(b";")]
        quality = 1.0
        for param in params:
            key, _, value = param.partition(b"=")
            if key.strip().lower() == b"q":
                quality = _quality(value.strip())
            elif key.strip().lower() == b"as" and value.strip():
                # A Status cannot become a Table or PartialObjectMetadata.
                quality = 0.0
        if quality > 0.0:
            clauses.append((quality, media.lower()))
    clauses.sort(key=lambda clause: -clause[0])
    for _, media in clauses:
        if media in _OURS:
            return _OURS[media]
    return None


_OURS = {_JSON: _JSON, _YAML: _YAML, b"application/*": _JSON, b"*/*": _JSON}


def _quality(value: bytes) -> float:
    """A weight; one that is not a number from 0 to 1 counts as absent."""
    try:
        quality = float(value)
    except ValueError:
        return 1.0
    return quality if 0.0 <= quality <= 1.0 else 1.0

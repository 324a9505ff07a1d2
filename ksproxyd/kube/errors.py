"""What goes wrong between us and an API server."""

from __future__ import annotations

from typing import Any

import msgspec

#: Reasons that Kubernetes gives for the codes that come without a Status body (a load balancer's, say).
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

#: So much of a body that is not a Status is shown in a message.
EXCERPT = 200


class AccessError(Exception):
    """There is no usable way to the API server. Its text is one line that says what is wrong and where."""


class KubeError(Exception):
    """An API server refused, or could not be asked (:class:`KubeUnreachable`).

    ``status_object`` is the Kubernetes ``Status``; ``retry_after`` is the wait in seconds the server asked for.
    """

    def __init__(self, status_object: dict[str, Any], retry_after: float | None = None) -> None:
        self.status_object = status_object
        code = status_object.get("code")
        self.code: int = code if isinstance(code, int) else 500
        self.reason: str = str(status_object.get("reason") or REASONS.get(self.code, ""))
        self.message: str = str(status_object.get("message") or self.reason)
        self.retry_after = retry_after
        super().__init__(f"{self.code} {self.reason}: {self.message}")

    @property
    def expired(self) -> bool:
        """The resource version or the continue token is too old to go on from."""
        return self.code == 410 or self.reason in ("Expired", "Gone")

    @property
    def version_too_new(self) -> bool:
        """The server has not (or no longer) reached the resource version we asked for."""
        details = self.status_object.get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        if isinstance(causes, list) and any(
            isinstance(cause, dict) and cause.get("reason") == "ResourceVersionTooLarge" for cause in causes
        ):
            return True
        return "too large resource version" in self.message.lower()


class KubeUnreachable(KubeError):
    """No usable answer came: the connection failed, timed out, or what came was not the Kubernetes API.

    ``kind`` is the transport's word for it (``connect``, ``tls``, ``timeout``, ``protocol``, ``closed``...), or
    ``content`` for an answer that is not what an API server says, or ``silent`` for a watch that went mute. ``detail``
    is for the log and may hold addresses.
    """

    def __init__(self, message: str, kind: str, detail: str = "") -> None:
        code, reason = (504, "Timeout") if kind == "timeout" else (502, "BadGateway")
        super().__init__(failure_status(code, reason, message))
        self.kind = kind
        self.detail = detail or message


def failure_status(code: int, reason: str, message: str) -> dict[str, Any]:
    """A Kubernetes ``Status`` object that says a request failed."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def error_from_answer(code: int, body: bytes, retry_after: bytes | None = None) -> KubeError:
    """The error that an answer with a status other than 2xx means, whether or not its body is a Status."""
    wait = parse_retry_after(retry_after)
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = None
    if isinstance(decoded, dict) and decoded.get("kind") == "Status":
        return KubeError({**decoded, "code": code}, wait)
    excerpt = " ".join(body[: EXCERPT * 4].decode("utf-8", "replace").split())[:EXCERPT]
    message = f"the server answered {code}" + (f": {excerpt}" if excerpt else "")
    return KubeError(failure_status(code, REASONS.get(code, "Unknown"), message), wait)


def parse_retry_after(value: bytes | None) -> float | None:
    """The seconds of a ``Retry-After`` field; the date form, which API servers do not send, counts as 1 s."""
    if value is None:
        return None
    return float(value) if value.isdigit() and len(value) < 7 else 1.0

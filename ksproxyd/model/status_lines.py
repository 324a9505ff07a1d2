"""Status lines, ready to send."""

from __future__ import annotations

from http import HTTPStatus

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_PHRASES.update({413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"})

STATUS_LINES: dict[int, bytes] = {
    code: f"HTTP/1.1 {code} {phrase}\r\n".encode("ascii") for code, phrase in _PHRASES.items()
}


def status_line(code: int) -> bytes:
    """The status line for ``code``; an unregistered code has an empty phrase (RFC 9112, 4)."""
    return STATUS_LINES.get(code) or f"HTTP/1.1 {code} \r\n".encode("ascii")

"""Small answers that several endpoints give."""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.model.message import Pairs
from ksproxyd.standalone.wire.request import Reply


def encoded(value: Any) -> bytes:
    """A value as JSON with the newline that Kubernetes puts behind it."""
    return msgspec.json.encode(value) + b"\n"


def text(status: int, words: str) -> Reply:
    """A plain text answer."""
    headers: Pairs = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"X-Content-Type-Options", b"nosniff")]
    return Reply(status, headers, words.encode())


def no_such_path() -> Reply:
    """404 for a path outside every group and version."""
    return text(404, "404 page not found\n")


def warnings(texts: list[str]) -> Pairs:
    """``Warning`` fields as kube-apiserver sends them (RFC 7234, 5.5, code 299)."""
    fields = []
    for each in texts:
        quoted = each.replace("\\", "\\\\").replace('"', '\\"')
        fields.append((b"Warning", f'299 - "{quoted}"'.encode("ascii", "backslashreplace")))
    return fields

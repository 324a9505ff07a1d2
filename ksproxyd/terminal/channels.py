"""The channels of an exec, one in the first byte of each binary message (spec 05, 10.3)."""

from __future__ import annotations

import json

STDIN, STDOUT, STDERR, STATUS, SIZE, CLOSE = 0, 1, 2, 3, 4, 255

#: What we can speak, best first: the first one can end a channel.
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
OFFERED = (V5, V4)

#: Most bytes in one message to the cluster; what serves it reads with buffers of this size.
PIECE = 32 * 1024


def stdin(data: bytes) -> list[bytes]:
    """Messages that carry ``data`` to the process, in order; none for no data."""
    return [b"\x00" + data[at : at + PIECE] for at in range(0, len(data), PIECE)]


def resize(columns: int, rows: int) -> bytes:
    """The message that tells the size of the window."""
    return b"\x04" + json.dumps({"Width": columns, "Height": rows}, separators=(",", ":")).encode() + b"\n"


#: The message that ends stdin, with :data:`V5` only.
END_OF_STDIN = bytes([CLOSE, STDIN])

"""What a client may send and how long it may take."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Sizes in bytes (0 = no limit where said), times in seconds."""

    target_bytes: int = 16384
    head_bytes: int = 131072
    header_count: int = 200
    #: Largest request body, 0 = no limit.
    body_bytes: int = 0
    connections: int = 20000
    #: Requests of one connection that may wait behind the one being answered.
    pipelined: int = 16
    #: Unread rest of a refused request's body that is read and dropped to keep the connection.
    drained_bytes: int = 262144


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds."""

    #: From a request's first byte to the end of its head.
    header: float = 10.0
    #: A connection without a request.
    idle: float = 120.0
    #: No byte of a request body that is being waited for.
    body: float = 60.0
    #: No progress towards a client that does not read.
    write: float = 60.0
    #: How long a connection that is being closed may still send, so that it reads our answer.
    linger: float = 2.0
    #: The TLS handshake.
    tls_handshake: float = 10.0

"""What is recorded of a request, before it is written in one form or another.

An event holds what it takes to write it later, and nothing that keeps the request itself alive: most of it is shared
with other requests (what the path means, who the user is) and costs nothing to keep.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo

#: How much is recorded of a request, from the least to the most.
LEVELS = ("None", "Metadata", "Request", "RequestResponse")

#: Where a request was when an event was made: its connection has just become a tunnel; it is over.
STARTED, COMPLETE = "ResponseStarted", "ResponseComplete"

#: What an event weighs beside its texts and bodies, in bytes: the object itself and most of what it becomes.
WEIGHT = 1536


class Body(msgspec.Struct, gc=False):
    """A body as it passed: ``data`` is empty where ``left_out`` says why nothing was kept."""

    data: bytes
    content_type: bytes = b""
    encoding: bytes = b""
    size: int = 0
    left_out: str = ""


class Event(msgspec.Struct, gc=False):
    """One record. Times are seconds of the epoch; ``target`` is path and query as they were sent.

    ``name`` stands for the object's where the path does not have it, ``verb`` for what the request turned out to do.
    ``annotations`` are texts by name. ``message`` says why a request was refused. Made with every text as it came:
    whoever writes the event hides secrets in it.
    """

    level: str
    stage: str
    info: RequestInfo
    verb: str
    target: bytes
    user: Identity
    client: str
    agent: bytes
    status: int
    received: float
    at: float
    workspace: str = ""
    cluster: str = ""
    name: str = ""
    message: str = ""
    id: str = ""
    #: The request went to a member cluster, whose objects it is about.
    member: bool = False
    annotations: dict[str, str] | None = None
    request: Body | None = None
    response: Body | None = None
    #: The event as it is sent, once somebody has written it.
    written: bytes | None = None
    #: Roughly the memory that it takes, in bytes; does not change.
    weight: int = 0

    def weigh(self) -> int:
        """Set and return :attr:`weight`."""
        weight = WEIGHT + len(self.target) + len(self.agent) + len(self.message)
        if self.request is not None:
            weight += 2 * len(self.request.data)
        if self.response is not None:
            weight += 2 * len(self.response.data)
        if self.annotations is not None:
            weight += sum(len(name) + len(value) for name, value in self.annotations.items())
        self.weight = weight
        return weight


class Place(msgspec.Struct, frozen=True):
    """Who records: the host's name and address."""

    host_name: str = ""
    host_ip: str = ""


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def moment(seconds: float) -> str:
    """RFC 3339 in UTC, to the microsecond. Requests come many in a second, so seconds are remembered."""
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_second(whole)}.{micros:06d}Z"

"""What is spoken with a browser, by the subprotocol it has offered (spec 05, 7).

::

    none                      JSON messages (:mod:`.messages`)
    ksproxyd.json             the same, and the page is told how to come back to its session
    v5.channel.k8s.io, v4.…   binary messages as Kubernetes has them: the first byte names the channel
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from ksproxyd.terminal import channels, messages
from ksproxyd.terminal.decoding import Output
from ksproxyd.terminal.exit_status import EXITED, Ended
from ksproxyd.terminal.messages import Ignored, Malformed, Message, Stdin

#: The subprotocol of pages that come back to their session when a connection breaks.
RETURNING = "ksproxyd.json"

#: In front of what :data:`RETURNING` pages were told, offered as one more subprotocol: URLs end up in logs.
RESUME = "ksproxyd.resume."

#: Subprotocols that are selected, if offered; what is not among them is never selected.
KNOWN = (RETURNING, channels.V5, channels.V4)


class EndOfInput(NamedTuple):
    """Nothing more will be typed."""


class Dialect(Protocol):
    """One browser's way to speak. What :meth:`output` and the others return is for one message: text or binary."""

    returning: bool

    def parse(self, payload: bytes) -> Message | EndOfInput:
        """What a browser has said. Raises :class:`~ksproxyd.terminal.messages.Malformed`."""

    def session(self, credential: str) -> str | bytes:
        """How to come back; empty if this browser cannot."""

    def established(self) -> str | bytes:
        """The process may be typed to."""

    def output(self, data: bytes) -> str | bytes:
        """Output of the process; empty if nothing can be told yet."""

    def rest(self) -> str | bytes:
        """There is no more output; empty if nothing was held back."""

    def toast(self, text: str) -> str | bytes:
        """A line about the session; empty if there is no place for it."""

    def status(self, result: Ended | None, text: str) -> str | bytes:
        """How it ended: the process's end, or None and a reason in ``text``; empty if there is no place for it."""


def select(offered: Iterable[str]) -> str:
    """The subprotocol to answer with: the first of ours that is offered; empty if there is none."""
    return next((each for each in offered if each in KNOWN), "")


def resume_of(offered: Iterable[str]) -> str:
    """What a page that comes back brings (:data:`RESUME`); empty if it does not come back."""
    names = tuple(offered)
    if select(names) != RETURNING:
        return ""
    return next((each.removeprefix(RESUME) for each in names if each.startswith(RESUME)), "")


def dialect(protocol: str) -> Dialect:
    """The dialect of what :func:`select` has returned. Each connection has its own."""
    return Channels() if protocol in channels.OFFERED else Json(protocol == RETURNING)


class Json:
    """JSON messages with text."""

    def __init__(self, returning: bool) -> None:
        self.returning = returning
        self._decoder = Output()

    def parse(self, payload: bytes) -> Message | EndOfInput:
        return messages.parse(payload)

    def session(self, credential: str) -> str | bytes:
        return messages.session(credential) if self.returning else ""

    def established(self) -> str | bytes:
        return messages.stdout("")

    def output(self, data: bytes) -> str | bytes:
        text = self._decoder.feed(data)
        return messages.stdout(text) if text else ""

    def rest(self) -> str | bytes:
        text = self._decoder.end()
        return messages.stdout(text) if text else ""

    def toast(self, text: str) -> str | bytes:
        return messages.toast(text)

    def status(self, result: Ended | None, text: str) -> str | bytes:
        return messages.toast(text) if text else ""


class Channels:
    """Raw bytes in channels. What is not the process's has no place among them, other than how it ended."""

    returning = False

    def parse(self, payload: bytes) -> Message | EndOfInput:
        if not payload:
            return Ignored("")
        channel, data = payload[0], payload[1:]
        if channel == channels.STDIN:
            return Stdin(data)
        if channel == channels.SIZE:
            return _size(data)
        if channel == channels.CLOSE:
            if len(data) != 1 or data[0] > channels.SIZE:
                raise Malformed(1002, "the end of a channel does not say of which")
            return EndOfInput() if data[0] == channels.STDIN else Ignored("close")
        return Ignored(str(channel))

    def session(self, credential: str) -> str | bytes:
        return b""

    def established(self) -> str | bytes:
        return bytes([channels.STDOUT])

    def output(self, data: bytes) -> str | bytes:
        return bytes([channels.STDOUT]) + data if data else b""

    def rest(self) -> str | bytes:
        return b""

    def toast(self, text: str) -> str | bytes:
        return b""

    def status(self, result: Ended | None, text: str) -> str | bytes:
        said: dict[str, object] = {"metadata": {}, "status": "Failure"}
        if result is not None and result.kind == EXITED:
            if result.code == 0:
                said["status"] = "Success"
            else:
                said["message"] = f"command terminated with non-zero exit code: exit {result.code}"
                said["reason"] = "NonZeroExitCode"
                said["details"] = {"causes": [{"reason": "ExitCode", "message": str(result.code)}]}
        else:
            said |= {"message": text, "reason": "InternalError", "code": 500}
        return bytes([channels.STATUS]) + json.dumps(said).encode()


def _size(data: bytes) -> Message:
    """The size of a window as Kubernetes writes it; if several come together, the last one counts."""
    decoder = json.JSONDecoder()
    found: Message = Ignored("resize")
    try:
        text = data.decode().strip(" \t\r\n")
        while text:
            value, end = decoder.raw_decode(text)
            text = text[end:].lstrip(" \t\r\n")
            if not isinstance(value, dict):
                raise Malformed(1007, "the size is not a JSON object")
            found = messages.size(messages.lower(value), "width", "height")
    except (ValueError, RecursionError):
        raise Malformed(1007, "the size is not JSON") from None
    return found

"""How an exec ended: the Status on channel 3, or what came in its place (spec 05, 10.4)."""

from __future__ import annotations

from typing import Any

import msgspec

#: The process ended by itself; it never ran; we were not let in; nobody knows.
EXITED, NOT_STARTED, REFUSED, LOST = "exited", "not-started", "refused", "lost"

_NON_ZERO = "NonZeroExitCode"
_EXIT_CODE = "ExitCode"

_NOT_RUNNING = (
    "container not found",
    "is not running",
    "not created or running",
    "current phase is",
    "pod does not exist",
    "stopped state",
    "stopped container",
)

#: What kube-apiserver says where it comes as far as to the node, or not even there.
_NODE = ("unable to upgrade connection", "error dialing backend")


class Ended(msgspec.Struct, frozen=True):
    """The end of an exec.

    ``code`` is the exit code for :data:`EXITED`, and for :data:`REFUSED` the HTTP status that came in place of a 101.
    ``reason`` is Kubernetes' word, ``message`` its sentence; neither is for users as it is.
    """

    kind: str
    code: int = 0
    reason: str = ""
    message: str = ""

    @property
    def ran(self) -> bool:
        """Whether a process ran to its end."""
        return self.kind == EXITED

    @property
    def not_running(self) -> bool:
        """Whether the message says, in one of the runtimes' ways, that there is no container to run anything in."""
        said = self.message.lower()
        if self.kind == EXITED:
            return False
        return any(each in said for each in _NOT_RUNNING) or (self.of_node and "does not exist" in said)

    @property
    def of_node(self) -> bool:
        """Whether it is the node that was not reached or has refused, before anything was looked for there."""
        said = self.message.lower()
        return self.kind != EXITED and any(each in said for each in _NODE)


def read_status(payload: bytes) -> Ended:
    """What a message on channel 3 says; :data:`LOST` for one that says nothing that can be understood."""
    try:
        status = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Ended(LOST, message="the status of the process is not JSON")
    if not isinstance(status, dict):
        return Ended(LOST, message="the status of the process is no object")
    if status.get("status") == "Success":
        return Ended(EXITED)
    reason, message = _text(status.get("reason")), _text(status.get("message"))
    if reason == _NON_ZERO:
        code = _exit_code(status.get("details"))
        if code is None:
            return Ended(LOST, reason=reason, message="the status of the process has no exit code")
        return Ended(EXITED, code, reason, message)
    code = status.get("code")
    return Ended(NOT_STARTED, code if type(code) is int else 0, reason, message)


def _exit_code(details: Any) -> int | None:
    causes = details.get("causes") if isinstance(details, dict) else None
    if not isinstance(causes, list):
        return None
    for cause in causes:
        if isinstance(cause, dict) and cause.get("reason") == _EXIT_CODE:
            text = _text(cause.get("message"))
            if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255:
                return int(text)
            return None
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

"""How a session ends, in a close code, a short reason and a line for the user (spec 05, 8.1).

What the cluster says is never passed on as it is: it may name addresses that are nobody's business.
"""

from __future__ import annotations

import signal

import msgspec

from ksproxyd.terminal.exit_status import EXITED, NOT_STARTED, REFUSED, Ended

#: Close codes, as pages know them: RFC 6455's and, from 4400, HTTP's with 4000 added.
NORMAL, GOING_AWAY, PROTOCOL, NO_REASON, BROKEN, NOT_TEXT, TOO_BIG, FAILED, LATER = (
    1000, 1001, 1002, 1005, 1006, 1007, 1009, 1011, 1013,
)  # fmt: skip
NOT_LOGGED_IN, FORBIDDEN, NOT_FOUND, IDLE, TOO_LONG, GONE = 4401, 4403, 4404, 4408, 4409, 4410

#: Most bytes of a reason: a control frame holds 125, two of them are the code.
LONGEST_REASON = 123

_NO_PROGRAM = ("executable file not found", "no such file or directory", "not found in $path", "permission denied")


class Where(msgspec.Struct, frozen=True):
    """What a terminal is on. ``kind`` is ``pod``, ``kubectl`` or ``node``; ``shell`` is what was asked for."""

    kind: str
    namespace: str = ""
    pod: str = ""
    container: str = ""
    node: str = ""
    shell: str = ""

    def __str__(self) -> str:
        if self.kind == "pod":
            return f"pod {self.namespace}/{self.pod}"
        return f"node {self.node}" if self.kind == "node" else "the kubectl pod"

    def is_same(self, other: Where) -> bool:
        """Whether both are on the same thing. One user has one kubectl pod; a node's pods come and go."""
        if self.kind == other.kind == "pod":
            return (self.namespace, self.pod) == (other.namespace, other.pod)
        return (self.kind, self.node) == (other.kind, other.node)

    @property
    def program(self) -> str:
        """The place of its programs, for a sentence."""
        return f"container {self.container}" if self.kind == "pod" and self.container else str(self)


class Ending(msgspec.Struct, frozen=True):
    """The end as a browser is told. ``text`` is empty if there is nothing to say."""

    code: int
    reason: str
    text: str = ""


_NODE = Ending(FAILED, "node unreachable", "cannot start a shell: the cluster does not reach the node")


def bounded(reason: str) -> str:
    """``reason`` as a close frame holds it: one line, whole characters, at most :data:`LONGEST_REASON` bytes."""
    line = "".join(each if each.isprintable() else " " for each in reason)
    return line.encode("utf-8", "replace")[:LONGEST_REASON].decode("utf-8", "ignore")


def no_shell(where: Where, names: str) -> Ending:
    """None of the programs ``names`` is there."""
    return Ending(NOT_FOUND, "no shell", f"cannot start a shell in {where.program}: no {names} in the image")


def of_exec(result: Ended, where: Where, started: bool) -> Ending:
    """The end of the exec that was a session's. ``started``: its program has run."""
    if result.kind == EXITED:
        text = f"the shell exited with code {result.code}{_of_signal(result.code)}" if result.code else ""
        return Ending(NORMAL, f"exited {result.code}", text)
    if result.kind == REFUSED:
        return _refused(result, where)
    if result.kind == NOT_STARTED and not started:
        said = result.message.lower()
        if result.not_running:
            return Ending(NOT_FOUND, "not running", f"cannot start a shell: {where.program} is not running")
        if result.of_node:
            return _NODE
        if any(each in said for each in _NO_PROGRAM):
            return Ending(NOT_FOUND, "no shell", f"cannot start the shell in {where.program}: it is not in the image")
        return Ending(FAILED, "not started", f"the cluster could not start a shell in {where.program}")
    if started:
        return Ending(FAILED, "connection lost", "the connection to the cluster was lost; the shell may still run")
    return Ending(FAILED, "connection lost", "the cluster cannot be reached or has not answered")


def _refused(result: Ended, where: Where) -> Ending:
    said = result.message.lower()
    thing = str(where)
    if where.kind == "pod" and where.container and "container" in said:
        thing = f"container {where.container} of {where}"
    if result.code == 404:
        return Ending(NOT_FOUND, "not found", f"cannot start a shell: {thing} does not exist")
    if result.code in (400, 409) or result.not_running:
        return Ending(NOT_FOUND, "not running", f"cannot start a shell: {thing} does not exist or is not running")
    if result.of_node:
        return _NODE
    if result.code in (429, 503):
        return Ending(LATER, "cluster busy", "the cluster is busy: try again in a moment")
    if result.code in (401, 403):
        return Ending(FAILED, "refused by the cluster", "the cluster does not let the gateway start a shell there")
    return Ending(FAILED, "refused by the cluster", f"the cluster refused to start a shell (HTTP {result.code})")


def _of_signal(code: int) -> str:
    if code <= 128:
        return ""
    try:
        return f" ({signal.Signals(code - 128).name})"
    except ValueError:
        return ""

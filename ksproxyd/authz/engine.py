"""Policies that are not understood by :mod:`.policy`, evaluated by a Rego engine in a child process (extra ``rego``).

The child has no network to speak of, little memory, and a time for each question; one that takes longer is killed with
the question, and its policy grants nothing for a while. Nothing waits for it but the request whose policy it is.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import OrderedDict
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authz.decision import Authorizer, Decision
from ksproxyd.authz.policy import document
from ksproxyd.authz.streaming import also_needed
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo

#: Answers that are remembered, questions that may wait, and seconds for which a policy that took too long is not asked.
REMEMBERED = 4096
WAITING = 256
PENALTY = 60.0

_WORKER = "ksproxyd.authz.rego_worker"


class Reactor(Protocol):
    """The part of a reactor that is needed here."""

    def spawnProcess(self, processProtocol: Any, executable: str, args: list[str], env: dict[str, str], /) -> Any: ...

    def callLater(self, delay: float, callable: Any, *args: Any, **kwargs: Any) -> IDelayedCall: ...

    def seconds(self) -> float: ...


def available() -> bool:
    """Whether the engine is installed."""
    return importlib.util.find_spec("regopy") is not None


class Engine:
    """Asks the child, one question at a time. ``timeout`` are seconds for one. :meth:`stop` at the end."""

    log = Logger()

    def __init__(self, reactor: Reactor, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._child: _Child | None = None
        self._remembered: OrderedDict[tuple[str, str], bool] = OrderedDict()
        self._queue: list[tuple[str, str, Deferred[bool]]] = []
        self._asked: tuple[str, str, Deferred[bool]] | None = None
        self._timer: IDelayedCall | None = None
        self._slow: dict[str, float] = {}
        self._told: set[str] = set()
        self._stopped = False

    async def allows(self, policy: str, asked: dict[str, Any]) -> bool:
        """Whether ``policy`` allows ``asked`` (an input document); False also where that is not found out in time."""
        key = (policy, json.dumps(asked, sort_keys=True))
        found = self._remembered.get(key)
        if found is not None:
            self._remembered.move_to_end(key)
            return found
        if self._stopped or len(self._queue) >= WAITING or self.slow(policy):
            return False
        done: Deferred[bool] = Deferred(self._withdraw)
        self._queue.append((*key, done))
        self._next()
        return await done

    def slow(self, policy: str) -> bool:
        """Whether ``policy`` has taken too long lately, and is not asked."""
        return self._slow.get(policy, 0.0) > self._reactor.seconds()

    def stop(self) -> None:
        """Nobody is asked any more."""
        self._stopped = True
        self._kill()
        for _, _, done in self._queue:
            done.callback(False)
        self._queue = []

    def _withdraw(self, done: Deferred[bool]) -> None:
        """Whoever waited has gone. What the child is busy with, it finishes."""
        self._queue = [waiting for waiting in self._queue if waiting[2] is not done]

    def _next(self) -> None:
        if self._asked is not None or not self._queue:
            return
        if self._child is None:
            self._child = child = _Child(self)
            # No environment: nothing of ours is any of a policy's business.
            args = [sys.executable, "-I", "-m", _WORKER]
            self._reactor.spawnProcess(child, sys.executable, args, {"PYTHONDONTWRITEBYTECODE": "1"})
        self._asked = policy, document, _ = self._queue.pop(0)
        self._timer = self._reactor.callLater(self._timeout, self._too_slow, policy)
        self._child.send(policy, document)

    def _too_slow(self, policy: str) -> None:
        self._timer = None
        self.log.warn("a policy took longer than {seconds} s: it grants nothing for a while", seconds=self._timeout)
        if len(self._slow) >= REMEMBERED:
            self._slow.clear()
        self._slow[policy] = self._reactor.seconds() + PENALTY
        self._kill()
        self._next()

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
        self._settle(False)

    def _settle(self, allow: bool) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        asked, self._asked = self._asked, None
        if asked is not None and not asked[2].called:
            asked[2].callback(allow)

    def answered(self, allow: bool, problem: str) -> None:
        """For the child only."""
        asked = self._asked
        if asked is not None:
            policy, document, _ = asked
            if problem and policy not in self._told:
                if len(self._told) >= REMEMBERED:
                    self._told.clear()
                self._told.add(policy)
                self.log.warn("a policy grants nothing: {problem}", problem=problem)
            self._remembered[policy, document] = allow
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        self._settle(allow)
        self._next()

    def died(self, child: _Child, reason: Failure) -> None:
        """For the child only."""
        if child is not self._child:
            return
        self.log.warn("the policy engine ended: {reason}", reason=reason.getErrorMessage())
        policy = self._asked[0] if self._asked is not None else ""
        if policy:
            # It may have been this policy that ended it.
            self._slow[policy] = self._reactor.seconds() + PENALTY
        self._child = None
        self._settle(False)
        self._next()


async def settled(authorizer: Authorizer, engine: Engine | None, user: Identity, info: RequestInfo) -> Decision:
    """What ``authorizer`` says, and where it leaves that open, ``engine``."""
    decision = authorizer(user, info)
    if decision.allowed or engine is None:
        return decision
    for policy in decision.open:
        if await engine.allows(policy, document(user, info)):
            return Decision(True, "RBAC: allowed by a policy")
    return decision


async def settled_whole(
    authorizer: Authorizer, engine: Engine | None, user: Identity, info: RequestInfo, upgrading: bool
) -> tuple[Decision, RequestInfo]:
    """The same of the whole request, and of which part of it (:func:`~ksproxyd.authz.streaming.decide`)."""
    decision = await settled(authorizer, engine, user, info)
    more = also_needed(info, upgrading) if decision.allowed else None
    if more is None:
        return decision, info
    return await settled(authorizer, engine, user, more), more


class _Child(ProcessProtocol):
    """The process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._buffer = b""
        self._count = 0

    def send(self, policy: str, document: str) -> None:
        assert self.transport is not None
        self._count += 1
        head = json.dumps({"id": self._count, "policy": policy})
        self.transport.write(f'{head[:-1]}, "input": {document}}}\n'.encode())

    def kill(self) -> None:
        assert self.transport is not None
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            return

    def outReceived(self, data: bytes) -> None:
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            answer = json.loads(line)
            if answer["id"] == self._count:
                self._engine.answered(bool(answer["allow"]), str(answer.get("problem", "")))

    def processEnded(self, reason: Failure) -> None:
        self._engine.died(self, reason)

"""The three shells: in a container, in one's own kubectl pod, and on a node (spec 05, 1 to 4).

Whatever can be refused before the upgrade is refused with HTTP. What is found out afterwards (there is no such pod, it
does not start) is shown in the terminal, with a close code.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.chain import TAKEN
from ksproxyd.kapis.router import Route
from ksproxyd.kapis.terminal.access import KUBECTL_POD, SYSTEM, Access, Grant
from ksproxyd.kapis.terminal.handshake import check
from ksproxyd.kapis.terminal.origins import Origins
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError, KubeUnreachable
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameter
from ksproxyd.model.status import bad_request
from ksproxyd.server.exchange import Exchange
from ksproxyd.terminal import endings
from ksproxyd.terminal.dialects import resume_of, select
from ksproxyd.terminal.endings import FORBIDDEN, Where
from ksproxyd.terminal.execution import ExecRequest, Execution, Executions, Output
from ksproxyd.terminal.exit_status import LOST, REFUSED, Ended
from ksproxyd.terminal.pods.containers import container_of
from ksproxyd.terminal.pods.following import DELETED, RESTARTED, Following
from ksproxyd.terminal.pods.pod import PODS, Object, PodFailed, PodRef
from ksproxyd.terminal.registry import Registry, revoke
from ksproxyd.terminal.session import Session, Witness
from ksproxyd.terminal.shells import Command
from ksproxyd.terminal.websocket import WebSockets

#: Makes a witness of a session that is about to be opened by a request; None if that is not to be kept account of.
WitnessOf = Callable[[Exchange, Where], Witness | None]

#: Tells the user how it goes.
Tell = Callable[[str], object]

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = _CONTAINER = re.compile(_LABEL)
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*".replace("{0,61}", "{0,251}"))


class KubectlPods(Protocol):
    """The part of :class:`ksproxyd.terminal.pods.kubectl.KubectlPods` that is needed here."""

    async def prepare(self, user: str, tell: Tell) -> PodRef: ...

    def release(self, ref: PodRef) -> None: ...


class NodePods(Protocol):
    """The part of :class:`ksproxyd.terminal.pods.node.NodePods` that is needed here."""

    async def prepare(self, node: str, user: str, tell: Tell) -> PodRef: ...

    def release(self, ref: PodRef) -> None: ...


class Shells:
    """Serves the three routes."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: KubeClient,
        access: Access,
        origins: Origins,
        sockets: WebSockets,
        registry: Registry,
        executions: Executions,
        kubectl: KubectlPods,
        nodes: NodePods,
        witnesses: Iterable[WitnessOf] = (),
    ) -> None:
        self._clock = clock
        self._client = client
        self._access = access
        self._origins = origins
        self._sockets = sockets
        self._registry = registry
        self._executions = executions
        self._kubectl = kubectl
        self._nodes = nodes
        self._witnesses = tuple(witnesses)

    def routes(self) -> list[Route]:
        """The routes, relative to the group."""
        return [
            Route("GET", "/namespaces/{namespace}/pods/{pod}/exec", self.pod, "Shell in a container (WebSocket)"),
            Route("GET", "/users/{user}/kubectl", self.kubectl, "Shell in the caller's kubectl pod (WebSocket)"),
            Route("GET", "/nodes/{node}/exec", self.node, "Shell on a node (WebSocket)"),
        ]

    # -- the routes ------------------------------------------------------------------------------------------------

    def pod(self, exchange: Exchange, namespace: str, pod: str) -> Response:
        """A shell in a container."""
        grant = self._access.pod(exchange, namespace, pod)
        container, shell = parameter(exchange.query, "container"), parameter(exchange.query, "shell")
        _need_name(_NAMESPACE, "namespace", namespace)
        _need_name(_NAME, "pod", pod)
        if container:
            _need_name(_CONTAINER, "container", container)
        where = Where("pod", namespace, pod, container, "", shell)
        return self._open(exchange, grant, where, (), self._find)

    def kubectl(self, exchange: Exchange, user: str) -> Response:
        """A shell in the caller's own pod."""
        grant = self._access.kubectl(exchange, user)
        where = Where("kubectl", SYSTEM, KUBECTL_POD + user)

        async def prepare(session: Session) -> None:
            ref = await self._kubectl.prepare(user, session.preparing)
            await self._prepared(session, ref, self._kubectl.release)

        return self._open(exchange, grant, where, (("bash",),), prepare)

    def node(self, exchange: Exchange, node: str) -> Response:
        """A shell on a node."""
        grant = self._access.node(exchange, node)
        _need_name(_NAME, "node", node)

        async def prepare(session: Session) -> None:
            ref = await self._nodes.prepare(node, session.owner.name, session.preparing)
            await self._prepared(session, ref, self._nodes.release)

        return self._open(exchange, grant, Where("node", SYSTEM, node=node), (("sh",),), prepare)

    # -- from a request to a session ---------------------------------------------------------------------------------

    def _open(
        self,
        exchange: Exchange,
        grant: Grant,
        where: Where,
        commands: tuple[Command, ...],
        prepare: Callable[[Session], Awaitable[None]],
    ) -> Response:
        """Upgrade, and begin a session or go on with one."""
        self._origins.check(exchange)
        handshake = check(exchange)
        protocol = select(handshake.offered)
        credential = resume_of(handshake.offered)
        session = self._registry.resume(credential, exchange.user, where) if credential else None
        if session is not None:
            self._attach(exchange, grant, session, handshake.key, protocol)
            return TAKEN
        seat = self._registry.admit(exchange.user.name)
        try:
            socket = self._sockets.accept(exchange, handshake.key, protocol)
        except BaseException:
            seat.leave()
            raise
        session = self._registry.open(
            seat, exchange.user, where, self._begin, self._witnesses_of(exchange, where), commands
        )
        socket.begin(session.attach(socket, protocol, lambda: self._access.objection(grant)))
        self._watch_over(exchange, grant, session)
        self._run(session, prepare(session))
        return TAKEN

    def _attach(self, exchange: Exchange, grant: Grant, session: Session, key: bytes, protocol: str) -> None:
        socket = self._sockets.accept(exchange, key, protocol)
        socket.begin(session.attach(socket, protocol, lambda: self._access.objection(grant)))
        self._watch_over(exchange, grant, session)

    def _watch_over(self, exchange: Exchange, grant: Grant, session: Session) -> None:
        """Whoever finds that the user has lost the right to the request must have the session ended, not cut."""

        async def lost(session: Session) -> None:
            revoke(session, await self._access.objection(grant) or FORBIDDEN)

        exchange.on_gone = lambda: self._run(session, lost(session))

    def _witnesses_of(self, exchange: Exchange, where: Where) -> Sequence[Witness]:
        return [found for each in self._witnesses if (found := each(exchange, where)) is not None]

    def _begin(self, where: Where, command: Command, output: Output, terminal: bool) -> Execution:
        request = ExecRequest(
            where.namespace, where.pod, where.container, command, stdin=terminal, tty=terminal, stderr=not terminal
        )
        return self._executions.begin(request, output)

    # -- what is behind it -------------------------------------------------------------------------------------------

    def _run(self, session: Session, work: Awaitable[None]) -> None:
        """See to the end of ``work`` for a session, which is over with the session."""
        running: Deferred[None] = Deferred.fromCoroutine(_coroutine(work))
        if not running.called:
            session.on_end(lambda _: running.cancel())
        running.addErrback(self._failed, session)

    def _failed(self, failure: Failure, session: Session) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if isinstance(error, PodFailed):
            session.failed(str(error), error.code, _REASONS.get(error.code, "failed"))
        elif isinstance(error, KubeError):
            ended = (
                Ended(LOST, message=error.message)
                if isinstance(error, KubeUnreachable)
                else Ended(REFUSED, error.code, error.reason, error.message)
            )
            ending = endings.of_exec(ended, session.where, False)
            session.failed(ending.text, ending.code, ending.reason)
        else:
            self.log.failure("preparing a terminal failed", failure)
            session.failed("the gateway failed", endings.FAILED, "failed")

    async def _find(self, session: Session) -> None:
        """The container of a pod that is there already."""
        where = session.where
        pod = await self._client.get(PODS, where.pod, where.namespace)
        container = container_of(pod, where.container)
        self._follow(session, pod, container)
        session.ready(Where("pod", where.namespace, where.pod, container, "", where.shell))

    async def _prepared(self, session: Session, ref: PodRef, release: Callable[[PodRef], object]) -> None:
        """A pod of ours is there."""
        session.on_end(lambda _: release(ref))
        if not session.going_on:
            return
        pod = await self._client.get(PODS, ref.pod, ref.namespace)
        if pod["metadata"].get("uid") != ref.uid:
            raise PodFailed(endings.LATER, "the pod was replaced by another one: try again")
        self._follow(session, pod, ref.container)
        where = session.where
        session.ready(Where(where.kind, ref.namespace, ref.pod, ref.container, where.node))

    def _follow(self, session: Session, pod: Object, container: str) -> None:
        def gone(what: str) -> None:
            named = str(session.where)
            if what == DELETED:
                session.end(endings.GONE, "pod deleted", f"session closed: {named} was deleted")
            elif what == RESTARTED:
                text = f"session closed: container {container} of {named} was started again"
                session.end(endings.GONE, "container restarted", text)
            else:
                session.end(endings.GONE, "pod ended", f"session closed: {named} has ended")

        following = Following(self._clock, self._client, pod, container, gone)
        session.on_end(lambda _: following.stop())


_REASONS = {endings.NOT_FOUND: "not found", endings.LATER: "not ready"}


async def _coroutine(work: Awaitable[None]) -> None:
    await work


def _need_name(pattern: re.Pattern[str], what: str, name: str) -> None:
    if pattern.fullmatch(name) is None:
        raise bad_request(f"{name!r} is no name of a {what}")

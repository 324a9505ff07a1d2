"""Makes events of requests and gives them to the sinks. One for the gateway; none where nothing is to be recorded.

:meth:`Audit.admitted` is a step of the chain, right behind authentication: who is refused there has no body that could
be recorded, and what follows (dispatch, authorization, the node) may end the request in its own way.
:meth:`Audit.finished` is told of every exchange that is over, whatever ended it. Nothing here waits or raises.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.audit.capture import Capture
from ksproxyd.audit.event import COMPLETE, STARTED, Event
from ksproxyd.audit.file import FileSink
from ksproxyd.audit.form import PREFIX
from ksproxyd.audit.omitting import Omitted
from ksproxyd.audit.place import Whereabouts, place
from ksproxyd.audit.queue import REASONS
from ksproxyd.audit.sinks import AuditProblem, Means, Sink, sinks
from ksproxyd.audit.webhook import Webhook
from ksproxyd.audit.writing import new_id
from ksproxyd.kube.pacing import pause
from ksproxyd.model.query import parameter
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.observe.exposition import Samples, labels
from ksproxyd.observe.observed import long_running
from ksproxyd.observe.redact import redact_target
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import Settings
from ksproxyd.state.kinds import NAMESPACES, USERS
from ksproxyd.state.state import State

#: Bytes of a body that are looked at for the name of what is created, whatever the level.
NAME_BYTES = 64 * 1024

_ID = re.compile(rb"[A-Za-z0-9-]{8,64}")
_STATES = {"Active": "enable", "Disabled": "disable"}


class Audit:
    """Everything that is recorded. ``wall`` gives seconds of the epoch.

    Raises :class:`~ksproxyd.audit.sinks.AuditProblem` for settings that cannot be followed.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        state: State,
        means: Means,
        environ: Mapping[str, str],
        *,
        wall: Callable[[], float] = time.time,
        address: Callable[[], str] | None = None,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self.level = settings.auditing.audit_level
        self._reads = self.level in ("Request", "RequestResponse")
        self._answers = self.level == "RequestResponse"
        self._users = state.store(USERS)
        self._where = Whereabouts(state.store(NAMESPACES), settings.multicluster)
        self.sinks: list[Sink]
        self.sinks, self._writing = sinks(settings, place(environ, address), means)
        self._queues = [sink.queue for sink in self.sinks]
        #: Exchanges of which more is to be known than can be seen at their end.
        self._captures: dict[Exchange, Capture] = {}
        #: Events that were made.
        self.made = 0
        self.reload(settings)

    async def start(self) -> None:
        """Open what is to be written to. Raises :class:`AuditProblem` if that is not possible."""
        if not self.sinks:
            self.log.warn(
                "auditing is enabled, but there is nowhere to send events to; set auditing.webhookOptions.webhookUrl, "
                "auditing.logOptions.path or ksproxyd.audit.kubernetesEvents"
            )
        for sink in self.sinks:
            if isinstance(sink, FileSink):
                try:
                    sink.open()
                except OSError as error:
                    raise AuditProblem(
                        f"auditing.logOptions.path cannot be written: {error}; name a file in a directory that the "
                        "gateway may write to"
                    ) from error

    def reload(self, settings: Settings) -> None:
        """Put changed settings into use, as far as they need no restart."""
        ours = settings.ksproxyd.audit
        self._most = ours.body_bytes
        self._omitted = Omitted(ours.omit_paths)
        self._flush = ours.queue.flush
        for sink in self.sinks:
            if isinstance(sink, Webhook):
                sink.apply(ours.webhook)

    async def stop(self) -> None:
        """Send what waits, for as long as the settings say."""
        # Connections that were cut just now are over in the next turn.
        await pause(self._clock, 0)
        self._where.stop()
        endings = [sink.stop(self._flush) for sink in self.sinks]
        for ending in endings:
            await ending

    def record(self, event: Event) -> None:
        """Take an event about something else than a request, or about more than can be seen of one. Returns at once."""
        self.made += 1
        event.weigh()
        for queue in self._queues:
            queue.put(event)

    def tell(
        self, exchange: Exchange, stage: str, status: int, begun: float, annotations: dict[str, str], id: str
    ) -> None:
        """Record what has become of something that ``exchange`` began, and that is more than the exchange.

        ``begun`` is in the clock's seconds; events of one thing have one ``id``.
        """
        now = self._wall()
        event = self._event(exchange, exchange.info, stage, status, now - (self._clock.seconds() - begun), now)
        event.id = id
        event.annotations = {PREFIX + name: value for name, value in annotations.items()}
        self.record(event)

    def at_end(self, exchange: Exchange, said: Callable[[], dict[str, str]]) -> None:
        """Have the event of ``exchange`` say what ``said`` gives when it is over, whatever ends it."""
        capture = self._captures.get(exchange)
        if capture is None:
            self._captures[exchange] = capture = Capture(exchange)
        capture.said = said

    # -- requests ------------------------------------------------------------------------------------------

    def admitted(self, exchange: Exchange) -> None:
        """The exchange's user is known, and nobody has looked at its body yet."""
        if self._answers or exchange.length or exchange.upgrade is not None:
            self._prepare(exchange)

    def _prepare(self, exchange: Exchange) -> None:
        info: RequestInfo = exchange.info
        capture = Capture(exchange)
        if exchange.upgrade is not None:
            capture.tell_of_upgrade(self._began)
        named = _is_named_by_body(info)
        if exchange.length and (self._reads or named):
            capture.tap_request(max(self._most, NAME_BYTES) if named else self._most)
            if _is_user(info):
                capture.before = self._state_of(info.name)
        if self._answers and exchange.upgrade is None and exchange.method != "HEAD" and not long_running(exchange):
            capture.tap_answer(self._most)
        self._captures[exchange] = capture

    def _began(self, exchange: Exchange) -> None:
        """The exchange has become a tunnel."""
        capture = self._captures[exchange]
        capture.id = self._asked_id(exchange) or new_id()
        now = self._wall()
        capture.received = now - (self._clock.seconds() - exchange.started)
        event = self._event(exchange, exchange.info, STARTED, 101, capture.received, now)
        event.id = capture.id
        self._annotate(event, exchange)
        self.record(event)

    def finished(self, exchange: Exchange, seconds: float) -> None:
        """The exchange is over, ``seconds`` after it came."""
        info: RequestInfo | None = exchange.info
        status = exchange.status
        capture = self._captures.pop(exchange, None) if self._captures else None
        if info is None:
            # It did not get as far as to be looked at.
            info = RequestInfo(exchange.head.path.decode("utf-8", "replace"), exchange.method)
        if self._omitted(info.path) and status != 401 and status != 403:
            if capture is not None:
                capture.release()
            return
        now = self._wall()
        event = self._event(exchange, info, COMPLETE, status, now - seconds, now)
        if exchange.trusted:
            event.id = self._asked_id(exchange)
        if capture is not None:
            self._captured(event, capture)
        if exchange.refused:
            event.message = exchange.refused
        if (
            exchange.refused
            or exchange.cluster is not None
            or exchange.notes is not None
            or exchange.hijacked
            or (exchange.has_query and b"dryRun" in exchange.query)
        ):
            self._annotate(event, exchange)
        if capture is not None and capture.said is not None:
            more = {PREFIX + name: value for name, value in capture.said().items()}
            event.annotations = {**(event.annotations or {}), **more} or None
        self.made += 1
        event.weigh()
        for queue in self._queues:
            queue.put(event)

    def _event(
        self, exchange: Exchange, info: RequestInfo, stage: str, status: int, received: float, at: float
    ) -> Event:
        member = exchange.cluster
        return Event(
            self.level,
            stage,
            info,
            info.verb,
            exchange.head.target,
            exchange.user,
            exchange.client,
            exchange.fields.get(b"user-agent") or b"",
            status,
            received,
            at,
            self._where.workspace(info) if member is None else info.workspace,
            self._where.cluster if member is None else member,
            member=member is not None,
        )

    def _captured(self, event: Event, capture: Capture) -> None:
        """What the bodies say, and the bodies themselves where they are asked for."""
        if capture.id:
            event.id, event.received = capture.id, capture.received
        request = capture.request
        if request is not None:
            if event.info.verb == "create" and not event.info.name:
                event.name = _name_in(request.data)
            elif _is_user(event.info):
                state = _state_in(request.data)
                # A change of the profile has the state in it, too; only one of the state is called so.
                if state in _STATES and state != capture.before:
                    event.verb = _STATES[state]
            if self._reads:
                event.request = capture.request_body(self._most)
        if self._answers:
            event.response = capture.answer_body(self._most)
        capture.release()

    def _annotate(self, event: Event, exchange: Exchange) -> None:
        found: dict[str, str] = {}
        if exchange.refused and exchange.status == 403:
            found["authorization.k8s.io/decision"] = "forbid"
        if exchange.has_query:
            dry_run = parameter(exchange.query, "dryRun")
            if dry_run:
                found[PREFIX + "dry-run"] = dry_run
        if exchange.cluster is not None:
            found[PREFIX + "dispatched-by"] = self._where.cluster
        for name, value in (exchange.notes or {}).items():
            found[PREFIX + name.replace("_", "-")] = str(value)
        if exchange.hijacked:
            # What is run in a container is in the query only.
            if exchange.head.has_query:
                found[PREFIX + "query"] = redact_target(b"?" + exchange.head.query)[1:].decode("utf-8", "replace")
            if event.stage == COMPLETE:
                found[PREFIX + "received-bytes"] = str(exchange.received)
                found[PREFIX + "sent-bytes"] = str(exchange.sent)
                found[PREFIX + "seconds"] = f"{self._clock.seconds() - exchange.started:.3f}"
        event.annotations = found or None

    def _asked_id(self, exchange: Exchange) -> str:
        """The ``Audit-ID`` that a trusted proxy has sent; anybody else could use one that is somebody else's."""
        if not exchange.trusted:
            return ""
        sent = exchange.fields.get(b"audit-id")
        return sent.decode() if sent is not None and _ID.fullmatch(sent) else ""

    def _state_of(self, user: str) -> str:
        found = self._users.get(("", user))
        status = None if found is None else found.get("status")
        state = status.get("state") if isinstance(status, dict) else None
        return state if isinstance(state, str) else ""

    # -- metrics -------------------------------------------------------------------------------------------

    def families(self) -> Iterator[tuple[str, str, str, Callable[[], Samples]]]:
        """Name, kind, help and reader of each metric, for :meth:`ksproxyd.observe.metrics.Registry.add`."""
        yield "ksproxyd_audit_events_total", "counter", "Audit events made.", lambda: [("", self.made)]
        yield (
            "ksproxyd_audit_unwritten_total",
            "counter",
            "Audit events that could not be written out.",
            lambda: [("", self._writing.broken)],
        )
        each: list[tuple[str, str, str, Callable[[Sink], float]]] = [
            ("queue_events", "gauge", "Audit events that a sink has not taken yet.", lambda s: s.queue.events),
            ("queue_bytes", "gauge", "Memory that those take, roughly.", lambda s: s.queue.bytes),
            ("in_flight", "gauge", "Batches of audit events on their way.", lambda s: s.in_flight),
            ("delivered_total", "counter", "Audit events that a sink has taken.", lambda s: s.queue.delivered),
            ("failures_total", "counter", "Attempts to deliver a batch that failed.", lambda s: s.failures),
        ]
        for name, kind, text, value in each:
            yield f"ksproxyd_audit_{name}", kind, text, self._reader(value)
        yield "ksproxyd_audit_dropped_total", "counter", "Audit events that were lost, by reason.", self._dropped

    def _reader(self, value: Callable[[Sink], float]) -> Callable[[], Samples]:
        return lambda: [(labels(sink=sink.name), value(sink)) for sink in self.sinks]

    def _dropped(self) -> Samples:
        return [
            (labels(sink=sink.name, reason=reason), sink.queue.dropped[reason])
            for sink in self.sinks
            for reason in REASONS
        ]


def _is_user(info: RequestInfo) -> bool:
    return info.verb == "update" and info.resource == "users" and info.api_group == "iam.kubesphere.io"


def _is_named_by_body(info: RequestInfo) -> bool:
    """Whether the body says what the request is about (spec 03, 6.3)."""
    return info.is_resource and (info.verb == "create" or _is_user(info))


class _Metadata(msgspec.Struct):
    name: str = ""


class _Status(msgspec.Struct):
    state: str = ""


class _Named(msgspec.Struct):
    metadata: _Metadata | None = None


class _Stated(msgspec.Struct):
    status: _Status | None = None


def _name_in(data: bytes) -> str:
    """``metadata.name`` of an object; empty if it has none, or is no JSON."""
    try:
        found = msgspec.json.decode(data, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return "" if found.metadata is None else found.metadata.name[:253]


def _state_in(data: bytes) -> str:
    """``status.state`` of a user; empty if it has none."""
    try:
        found = msgspec.json.decode(data, type=_Stated)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return "" if found.status is None else found.status.state

"""A conversation between reflectors and an API server, written as a table.

Each row is what the reflector asks, what the server answers, what time passes, or what must be true then::

    talk = Conversation()
    talk.follow(WIDGETS)
    talk.play(
        asks("list"),
        answers(page(widget("a", 1), version=5)),
        asks("watch from 5"),
        opens(),
        sends(event("MODIFIED", widget("a", 6))),
        holds(a=6),
        saw("+a@1", "a@1>a@6"),
    )

A table fails on the first row that is not so, and where something was asked that no row expected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.resource import Resource
from ksproxyd.model.message import Fields
from ksproxyd.state.kinds import Kind
from ksproxyd.state.reflector import Reflector, Timing
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target

WIDGETS = Kind(Resource("example.com", "v1", "widgets", "Widget"))
OPTIONAL_WIDGETS = Kind(Resource("example.com", "v1", "widgets", "Widget"), optional=True)

Row = Callable[["Conversation"], None]


class Answer(msgspec.Struct):
    status: int
    fields: Fields
    body: bytes


class FixedAccess:
    """An API server without credentials."""

    def __init__(self) -> None:
        self.target = Target("http", "127.0.0.1", 8001)
        self.path_prefix = b""
        self.refusals = 0

    def headers(self) -> list[tuple[bytes, bytes]]:
        return []

    def refused(self) -> None:
        self.refusals += 1


class Question:
    """One request under way: either a plain one (``deferred``) or a watch (``sink``)."""

    def __init__(self, path: str, query: dict[str, str]) -> None:
        self.path = path
        self.query = query
        self.deferred: Deferred[Any] | None = None
        self.sink: Any = None
        self.cancelled = False
        self.paused = False

    def __str__(self) -> str:
        if "watch" in self.query:
            return f"watch from {self.query['resourceVersion']}"
        if self.query.get("limit") == "1":
            return "version"
        token = self.query.get("continue", "")
        return f"list {token}".strip()

    def cancel(self) -> None:
        self.cancelled = True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Conversation:
    """The server's side, in the hands of a test."""

    def __init__(self, random: float = 0.0, **timing: float) -> None:
        self.clock = Clock()
        self.access = FixedAccess()
        self.client = KubeClient(self, self.access, self.clock)
        self.timing = Timing(**timing)
        self.random = random
        self.asked: list[Question] = []
        self.question: Question | None = None
        self.events: list[str] = []
        #: Whether a request that is cancelled fails with the transport's own error.
        self.cancelling_fails = False
        self.reflector: Reflector

    def follow(self, kind: Kind = WIDGETS, **single: str) -> Reflector:
        self.reflector = Reflector(self.client, kind, lambda: self.random, self.timing, **single)
        self.reflector.store.subscribe(self._saw)
        self.reflector.start()
        return self.reflector

    def play(self, *rows: Row) -> None:
        self.play_on(*rows)
        self.expect_asked()

    def play_on(self, *rows: Row) -> None:
        """Like :meth:`play`, where other questions are open."""
        for number, row in enumerate(rows, 1):
            try:
                row(self)
            except AssertionError as error:
                raise AssertionError(f"row {number}: {error}") from error

    def expect_asked(self, *what: str) -> None:
        """Exactly this was asked, and has no row yet."""
        same([str(question) for question in self.asked], list(what), "asked")

    # What KubeClient sends its requests to.

    def request(
        self, target: Target, method: bytes, path: bytes, headers: Any = (), body: bytes = b"", **limits: Any
    ) -> Deferred[Any]:
        question = self._ask(path)

        def cancelled(deferred: Deferred[Any]) -> None:
            question.cancel()
            if self.cancelling_fails:
                deferred.errback(UpstreamError("cancelled", "the request was cancelled"))

        question.deferred = Deferred(cancelled)
        return question.deferred

    def stream(
        self, target: Target, method: bytes, path: bytes, headers: Any, body: bytes, sink: Any
    ) -> Question:
        question = self._ask(path)
        question.sink = sink
        return question

    def _ask(self, path: bytes) -> Question:
        before, _, query = path.decode().partition("?")
        question = Question(before, {key: values[0] for key, values in parse_qs(query).items()})
        self.asked.append(question)
        return question

    def _saw(self, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        if old is None:
            self.events.append(f"+{short(new)}")
        elif new is None:
            self.events.append(f"-{short(old)}")
        else:
            self.events.append(f"{short(old)}>{short(new)}")


def short(obj: dict[str, Any] | None) -> str:
    assert obj is not None
    return f"{obj['metadata']['name']}@{obj['metadata']['resourceVersion']}"


# What the server has.


def widget(name: str, version: int, uid: str = "", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "resourceVersion": str(version), "uid": uid or f"uid-{name}", **more}
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata}


def page(*items: dict[str, Any], version: int | str, more: str = "") -> Answer:
    metadata = {"resourceVersion": str(version), **({"continue": more} if more else {})}
    body = {"kind": "WidgetList", "apiVersion": "example.com/v1", "metadata": metadata, "items": list(items)}
    return Answer(200, Fields(), msgspec.json.encode(body))


def refusal(code: int, reason: str = "", message: str = "", retry_after: int | None = None, **details: Any) -> Answer:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    status |= {"reason": reason, "message": message, **({"details": details} if details else {})}
    fields = [] if retry_after is None else [(b"Retry-After", str(retry_after).encode())]
    return Answer(code, Fields(fields), msgspec.json.encode(status))


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"kind": "Widget", "metadata": {"resourceVersion": str(version)}})


EXPIRED = refusal(410, "Expired", "too old resource version: 5 (9)")
EXPIRED_EVENT = event("ERROR", msgspec.json.decode(EXPIRED.body))

# The rows of a table.


def asks(what: str) -> Row:
    """The reflector asks exactly this next; what follows in the table answers it."""

    def row(talk: Conversation) -> None:
        talk.clock.advance(0)
        talk.expect_asked(what)
        talk.question = talk.asked.pop()

    return row


def asks_nothing() -> Row:
    def row(talk: Conversation) -> None:
        talk.clock.advance(0)
        talk.expect_asked()

    return row


def answers(answer: Answer) -> Row:
    """The server's answer, to a watch one that refuses it."""

    def row(talk: Conversation) -> None:
        question = current(talk)
        if question.deferred is not None:
            question.deferred.callback(answer)
            return
        question.sink.head(answer.status, answer.fields)
        question.sink.data(answer.body)
        question.sink.end()

    return row


def breaks(kind: str = "closed", message: str = "the connection was lost") -> Row:
    """The connection of the last request dies."""

    def row(talk: Conversation) -> None:
        question = current(talk)
        if question.deferred is not None:
            question.deferred.errback(UpstreamError(kind, message))
        else:
            question.sink.failed(UpstreamError(kind, message))

    return row


def opens() -> Row:
    return lambda talk: current(talk).sink.head(200, Fields())


def sends(*data: bytes) -> Row:
    """Pieces of a watch's body, each as it arrives."""

    def row(talk: Conversation) -> None:
        for piece in data:
            current(talk).sink.data(piece)

    return row


def ends() -> Row:
    """The server ends the watch properly."""
    return lambda talk: current(talk).sink.end()


def waits(seconds: float) -> Row:
    return lambda talk: talk.clock.advance(seconds)


def lasts(seconds: int) -> Row:
    """The watch goes on for so long, without an event but with a sign of life a minute."""

    def row(talk: Conversation) -> None:
        for _ in range(seconds // 60):
            talk.clock.advance(60)
            current(talk).sink.data(b"\n")

    return row


def holds(**versions: int) -> Row:
    """The store has exactly these objects, at these versions."""

    def row(talk: Conversation) -> None:
        objects = talk.reflector.store.values()
        have = {obj["metadata"]["name"]: int(obj["metadata"]["resourceVersion"]) for obj in objects}
        same(have, versions, "the store holds")

    return row


def saw(*events: str) -> Row:
    """Subscribers were told exactly this since the last such row."""

    def row(talk: Conversation) -> None:
        same(talk.events, list(events), "subscribers saw")
        talk.events.clear()

    return row


def cut(yes: bool = True) -> Row:
    """The reflector has given the current request up (or not)."""

    def row(talk: Conversation) -> None:
        same(current(talk).cancelled, yes, "cut")

    return row


def synced(yes: bool = True) -> Row:
    def row(talk: Conversation) -> None:
        same(talk.reflector.store.synced, yes, "synced")

    return row


def has_problem(text: str) -> Row:
    """``text`` is part of the problem; the empty text means that there is none."""

    def row(talk: Conversation) -> None:
        problem = talk.reflector.problem
        assert text in problem if text else not problem, f"the problem is {problem!r}"

    return row


def same(have: object, wanted: object, what: str) -> None:
    assert have == wanted, f"{what}: {have!r} instead of {wanted!r}"


def current(talk: Conversation) -> Question:
    assert talk.question is not None, "nothing was asked yet"
    return talk.question


# How most conversations begin.

A1 = widget("a", 1)
B2 = widget("b", 2)

#: Listed and following from version 5, holding a@1 and b@2.
FOLLOWING: tuple[Row, ...] = (
    asks("list"),
    synced(False),
    answers(page(A1, B2, version=5)),
    asks("watch from 5"),
    opens(),
    synced(),
    holds(a=1, b=2),
    saw("+a@1", "+b@2"),
    has_problem(""),
)


def following(**timing: float) -> Conversation:
    talk = Conversation(**timing)
    talk.follow()
    talk.play(*FOLLOWING)
    return talk

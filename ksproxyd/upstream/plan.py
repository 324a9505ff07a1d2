"""How a node forwards: everything that does not depend on the request, worked out once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from ksproxyd.model.message import Item
from ksproxyd.model.status import StatusError
from ksproxyd.upstream.headers import (
    FORWARDED,
    HOP,
    IDENTITY,
    KEEP,
    fate,
    fates,
    forwarded_for,
    identity_lines,
    named_hops,
)

if TYPE_CHECKING:
    from ksproxyd.server.exchange import Exchange
    from ksproxyd.upstream.pool import Pool

#: Without a length many a server answers these with 411 (RFC 9110, 8.6).
_EXPECTED_TO_HAVE_A_BODY = frozenset([b"POST", b"PUT", b"PATCH"])


class HeaderRules(Protocol):
    """Changes to a header block, as a ReverseProxy declares them."""

    def apply(self, items: list[Item]) -> list[Item]: ...


class BodyFilter(Protocol):
    """Rewrites an answer's body as it passes.

    Either method raises :class:`~ksproxyd.upstream.errors.UpstreamError` where the body is not what it should be.
    """

    def steps(self, data: bytes) -> Iterator[bytes]:
        """Take the next piece of the body: what can be sent of it, in steps of a millisecond or two."""

    def end(self) -> bytes:
        """The body is over: the rest of it."""


class Answer:
    """The head of an answer on its way to the client, for :attr:`Plan.on_answer` to change."""

    __slots__ = ("body", "dated", "items", "length", "status")

    def __init__(self, status: int, items: list[Item], length: int | None, dated: bool) -> None:
        self.status = status
        self.items = items
        self.length = length
        self.dated = dated
        #: Set to have the body rewritten; ``length`` is then unknown.
        self.body: BodyFilter | None = None


class Policy(Protocol):
    """Admission to an upstream: health, circuit breaker, rates (:class:`ksproxyd.upstream.guard.Guard`)."""

    def admit(self, exchange: Exchange) -> StatusError | None:
        """None: go on, and say :meth:`done` later. An error: the answer, and nothing more to say."""

    def answered(self, exchange: Exchange, status: int) -> None:
        """The head of the upstream's final answer has come."""

    def failed(self, exchange: Exchange, kind: str, message: str) -> None:
        """The upstream did not answer, or broke its answer off."""

    def done(self, exchange: Exchange) -> None:
        """The request is over, whatever came of it."""


class Cell(Protocol):
    """Counts what became of requests (:class:`ksproxyd.observe.cells.UpstreamCell`)."""

    def answered(self, status: int, seconds: float) -> None: ...

    def failed(self, kind: str) -> None: ...


class Plan:
    """One way to a backend.

    ``name`` is for logs and metrics. ``identity`` puts ``X-Remote-*`` on each request. ``drop`` names further
    fields of the client's that stay here (lower case). ``credentials`` gives lines that authenticate the gateway
    itself, ``more`` lines that depend on the request and the target that is sent; both end in CRLF. ``up`` and ``down``
    are a ReverseProxy's header rules. ``codings`` changes the value of ``Accept-Encoding``, after the rules.
    ``on_answer`` may change an answer's head, or raise :class:`StatusError` to put another answer in its place.
    ``proven`` is whether a backend that accepts a WebSocket must prove that it has read the request; clients look at
    that, too.
    """

    __slots__ = (
        "cell",
        "changed",
        "codings",
        "credentials",
        "down",
        "drop",
        "host",
        "identity",
        "more",
        "name",
        "on_answer",
        "on_statuses",
        "opening",
        "policy",
        "pool",
        "proven",
        "up",
    )

    def __init__(
        self,
        name: str,
        pool: Pool,
        *,
        identity: bool = False,
        drop: frozenset[bytes] = frozenset(),
        credentials: Callable[[], bytes] | None = None,
        more: Callable[[Exchange, bytes], bytes] | None = None,
        up: HeaderRules | None = None,
        down: HeaderRules | None = None,
        codings: Callable[[bytes], bytes] | None = None,
        on_answer: Callable[[Exchange, Answer], None] | None = None,
        on_statuses: frozenset[int] | None = None,
        policy: Policy | None = None,
        cell: Cell | None = None,
        proven: bool = False,
    ) -> None:
        self.name = name
        self.pool = pool
        self.host = pool.target.host_field
        self.opening = b" HTTP/1.1\r\nHost: " + self.host + b"\r\n"
        self.identity = identity
        # The field is looked at where others are dropped, so that plans that do not care pay nothing.
        self.drop = drop if codings is None else drop | {b"accept-encoding"}
        self.codings = codings
        self.credentials = credentials
        self.more = more
        self.up = up
        self.down = down
        self.on_answer = on_answer
        #: The statuses that ``on_answer`` is for; None: all.
        self.on_statuses = on_statuses
        #: The statuses of answers that ``on_answer`` or ``down`` may change; None: all.
        self.changed: frozenset[int] | None = frozenset()
        if down is not None:
            self.changed = None
        elif on_answer is not None:
            self.changed = on_statuses
        self.policy = policy
        self.cell = cell
        self.proven = proven


def _stays_here(key: bytes, trusted: bool, hops: frozenset[bytes] | None) -> bool:
    """Whether the client's field is for this hop only, or says what only this gateway may say of its sender."""
    what = fate(key)
    if what == KEEP:
        return hops is not None and key in hops
    return what == IDENTITY or (what == FORWARDED and not trusted)


def request_head(exchange: Exchange, plan: Plan, method: bytes, target: bytes, switching: bool = False) -> bytes:
    """The head of the request that goes upstream. ``switching`` asks for the client's upgrade."""
    head = exchange.head
    user = exchange.user
    if exchange.fields.items is head.items and plan.up is None and not exchange.trusted:
        # What goes along depends on the fields, the plan and the user alone; and whose the connection is.
        known, known_user, lines, identity = head.passed
        if known is not plan or known_user is not user:
            lines = plan.opening + _passed(exchange, plan)[0]
            identity = identity_lines(user) if plan.identity else b""
            head.passed = (plan, user, lines, identity)
        connection = exchange.connection
        forwarded = connection.forwarded
        if forwarded is None:
            forwarded = connection.forwarded = forwarded_for(exchange.peer)
        out = [method, b" ", target, lines, forwarded, identity]
    else:
        lines, hops = _passed(exchange, plan)
        out = [method, b" ", target, plan.opening, lines, forwarded_for(exchange.peer, hops)]
        if plan.identity:
            out.append(identity_lines(user))
    if plan.credentials is not None:
        out.append(plan.credentials())
    if plan.more is not None:
        out.append(plan.more(exchange, target))
    if switching:
        assert exchange.upgrade is not None
        out += (b"Connection: Upgrade\r\nUpgrade: ", exchange.upgrade, b"\r\n\r\n")
    elif exchange.length:
        if exchange.wants_continue:
            out.append(b"Expect: 100-continue\r\n")
        out.append(b"Transfer-Encoding: chunked\r\n\r\n" if exchange.length < 0 else b"\r\n")
    elif method in _EXPECTED_TO_HAVE_A_BODY and exchange.fields.get(b"content-length") is None:
        out.append(b"Content-Length: 0\r\n\r\n")
    else:
        out.append(b"\r\n")
    return b"".join(out)


def _passed(exchange: Exchange, plan: Plan) -> tuple[bytes, bytes]:
    """The client's fields that go along, and the addresses before the client's own that a trusted one has named."""
    out: list[bytes] = []
    fields = exchange.fields
    items = fields.items
    options = fields.get(b"connection")
    hops = named_hops(options) if options is not None else None
    drop = plan.drop
    named = b""
    if plan.up is not None:
        # The client's claims and its hop's fields go before the rules see the block; what the rules set is the
        # author's own, and no client's to drop.
        items = plan.up.apply([item for item in items if not _stays_here(item[0], exchange.trusted, hops)])
        claimed = False
        hops = None
    else:
        claimed = not exchange.trusted
    known = fates.get
    for key, name, value in items:
        what = known(key)
        if what is None:
            what = fate(key)
        if what == KEEP:
            if key not in drop:
                if hops is None or key not in hops:
                    out += (name, b": ", value, b"\r\n")
            elif plan.codings is not None and key == b"accept-encoding":
                out += (name, b": ", plan.codings(value), b"\r\n")
        elif what == FORWARDED:
            # Proxies spell these with hyphens; with underscores a client has written them past the proxy.
            if not claimed and key not in drop and b"_" not in key:
                if key == b"x-forwarded-for":
                    named = named + b", " + value if named else value
                else:
                    out += (name, b": ", value, b"\r\n")
        elif what == IDENTITY and plan.up is not None and not plan.identity:
            out += (name, b": ", value, b"\r\n")
        elif what == HOP and key == b"te" and _takes_trailers(value):
            # Some backends (gRPC's) want to know; other codings are between them and us.
            out.append(b"TE: trailers\r\n")
    return b"".join(out), named


def _takes_trailers(value: bytes) -> bool:
    return any(coding.strip().lower() == b"trailers" for coding in value.split(b","))

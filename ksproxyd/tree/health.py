"""``/healthz``, ``/livez`` and ``/readyz`` (spec 01, 1.6): named checks, alone and together.

``GET /healthz`` is ``ok`` while every check passes; ``?verbose`` lists them, ``?exclude=NAME`` (repeatable) leaves one
out, ``/healthz/NAME`` asks for one alone. On ``/healthz`` and ``/livez`` a failing check is a 500 without its reason;
they have the one check ``ping``, because a process that answers is alive and restarting it would help nobody.
``/readyz`` is ours: a failing check is a 503, which takes the process out of load balancing, and says why.

What a check says is shown to anybody who asks: it must not name addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from twisted.logger import Logger

from ksproxyd.model.message import Response
from ksproxyd.model.query import parameters
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.model.status import not_found

#: What a check finds: nothing to say, a problem, or whether all is well and a remark.
Finding = str | tuple[bool, str] | None

_UNCACHED = (b"Cache-Control", b"no-store")


class Check(NamedTuple):
    """One named check. ``run`` is called for each request that asks and must be quick; see :data:`Finding`."""

    name: str
    run: Callable[[], Finding]


class Request(Protocol):
    """What a health node reads of an exchange."""

    @property
    def info(self) -> RequestInfo: ...
    @property
    def query(self) -> bytes: ...


class Health:
    """The node of one health endpoint and of its checks below it.

    ``name`` is the path's first segment. ``failing`` is the status that a failing check makes; ``reveal`` says whether
    the answer tells the reason. Any method will do. Raises :class:`ValueError` if two checks have one name.
    """

    log = Logger()

    def __init__(self, name: str, checks: Sequence[Check], *, failing: int = 500, reveal: bool = False) -> None:
        self._name = name
        self._checks = {check.name: check for check in checks}
        if len(self._checks) != len(checks):
            raise ValueError(f"{name}: two checks of one name among {[check.name for check in checks]}")
        self._failing = failing
        self._reveal = reveal

    def handle(self, exchange: Request) -> Response:
        """Run what is asked for. Raises a 404 :class:`~ksproxyd.model.status.StatusError` for an unknown check."""
        _, slash, one = exchange.info.path.lstrip("/").partition("/")
        if not slash:
            return self._all(exchange.query)
        check = self._checks.get(one)
        if check is None:
            raise not_found(f"{self._name} has no check {one!r}; /{self._name}?verbose lists them")
        healthy, text = self._run(check)
        return self._answer(True, "ok") if healthy else self._answer(False, self._line(one, False, text))

    def describe(self) -> str:
        """One line for the list of routes."""
        return f"{self._name}: {', '.join(self._checks)}"

    def _all(self, query: bytes) -> Response:
        asked = parameters(query) if query else {}
        exclude = dict.fromkeys(asked.get("exclude", ()))
        lines = []
        healthy = True
        for name, check in self._checks.items():
            if name in exclude:
                del exclude[name]
                lines.append(f"[+]{name} excluded: ok\n")
                continue
            good, text = self._run(check)
            healthy = healthy and good
            lines.append(self._line(name, good, text))
        if exclude:
            unknown = ",".join(f'"{name}"' for name in exclude)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {unknown}\n")
        if not healthy:
            return self._answer(False, f"{''.join(lines)}{self._name} check failed\n")
        if "verbose" in asked:
            return self._answer(True, f"{''.join(lines)}{self._name} check passed\n")
        return self._answer(True, "ok")

    def _run(self, check: Check) -> tuple[bool, str]:
        try:
            found = check.run()
        except Exception:
            self.log.failure("the health check {check} met a bug", check=check.name)
            return False, "the check itself failed, see the log"
        if isinstance(found, str):
            return False, found
        return (True, "") if found is None else found

    def _line(self, name: str, healthy: bool, text: str) -> str:
        if healthy:
            return f"[+]{name} ok{': ' if text else ''}{text}\n"
        return f"[-]{name} failed: {text if self._reveal else 'reason withheld'}\n"

    def _answer(self, healthy: bool, text: str) -> Response:
        return Response.text(200 if healthy else self._failing, text, [_UNCACHED])


#: Passes whenever it is asked: whoever gets an answer knows that the process runs.
PING = Check("ping", lambda: None)


def healthz() -> Health:
    """The node at ``/healthz``."""
    return Health("healthz", [PING])


def livez() -> Health:
    """The node at ``/livez``."""
    return Health("livez", [PING])


def readyz(checks: Iterable[Check]) -> Health:
    """The node at ``/readyz``, with ``checks`` behind ``ping``."""
    return Health("readyz", [PING, *checks], failing=503, reveal=True)


class Synced(Protocol):
    """A store of :mod:`ksproxyd.state`."""

    @property
    def synced(self) -> bool: ...


class Following(Protocol):
    """A watch loop of :mod:`ksproxyd.state`. ``status()`` is one line on how it is doing."""

    @property
    def label(self) -> str: ...
    @property
    def store(self) -> Synced: ...
    def status(self) -> str: ...


def informer_sync(watch: Following) -> Check:
    """Whether a kind has been read once; the check of that kind, named ``informer-sync/<kind>``.

    What was read stays good for answering when the watch is lost (DESIGN, 8): a stale kind passes, and ``?verbose``
    says how old it is.
    """

    def run() -> Finding:
        return watch.store.synced, watch.status()

    return Check(f"informer-sync/{watch.label}", run)


def kube_apiserver(age: Callable[[], float], stale_after: float) -> Check:
    """Whether kube-apiserver can be reached, for information: it never fails.

    ``age`` are the seconds since its last sign of life of any kind (infinity: none yet); from ``stale_after`` seconds
    on it counts as lost. A gateway that cannot reach it still knows what it needs for every route that does not lead
    there, and taking all replicas out of service at once would make an outage of the API server one of everything.
    """

    def run() -> Finding:
        seconds = age()
        if seconds == float("inf"):
            return True, "not heard of yet"
        if seconds >= stale_after:
            return True, f"lost, last heard {seconds:.0f} s ago; serving the last known state"
        return True, f"last heard {max(seconds, 0):.0f} s ago"

    return Check("kube-apiserver", run)


def shutdown(draining: Callable[[], bool]) -> Check:
    """Fails from the moment the process begins to drain, so that no new requests are sent to it."""
    return Check("shutdown", lambda: "the process is shutting down" if draining() else None)

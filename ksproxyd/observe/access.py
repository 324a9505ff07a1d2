"""The access log: one line a request that is worth one.

By default those are requests that failed (status 400 and above) and those that took longer than ``slow``; a setting
writes all or none. What will not be written is not formatted.

Text: ``<client> - "<method> <target> HTTP/1.x" <status> <bytes> <milliseconds>ms``, as ks-apiserver's line has it, and
then ``name=value`` pairs. JSON: the same as one object.

A client that went away before there was an answer is status 499 and nobody's error (spec 01, D48): it is written with
the slow ones or when all are. Watches, followed logs and upgrades are slow by design and written only for their status
or when all are.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from ksproxyd.observe.escaping import one_line, quoted
from ksproxyd.observe.logging import LogOutput, encodable
from ksproxyd.observe.observed import CLIENT_GONE, Classified, Observed, long_running
from ksproxyd.observe.redact import redact_target, redact_text, redact_value

#: The values of ``logging.access``.
MODES = ("errors", "all", "off")

#: From which status on a request is written, by mode.
_LEAST = {"errors": 400, "all": 0, "off": 1000}

LOGGER = "ksproxyd.access"

#: Bytes of a request target that are written.
_LONGEST_TARGET = 4096


class AccessSettings(Protocol):
    """``ksproxyd.logging`` of the settings: ``access`` is one of :data:`MODES`, ``slow`` is in seconds (0: never)."""

    @property
    def access(self) -> str: ...
    @property
    def slow(self) -> float: ...


class AccessLog:
    """Decides which requests are written, and writes them to ``output``."""

    def __init__(self, settings: AccessSettings, clock: IReactorTime, output: LogOutput) -> None:
        self._clock = clock
        self._output = output
        self.apply(settings)

    def apply(self, settings: AccessSettings) -> None:
        """Take over the settings, at start and at a reload."""
        #: The least status that is written for its own sake. What has a lesser one and is not :attr:`slow` is not
        #: written, and nobody need ask.
        self.least = _LEAST[settings.access]
        #: From how many seconds on a request is written for its slowness.
        self.slow = settings.slow if settings.slow and settings.access != "off" else float("inf")

    def finished(self, exchange: Observed, seconds: float | None = None) -> None:
        """The request has ended, after ``seconds`` (default: now, by the clock that gave ``exchange.started``)."""
        if seconds is None:
            seconds = self._clock.seconds() - exchange.started
        status = exchange.status or CLIENT_GONE
        wanted = status >= self.least and (status != CLIENT_GONE or not self.least)
        if not wanted and (seconds < self.slow or long_running(exchange)):
            return
        self._write(exchange, status, max(0.0, seconds))

    def _write(self, exchange: Observed, status: int, seconds: float) -> None:
        level = "warn" if status >= 500 else "info"
        target = redact_target(exchange.target[:_LONGEST_TARGET]).decode("utf-8", "backslashreplace")
        fields = _fields(exchange, seconds)
        if self._output.json:
            record = {
                "message": encodable(f"{exchange.method} {target} {status}"),
                "client": exchange.client,
                "method": encodable(exchange.method),
                "url": encodable(target),
                "protocol": f"HTTP/1.{exchange.minor}",
                "status": status,
                "sent": exchange.sent,
                "seconds": round(seconds, 6),
            }
            self._output.record(level, LOGGER, "", record | fields)
            return
        line = f"{one_line(exchange.method)} {_in_quotes(target)} HTTP/1.{exchange.minor}"
        pairs = " ".join(f"{name}={_value(value)}" for name, value in fields.items())
        millis = f"{seconds * 1e3:.0f}ms"
        text = f'{one_line(exchange.client)} - "{line}" {status} {exchange.sent} {millis} {pairs}'
        self._output.record(level, LOGGER, text, {})


def _fields(exchange: Observed, seconds: float) -> dict[str, Any]:
    """What both formats have beside the original's line; what is empty is left out."""
    info: Classified | None = exchange.info
    fields: dict[str, Any] = {"id": exchange.id, "user": exchange.user.name, "received": exchange.received}
    if info is not None:
        fields |= {
            "verb": info.verb,
            "cluster": info.cluster,
            "group": info.api_group,
            "version": info.api_version,
            "resource": info.resource,
            "subresource": info.subresource,
            "namespace": info.namespace,
            "name": info.name,
        }
    fields["upstream"] = exchange.node
    fields["upstream_seconds"] = round(exchange.upstream_seconds, 6)
    for name, value in (exchange.notes or {}).items():
        fields.setdefault(name, _noted(name, value))
    return {
        name: encodable(value) if isinstance(value, str) else value
        for name, value in fields.items()
        if value not in ("", 0, None)
    }


def _noted(name: str, value: Any) -> Any:
    """What a step or node has noted about the request, as text if it is no number."""
    value = redact_value(name, value)
    return value if isinstance(value, (int, float)) else redact_text(str(value))


def _value(value: object) -> str:
    """A value of the text format: bare if it is one plain word, else as a JSON string."""
    text = value if isinstance(value, str) else str(value)
    if text.isascii() and text.isprintable() and not any(sign in text for sign in ' "=\\'):
        return text
    return quoted(text)


def _in_quotes(target: str) -> str:
    """The target inside the quotes of the line: it must not end them."""
    return one_line(target).replace('"', "%22")

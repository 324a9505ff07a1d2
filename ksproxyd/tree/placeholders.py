"""``{name}`` placeholders in the directives of a ReverseProxy.

A placeholder stands for something of the request (``{path}``, ``{query}``), of the time, or of the gateway's
surroundings. Those of the surroundings are put in once, when the directives are compiled, and only if they are
harmless or allowed; what comes from a request is put in at request time and never looked at again.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

PATH = "path"
QUERY = "query"

_UNCLOSED_LIMIT = 100


class Placeholder(msgspec.Struct, frozen=True):
    """A ``{name}`` in a template."""

    name: str


class Fixed(msgspec.Struct, frozen=True):
    """What a placeholder stands for, when that does not change. Data: nothing in it is special."""

    value: str


Parts = list[str | Placeholder]
Settled = list[str | Fixed | Placeholder]


def parse(text: str, is_text: Callable[[str, str], bool] = lambda before, name: False) -> Parts:
    """The literal texts and placeholders of ``text``, without empty texts.

    ``\\\\{`` and ``\\\\}`` are braces, and so is a ``{`` that nothing closes. A placeholder for which
    ``is_text(text before it, its name)`` is true stays text, braces included. Raises ``ValueError`` if more than 100
    braces are not closed.
    """
    parts: Parts = []
    literal = ""
    unclosed = 0
    for found in _BRACE.finditer(text):
        escaped, name, plain = found.groups()
        if escaped is not None:
            literal += escaped
        elif plain is not None:
            unclosed += plain == "{"
            literal += plain
        elif is_text(literal, name):
            literal += f"{{{name}}}"
        else:
            parts += (literal, Placeholder(name))
            literal = ""
    if unclosed > _UNCLOSED_LIMIT:
        raise ValueError(f"more than {_UNCLOSED_LIMIT} braces are not closed")
    parts.append(literal)
    return [part for part in parts if part != ""]


_BRACE = re.compile(r"\\([{}])|\{((?:[^}\\]|\\.)*)\}|([^\\{]+|.)", re.DOTALL)


class Surroundings:
    """What placeholders know besides the request.

    ``allowed`` names what may be shown to the authors of extensions and to their backends: environment variables
    (``HOME`` or ``env.HOME``), ``system.hostname``, ``system.wd``. Anything else of that kind expands to nothing.
    """

    def __init__(
        self,
        allowed: frozenset[str] = frozenset(),
        environ: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._allowed = allowed
        self._environ = environ
        self._now = now

    def settle(self, parts: Parts, known: frozenset[str], report: Callable[[str], None]) -> Settled:
        """``parts`` with every placeholder replaced that does not depend on the request or the time.

        ``known`` are the placeholders of the request that mean something where the template stands. What is unknown
        or not allowed is left out, and ``report`` is told.
        """
        settled: Settled = []
        for part in parts:
            if isinstance(part, str) or part.name in known or part.name in _TIMES:
                settled.append(part)
                continue
            try:
                settled.append(Fixed(self._fixed(part.name)))
            except LookupError as error:
                report(str(error))
        return settled

    def at(self, name: str) -> str:
        """The value of a placeholder of the time, now (UTC)."""
        now = self._now()
        return _TIMES[name](now, datetime.fromtimestamp(now, UTC))

    def _fixed(self, name: str) -> str:
        if name in _HARMLESS:
            return _HARMLESS[name]
        if name.startswith("env."):
            variable = name.removeprefix("env.")
            if variable in self._allowed or name in self._allowed:
                return self._environ.get(variable, "")
        elif name not in _REVEALING:
            raise LookupError(f"unknown placeholder {{{name}}} expands to nothing")
        elif name in self._allowed:
            try:
                return _REVEALING[name]()
            except OSError as error:
                raise LookupError(f"placeholder {{{name}}} expands to nothing: {error}") from error
        raise LookupError(f"placeholder {{{name}}} is not allowed and expands to nothing")


_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

_HARMLESS = {
    "system.slash": os.sep,
    "system.os": sys.platform,
    "system.arch": _MACHINES.get(platform.machine(), platform.machine()),
}

_REVEALING: dict[str, Callable[[], str]] = {"system.hostname": socket.gethostname, "system.wd": os.getcwd}

# strftime would write them in the language of the locale.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _http(utc: datetime) -> str:
    return f"{_DAYS[utc.weekday()]}, {utc:%d} {_MONTHS[utc.month - 1]} {utc:%Y %H:%M:%S} GMT"


_TIMES: dict[str, Callable[[float, datetime], str]] = {
    "time.now": lambda now, utc: f"{utc:%Y-%m-%d %H:%M:%S.%f} +0000 UTC",
    "time.now.http": lambda now, utc: _http(utc),
    "time.now.common_log": lambda now, utc: f"{utc:%d}/{_MONTHS[utc.month - 1]}/{utc:%Y:%H:%M:%S} +0000",
    "time.now.year": lambda now, utc: f"{utc:%Y}",
    "time.now.unix": lambda now, utc: str(int(now)),
    "time.now.unix_ms": lambda now, utc: str(int(now * 1000)),
}

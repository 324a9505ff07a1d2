"""Which handler is for which method and path, within one part of the tree.

A pattern is a path whose segments in braces are parameters: ``/users/{user}/password``. Handlers are called with the
exchange and the parameters by name and return what a step of the chain returns, but never None: a
:class:`~ksproxyd.model.message.Response`, an awaitable of one, or :data:`~ksproxyd.chain.TAKEN`. HEAD is answered by
GET's handler; an unknown path is a 404, another method a 405 with ``Allow``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from ksproxyd.chain import Outcome
from ksproxyd.model.message import Response
from ksproxyd.model.status import method_not_allowed
from ksproxyd.server.exchange import Exchange
from ksproxyd.tree import nothing_here

Handler = Callable[..., Response | Awaitable[Response]]


class Route(NamedTuple):
    """``summary`` describes it in the OpenAPI documents."""

    method: str
    pattern: str
    handler: Handler
    summary: str = ""


class Router:
    """A node of the tree, mounted as a subtree at ``prefix``; patterns are relative to it, and begin with ``/``."""

    def __init__(self, prefix: str, title: str, routes: Iterable[Route]) -> None:
        self.prefix = prefix
        self._title = title
        self.routes = tuple(routes)
        #: Asked for paths that there is no route for, if there is such a one.
        self.fallback: Callable[[Exchange], Outcome] | None = None
        self._patterns: dict[tuple[str, ...], dict[str, Handler]] = {}
        for route in self.routes:
            methods = self._patterns.setdefault(tuple(route.pattern.split("/")[1:]), {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.pattern} is there twice")
            methods[route.method] = route.handler

    def handle(self, exchange: Exchange) -> Outcome:
        """Call the handler for ``exchange``. Raises the 404 or 405 where there is none."""
        segments = exchange.info.path[len(self.prefix) :].rstrip("/").split("/")[1:]
        found = self._find(segments)
        if found is None:
            if self.fallback is not None:
                return self.fallback(exchange)
            raise nothing_here(exchange)
        methods, parameters = found
        handler = methods.get("GET" if exchange.method == "HEAD" else exchange.method)
        if handler is None:
            allowed = sorted({*methods, *(["HEAD"] if "GET" in methods else [])})
            raise method_not_allowed(allowed)
        return handler(exchange, **parameters)

    def _find(self, segments: list[str]) -> tuple[dict[str, Handler], dict[str, str]] | None:
        """The methods and parameters for a path. A segment that is written out wins over a parameter."""
        exact = self._patterns.get(tuple(segments))
        if exact is not None:
            return exact, {}
        best: tuple[int, dict[str, Handler], dict[str, str]] | None = None
        for pattern, methods in self._patterns.items():
            if len(pattern) != len(segments):
                continue
            parameters: dict[str, str] = {}
            for wanted, given in zip(pattern, segments, strict=True):
                if wanted.startswith("{") and given:
                    parameters[wanted[1:-1]] = given
                elif wanted != given:
                    break
            else:
                if best is None or len(parameters) < best[0]:
                    best = len(parameters), methods, parameters
        return None if best is None else best[1:]

    def describe(self) -> str:
        """What ``ksproxyd routes`` calls it."""
        return self._title

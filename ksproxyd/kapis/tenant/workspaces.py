"""Workspaces and their templates, as they are read (spec 03, 5.1 to 5.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ksproxyd.kapis.listing import parse_query
from ksproxyd.kapis.router import Route
from ksproxyd.kapis.tenant.lists import Lists
from ksproxyd.kapis.tenant.objects import Object, missing
from ksproxyd.kapis.tenant.visibility import Visibility
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import WORKSPACE_ROLE_BINDINGS, WORKSPACE_TEMPLATES, WORKSPACES, Kind

Read = Callable[..., Response | Awaitable[Response]]


class Workspaces:
    """The reading endpoints. With ``strict``, what somebody has no part in is not there for them (D17)."""

    def __init__(self, lists: Lists, visibility: Visibility, strict: bool) -> None:
        self._lists = lists
        self._visibility = visibility
        self._strict = strict

    def routes(self) -> list[Route]:
        """Of ``v1beta1``."""
        return [
            Route("GET", "/workspaces", self.list(WORKSPACES), "Workspaces that one sees"),
            Route("GET", "/workspaces/{workspace}", self.get(WORKSPACES), "A workspace"),
            *self._template_routes(),
        ]

    def old_routes(self) -> list[Route]:
        """Of ``v1alpha3``, where everything is a template."""
        return [
            Route("GET", "/workspaces", self.list(WORKSPACE_TEMPLATES), "Workspace templates that one sees"),
            Route("GET", "/workspaces/{workspace}", self.get(WORKSPACE_TEMPLATES), "A workspace template"),
            *self._template_routes(),
        ]

    def _template_routes(self) -> list[Route]:
        listing, one = self.list(WORKSPACE_TEMPLATES), self.get(WORKSPACE_TEMPLATES)
        return [
            Route("GET", "/workspacetemplates", listing, "Workspace templates that one sees"),
            Route("GET", "/workspacetemplates/{workspace}", one, "A workspace template"),
        ]

    def list(self, kind: Kind) -> Read:
        """The handler that lists ``kind``."""

        def handler(exchange: Exchange) -> Awaitable[Response]:
            query = parse_query(exchange.query)
            self._lists.need(kind, WORKSPACE_ROLE_BINDINGS)
            return self._lists.answer(self._visibility.workspaces(exchange.user, kind), query)

        return handler

    def get(self, kind: Kind) -> Read:
        """The handler that answers with one object of ``kind``."""

        def handler(exchange: Exchange, workspace: str) -> Response:
            return Response.json(200, self.found(kind, exchange.user, workspace))

        return handler

    def found(self, kind: Kind, user: Identity, name: str) -> Object:
        """One workspace or template. Raises the 404."""
        self._lists.need(kind)
        value = self._visibility.store(kind).get(("", name))
        if value is None or (self._strict and not self._visibility.sees_workspace(user, name)):
            raise missing(kind.resource, name)
        return value

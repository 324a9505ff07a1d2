"""The node of everything below ``/kapis`` and ``/kapi`` that has no other (spec 01, 3.10, and 04, 10).

Routers of KubeSphere's own groups hand on what they have no route for (:attr:`ksproxyd.kapis.router.Router.fallback`).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from ksproxyd.chain import TAKEN, Outcome
from ksproxyd.kapis.dynamic.address import Address, address_of, is_users
from ksproxyd.kapis.dynamic.discovery import Discovery
from ksproxyd.kapis.dynamic.reading import Reading
from ksproxyd.kapis.dynamic.writing import Writing
from ksproxyd.kube.client import KubeClient
from ksproxyd.model.message import Response
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.model.status import bad_request, method_not_allowed
from ksproxyd.server.exchange import Exchange
from ksproxyd.tree import nothing_here
from ksproxyd.tree.write_checks import WriteChecks, guarded

_WRITES = frozenset(["create", "update", "patch", "delete"])
_READ_METHODS = ("GET", "HEAD")


class Dynamic:
    """``pass_on(exchange, target)`` sends a request to the API server as it is, for what streams.

    ``workspace_of`` is the workspace that a namespace is in; empty if it is in none, or not there.
    """

    def __init__(
        self,
        clock: IReactorTime,
        client: KubeClient,
        checks: WriteChecks,
        pass_on: Callable[[Exchange, bytes], Outcome],
        workspace_of: Callable[[str], str],
    ) -> None:
        self._discovery = Discovery(clock, client)
        self._reading = Reading(clock, client)
        self._writing = Writing(client, self._reading, checks)
        self._checks = checks
        self._pass_on = pass_on
        self._workspace_of = workspace_of

    def handle(self, exchange: Exchange) -> Outcome:
        """Serve a request for a resource. Raises the 404 for everything else."""
        info: RequestInfo = exchange.info
        if not info.is_resource or info.is_kubernetes or is_users(info):
            raise nothing_here(exchange)
        return self._serve(exchange, info)

    async def _serve(self, exchange: Exchange, info: RequestInfo) -> Response:
        found = await self._discovery.find(info.api_group, info.api_version, info.resource)
        address = None if found is None else address_of(info, found, self._belongs)
        if address is None:
            raise nothing_here(exchange)
        verb = info.verb
        if verb in ("get", "list", "watch") and exchange.method in _READ_METHODS:
            return await self._read(exchange, address, verb)
        if verb not in _WRITES:
            raise bad_request("not supported verb")
        if (verb == "create") is bool(address.name) or (verb == "delete" and address.subresource):
            raise method_not_allowed(_methods(address))
        if guarded(info):
            self._checks.check_request(exchange.user, info)
        handler = getattr(self._writing, verb)
        response: Response = await handler(exchange, address)
        return response

    async def _read(self, exchange: Exchange, address: Address, verb: str) -> Response:
        if verb == "watch":
            if exchange.method != "GET":
                raise method_not_allowed(["GET"])
            self._pass_on(exchange, self._reading.watched(address, exchange.query))
            return TAKEN
        if address.name:
            return await self._reading.get(address)
        return await self._reading.list(address, exchange.query)

    def _belongs(self, namespace: str, workspace: str) -> bool:
        return self._workspace_of(namespace) == workspace

    def describe(self) -> str:
        """What ``ksproxyd routes`` calls it."""
        return "resources of the Kubernetes API"


def _methods(address: Address) -> list[str]:
    if address.subresource:
        return ["GET", "HEAD", "PUT", "PATCH"]
    return ["GET", "HEAD", "PUT", "PATCH", "DELETE"] if address.name else ["GET", "HEAD", "POST"]

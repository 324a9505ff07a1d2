"""The sample extension of ``--demo``: a small backend on loopback, and the objects that make it reachable."""

from __future__ import annotations

import base64
import time
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.resource import Resource
from ksproxyd.model.message import Response
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.server import Server
from ksproxyd.transport.wheel import Wheel

GROUP, VERSION = "demo.ksproxyd.io", "v1alpha1"
API_PATH = f"/kapis/{GROUP}/{VERSION}/hello"
PROXY_PATH = f"/proxy/{GROUP}"
SCRIPT_PATH = "/dist/demo/index.js"

_EXTENSIONS = ("extensions.kubesphere.io", "v1alpha1")
_SCRIPT = "export default { name: 'demo', greet: () => console.log('hello from a JSBundle') };\n"
_MANAGER = "ksproxyd-demo"


class DemoBackend:
    """Answers every request with what it was asked and what the gateway told it of its sender."""

    def __init__(self, reactor: Any, wheel: Wheel) -> None:
        self._server = Server(reactor, wheel, self._handle, lambda exchange: None, Limits(), Timeouts(), time.time)
        self._endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self._port: IListeningPort | None = None

    async def start(self) -> str:
        """Listen on a free loopback port; returns the URL."""
        self._port = await self._endpoint.listen(self._server)
        host: Any = self._port.getHost()
        return f"http://127.0.0.1:{host.port}"

    async def stop(self) -> None:
        """Listen no longer."""
        if self._port is not None:
            await self._port.stopListening()  # type: ignore[misc]
        for connection in list(self._server.connections):
            connection.abort()

    def _handle(self, exchange: Exchange) -> None:
        told = {
            name.decode("latin-1"): value.decode("latin-1")
            for key, name, value in exchange.fields
            if key.startswith((b"x-remote-", b"x-forwarded-"))
        }
        body = {"hello": "from the sample extension", "path": exchange.target.decode("latin-1"), "headers": told}
        exchange.respond(Response.json(200, body))


def objects(url: str) -> list[tuple[Resource, dict[str, Any]]]:
    """The extension objects for a backend at ``url``."""
    available = {"state": "Available"}
    return [
        (
            Resource(*_EXTENSIONS, "apiservices", "APIService"),
            {
                "metadata": {"name": f"{VERSION}.{GROUP}"},
                "spec": {"group": GROUP, "version": VERSION, "url": url},
                "status": available,
            },
        ),
        (
            Resource(*_EXTENSIONS, "reverseproxies", "ReverseProxy"),
            {
                "metadata": {"name": "demo"},
                "spec": {
                    "matcher": {"path": f"{PROXY_PATH}/*", "method": "*"},
                    "upstream": {"url": url},
                    "directives": {"stripPathPrefix": PROXY_PATH, "authProxy": True},
                },
                "status": available,
            },
        ),
        (
            Resource(*_EXTENSIONS, "jsbundles", "JSBundle"),
            {
                "metadata": {"name": "demo"},
                "spec": {"raw": base64.b64encode(_SCRIPT.encode()).decode("ascii")},
                "status": {**available, "link": SCRIPT_PATH},
            },
        ),
    ]


async def install(client: KubeClient, url: str) -> None:
    """Apply the objects. Raises what the client raises."""
    for resource, value in objects(url):
        body = {"apiVersion": f"{resource.group}/{resource.version}", "kind": resource.kind, **value}
        await client.patch(
            resource, value["metadata"]["name"], body, kind="apply", field_manager=_MANAGER, force=True
        )

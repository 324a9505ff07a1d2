"""A proxy on aiohttp: its server in front, its client behind, bodies streamed.

Usage: ``python -m bench.peers.aiohttp_proxy PORT UPSTREAM [CA-FILE]``
"""

from __future__ import annotations

import ssl
import sys

from aiohttp import ClientSession, TCPConnector, web

_HOPS = frozenset(
    ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
)


class ReverseProxy:
    """Sends every request to ``upstream``."""

    def __init__(self, upstream: str, authority: str) -> None:
        self._upstream = upstream
        self._context = ssl.create_default_context(cafile=authority) if authority else None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        session = self._session
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOPS]
        body = request.content if request.body_exists else None
        url = self._upstream + request.raw_path
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in _HOPS:
                    response.headers.add(name, value)
            response.content_length = answer.content_length
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    async def start(self, application: web.Application) -> None:
        connector = TCPConnector(limit=0, ssl=self._context if self._context is not None else True)
        self._session = ClientSession(connector=connector, auto_decompress=False)

    async def stop(self, application: web.Application) -> None:
        await self._session.close()


def main(port: str, upstream: str, authority: str = "") -> None:
    """Serve until a signal comes."""
    proxy = ReverseProxy(upstream, authority)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    application.on_startup.append(proxy.start)
    application.on_cleanup.append(proxy.stop)
    web.run_app(application, host="127.0.0.1", port=int(port), access_log=None, print=None)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""twisted.web's own reverse proxy. It opens a connection for each request and does not speak TLS to its upstream.

Usage: ``python -m bench.peers.twisted_proxy PORT UPSTREAM-PORT``
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.python.failure import Failure
from twisted.web.proxy import ReverseProxyResource
from twisted.web.server import Site


def main(port: str, upstream_port: str) -> None:
    """Serve until a signal comes."""
    resource = ReverseProxyResource("127.0.0.1", int(upstream_port), b"")
    serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1").listen(Site(resource)).addErrback(_not_listening)
    reactor.run()


def _not_listening(failure: Failure) -> None:
    print(failure.getErrorMessage(), file=sys.stderr)
    reactor.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])

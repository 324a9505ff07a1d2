"""A stand-in for the backends: as much of a Kubernetes API as a gateway needs to start, watches, and held answers.

Run as a program: ``python -m bench.stub INSTALLATIONS ENDPOINT…``. INSTALLATIONS is a JSON file of extension objects,
by name of the installation and plural of the kind; ENDPOINTs are Twisted's server endpoints. It knows

============================== ==================================================================
``/<name>/version``            what a Kubernetes API says of itself; ``/<name>/apis`` its groups
``/<name>/apis/<group>/…``     list and watch of the installation's extension objects
``/<name>/api/v1/…secrets``    list and watch of Secrets, of which there are none
``…?watch=…``                  a watch that sends a bookmark now and twice a minute, and never ends
``…/hold``                     an answer that waits until somebody asks for ``/release``
``/held``, ``/watching``       how many such answers, or watches, there are
``/big/<bytes>``               a body of so many bytes
``/openapi…``                  404
anything else                  :data:`bench.objects.DOCUMENT`
============================== ==================================================================

Only requests without a body are understood.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from bench.objects import DOCUMENT, Object

BOOKMARK_SECONDS = 30.0
_GROUP = "extensions.kubesphere.io"
_SECRETS = ("/api/v1/secrets", "/api/v1/namespaces/kubesphere-system/secrets")
_PIECE = bytes(256 * 1024)


@implementer(IProtocolNegotiationFactory)
class Stub(Factory):
    """What all connections share."""

    noisy = False

    def __init__(self, installations: dict[str, Object]) -> None:
        self.watches: set[Connection] = set()
        self.held: list[Connection] = []
        self._documents: dict[str, bytes] = {}
        for name, kinds in installations.items():
            self._documents[f"/{name}/version"] = _json({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
            self._documents[f"/{name}/apis"] = _json({"kind": "APIGroupList", "groups": [_group()]})
            meta = {"resourceVersion": "1000"}
            for place in _SECRETS:
                self._documents[f"/{name}{place}"] = _json(
                    {"kind": "SecretList", "apiVersion": "v1", "metadata": meta, "items": []}
                )
            for plural, items in kinds.items():
                self._documents[f"/{name}/apis/{_GROUP}/v1alpha1/{plural}"] = _json(
                    {"kind": "List", "apiVersion": f"{_GROUP}/v1alpha1", "metadata": meta, "items": items}
                )
        self._names = tuple(installations)

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        return Connection(self)

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def find(self, path: str) -> bytes | None:
        """The document at ``path``; None: there is none."""
        known = self._documents.get(path)
        if known is not None:
            return known
        if path.startswith("/openapi") or any(path.startswith(f"/{name}/apis/") for name in self._names):
            return None
        return DOCUMENT

    def bookmark(self) -> None:
        """A sign of life on every watch."""
        for connection in self.watches:
            connection.bookmark()

    def release(self) -> None:
        """Answer whoever is held."""
        held, self.held = self.held, []
        for connection in held:
            connection.answer(200, DOCUMENT)


@implementer(IPushProducer)
class Connection(Protocol):
    """One client, one request at a time."""

    transport: Any

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._received = b""
        self._left = 0
        self._paused = False

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            self._received = rest
            self._request(head.split(b" ", 2)[1].decode("latin-1"))

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._stub.watches.discard(self)
        if self in self._stub.held:
            self._stub.held.remove(self)

    def _request(self, target: str) -> None:
        path, _, query = target.partition("?")
        stub = self._stub
        if "watch=1" in query or "watch=true" in query:
            self.transport.write(_head(200, b"Transfer-Encoding: chunked"))
            stub.watches.add(self)
            self.bookmark()
        elif path.endswith("/hold"):
            stub.held.append(self)
        elif path.endswith("/held"):
            self.answer(200, b"%d" % len(stub.held))
        elif path.endswith("/watching"):
            self.answer(200, b"%d" % len(stub.watches))
        elif path.endswith("/release"):
            self.answer(200, b"{}")
            stub.release()
        elif "/big/" in path:
            self._left = int(path.rpartition("/")[2])
            self.transport.write(_head(200, b"Content-Length: %d" % self._left))
            self.transport.registerProducer(self, True)
            self.resumeProducing()
        else:
            document = stub.find(path)
            self.answer(404 if document is None else 200, document or b"{}")

    def answer(self, status: int, body: bytes) -> None:
        """The whole answer to the request."""
        self.transport.write(_head(status, b"Content-Length: %d" % len(body)) + body)

    def bookmark(self) -> None:
        """One event of a watch."""
        event = _json({"type": "BOOKMARK", "object": {"kind": "Any", "metadata": {"resourceVersion": "1000"}}}) + b"\n"
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    def resumeProducing(self) -> None:
        self._paused = False
        while self._left and not self._paused:
            piece = _PIECE[: self._left]
            self._left -= len(piece)
            self.transport.write(piece)
        if not self._left:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._left = 0
        self._paused = True


def _group() -> Object:
    version = {"groupVersion": f"{_GROUP}/v1alpha1", "version": "v1alpha1"}
    return {"name": _GROUP, "versions": [version], "preferredVersion": version}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _head(status: int, framing: bytes) -> bytes:
    reason = b"OK" if status == 200 else b"Not Found"
    return b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\n%b\r\n\r\n" % (status, reason, framing)


def main(installations: str, *endpoints: str) -> None:
    """Serve until a signal comes."""
    from twisted.internet import reactor

    stub = Stub(json.loads(Path(installations).read_text()))
    for endpoint in endpoints:
        serverFromString(reactor, endpoint).listen(stub).addErrback(_not_listening, reactor)
    LoopingCall(stub.bookmark).start(BOOKMARK_SECONDS, now=False)
    reactor.run()


def _not_listening(failure: Failure, reactor: Any) -> None:
    print(failure.getErrorMessage(), file=sys.stderr)
    reactor.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])

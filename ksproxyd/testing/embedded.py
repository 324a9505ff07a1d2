"""The embedded Kubernetes API as a backend in memory: what the gateway writes can be read and watched."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec

from ksproxyd.manifests import definitions, roles
from ksproxyd.model.message import Fields, Pairs
from ksproxyd.model.status import StatusError, render
from ksproxyd.standalone.api import StandaloneAPI
from ksproxyd.standalone.bootstrap import fill
from ksproxyd.standalone.reading.watch import WatchStream
from ksproxyd.standalone.roles import install_roles
from ksproxyd.standalone.storage.store import Store
from ksproxyd.standalone.wire.request import Request as ApiRequest
from ksproxyd.testing.backend import Backend, Conversation, answer
from ksproxyd.testing.messages import Request
from ksproxyd.testing.reactor import MemoryReactor

Object = dict[str, Any]


class EmbeddedKube(Backend):
    """An API server with the definitions we ship. :meth:`call` is how a test looks into it."""

    def __init__(self, reactor: MemoryReactor) -> None:
        super().__init__(self._serve)
        self.watches: set[WatchStream] = set()
        self.store = Store()
        self.api = StandaloneAPI(self.store, reactor, random.Random(7))
        self.api.start()
        fill(self.api, definitions())

    def install_roles(self) -> None:
        """What an installation of KubeSphere has besides the definitions; the binding of ``admin``, too."""
        install_roles(self.api, roles(), admin=True)

    def call(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """Send a request from the side, as an administrator with ``kubectl`` would; returns the decoded answer.

        Raises :class:`~ksproxyd.model.status.StatusError` for a refusal.
        """
        place, _, query = path.partition("?")
        fields = Fields([(b"Content-Type", kind.encode()), (b"Accept", b"application/json")])
        content = b"" if body is None else msgspec.json.encode(body)
        reply = self.api.handle(ApiRequest.of(method, place.encode(), query.encode(), fields, content))
        assert not isinstance(reply, WatchStream), "call() does not watch"
        whole = reply.body if reply.chunks is None else b"".join(reply.chunks)
        decoded: Object = msgspec.json.decode(whole)
        return decoded

    def apply(self, value: Object) -> None:
        """Create an object, or put it in place of the one that is there; its status, too."""
        path = _collection(value)
        name = value["metadata"]["name"]
        status = value.get("status")
        try:
            present = self.call("GET", f"{path}/{name}")
        except StatusError as error:
            if error.code != 404:
                raise
            stored = self.call("POST", path, value)
        else:
            version = present["metadata"]["resourceVersion"]
            stored = self.call(
                "PUT", f"{path}/{name}", {**value, "metadata": {**value["metadata"], "resourceVersion": version}}
            )
        if status is not None and stored.get("status") != status:
            self.call("PATCH", f"{path}/{name}/status", {"status": status}, "application/merge-patch+json")

    def delete(self, value: Object) -> None:
        """Delete an object."""
        self.call("DELETE", f"{_collection(value)}/{value['metadata']['name']}")

    def stop(self) -> None:
        """Do nothing more in the background."""
        for stream in self.watches:
            stream.close()
        self.api.stop()
        self.store.close()

    def _serve(self, conversation: Conversation, request: Request) -> bytes | None:
        path, _, query = request.target.partition(b"?")
        fields = Fields(request.headers)
        try:
            reply = self.api.handle(ApiRequest.of(request.method.decode(), path, query, fields, request.body))
        except StatusError as error:
            refused = render(error, fields.get(b"accept"), fields.get(b"user-agent"), query)
            return answer(refused.status, refused.body, refused.headers)
        if isinstance(reply, WatchStream):
            _Watch(conversation, reply)
            return None
        whole = reply.body if reply.chunks is None else b"".join(reply.chunks)
        return answer(reply.status, whole, _without_length(reply.headers))


class _Watch:
    """Sends a watch as it has something to say."""

    def __init__(self, conversation: Conversation, stream: WatchStream) -> None:
        self._peer = conversation.peer
        self._stream = stream
        self._conversation = conversation
        backend = conversation.backend
        assert isinstance(backend, EmbeddedKube)
        self._watches = backend.watches
        self._watches.add(stream)
        head = [b"HTTP/1.1 200 OK", *(name + b": " + value for name, value in _without_length(stream.headers))]
        self._peer.write(b"\r\n".join([*head, b"Transfer-Encoding: chunked", b"", b""]))
        stream.on_ready = self._ready
        self._ready()

    def _ready(self) -> None:
        if self._conversation.over or not self._peer.open:
            self._stream.close()
            self._watches.discard(self._stream)
            return
        while data := self._stream.read():
            self._peer.write(b"%x\r\n%b\r\n" % (len(data), data))
        if self._stream.ended:
            self._stream.close()
            self._watches.discard(self._stream)
            self._peer.write(b"0\r\n\r\n")


def _without_length(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    return [(name, value) for name, value in headers if name.lower() not in (b"content-length", b"transfer-encoding")]


#: Plurals that are not just the kind with an s.
_PLURALS = {"ReverseProxy": "reverseproxies", "NetworkPolicy": "networkpolicies", "Category": "categories"}


def _collection(value: Object) -> str:
    version = value["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = value["metadata"].get("namespace")
    kind = value["kind"]
    plural = _PLURALS.get(kind, kind.lower() + "s")
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"

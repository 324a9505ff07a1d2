"""A stand-in for a Kubernetes API with users, in a process of its own: objects are kept, listed, watched and written.

Run as a program: ``python -m bench.accounts FILE PORT``. FILE is a JSON object of collections, by path
(``/apis/iam.kubesphere.io/v1beta1/users``), each a list of objects. Whatever else is asked for is an empty collection.
It keeps as much of the API's rules as a gateway counts on: versions, ``generateName``, conflicts, watches from the
moment of the list, and selection by the one label that login records have.
"""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

Object = dict[str, Any]

LABEL = "iam.kubesphere.io/user-ref"
_NAMESPACED = "namespaces"


class Cluster(Factory):
    """The objects, by collection and name. ``counts`` is how often what was done to which collection."""

    noisy = False

    def __init__(self, collections: dict[str, list[Object]]) -> None:
        self.counts: Counter[str] = Counter()
        self._version = 1000
        self._collections: dict[str, dict[str, Object]] = {
            path: {item["metadata"]["name"]: item for item in items} for path, items in collections.items()
        }
        self._by_label: dict[tuple[str, str], dict[str, Object]] = {}
        self.watches: dict[str, set[Connection]] = {}

    def buildProtocol(self, addr: object) -> Connection:
        return Connection(self)

    def list(self, path: str, selector: str, limit: int = 0, begin: int = 0) -> Object:
        """A collection, or a page of it; with the selector of one user's login records only those."""
        label, equals, user = selector.partition("=")
        found = self._collections.get(path, {})
        if equals and label == LABEL:
            found = self._by_label.get((path, user), {})
        metadata = {"resourceVersion": str(self._version)}
        items = [*found.values()][begin:]
        if limit and len(items) > limit:
            items = items[:limit]
            metadata["continue"] = str(begin + limit)
        return {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}

    def create(self, path: str, item: Object) -> tuple[int, Object]:
        metadata = item["metadata"]
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{self._version:06x}"
        if metadata["name"] in self._collections.get(path, {}):
            return 409, _status(409, "AlreadyExists")
        metadata["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata["uid"] = f"00000000-0000-4000-8000-{self._version:012x}"
        return 201, self._put(path, item, "ADDED")

    def get(self, path: str, name: str) -> tuple[int, Object]:
        found = self._collections.get(path, {}).get(name)
        return (404, _status(404, "NotFound")) if found is None else (200, found)

    def replace(self, path: str, name: str, item: Object) -> tuple[int, Object]:
        status, old = self.get(path, name)
        if status != 200:
            return status, old
        if item["metadata"].get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            return 409, _status(409, "Conflict")
        return 200, self._put(path, item, "MODIFIED")

    def patch(self, path: str, name: str, change: Object) -> tuple[int, Object]:
        """A merge of the first two levels, which is all that is needed."""
        status, old = self.get(path, name)
        if status != 200:
            return status, old
        new = dict(old)
        for key, value in change.items():
            new[key] = {**old.get(key, {}), **value} if isinstance(value, dict) else value
        return 200, self._put(path, new, "MODIFIED")

    def delete(self, path: str, name: str) -> tuple[int, Object]:
        status, old = self.get(path, name)
        if status == 200:
            del self._collections[path][name]
            self._by_label.get((path, _user(old)), {}).pop(name, None)
            self._tell(path, "DELETED", old)
        return status, old

    def _put(self, path: str, item: Object, what: str) -> Object:
        self._version += 1
        metadata = item["metadata"]
        metadata["resourceVersion"] = str(self._version)
        self._collections.setdefault(path, {})[metadata["name"]] = item
        if user := _user(item):
            self._by_label.setdefault((path, user), {})[metadata["name"]] = item
        self._tell(path, what, item)
        return item

    def _tell(self, path: str, what: str, item: Object) -> None:
        watches = self.watches.get(path)
        if watches:
            event = _json({"type": what, "object": item}) + b"\n"
            for connection in watches:
                connection.transport.write(b"%x\r\n%b\r\n" % (len(event), event))


class Connection(Protocol):
    """One client, one request at a time."""

    transport: Any

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._received = b""
        self._watched = ""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._cluster.watches.get(self._watched, set()).discard(self)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            line, *fields = head.split(b"\r\n")
            lengths = [int(field[15:]) for field in fields if field[:15].lower() == b"content-length:"]
            length = lengths[0] if lengths else 0
            if len(rest) < length:
                return
            self._received = rest[length:]
            method, target, _ = line.decode("latin-1").split(" ")
            self._request(method, target, rest[:length])

    def _request(self, method: str, target: str, body: bytes) -> None:
        cluster = self._cluster
        path, _, query = target.partition("?")
        if path == "/version":
            return self._answer(200, {"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        if path == "/apis":
            return self._answer(200, {"kind": "APIGroupList", "groups": []})
        if path == "/counts":
            return self._answer(200, dict(cluster.counts))
        collection, name = _split(path)
        cluster.counts[f"{method} {collection.rpartition('/')[2]}{'/' if name else ''}"] += 1
        if method == "GET" and not name:
            options = parse_qs(query)
            if options.get("watch", ["0"])[0] in ("1", "true"):
                self._watched = collection
                cluster.watches.setdefault(collection, set()).add(self)
                return self.transport.write(_head(200, b"Transfer-Encoding: chunked"))
            page = (int(options.get(name, ["0"])[0]) for name in ("limit", "continue"))
            return self._answer(200, cluster.list(collection, options.get("labelSelector", [""])[0], *page))
        if method == "GET":
            return self._answer(*cluster.get(collection, name))
        if method == "DELETE":
            return self._answer(*cluster.delete(collection, name))
        sent = json.loads(body)
        if method == "POST":
            return self._answer(*cluster.create(collection, sent))
        change = cluster.patch if method == "PATCH" else cluster.replace
        return self._answer(*change(collection, name, sent))

    def _answer(self, status: int, value: Object) -> None:
        body = _json(value)
        self.transport.write(_head(status, b"Content-Length: %d" % len(body)) + body)


def _split(path: str) -> tuple[str, str]:
    """The collection, and the name of the one object in it that is meant (or an empty one)."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    plural = 2 if parts[0] == "api" else 3
    if len(parts) > plural + 2 and parts[plural] == _NAMESPACED:
        plural += 2
    return "/" + "/".join(parts[: plural + 1]), parts[plural + 1] if len(parts) > plural + 1 else ""


def _user(item: Object) -> str:
    return str(item["metadata"].get("labels", {}).get(LABEL, ""))


def _status(code: int, reason: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _head(status: int, framing: bytes) -> bytes:
    return b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\n%b\r\n\r\n" % (status, framing)


def main(file: str, port: str) -> None:
    """Serve until a signal comes."""
    from twisted.internet import reactor

    listening: Any = reactor
    listening.listenTCP(int(port), Cluster(json.loads(Path(file).read_text())), 1024, "127.0.0.1")
    # To look at so many objects again and again takes a processor from what is measured.
    gc.freeze()
    listening.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

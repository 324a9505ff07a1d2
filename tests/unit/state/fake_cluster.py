"""An API server with a history, as far as a reflector can tell: for properties, not for conversations.

It serves one collection with lists in pages from a snapshot, continue tokens that expire, watches from a resource
version out of a bounded history, bookmarks, and 410. It can lose connections with and without a sign, refuse for a
while, forget its history, and be restored from a backup, after which it is mute to watches from its own future.
"""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import parse_qs

import msgspec
from conversation import Answer, FixedAccess, refusal, widget
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ksproxyd.model.message import Fields
from ksproxyd.upstream.errors import UpstreamError

#: How long an answer takes, in seconds.
LATENCY = 0.01


class OpenWatch:
    """A watch that the cluster is answering."""

    def __init__(self, cluster: FakeCluster, since: int, sink: Any) -> None:
        self.cluster = cluster
        self.since = since
        self.sink = sink
        self.open = False
        self.mute = False

    def cancel(self) -> None:
        self.cluster.forget(self)

    def pause(self) -> None:
        """Nothing is delivered while the clock stands still, and a pause lasts no longer."""

    def resume(self) -> None:
        """See :meth:`pause`."""

    def send(self, kind: str, obj: dict[str, Any], pieces: int = 1) -> None:
        if self.mute or not self.open:
            return
        data = msgspec.json.encode({"type": kind, "object": obj}) + b"\n"
        size = max(1, len(data) // pieces)
        for start in range(0, len(data), size):
            self.sink.data(data[start : start + size])


class FakeCluster:
    """Stands in for :class:`ksproxyd.upstream.Client` and everything behind it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.access = FixedAccess()
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.revision = 100
        self.forgotten = 100
        self.uids = 0
        self.watches: list[OpenWatch] = []
        self.snapshots: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self.down: int | str = ""

    # What people do to the cluster.

    def put(self, name: str, pieces: int = 1) -> None:
        self.revision += 1
        old = self.objects.get(name)
        if old is None:
            self.uids += 1
        uid = old["metadata"]["uid"] if old else f"uid-{self.uids}"
        obj = widget(name, self.revision, uid, labels={"n": str(self.clock.seconds())})
        self.objects[name] = obj
        self._publish("MODIFIED" if old else "ADDED", obj, pieces)

    def delete(self, name: str, pieces: int = 1) -> None:
        if name not in self.objects:
            return
        self.revision += 1
        obj = copy.deepcopy(self.objects.pop(name))
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self._publish("DELETED", obj, pieces)

    def _publish(self, kind: str, obj: dict[str, Any], pieces: int) -> None:
        self.history.append((self.revision, kind, obj))
        for watch in tuple(self.watches):
            if self.revision > watch.since:
                watch.send(kind, obj, pieces)

    # What happens to the cluster.

    def bookmark(self) -> None:
        for watch in tuple(self.watches):
            if self.revision >= watch.since:
                watch.send("BOOKMARK", {"metadata": {"resourceVersion": str(self.revision)}})

    def compact(self) -> None:
        """Forget the history and the snapshots behind continue tokens."""
        self.forgotten = self.revision
        self.history.clear()
        self.snapshots.clear()

    def expire_watches(self) -> None:
        """Tell every open watch that it is too old."""
        status = msgspec.json.decode(refusal(410, "Expired", "too old resource version").body)
        for watch in tuple(self.watches):
            watch.send("ERROR", status)

    def cut(self) -> None:
        """Lose every connection, with a sign where there still is one to give it."""
        for watch in tuple(self.watches):
            if watch.mute:
                continue
            self.forget(watch)
            watch.sink.failed(UpstreamError("closed", "the connection was lost"))

    def end(self) -> None:
        """End every open watch properly."""
        for watch in tuple(self.watches):
            if watch.open and not watch.mute:
                self.forget(watch)
                watch.sink.end()

    def silence(self) -> None:
        """The connections of all watches die without a sign."""
        for watch in self.watches:
            watch.mute = True

    def backup(self) -> tuple[int, dict[str, dict[str, Any]]]:
        return self.revision, copy.deepcopy(self.objects)

    def restore(self, saved: tuple[int, dict[str, dict[str, Any]]], seconds: float) -> None:
        """Go back to a backup, which takes ``seconds``; nothing answers meanwhile."""
        self.down = "connect"
        self.cut()
        self.clock.advance(seconds)
        self.revision, self.objects = saved[0], copy.deepcopy(saved[1])
        self.compact()
        self.down = ""

    # What KubeClient sends its requests to.

    def request(self, target: Any, method: bytes, path: bytes, *args: Any, **kwargs: Any) -> Deferred[Answer]:
        done: Deferred[Answer] = Deferred(lambda _: call.cancel())

        def answer() -> None:
            if isinstance(self.down, str) and self.down:
                done.errback(UpstreamError(self.down, "the API server is away"))
            elif self.down:
                done.callback(refusal(int(self.down), "", "not now"))
            else:
                done.callback(self._list(query_of(path)))

        call = self.clock.callLater(LATENCY, answer)
        return done

    def _list(self, query: dict[str, str]) -> Answer:
        limit = int(query["limit"])
        token = query.get("continue", "")
        if token and token not in self.snapshots:
            return refusal(410, "Expired", "the continue token is too old")
        revision, items = self.snapshots.pop(token) if token else (self.revision, list(self.objects.values()))
        metadata = {"resourceVersion": str(revision)}
        if len(items) > limit:
            metadata["continue"] = f"{revision}-{len(items)}"
            self.snapshots[metadata["continue"]] = (revision, items[limit:])
        return Answer(200, Fields(), msgspec.json.encode({"metadata": metadata, "items": items[:limit]}))

    def stream(self, target: Any, method: bytes, path: bytes, headers: Any, body: bytes, sink: Any) -> OpenWatch:
        query = query_of(path)
        watch = OpenWatch(self, int(query["resourceVersion"]), sink)
        self.watches.append(watch)
        self.clock.callLater(LATENCY, self._open, watch)
        self.clock.callLater(int(query["timeoutSeconds"]), self._time_is_up, watch)
        return watch

    def _open(self, watch: OpenWatch) -> None:
        if watch not in self.watches or watch.mute:
            return
        refused = refusal(410, "Expired", "too old resource version") if watch.since < self.forgotten else None
        if isinstance(self.down, int):
            refused = refusal(self.down, "", "not now")
        elif self.down:
            self.forget(watch)
            watch.sink.failed(UpstreamError(self.down, "the API server is away"))
            return
        if refused is not None:
            self.forget(watch)
            watch.sink.head(refused.status, refused.fields)
            watch.sink.data(refused.body)
            watch.sink.end()
            return
        watch.open = True
        watch.sink.head(200, Fields())
        for revision, kind, obj in tuple(self.history):
            if revision > watch.since:
                watch.send(kind, obj)

    def _time_is_up(self, watch: OpenWatch) -> None:
        if watch in self.watches and watch.open and not watch.mute:
            self.forget(watch)
            watch.sink.end()

    def forget(self, watch: OpenWatch) -> None:
        if watch in self.watches:
            self.watches.remove(watch)


def query_of(path: bytes) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(path.decode().partition("?")[2]).items()}

"""What the methods on a resource, an object or a subresource do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.standalone.kinds.registry import Kind, Object
from ksproxyd.standalone.reading.reader import Listing, Reader
from ksproxyd.standalone.reading.render import Renderer
from ksproxyd.standalone.reading.watch import WatchStream
from ksproxyd.standalone.schema.typetable import type_node
from ksproxyd.standalone.storage.store import Key
from ksproxyd.standalone.wire import bodies
from ksproxyd.standalone.wire.bodies import JSON
from ksproxyd.standalone.wire.errors import details, method_not_allowed, no_such_object, no_such_resource
from ksproxyd.standalone.wire.negotiation import form
from ksproxyd.standalone.wire.options import IGNORE, DeleteOptions, delete_options, write_options
from ksproxyd.standalone.wire.replies import encoded, warnings
from ksproxyd.standalone.wire.request import Reply, Request
from ksproxyd.standalone.writing.admission import admit, check_identity
from ksproxyd.standalone.writing.deleter import Deleter
from ksproxyd.standalone.writing.namespaces import TOPIC as NAMESPACES
from ksproxyd.standalone.writing.patches import change, patch_type
from ksproxyd.standalone.writing.scale import SCALE, scale_of, set_scale
from ksproxyd.standalone.writing.writer import STATUS, Writer, Written, ordered

Answer = Reply | WatchStream

_STREAMS = ("attach", "exec", "portforward")


class Target(msgspec.Struct, frozen=True):
    """What a path of a resource means. ``namespace`` None is all namespaces, or a cluster-scoped kind."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str

    @property
    def key(self) -> Key:
        return Key(self.kind.topic, self.namespace or "", self.name)

    @property
    def where(self) -> str | None:
        """The namespace of a list: None for all, empty for a cluster-scoped kind."""
        return self.namespace if self.kind.namespaced else ""


class Endpoints:
    """Does what is asked of a :class:`Target`."""

    def __init__(self, reader: Reader, writer: Writer, deleter: Deleter) -> None:
        self._reader = reader
        self._writer = writer
        self._deleter = deleter

    def handle(self, request: Request, target: Target) -> Answer:
        """The answer to ``request``. Raises a :class:`StatusError`."""
        if target.subresource:
            return self._subresource(request, target)
        verb, action = self._action(request, target)
        everywhere = target.kind.namespaced and target.namespace is None
        if verb not in target.kind.verbs or (everywhere and verb in ("create", "deletecollection")):
            raise method_not_allowed()
        answer = action(request, target)
        if target.kind.deprecation and isinstance(answer, Reply):
            answer.headers += warnings([target.kind.deprecation])
        return answer

    def _action(self, request: Request, target: Target) -> tuple[str, Callable[[Request, Target], Answer]]:
        actions: dict[str, tuple[str, Callable[[Request, Target], Answer]]]
        if target.name:
            actions = {
                "GET": ("get", self._get),
                "PUT": ("update", self._update),
                "PATCH": ("patch", self._patch),
                "DELETE": ("delete", self._delete),
            }
        elif request.flag("watch") and request.method == "GET":
            return "watch", self._watch
        else:
            actions = {
                "GET": ("list", self._list),
                "POST": ("create", self._create),
                "DELETE": ("deletecollection", self._delete_collection),
            }
        if request.method not in actions:
            raise method_not_allowed()
        return actions[request.method]

    # -- reading -------------------------------------------------------------------------------------------

    def _get(self, request: Request, target: Target) -> Reply:
        return self._reader.get(target.kind, target.key, request)

    def _list(self, request: Request, target: Target) -> Reply:
        return self._reader.list(target.kind, target.where, request)

    def _watch(self, request: Request, target: Target) -> WatchStream:
        return self._reader.watch(target.kind, target.where, request)

    # -- writing -------------------------------------------------------------------------------------------

    def _create(self, request: Request, target: Target) -> Reply:
        options = write_options(request, "CreateOptions")
        value = bodies.decode_object(request, target.kind.kind, target.kind.protobuf)
        written = self._writer.create(target.kind, target.namespace or "", value, options)
        return self._written(request, target.kind, written)

    def _update(self, request: Request, target: Target) -> Reply:
        options = write_options(request, "UpdateOptions")
        value = bodies.decode_object(request, target.kind.kind, target.kind.protobuf)
        written = self._writer.update(target.kind, target.key, value, options, target.subresource)
        return self._written(request, target.kind, written)

    def _patch(self, request: Request, target: Target) -> Reply:
        kind = target.kind
        media = patch_type(request, kind)
        options = write_options(request, "PatchOptions", media)
        if media == bodies.APPLY_PATCH:
            config = bodies.decode_configuration(request)
            written = self._writer.apply(kind, target.key, config, options, target.subresource)
        else:
            written = self._writer.patch(kind, target.key, change(request, kind, media), options, target.subresource)
        return self._written(request, kind, written)

    def _written(self, request: Request, kind: Kind, written: Written) -> Reply:
        shape = form(request)
        body = msgspec.json.encode(ordered(written.value, kind.group_version))
        one = self._reader.renderer(kind, request, shape).one(body) + b"\n"
        return shape.reply(201 if written.created else 200, one, warnings(written.warnings))

    # -- deleting ------------------------------------------------------------------------------------------

    def _delete(self, request: Request, target: Target) -> Reply:
        kind = target.kind
        value, gone = self._deleter.delete(kind, target.key, delete_options(request))
        if not gone or kind.returns_deleted:
            return self._written(request, kind, Written(value, False, []))
        found = {**details(target.name, kind.group, kind.plural), "uid": value["metadata"]["uid"]}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": found}
        return form(request, transforms=False).reply(200, encoded(status))

    def _delete_collection(self, request: Request, target: Target) -> Reply:
        """Delete what a list would show. It is done in portions, while the answer is taken."""
        kind = target.kind
        options = delete_options(request)
        shape = form(request, several=True)
        chosen = self._reader.select(kind, target.where, request)
        listing = self._reader.listing(kind, chosen, request)
        chunks = self._deleting(kind, listing, self._reader.renderer(kind, request, shape), options)
        if shape.pretty or shape.media != JSON:
            return shape.reply(200, b"".join(chunks))
        return Reply(200, [(b"Content-Type", JSON.encode())], chunks=chunks)

    def _deleting(self, kind: Kind, listing: Listing, renderer: Renderer, options: DeleteOptions) -> Iterator[bytes]:
        def delete(namespace: str, name: str) -> None:
            try:
                self._deleter.delete(kind, Key(kind.topic, namespace, name), options)
            except StatusError as error:
                # Somebody else was faster.
                if error.code != 404:
                    raise

        return listing.chunks(renderer, delete)

    # -- subresources --------------------------------------------------------------------------------------

    def _subresource(self, request: Request, target: Target) -> Reply:
        kind, name = target.kind, target.subresource
        actions: dict[str, Callable[[Request, Target], Reply]]
        if name == STATUS and kind.has_status:
            actions = {"GET": self._get, "PUT": self._update, "PATCH": self._patch}
        elif name == SCALE and kind.scale is not None:
            actions = {"GET": self._get_scale, "PUT": self._put_scale, "PATCH": self._patch_scale}
        elif name == "finalize" and kind.topic == NAMESPACES:
            actions = {"PUT": self._finalize}
        elif name == "log" and kind.topic == "/pods":
            actions = {"GET": self._pod_log}
        elif name in _STREAMS and kind.topic == "/pods":
            actions = {"GET": self._pod_stream, "POST": self._pod_stream}
        else:
            raise no_such_resource()
        if request.method not in actions:
            raise method_not_allowed()
        return actions[request.method](request, target)

    def _existing(self, target: Target) -> Object:
        value = self._writer.current(target.kind, target.key)
        if value is None:
            raise no_such_object(target.kind.plural, target.kind.group, target.name)
        return value

    def _get_scale(self, request: Request, target: Target) -> Reply:
        scale = scale_of(target.kind, self._existing(target))
        return form(request, transforms=False).reply(200, encoded(scale))

    def _put_scale(self, request: Request, target: Target) -> Reply:
        options = write_options(request, "UpdateOptions")
        scale = bodies.decode_object(request, "Scale", type_node("scale", "Scale"))
        return self._scaled(request, set_scale(self._writer, target.kind, target.key, scale, options))

    def _patch_scale(self, request: Request, target: Target) -> Reply:
        media = patch_type(request, target.kind)
        if media == bodies.APPLY_PATCH:
            raise bad_request("the scale subresource cannot be applied here: patch or replace it")
        options = write_options(request, "PatchOptions", media)
        scale = change(request, target.kind, media)(scale_of(target.kind, self._existing(target)))
        return self._scaled(request, set_scale(self._writer, target.kind, target.key, scale, options))

    def _scaled(self, request: Request, written: Written) -> Reply:
        return form(request, transforms=False).reply(200, encoded(written.value), warnings(written.warnings))

    def _finalize(self, request: Request, target: Target) -> Reply:
        """Change what holds a namespace that is being deleted."""
        self._existing(target)
        value = bodies.decode_object(request, target.kind.kind, target.kind.protobuf)
        check_identity(target.kind, value)
        admit(target.kind, value, IGNORE, [])
        finalizers = value["metadata"].get("finalizers")

        def keep(found: Object) -> None:
            found["spec"] = {**found.get("spec", {}), "finalizers": value.get("spec", {}).get("finalizers", [])}
            found["metadata"].pop("finalizers", None)
            if finalizers:
                found["metadata"]["finalizers"] = finalizers

        written = self._writer.rewrite(target.kind, target.key, keep)
        return self._written(request, target.kind, Written(written or value, False, []))

    def _pod_stream(self, request: Request, target: Target) -> Reply:
        """Pods are never run, so there is nothing to connect to."""
        self._existing(target)
        raise bad_request(f"pod {target.name} does not have a host assigned")

    def _pod_log(self, request: Request, target: Target) -> Reply:
        """Pods are never run, so there is nothing in their logs."""
        self._existing(target)
        return Reply(204, [])

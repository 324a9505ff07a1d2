"""The scale subresource: how many replicas an object has, and is to have."""

from __future__ import annotations

from ksproxyd.model.status import bad_request
from ksproxyd.standalone.kinds.columns import pairs, selector_text
from ksproxyd.standalone.kinds.registry import Kind, Object
from ksproxyd.standalone.paths import look, put
from ksproxyd.standalone.schema.nodes import copied
from ksproxyd.standalone.storage.store import Key
from ksproxyd.standalone.wire import errors
from ksproxyd.standalone.wire.options import WriteOptions
from ksproxyd.standalone.writing.writer import Writer, Written

SCALE = "scale"

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(kind: Kind, value: Object) -> Object:
    """The Scale of an object. 404 for a kind that has none."""
    paths = kind.scale
    if paths is None:
        raise errors.no_such_resource()
    meta = value["metadata"]
    replicas = look(value, paths.spec_replicas)
    scale: Object = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: meta[field] for field in _KEPT if field in meta},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": look(value, paths.status_replicas) or 0},
    }
    selector = look(value, paths.selector) if paths.selector else None
    if selector:
        scale["status"]["selector"] = _text(selector)
    return scale


def _text(selector: str | Object) -> str:
    if isinstance(selector, str):
        return selector
    if "matchLabels" in selector or "matchExpressions" in selector:
        return selector_text(selector, absent="")
    return pairs(selector, absent="")


def set_scale(writer: Writer, kind: Kind, key: Key, scale: Object, options: WriteOptions) -> Written:
    """Change how many replicas an object is to have. 404 if it or its Scale is not there, 400 or 422 for nonsense."""
    paths = kind.scale
    if paths is None:
        raise errors.no_such_resource()
    old = writer.current(kind, key)
    if old is None:
        raise errors.no_such_object(kind.plural, kind.group, key.name)
    replicas = look(scale, ("spec", "replicas"))
    if replicas is None:
        replicas = 0
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        shown = errors.shown(replicas)
        why = f"json: cannot unmarshal {shown} into Go struct field ScaleSpec.spec.replicas of type int32"
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {why}')
    if replicas < 0:
        error = errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid("Scale", "autoscaling", key.name, [error])
    value = copied(old)
    put(value, paths.spec_replicas, replicas)
    rv = look(scale, ("metadata", "resourceVersion"))
    value["metadata"]["resourceVersion"] = rv or old["metadata"]["resourceVersion"]
    written = writer.replace(kind, key, old, value, options, SCALE, [], None)
    return Written(scale_of(kind, written.value), False, written.warnings)

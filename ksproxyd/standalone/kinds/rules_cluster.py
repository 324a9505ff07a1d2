"""Defaults and checks of configuration, networking, storage and access kinds."""

from __future__ import annotations

import base64

from ksproxyd.standalone.kinds.names import config_key
from ksproxyd.standalone.kinds.registry import Object
from ksproxyd.standalone.paths import look
from ksproxyd.standalone.wire.errors import FieldError, forbidden_field, invalid_value, required

#: A ConfigMap or Secret holds at most this many bytes.
_DATA_LIMIT = 1024 * 1024

RBAC = "rbac.authorization.k8s.io"

#: The label by which namespaces can be selected by name.
NAME_LABEL = "kubernetes.io/metadata.name"


def default_namespace(value: Object) -> None:
    value["metadata"].setdefault("labels", {})[NAME_LABEL] = value["metadata"].get("name", "")


def prepare_namespace(value: Object) -> None:
    """A new namespace is there until its contents are gone."""
    finalizers = value.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def settle_namespace(new: Object, old: Object) -> None:
    """What holds a namespace is changed through its finalize subresource only."""
    new.setdefault("spec", {})["finalizers"] = look(old, ("spec", "finalizers")) or []


def active(_: Object) -> Object:
    """The status of a namespace that has just been created."""
    return {"phase": "Active"}


def default_secret(value: Object) -> None:
    """``stringData`` becomes part of ``data``."""
    value.setdefault("type", "Opaque")
    for key, text in (value.pop("stringData", None) or {}).items():
        value.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()


def _check_keys(value: Object, *fields: str) -> list[FieldError]:
    errors = []
    size = 0
    for field in fields:
        for key, each in (value.get(field) or {}).items():
            errors += [invalid_value(f"{field}[{key}]", key, wrong) for wrong in config_key(key)]
            size += len(each)
    if size > _DATA_LIMIT:
        message = f"Too long: may not be more than {_DATA_LIMIT} bytes"
        errors.append(FieldError("FieldValueTooLong", fields[0], message))
    return errors


def check_config_map(value: Object) -> list[FieldError]:
    errors = _check_keys(value, "data", "binaryData")
    for key in (value.get("data") or {}).keys() & (value.get("binaryData") or {}).keys():
        errors.append(invalid_value("data." + key, key, "duplicate of key present in binaryData"))
    return errors


def check_secret(value: Object) -> list[FieldError]:
    return _check_keys(value, "data")


def config_map_immutable(new: Object, old: Object) -> list[FieldError]:
    return _immutable(new, old, "data", "binaryData")


def secret_immutable(new: Object, old: Object) -> list[FieldError]:
    errors = _immutable(new, old, "data")
    if new.get("type") != old.get("type"):
        errors.append(invalid_value("type", new.get("type"), "field is immutable"))
    return errors


def _immutable(new: Object, old: Object, *fields: str) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    why = "field is immutable when `immutable` is set"
    errors = [] if new.get("immutable") else [forbidden_field("immutable", why)]
    if not errors:
        errors = [forbidden_field(field, why) for field in fields if (new.get(field) or {}) != (old.get(field) or {})]
    return errors


def default_service(value: Object) -> None:
    spec = value.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    for port in spec.get("ports") or []:
        if "port" in port:
            port.setdefault("targetPort", port["port"])


def check_service(value: Object) -> list[FieldError]:
    spec = value.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return [] if spec.get("externalName") else [required("spec.externalName")]
    if not spec.get("ports") and spec.get("clusterIP") != "None":
        return [required("spec.ports")]
    errors = []
    for index, port in enumerate(spec.get("ports") or []):
        number = port.get("port", 0)
        if not 0 < number < 65536:
            errors.append(invalid_value(f"spec.ports[{index}].port", number, "must be between 1 and 65535, inclusive"))
        if len(spec["ports"]) > 1 and not port.get("name"):
            errors.append(required(f"spec.ports[{index}].name"))
    return errors


def load_balancer(_: Object) -> Object:
    """The status of a service or ingress that has just been created."""
    return {"loadBalancer": {}}


def check_ingress(value: Object) -> list[FieldError]:
    spec = value.get("spec") or {}
    if spec.get("defaultBackend") or spec.get("rules"):
        return []
    return [invalid_value("spec", value.get("spec"), "either `defaultBackend` or `rules` must be specified")]


def check_ingress_class(value: Object) -> list[FieldError]:
    return [] if look(value, ("spec", "controller")) else [required("spec.controller")]


def default_network_policy(value: Object) -> None:
    spec = value.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def default_volume(value: Object) -> None:
    spec = value.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")


def default_claim(value: Object) -> None:
    value.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def check_volume(value: Object) -> list[FieldError]:
    spec = value.get("spec") or {}
    errors = [] if spec.get("accessModes") else [required("spec.accessModes")]
    if not spec.get("capacity"):
        errors.append(required("spec.capacity"))
    return errors


def check_claim(value: Object) -> list[FieldError]:
    errors = []
    if not look(value, ("spec", "accessModes")):
        errors.append(required("spec.accessModes", "at least 1 access mode is required"))
    if look(value, ("spec", "resources", "requests", "storage")) is None:
        errors.append(required("spec.resources[storage]"))
    return errors


def claim_immutable(new: Object, old: Object) -> list[FieldError]:
    """A claim cannot change, but for how much it asks for."""

    def core(value: Object) -> Object:
        return {key: each for key, each in (value.get("spec") or {}).items() if key not in ("resources", "volumeName")}

    if core(new) == core(old):
        return []
    detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
    return [forbidden_field("spec", detail)]


def unbound(_: Object) -> Object:
    """The status of a volume or claim that has just been created."""
    return {"phase": "Pending"}


def default_storage_class(value: Object) -> None:
    value.setdefault("reclaimPolicy", "Delete")
    value.setdefault("volumeBindingMode", "Immediate")


def default_binding(value: Object) -> None:
    if isinstance(value.get("roleRef"), dict):
        value["roleRef"].setdefault("apiGroup", RBAC)
    for subject in value.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", RBAC)


def binding_immutable(new: Object, old: Object) -> list[FieldError]:
    if new.get("roleRef") == old.get("roleRef"):
        return []
    return [invalid_value("roleRef", new.get("roleRef"), "cannot change roleRef")]


def check_role(value: Object) -> list[FieldError]:
    errors = []
    for index, rule in enumerate(value.get("rules") or []):
        where = f"rules[{index}]"
        if not rule.get("verbs"):
            errors.append(required(f"{where}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            errors.append(required(f"{where}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            errors.append(required(f"{where}.resources", "resource rules must supply at least one resource"))
    return errors


def default_autoscaler(value: Object) -> None:
    value.setdefault("spec", {}).setdefault("minReplicas", 1)


def check_event(value: Object) -> list[FieldError]:
    involved = look(value, ("involvedObject", "namespace")) or "default"
    namespace = look(value, ("metadata", "namespace"))
    if involved == namespace:
        return []
    return [invalid_value("involvedObject.namespace", involved, "does not match event.namespace")]

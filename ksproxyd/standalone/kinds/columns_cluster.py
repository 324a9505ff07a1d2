"""Columns of networking, storage, configuration and cluster kinds."""

from __future__ import annotations

from typing import Any

from ksproxyd.standalone.kinds.columns import (
    AGE,
    CREATED,
    NAME,
    NONE,
    age_of,
    count,
    joined,
    labels,
    number,
    selector,
    text,
)
from ksproxyd.standalone.kinds.registry import Column, Object
from ksproxyd.standalone.paths import look

NAMESPACE = (Column("Status", text("status", "phase"), description="Active, or Terminating."), AGE)

CONFIG_MAP = (Column("Data", count("data", "binaryData"), description="How many entries it has."), AGE)

SECRET = (
    Column("Type", text("type"), description="What the secret is for."),
    Column("Data", count("data"), description="How many entries it has."),
    AGE,
)

SERVICE_ACCOUNT = (AGE,)


def _external(service: Object, now: float) -> str:
    spec = service.get("spec") or {}
    kind = spec.get("type")
    if kind == "ExternalName":
        return str(spec.get("externalName") or NONE)
    found = list(spec.get("externalIPs") or [])
    if kind == "LoadBalancer":
        ingress = look(service, ("status", "loadBalancer", "ingress")) or []
        found = [each.get("ip") or each.get("hostname") or "" for each in ingress] + found
        return ",".join(found) or "<pending>"
    return ",".join(found) or NONE


def _ports(service: Object, now: float) -> str:
    found = []
    for port in look(service, ("spec", "ports")) or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        found.append(f"{port.get('port')}{node}/{port.get('protocol') or 'TCP'}")
    return ",".join(found) or NONE


SERVICE = (
    Column("Type", text("spec", "type"), description="How the service is reached."),
    Column("Cluster-IP", text("spec", "clusterIP", absent=NONE), description="Its address in the cluster."),
    Column("External-IP", _external, description="Its addresses outside."),
    Column("Port(s)", _ports, description="Its ports."),
    AGE,
    Column("Selector", labels("spec", "selector"), description="The pods behind it.", priority=1),
)


def _endpoints(value: Object, now: float) -> str:
    found = []
    for subset in value.get("subsets") or []:
        for address in subset.get("addresses") or []:
            ports = [f"{address.get('ip')}:{port.get('port')}" for port in subset.get("ports") or []]
            found += ports or [str(address.get("ip"))]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more if found else NONE


ENDPOINTS = (Column("Endpoints", _endpoints, description="Addresses that are ready."), AGE)


def _slice_endpoints(value: Object, now: float) -> str:
    found = [address for each in value.get("endpoints") or [] for address in each.get("addresses") or []]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more if found else "<unset>"


ENDPOINT_SLICE = (
    Column("AddressType", text("addressType"), description="What the addresses are."),
    Column("Ports", joined("ports", key="port", absent="<unset>"), description="Their ports."),
    Column("Endpoints", _slice_endpoints, description="The addresses."),
    AGE,
)


def _hosts(ingress: Object, now: float) -> str:
    found = [str(rule.get("host")) for rule in look(ingress, ("spec", "rules")) or [] if rule.get("host")]
    return ",".join(found) or "*"


def _addresses(ingress: Object, now: float) -> str:
    found = look(ingress, ("status", "loadBalancer", "ingress")) or []
    return ",".join(str(each.get("ip") or each.get("hostname") or "") for each in found)


INGRESS = (
    Column("Class", text("spec", "ingressClassName", absent=NONE), description="Who serves it."),
    Column("Hosts", _hosts, description="The names it answers to."),
    Column("Address", _addresses, description="Where it is reached."),
    Column("Ports", lambda value, now: "80, 443" if look(value, ("spec", "tls")) else "80", description="Its ports."),
    AGE,
)


def _parameters(value: Object, now: float) -> str:
    found = look(value, ("spec", "parameters"))
    if not found:
        return NONE
    kind, group = str(found.get("kind", "")), found.get("apiGroup")
    return f"{kind}.{group}/{found.get('name', '')}" if group else f"{kind}/{found.get('name', '')}"


INGRESS_CLASS = (
    Column("Controller", text("spec", "controller"), description="Who serves ingresses of this class."),
    Column("Parameters", _parameters, description="Further settings."),
    AGE,
)

NETWORK_POLICY = (
    Column("Pod-Selector", selector("spec", "podSelector"), description="The pods it is about."),
    AGE,
)


def _node_status(node: Object, now: float) -> str:
    found = {each.get("type"): each.get("status") for each in look(node, ("status", "conditions")) or []}
    shown = {"True": "Ready", "False": "NotReady"}.get(str(found.get("Ready")), "Unknown")
    return f"{shown},SchedulingDisabled" if look(node, ("spec", "unschedulable")) else shown


def _roles(node: Object, now: float) -> str:
    found = set()
    for key, value in (look(node, ("metadata", "labels")) or {}).items():
        if key.startswith("node-role.kubernetes.io/"):
            found.add(key.removeprefix("node-role.kubernetes.io/"))
        elif key == "kubernetes.io/role" and value:
            found.add(value)
    return ",".join(sorted(found)) or NONE


def _address(kind: str) -> Any:
    def cell(node: Object, now: float) -> str:
        for each in look(node, ("status", "addresses")) or []:
            if each.get("type") == kind:
                return str(each.get("address"))
        return NONE

    return cell


def _node_info(key: str) -> Any:
    return text("status", "nodeInfo", key, absent="<unknown>")


NODE = (
    Column("Status", _node_status, description="Whether the node takes pods."),
    Column("Roles", _roles, description="What the node is for."),
    AGE,
    Column("Version", text("status", "nodeInfo", "kubeletVersion"), description="The version of its kubelet."),
    Column("Internal-IP", _address("InternalIP"), description="Its address in the cluster.", priority=1),
    Column("External-IP", _address("ExternalIP"), description="Its address outside.", priority=1),
    Column("OS-Image", _node_info("osImage"), description="Its operating system.", priority=1),
    Column("Kernel-Version", _node_info("kernelVersion"), description="Its kernel.", priority=1),
    Column("Container-Runtime", _node_info("containerRuntimeVersion"), description="What runs containers.", priority=1),
)

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(*path: str) -> Any:
    def cell(value: Object, now: float) -> str:
        return ",".join(_MODES.get(mode, mode) for mode in look(value, path) or [])

    return cell


def _phase(value: Object, now: float) -> str:
    if look(value, ("metadata", "deletionTimestamp")):
        return "Terminating"
    return str(look(value, ("status", "phase")) or "")


def _claim(value: Object, now: float) -> str:
    found = look(value, ("spec", "claimRef"))
    return f"{found.get('namespace', '')}/{found.get('name', '')}" if found else ""


_ATTRIBUTES = Column(
    "VolumeAttributesClass",
    text("spec", "volumeAttributesClassName", absent="<unset>"),
    description="The class its attributes are of.",
)

PERSISTENT_VOLUME = (
    Column("Capacity", text("spec", "capacity", "storage"), description="How much it holds."),
    Column("Access Modes", _modes("spec", "accessModes"), description="Who may mount it, and how."),
    Column("Reclaim Policy", text("spec", "persistentVolumeReclaimPolicy"), description="What becomes of it."),
    Column("Status", _phase, description="Whether it is in use."),
    Column("Claim", _claim, description="Who uses it."),
    Column("StorageClass", text("spec", "storageClassName"), description="The class it is of."),
    _ATTRIBUTES,
    Column("Reason", text("status", "reason"), description="Why it is as it is."),
    AGE,
    Column("VolumeMode", text("spec", "volumeMode"), description="File system or block device.", priority=1),
)

PERSISTENT_VOLUME_CLAIM = (
    Column("Status", _phase, description="Whether a volume is bound."),
    Column("Volume", text("spec", "volumeName"), description="The volume."),
    Column("Capacity", text("status", "capacity", "storage"), description="How much it holds."),
    Column("Access Modes", _modes("status", "accessModes"), description="Who may mount it, and how."),
    Column("StorageClass", text("spec", "storageClassName"), description="The class it is to be of."),
    _ATTRIBUTES,
    AGE,
    Column("VolumeMode", text("spec", "volumeMode"), description="File system or block device.", priority=1),
)


def _storage_class_name(value: Object, now: float) -> str:
    name = str(look(value, ("metadata", "name")) or "")
    marks = look(value, ("metadata", "annotations")) or {}
    return f"{name} (default)" if marks.get("storageclass.kubernetes.io/is-default-class") == "true" else name


STORAGE_CLASS = (
    Column("Name", _storage_class_name, description=NAME.description, format="name"),
    Column("Provisioner", text("provisioner"), description="Who makes the volumes."),
    Column("ReclaimPolicy", text("reclaimPolicy"), description="What becomes of the volumes."),
    Column("VolumeBindingMode", text("volumeBindingMode"), description="When volumes are bound."),
    Column(
        "AllowVolumeExpansion",
        lambda value, now: bool(value.get("allowVolumeExpansion")),
        description="Whether volumes can grow.",
    ),
    AGE,
)


def _quota(key: str) -> Any:
    def cell(value: Object, now: float) -> str:
        used = look(value, ("status", "used")) or {}
        hard = look(value, ("status", "hard")) or {}
        shown = [f"{name}: {used.get(name, '0')}/{limit}" for name, limit in sorted(hard.items())]
        return ", ".join(each for each in shown if each.startswith("limits.") == (key == "limits"))

    return cell


RESOURCE_QUOTA = (
    Column("Request", _quota("requests"), description="What is used, of what may be."),
    Column("Limit", _quota("limits"), description="The same for limits."),
    AGE,
)

LIMIT_RANGE = (CREATED,)

ROLE = (CREATED,)


def _role_ref(value: Object, now: float) -> str:
    return "/".join(str(look(value, ("roleRef", key)) or "") for key in ("kind", "name"))


def _subjects(kind: str) -> Any:
    def cell(value: Object, now: float) -> str:
        found = []
        for each in value.get("subjects") or []:
            if each.get("kind") == kind:
                home = f"{each.get('namespace', '')}/" if kind == "ServiceAccount" else ""
                found.append(f"{home}{each.get('name', '')}")
        return ", ".join(found)

    return cell


ROLE_BINDING = (
    Column("Role", _role_ref, description="What is granted."),
    AGE,
    Column("Users", _subjects("User"), description="To which users.", priority=1),
    Column("Groups", _subjects("Group"), description="To which groups.", priority=1),
    Column("ServiceAccounts", _subjects("ServiceAccount"), description="To which accounts.", priority=1),
)

LEASE = (Column("Holder", text("spec", "holderIdentity"), description="Who has it."), AGE)


def _controller(value: Object, now: float) -> str:
    for owner in look(value, ("metadata", "ownerReferences")) or []:
        if owner.get("controller"):
            group, slash, _ = str(owner.get("apiVersion", "")).partition("/")
            kind = str(owner.get("kind", "")).lower()
            return f"{kind}.{group}/{owner['name']}" if slash else f"{kind}/{owner['name']}"
    return NONE


CONTROLLER_REVISION = (
    Column("Controller", _controller, description="Whose revision it is."),
    Column("Revision", number("revision"), description="Its number."),
    AGE,
)

POD_TEMPLATE = (
    Column("Containers", joined("template", "spec", "containers", key="name"), description="Names of the containers."),
    Column("Images", joined("template", "spec", "containers", key="image"), description="Images of the containers."),
    Column("Pod Labels", labels("template", "metadata", "labels"), description="Labels of the pods."),
)

CUSTOM_RESOURCE_DEFINITION = (
    Column("Created At", text("metadata", "creationTimestamp"), "date", "When it was created."),
)

#: What a custom kind without columns of its own shows.
CUSTOM = (Column("Age", age_of("metadata", "creationTimestamp"), "date", "The time since the object was created."),)

"""What a cluster has from whoever installed KubeSphere, on the embedded API.

Those are the roles, the system's own workspace, and the Cluster that stands for the only cluster there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from ksproxyd.model.status import StatusError
from ksproxyd.standalone.api import StandaloneAPI
from ksproxyd.standalone.bootstrap import NAMESPACES
from ksproxyd.standalone.kinds.registry import Object
from ksproxyd.standalone.storage.store import Key
from ksproxyd.standalone.wire.options import WriteOptions
from ksproxyd.standalone.writing.namespaces import key_of
from ksproxyd.tree.member_cluster import HOST_LABEL

WORKSPACE = "kubesphere.io/workspace"
SYSTEM_WORKSPACE = "system-workspace"

#: What says of the namespaces of the system that they belong to its workspace, and are not to be deleted.
LABELS = {
    WORKSPACE: SYSTEM_WORKSPACE,
    "kubesphere.io/managed": "true",
    "kubesphere.io/protected-resource": "true",
}

#: The only cluster there is, as workspaces are put on it.
HOST: Object = {
    "apiVersion": "cluster.kubesphere.io/v1alpha1",
    "kind": "Cluster",
    "metadata": {"name": "host", "labels": {HOST_LABEL: ""}},
    "spec": {"enable": True, "connection": {"type": "direct"}},
    "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Embedded", "message": "It is this one."}]},
}

_OPTIONS = WriteOptions(manager="ksproxyd-standalone")


def install_roles(api: StandaloneAPI, roles: Iterable[Object], *, admin: bool = False) -> None:
    """Make sure that the Cluster and every one of ``roles`` are there; what is there stays as it is.

    The binding of the user ``admin`` is left to :func:`~ksproxyd.standalone.logins.make_admin`, which makes the user,
    unless ``admin``. Call it after :func:`~ksproxyd.standalone.bootstrap.fill`. Raises :class:`StatusError` for what
    cannot be stored.
    """
    first = False
    for wanted in (deepcopy(HOST), *roles):
        name = wanted["metadata"]["name"]
        if (wanted["kind"], name) == ("GlobalRoleBinding", "admin") and not admin:
            continue
        kind = api.kinds.by_name(wanted["apiVersion"], wanted["kind"])
        if kind is None:
            raise RuntimeError(f"{wanted['kind']} of {wanted['apiVersion']} is not defined")
        if api.store.get(Key(kind.topic, "", name)) is not None:
            continue
        try:
            api.writer.create(kind, "", wanted, _OPTIONS)
        except StatusError as error:
            what = f"{wanted['kind']} {name}: {error.message}"
            raise StatusError(error.code, error.reason, what, error.details) from None
        first = first or (wanted["kind"], name) == ("WorkspaceTemplate", SYSTEM_WORKSPACE)
    if first:
        _label_namespaces(api)


def _label_namespaces(api: StandaloneAPI) -> None:
    """The namespaces of the first start belong to the system's workspace, but for one that was put into another."""
    namespace = api.kinds.of_topic("/namespaces")
    if namespace is None:
        raise RuntimeError("the built-in kinds are incomplete")
    for name in NAMESPACES:
        present = api.writer.current(namespace, key_of(name))
        if present is None:
            continue
        labels = present["metadata"].setdefault("labels", {})
        if WORKSPACE not in labels and not present["metadata"].get("deletionTimestamp"):
            labels |= {label: value for label, value in LABELS.items() if label not in labels}
            api.writer.update(namespace, key_of(name), present, _OPTIONS)

"""Built-in kinds of the core group."""

from __future__ import annotations

from typing import Any

from ksproxyd.standalone.kinds import columns_cluster as cluster
from ksproxyd.standalone.kinds import columns_workloads as workloads
from ksproxyd.standalone.kinds import names
from ksproxyd.standalone.kinds import rules_cluster as rules
from ksproxyd.standalone.kinds import rules_workloads as pods
from ksproxyd.standalone.kinds.declaring import ALL, SCALE, counted, declare, fields, with_status
from ksproxyd.standalone.kinds.registry import VERBS, WITH_SPEC, Kind
from ksproxyd.standalone.wire.options import ORPHAN


def _core(kind: str, plural: str, *short: str, table: str = "core", **rest: Any) -> Kind:
    return declare("", "v1", table, kind, plural, *short, **rest)


def core_kinds() -> list[Kind]:
    """The kinds of the core group."""
    kept: dict[str, Any] = {"returns_deleted": True}
    return [
        _core(
            "ConfigMap",
            "configmaps",
            "cm",
            columns=cluster.CONFIG_MAP,
            check=rules.check_config_map,
            check_update=rules.config_map_immutable,
        ),
        _core("Endpoints", "endpoints", "ep", columns=cluster.ENDPOINTS, create_on_update=True),
        _core(
            "Event",
            "events",
            "ev",
            columns=workloads.EVENT,
            check=rules.check_event,
            create_on_update=True,
            selectable=fields(
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
                "involvedObject.resourceVersion",
                "involvedObject.fieldPath",
                "reason",
                "reportingComponent",
                "type",
            )
            | {"source": ("source", "component")},
        ),
        _core("LimitRange", "limitranges", "limits", columns=cluster.LIMIT_RANGE, create_on_update=True),
        _core(
            "Namespace",
            "namespaces",
            "ns",
            namespaced=False,
            columns=cluster.NAMESPACE,
            name_rule=names.label,
            prepare=rules.prepare_namespace,
            default=rules.default_namespace,
            settle=rules.settle_namespace,
            selectable=fields("status.phase"),
            returns_deleted=True,
            verbs=tuple(verb for verb in VERBS if verb != "deletecollection"),
            **with_status(rules.active),
        ),
        _core(
            "Node",
            "nodes",
            "no",
            namespaced=False,
            columns=cluster.NODE,
            has_status=True,
            selectable=fields("spec.unschedulable"),
        ),
        _core(
            "PersistentVolume",
            "persistentvolumes",
            "pv",
            namespaced=False,
            columns=cluster.PERSISTENT_VOLUME,
            default=rules.default_volume,
            check=rules.check_volume,
            **kept,
            **with_status(rules.unbound),
        ),
        _core(
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            "pvc",
            columns=cluster.PERSISTENT_VOLUME_CLAIM,
            default=rules.default_claim,
            check=rules.check_claim,
            check_update=rules.claim_immutable,
            **kept,
            **with_status(rules.unbound),
        ),
        _core(
            "Pod",
            "pods",
            "po",
            table="pod",
            columns=workloads.POD,
            categories=ALL,
            default=pods.default_pod,
            check=pods.check_pod,
            graceful=True,
            check_update=pods.pod_immutable,
            selectable=fields(
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ),
            **kept,
            **with_status(pods.pending, WITH_SPEC),
        ),
        _core(
            "PodTemplate",
            "podtemplates",
            table="pod",
            columns=cluster.POD_TEMPLATE,
            default=pods.default_pod_template,
            check=pods.check_pod_template,
            generation=WITH_SPEC,
            **kept,
        ),
        _core(
            "ReplicationController",
            "replicationcontrollers",
            "rc",
            table="pod",
            columns=workloads.REPLICATION_CONTROLLER,
            categories=ALL,
            default=pods.default_replication_controller,
            check=pods.check_replication_controller,
            propagation=ORPHAN,
            scale=SCALE,
            selectable=fields("status.replicas"),
            **with_status(counted("replicas"), WITH_SPEC),
        ),
        _core("ResourceQuota", "resourcequotas", "quota", columns=cluster.RESOURCE_QUOTA, **kept, **with_status()),
        _core(
            "Secret",
            "secrets",
            columns=cluster.SECRET,
            default=rules.default_secret,
            check=rules.check_secret,
            check_update=rules.secret_immutable,
            selectable=fields("type"),
        ),
        _core(
            "Service",
            "services",
            "svc",
            columns=cluster.SERVICE,
            categories=ALL,
            name_rule=names.service,
            default=rules.default_service,
            check=rules.check_service,
            create_on_update=True,
            selectable=fields("spec.clusterIP", "spec.type"),
            **kept,
            **with_status(rules.load_balancer),
        ),
        _core("ServiceAccount", "serviceaccounts", "sa", columns=cluster.SERVICE_ACCOUNT, **kept),
    ]

"""The kinds that are served without a definition."""

from __future__ import annotations

from typing import Any

from ksproxyd.standalone import columns_cluster as cluster
from ksproxyd.standalone import columns_workloads as workloads
from ksproxyd.standalone import names
from ksproxyd.standalone import rules_cluster as rules
from ksproxyd.standalone import rules_workloads as pods
from ksproxyd.standalone.kinds import NEVER, VERBS, WITH_SPEC, Kind, Object, ScalePaths
from ksproxyd.standalone.typetable import type_node

_SCALE = ScalePaths(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"))
_ALL = ("all",)


def _fields(*names_: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(name.split(".")) for name in names_}


def _empty(_: Object) -> Object:
    return {}


def _kind(group: str, version: str, table: str, kind: str, plural: str, *short: str, **rest: Any) -> Kind:
    namespaced = rest.pop("namespaced", True)
    return Kind(group, version, plural, kind, namespaced, type_node(table, kind), short_names=short, **rest)


def _core(kind: str, plural: str, *short: str, table: str = "core", **rest: Any) -> Kind:
    return _kind("", "v1", table, kind, plural, *short, **rest)


def _apps(kind: str, plural: str, *short: str, **rest: Any) -> Kind:
    return _kind("apps", "v1", "apps", kind, plural, *short, **rest)


def _rbac(kind: str, plural: str, **rest: Any) -> Kind:
    return _kind(
        rules.RBAC, "v1", "rbac", kind, plural, name_rule=names.path_segment, create_on_update=True, **rest
    )


def _with_status(initial: Any = _empty, generation: str = NEVER) -> dict[str, Any]:
    return {"has_status": True, "initial_status": initial, "generation": generation}


def _core_kinds() -> list[Kind]:
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
            selectable=_fields(
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
            selectable=_fields("status.phase"),
            returns_deleted=True,
            verbs=tuple(verb for verb in VERBS if verb != "deletecollection"),
            **_with_status(rules.active),
        ),
        _core(
            "Node",
            "nodes",
            "no",
            namespaced=False,
            columns=cluster.NODE,
            has_status=True,
            selectable=_fields("spec.unschedulable"),
        ),
        _core(
            "PersistentVolume",
            "persistentvolumes",
            "pv",
            namespaced=False,
            columns=cluster.PERSISTENT_VOLUME,
            default=rules.default_volume,
            **kept,
            **_with_status(rules.unbound),
        ),
        _core(
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            "pvc",
            columns=cluster.PERSISTENT_VOLUME_CLAIM,
            default=rules.default_claim,
            check_update=rules.claim_immutable,
            **kept,
            **_with_status(rules.unbound),
        ),
        _core(
            "Pod",
            "pods",
            "po",
            table="pod",
            columns=workloads.POD,
            categories=_ALL,
            default=pods.default_pod,
            check=pods.check_pod,
            check_update=pods.pod_immutable,
            selectable=_fields(
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ),
            **kept,
            **_with_status(pods.pending, WITH_SPEC),
        ),
        _core(
            "PodTemplate",
            "podtemplates",
            table="pod",
            columns=cluster.POD_TEMPLATE,
            default=pods.default_pod_template,
            generation=WITH_SPEC,
            **kept,
        ),
        _core(
            "ReplicationController",
            "replicationcontrollers",
            "rc",
            table="pod",
            columns=workloads.REPLICATION_CONTROLLER,
            categories=_ALL,
            default=pods.default_replication_controller,
            check=pods.check_replication_controller,
            scale=_SCALE,
            selectable=_fields("status.replicas"),
            **_with_status(generation=WITH_SPEC),
        ),
        _core("ResourceQuota", "resourcequotas", "quota", columns=cluster.RESOURCE_QUOTA, **kept, **_with_status()),
        _core(
            "Secret",
            "secrets",
            columns=cluster.SECRET,
            default=rules.default_secret,
            check=rules.check_secret,
            check_update=rules.secret_immutable,
            selectable=_fields("type"),
        ),
        _core(
            "Service",
            "services",
            "svc",
            columns=cluster.SERVICE,
            categories=_ALL,
            name_rule=names.service,
            default=rules.default_service,
            check=rules.check_service,
            create_on_update=True,
            selectable=_fields("spec.clusterIP", "spec.type"),
            **kept,
            **_with_status(rules.load_balancer),
        ),
        _core("ServiceAccount", "serviceaccounts", "sa", columns=cluster.SERVICE_ACCOUNT, **kept),
    ]


def _workload_kinds() -> list[Kind]:
    return [
        _apps("ControllerRevision", "controllerrevisions", columns=cluster.CONTROLLER_REVISION),
        _apps(
            "DaemonSet",
            "daemonsets",
            "ds",
            columns=workloads.DAEMON_SET,
            categories=_ALL,
            default=pods.default_daemon_set,
            check=pods.check_replicated,
            check_update=pods.selector_immutable,
            **_with_status(generation=WITH_SPEC),
        ),
        _apps(
            "Deployment",
            "deployments",
            "deploy",
            columns=workloads.DEPLOYMENT,
            categories=_ALL,
            default=pods.default_deployment,
            check=pods.check_replicated,
            check_update=pods.selector_immutable,
            scale=_SCALE,
            **_with_status(generation=WITH_SPEC),
        ),
        _apps(
            "ReplicaSet",
            "replicasets",
            "rs",
            columns=workloads.REPLICA_SET,
            categories=_ALL,
            default=pods.default_replica_set,
            check=pods.check_replicated,
            check_update=pods.selector_immutable,
            scale=_SCALE,
            selectable=_fields("status.replicas"),
            **_with_status(generation=WITH_SPEC),
        ),
        _apps(
            "StatefulSet",
            "statefulsets",
            "sts",
            columns=workloads.STATEFUL_SET,
            categories=_ALL,
            default=pods.default_stateful_set,
            check=pods.check_replicated,
            check_update=pods.stateful_set_immutable,
            scale=_SCALE,
            **_with_status(generation=WITH_SPEC),
        ),
        _kind(
            "batch",
            "v1",
            "batch",
            "CronJob",
            "cronjobs",
            "cj",
            columns=workloads.CRON_JOB,
            categories=_ALL,
            default=pods.default_cron_job,
            **_with_status(generation=WITH_SPEC),
        ),
        _kind(
            "batch",
            "v1",
            "batch",
            "Job",
            "jobs",
            columns=workloads.JOB,
            categories=_ALL,
            prepare=pods.prepare_job,
            default=pods.default_job,
            check=pods.check_job,
            check_update=pods.job_immutable,
            selectable={"status.successful": ("status", "succeeded")},
            **_with_status(generation=WITH_SPEC),
        ),
        _kind(
            "autoscaling",
            "v2",
            "autoscaling",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "hpa",
            columns=workloads.HORIZONTAL_POD_AUTOSCALER,
            categories=_ALL,
            default=rules.default_autoscaler,
            **_with_status(),
        ),
        _kind(
            "policy",
            "v1",
            "policy",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            "pdb",
            columns=workloads.POD_DISRUPTION_BUDGET,
            **_with_status(generation=WITH_SPEC),
        ),
    ]


def _other_kinds() -> list[Kind]:
    networking = "networking.k8s.io"
    return [
        _kind(
            networking,
            "v1",
            "networking",
            "Ingress",
            "ingresses",
            "ing",
            columns=cluster.INGRESS,
            **_with_status(rules.load_balancer, WITH_SPEC),
        ),
        _kind(
            networking,
            "v1",
            "networking",
            "IngressClass",
            "ingressclasses",
            namespaced=False,
            columns=cluster.INGRESS_CLASS,
            generation=WITH_SPEC,
        ),
        _kind(
            networking,
            "v1",
            "networking",
            "NetworkPolicy",
            "networkpolicies",
            "netpol",
            columns=cluster.NETWORK_POLICY,
            default=rules.default_network_policy,
            generation=WITH_SPEC,
        ),
        _rbac("ClusterRole", "clusterroles", namespaced=False, columns=cluster.ROLE, check=rules.check_role),
        _rbac("Role", "roles", columns=cluster.ROLE, check=rules.check_role),
        _rbac(
            "ClusterRoleBinding",
            "clusterrolebindings",
            namespaced=False,
            columns=cluster.ROLE_BINDING,
            default=rules.default_binding,
            check_update=rules.binding_immutable,
        ),
        _rbac(
            "RoleBinding",
            "rolebindings",
            columns=cluster.ROLE_BINDING,
            default=rules.default_binding,
            check_update=rules.binding_immutable,
        ),
        _kind(
            "storage.k8s.io",
            "v1",
            "storage",
            "StorageClass",
            "storageclasses",
            "sc",
            namespaced=False,
            columns=cluster.STORAGE_CLASS,
            default=rules.default_storage_class,
            returns_deleted=True,
        ),
        _kind(
            "coordination.k8s.io",
            "v1",
            "coordination",
            "Lease",
            "leases",
            columns=cluster.LEASE,
            create_on_update=True,
            unconditional_update=False,
        ),
        _kind(
            "discovery.k8s.io",
            "v1",
            "discovery",
            "EndpointSlice",
            "endpointslices",
            columns=cluster.ENDPOINT_SLICE,
            generation=WITH_SPEC,
        ),
    ]


def builtin_kinds() -> list[Kind]:
    """Every built-in kind but CustomResourceDefinition, whose rules depend on the registry."""
    return [*_core_kinds(), *_workload_kinds(), *_other_kinds()]

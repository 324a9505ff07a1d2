"""Built-in kinds of the other groups."""

from __future__ import annotations

from typing import Any

from ksproxyd.standalone.kinds import columns_cluster as cluster
from ksproxyd.standalone.kinds import columns_workloads as workloads
from ksproxyd.standalone.kinds import names
from ksproxyd.standalone.kinds import rules_cluster as rules
from ksproxyd.standalone.kinds import rules_workloads as pods
from ksproxyd.standalone.kinds.declaring import ALL, SCALE, counted, declare, fields, with_status
from ksproxyd.standalone.kinds.registry import WITH_SPEC, Kind
from ksproxyd.standalone.wire.options import ORPHAN

_DAEMON_COUNTS = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
_BUDGET_COUNTS = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")


def _apps(kind: str, plural: str, *short: str, **rest: Any) -> Kind:
    return declare("apps", "v1", "apps", kind, plural, *short, **rest)


def _rbac(kind: str, plural: str, **rest: Any) -> Kind:
    named = {"name_rule": names.path_segment, "create_on_update": True}
    return declare(rules.RBAC, "v1", "rbac", kind, plural, **named, **rest)


def workload_kinds() -> list[Kind]:
    """Kinds that make pods, and those about them."""
    return [
        _apps("ControllerRevision", "controllerrevisions", columns=cluster.CONTROLLER_REVISION),
        _apps(
            "DaemonSet",
            "daemonsets",
            "ds",
            columns=workloads.DAEMON_SET,
            categories=ALL,
            default=pods.default_daemon_set,
            check=pods.check_replicated,
            check_update=pods.selector_immutable,
            **with_status(counted(*_DAEMON_COUNTS), WITH_SPEC),
        ),
        _apps(
            "Deployment",
            "deployments",
            "deploy",
            columns=workloads.DEPLOYMENT,
            categories=ALL,
            default=pods.default_deployment,
            check=pods.check_replicated,
            check_update=pods.selector_immutable,
            scale=SCALE,
            **with_status(generation=WITH_SPEC),
        ),
        _apps(
            "ReplicaSet",
            "replicasets",
            "rs",
            columns=workloads.REPLICA_SET,
            categories=ALL,
            default=pods.default_replica_set,
            check=pods.check_replicated,
            check_update=pods.selector_immutable,
            scale=SCALE,
            selectable=fields("status.replicas"),
            **with_status(counted("replicas"), WITH_SPEC),
        ),
        _apps(
            "StatefulSet",
            "statefulsets",
            "sts",
            columns=workloads.STATEFUL_SET,
            categories=ALL,
            default=pods.default_stateful_set,
            check=pods.check_replicated,
            check_update=pods.stateful_set_immutable,
            scale=SCALE,
            **with_status(counted("replicas", "availableReplicas"), WITH_SPEC),
        ),
        declare(
            "batch",
            "v1",
            "batch",
            "CronJob",
            "cronjobs",
            "cj",
            columns=workloads.CRON_JOB,
            categories=ALL,
            default=pods.default_cron_job,
            **with_status(generation=WITH_SPEC),
        ),
        declare(
            "batch",
            "v1",
            "batch",
            "Job",
            "jobs",
            columns=workloads.JOB,
            categories=ALL,
            prepare=pods.prepare_job,
            default=pods.default_job,
            check=pods.check_job,
            propagation=ORPHAN,
            check_update=pods.job_immutable,
            selectable={"status.successful": ("status", "succeeded")},
            **with_status(generation=WITH_SPEC),
        ),
        declare(
            "autoscaling",
            "v2",
            "autoscaling",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "hpa",
            columns=workloads.HORIZONTAL_POD_AUTOSCALER,
            categories=ALL,
            default=rules.default_autoscaler,
            **with_status(counted("desiredReplicas")),
        ),
        declare(
            "policy",
            "v1",
            "policy",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            "pdb",
            columns=workloads.POD_DISRUPTION_BUDGET,
            **with_status(counted(*_BUDGET_COUNTS), WITH_SPEC),
        ),
    ]


def other_kinds() -> list[Kind]:
    """Networking, access, storage and coordination."""
    networking = "networking.k8s.io"
    return [
        declare(
            networking,
            "v1",
            "networking",
            "Ingress",
            "ingresses",
            "ing",
            columns=cluster.INGRESS,
            check=rules.check_ingress,
            **with_status(rules.load_balancer, WITH_SPEC),
        ),
        declare(
            networking,
            "v1",
            "networking",
            "IngressClass",
            "ingressclasses",
            namespaced=False,
            columns=cluster.INGRESS_CLASS,
            check=rules.check_ingress_class,
            generation=WITH_SPEC,
        ),
        declare(
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
        declare(
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
        declare(
            "coordination.k8s.io",
            "v1",
            "coordination",
            "Lease",
            "leases",
            columns=cluster.LEASE,
            create_on_update=True,
            unconditional_update=False,
        ),
        declare(
            "discovery.k8s.io",
            "v1",
            "discovery",
            "EndpointSlice",
            "endpointslices",
            columns=cluster.ENDPOINT_SLICE,
            generation=WITH_SPEC,
        ),
    ]

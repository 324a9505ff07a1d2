"""Defaults and checks of pods and of the kinds that are made from pod templates."""

from __future__ import annotations

from typing import Any

from ksproxyd.model.selectors import parse_labels
from ksproxyd.standalone.kinds.columns import selector_text
from ksproxyd.standalone.kinds.names import label
from ksproxyd.standalone.kinds.registry import Object
from ksproxyd.standalone.paths import look
from ksproxyd.standalone.wire.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}

#: rw-r--r--: what files of these volumes get.
_MODE = 0o644
_MODE_VOLUMES = ("configMap", "secret", "downwardAPI", "projected")


def _fill(value: Object, defaults: Object) -> None:
    for key, default in defaults.items():
        value.setdefault(key, default)


def default_pod_spec(spec: Object) -> None:
    """Fill in what Kubernetes fills in for every pod spec, pod or template."""
    _fill(
        spec,
        {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "securityContext": {},
            "schedulerName": "default-scheduler",
        },
    )
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        _default_container(container)
    for volume in spec.get("volumes") or []:
        if len(volume) == 1:
            volume["emptyDir"] = {}
        for source in _MODE_VOLUMES:
            if isinstance(volume.get(source), dict):
                volume[source].setdefault("defaultMode", _MODE)


def _default_container(container: Object) -> None:
    image = str(container.get("image", ""))
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = tag in ("", "latest") and "@" not in image
    _fill(
        container,
        {
            "resources": {},
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "Always" if latest else "IfNotPresent",
        },
    )
    for probe in _PROBES:
        if isinstance(container.get(probe), dict):
            _fill(container[probe], _PROBE)


def _default_template(value: Object, *path: str) -> None:
    spec = look(value, (*path, "template", "spec"))
    if isinstance(spec, dict):
        default_pod_spec(spec)


def default_pod(pod: Object) -> None:
    spec = pod.get("spec")
    if isinstance(spec, dict):
        default_pod_spec(spec)
        spec.setdefault("enableServiceLinks", True)


def default_deployment(value: Object) -> None:
    spec = value.setdefault("spec", {})
    _fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), {"maxUnavailable": "25%", "maxSurge": "25%"})
    _default_template(value, "spec")


def default_replica_set(value: Object) -> None:
    value.setdefault("spec", {}).setdefault("replicas", 1)
    _default_template(value, "spec")


def default_replication_controller(value: Object) -> None:
    default_replica_set(value)
    spec = value["spec"]
    labels = look(spec, ("template", "metadata", "labels"))
    if not spec.get("selector") and labels:
        spec["selector"] = dict(labels)
    _label_like_template(value)


def default_stateful_set(value: Object) -> None:
    spec = value.setdefault("spec", {})
    _fill(spec, {"replicas": 1, "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10})
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    kept = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    _fill(kept, {"whenDeleted": "Retain", "whenScaled": "Retain"})
    _default_template(value, "spec")


def default_daemon_set(value: Object) -> None:
    spec = value.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _fill(strategy.setdefault("rollingUpdate", {}), {"maxUnavailable": 1, "maxSurge": 0})
    _default_template(value, "spec")


_JOB_UID = "batch.kubernetes.io/controller-uid"
_JOB_NAME = "batch.kubernetes.io/job-name"
_OLD_JOB_UID = "controller-uid"
_OLD_JOB_NAME = "job-name"


def prepare_job(job: Object) -> None:
    """The pods of a new job are told from others by its uid, unless it brings its own selector."""
    spec = job.setdefault("spec", {})
    if not spec.get("manualSelector"):
        metadata = job["metadata"]
        spec.setdefault("selector", {"matchLabels": {_JOB_UID: metadata["uid"]}})
        template = spec.setdefault("template", {})
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        uid, name = metadata["uid"], metadata.get("name", "")
        _fill(labels, {_JOB_UID: uid, _JOB_NAME: name, _OLD_JOB_UID: uid, _OLD_JOB_NAME: name})
    _label_like_template(job)


def _label_like_template(value: Object) -> None:
    labels = look(value, ("spec", "template", "metadata", "labels"))
    if labels and not value["metadata"].get("labels"):
        value["metadata"]["labels"] = dict(labels)


def default_job(job: Object) -> None:
    spec = job.setdefault("spec", {})
    _fill(spec, {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    _default_template(job, "spec")


def default_cron_job(value: Object) -> None:
    spec = value.setdefault("spec", {})
    _fill(
        spec,
        {
            "concurrencyPolicy": "Allow",
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
        },
    )
    _default_template(value, "spec", "jobTemplate", "spec")


def default_pod_template(value: Object) -> None:
    _default_template(value)


def pending(pod: Object) -> Object:
    """The status of a pod that has just been created."""
    return {"phase": "Pending", "qosClass": _quality_of_service(pod.get("spec") or {})}


def _quality_of_service(spec: Object) -> str:
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    resources = [container.get("resources") or {} for container in containers]
    if not any(each.get("requests") or each.get("limits") for each in resources):
        return "BestEffort"
    for each in resources:
        limits = each.get("limits") or {}
        if not {"cpu", "memory"} <= limits.keys() or (each.get("requests") or limits) != limits:
            return "Burstable"
    return "Guaranteed"


# -- checks ----------------------------------------------------------------------------------------------------


def check_pod(pod: Object) -> list[FieldError]:
    return check_pod_spec(pod.get("spec") or {}, "spec")


def check_pod_template(value: Object) -> list[FieldError]:
    return check_pod_spec(look(value, ("template", "spec")) or {}, "template.spec")


def check_pod_spec(spec: Object, path: str) -> list[FieldError]:
    """What is wrong with a pod spec, as far as one can tell without a node."""
    errors = []
    if not spec.get("containers"):
        errors.append(required(f"{path}.containers"))
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or []):
            where = f"{path}.{field}[{index}]"
            name = container.get("name") or ""
            if not name:
                errors.append(required(f"{where}.name"))
            else:
                errors += [invalid_value(f"{where}.name", name, wrong) for wrong in label(name)]
                if name in seen:
                    errors.append(duplicate(f"{where}.name", name))
                seen.add(name)
            if not container.get("image"):
                errors.append(required(f"{where}.image"))
    return errors


def _check_template(value: Object, path: str) -> list[FieldError]:
    return check_pod_spec(look(value, ("spec", "template", "spec")) or {}, path)


def check_replicated(value: Object) -> list[FieldError]:
    """Deployments, replica sets, stateful sets, daemon sets: the selector has to choose the template's pods."""
    spec = value.get("spec") or {}
    errors = []
    replicas = spec.get("replicas")
    if isinstance(replicas, int) and replicas < 0:
        errors.append(invalid_value("spec.replicas", replicas, "must be greater than or equal to 0"))
    if not spec.get("selector"):
        errors.append(required("spec.selector"))
    errors += _check_labels(spec)
    return errors + _check_template(value, "spec.template.spec")


def _check_labels(spec: Object) -> list[FieldError]:
    labels = look(spec, ("template", "metadata", "labels"))
    if spec.get("selector") and _selects(spec["selector"], labels or {}):
        return []
    return [invalid_value("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")]


def _selects(selector: Object, labels: Object) -> bool:
    written = selector_text(selector, absent="")
    try:
        return bool(written) and parse_labels(written).matches(labels)
    except ValueError:
        return False


def check_job(job: Object) -> list[FieldError]:
    errors = _check_template(job, "spec.template.spec")
    policy = look(job, ("spec", "template", "spec", "restartPolicy"))
    if policy is None:
        errors.append(required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    elif policy not in ("Never", "OnFailure"):
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ["OnFailure", "Never"]))
    return errors


def check_replication_controller(value: Object) -> list[FieldError]:
    spec = value.get("spec") or {}
    errors = [] if spec.get("selector") else [required("spec.selector")]
    return errors + _check_template(value, "spec.template.spec")


def selector_immutable(new: Object, old: Object) -> list[FieldError]:
    """The selector cannot change."""
    selector = look(new, ("spec", "selector"))
    if selector == look(old, ("spec", "selector")):
        return []
    return [invalid_value("spec.selector", selector, "field is immutable")]


def job_immutable(new: Object, old: Object) -> list[FieldError]:
    """Neither the selector nor the template of a job can change."""
    errors = selector_immutable(new, old)
    template = look(new, ("spec", "template"))
    if template != look(old, ("spec", "template")):
        errors.append(invalid_value("spec.template", template, "field is immutable"))
    return errors


_STATEFUL_SET_MAY = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def stateful_set_immutable(new: Object, old: Object) -> list[FieldError]:
    """Only some fields of a stateful set can change."""
    if _without(new.get("spec"), _STATEFUL_SET_MAY) == _without(old.get("spec"), _STATEFUL_SET_MAY):
        return []
    may = ", ".join(f"'{field}'" for field in _STATEFUL_SET_MAY[:-1]) + f" and '{_STATEFUL_SET_MAY[-1]}'"
    return [forbidden_field("spec", f"updates to statefulset spec for fields other than {may} are forbidden")]


_POD_MAY = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName", "ephemeralContainers")


def pod_immutable(new: Object, old: Object) -> list[FieldError]:
    """Only images and a few more fields of a pod can change."""
    if _pod_core(new.get("spec") or {}) == _pod_core(old.get("spec") or {}):
        return []
    detail = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [forbidden_field("spec", detail)]


def _pod_core(spec: Object) -> Object:
    core = _without(spec, _POD_MAY)
    for field in ("containers", "initContainers"):
        if field in core:
            core[field] = [_without(container, ("image", "imagePullPolicy")) for container in core[field] or []]
    return core


def _without(value: Any, keys: tuple[str, ...]) -> Object:
    return {key: each for key, each in (value or {}).items() if key not in keys}

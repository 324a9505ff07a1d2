"""Columns of pods and of what makes them."""

from __future__ import annotations

from typing import Any

from ksproxyd.standalone.kinds.columns import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    age_of,
    duration,
    labels,
    number,
    seconds_of,
    selector,
    since,
    text,
)
from ksproxyd.standalone.kinds.registry import Column, Object
from ksproxyd.standalone.paths import look

_ASKED = "Replicas that are asked for."
_PRESENT = "Replicas that exist."
_READY = "Replicas that are ready."
_CONTAINERS = "Names of the containers of the template."
_IMAGES = "Images of the containers of the template."
_SELECTOR = "Which pods belong to it."


def _statuses(pod: Object) -> list[Object]:
    return look(pod, ("status", "containerStatuses")) or []


def _ready(pod: Object, now: float) -> str:
    asked = len(look(pod, ("spec", "containers")) or [])
    return f"{sum(bool(status.get('ready')) for status in _statuses(pod))}/{asked}"


def _restarts(pod: Object, now: float) -> str:
    return str(sum(status.get("restartCount", 0) for status in _statuses(pod)))


def _pod_status(pod: Object, now: float) -> str:
    """The phase, unless a container's state says more."""
    shown = look(pod, ("status", "reason")) or look(pod, ("status", "phase")) or "Unknown"
    for status in _statuses(pod):
        state = status.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason"):
            shown = waiting["reason"]
        elif ended.get("reason"):
            shown = ended["reason"]
        elif ended:
            shown = f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
    if look(pod, ("metadata", "deletionTimestamp")):
        return "Unknown" if look(pod, ("status", "reason")) == "NodeLost" else "Terminating"
    return str(shown)


def _gates(pod: Object, now: float) -> str:
    gates = look(pod, ("spec", "readinessGates")) or []
    if not gates:
        return NONE
    true = {each.get("type") for each in look(pod, ("status", "conditions")) or [] if each.get("status") == "True"}
    return f"{sum(gate.get('conditionType') in true for gate in gates)}/{len(gates)}"


POD = (
    Column("Ready", _ready, description="Containers that are ready, of those there are."),
    Column("Status", _pod_status, description="What the pod is doing."),
    Column("Restarts", _restarts, description="How often containers have been restarted."),
    AGE,
    Column("IP", text("status", "podIP", absent=NONE), description="The address of the pod.", priority=1),
    Column("Node", text("spec", "nodeName", absent=NONE), description="Where the pod runs.", priority=1),
    Column(
        "Nominated Node",
        text("status", "nominatedNodeName", absent=NONE),
        description="Where the pod may run once others are gone.",
        priority=1,
    ),
    Column("Readiness Gates", _gates, description="Further conditions of readiness that are met.", priority=1),
)


def _template(*path: str) -> tuple[Column, ...]:
    """Names and images of the containers of the pod template at ``path``."""

    def cells(key: str) -> Any:
        def cell(value: Object, now: float) -> str:
            return ",".join(str(each.get(key, "")) for each in look(value, (*path, "spec", "containers")) or [])

        return cell

    return (
        Column("Containers", cells("name"), description=_CONTAINERS, priority=1),
        Column("Images", cells("image"), description=_IMAGES, priority=1),
    )


_POD_TEMPLATE = _template("spec", "template")


def _ready_of(value: Object, now: float) -> str:
    ready = look(value, ("status", "readyReplicas")) or 0
    return f"{ready}/{look(value, ('spec', 'replicas')) or 0}"


DEPLOYMENT = (
    Column("Ready", _ready_of, description="Replicas that are ready, of those asked for."),
    Column("Up-to-date", number("status", "updatedReplicas"), description="Replicas made from the present template."),
    Column("Available", number("status", "availableReplicas"), description="Replicas that have been ready for long."),
    AGE,
    *_POD_TEMPLATE,
    Column("Selector", selector("spec", "selector"), description=_SELECTOR, priority=1),
)

REPLICA_SET = (
    Column("Desired", number("spec", "replicas"), "integer", _ASKED),
    Column("Current", number("status", "replicas"), "integer", _PRESENT),
    Column("Ready", number("status", "readyReplicas"), "integer", _READY),
    AGE,
    *_POD_TEMPLATE,
    Column("Selector", selector("spec", "selector"), description=_SELECTOR, priority=1),
)

REPLICATION_CONTROLLER = (
    *REPLICA_SET[:-1],
    Column("Selector", labels("spec", "selector"), description=_SELECTOR, priority=1),
)

STATEFUL_SET = (Column("Ready", _ready_of, description=_READY), AGE, *_POD_TEMPLATE)

DAEMON_SET = (
    Column("Desired", number("status", "desiredNumberScheduled"), "integer", "Nodes that should run the pod."),
    Column("Current", number("status", "currentNumberScheduled"), "integer", "Nodes that run it."),
    Column("Ready", number("status", "numberReady"), "integer", "Nodes where it is ready."),
    Column("Up-to-date", number("status", "updatedNumberScheduled"), "integer", "Nodes with the present template."),
    Column("Available", number("status", "numberAvailable"), "integer", "Nodes where it has been ready for long."),
    Column("Node Selector", labels("spec", "template", "spec", "nodeSelector"), description="Which nodes it is for."),
    AGE,
    *_POD_TEMPLATE,
    Column("Selector", selector("spec", "selector"), description=_SELECTOR, priority=1),
)


def _job_status(job: Object, now: float) -> str:
    found = {each.get("type") for each in look(job, ("status", "conditions")) or [] if each.get("status") == "True"}
    for shown in ("Complete", "Failed", "Suspended", "FailureTarget"):
        if shown in found:
            return shown
    return "Terminating" if look(job, ("metadata", "deletionTimestamp")) else "Running"


def _completions(job: Object, now: float) -> str:
    done = look(job, ("status", "succeeded")) or 0
    asked = look(job, ("spec", "completions"))
    if asked is not None:
        return f"{done}/{asked}"
    parallel = look(job, ("spec", "parallelism")) or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _took(job: Object, now: float) -> str:
    start = seconds_of(look(job, ("status", "startTime")))
    end = seconds_of(look(job, ("status", "completionTime")))
    return "" if start is None else duration((now if end is None else end) - start)


JOB = (
    Column("Status", _job_status, description="How far the job is."),
    Column("Completions", _completions, description="Pods that have succeeded, of those that have to."),
    Column("Duration", _took, description="How long the job has taken."),
    AGE,
    *_POD_TEMPLATE,
    Column("Selector", selector("spec", "selector"), description=_SELECTOR, priority=1),
)


def _last_run(job: Object, now: float) -> str:
    stamp = look(job, ("status", "lastScheduleTime"))
    return NONE if stamp is None else since(stamp, now)


def _yes(*path: str) -> Any:
    def cell(value: Object, now: float) -> str:
        return "True" if look(value, path) else "False"

    return cell


CRON_JOB = (
    Column("Schedule", text("spec", "schedule"), description="When it runs, in cron's notation."),
    Column("Timezone", text("spec", "timeZone", absent=NONE), description="The time zone of the schedule."),
    Column("Suspend", _yes("spec", "suspend"), "boolean", "Whether no further runs begin."),
    Column("Active", lambda job, now: len(look(job, ("status", "active")) or ()), "integer", "Jobs that run now."),
    Column("Last Schedule", _last_run, description="When the last run was begun."),
    AGE,
    *_template("spec", "jobTemplate", "spec", "template"),
    Column("Selector", selector("spec", "jobTemplate", "spec", "selector"), description=_SELECTOR, priority=1),
)


def _targets(value: Object, now: float) -> str:
    """What is wanted of each metric; nothing measures them here."""
    found = []
    for metric in look(value, ("spec", "metrics")) or []:
        source = metric.get(str(metric.get("type", "")).lower()) or {}
        target = source.get("target") or {}
        wanted = target.get("averageValue") or target.get("value") or UNKNOWN
        if target.get("averageUtilization") is not None:
            wanted = f"{target['averageUtilization']}%"
        found.append(f"{source.get('name') or look(source, ('metric', 'name')) or ''}: {UNKNOWN}/{wanted}")
    return ", ".join(found) or NONE


def _text(value: Object, key: str, absent: str) -> str:
    found = look(value, ("spec", key))
    return absent if found is None else str(found)


HORIZONTAL_POD_AUTOSCALER = (
    Column(
        "Reference",
        lambda value, now: "/".join(
            str(look(value, ("spec", "scaleTargetRef", key)) or "") for key in ("kind", "name")
        ),
        description="What is scaled.",
    ),
    Column("Targets", _targets, description="What is measured, and what it should be."),
    Column("MinPods", lambda value, now: _text(value, "minReplicas", "1"), description="The least number of pods."),
    Column("MaxPods", number("spec", "maxReplicas"), description="The greatest number of pods."),
    Column("Replicas", number("status", "currentReplicas"), description="How many there are."),
    AGE,
)


def _limit(key: str) -> Any:
    return lambda value, now: _text(value, key, "N/A")


POD_DISRUPTION_BUDGET = (
    Column("Min Available", _limit("minAvailable"), description="Pods that must stay."),
    Column("Max Unavailable", _limit("maxUnavailable"), description="Pods that may go."),
    Column("Allowed Disruptions", number("status", "disruptionsAllowed"), "integer", "Pods that may be evicted now."),
    AGE,
)

EVENT = (
    Column("Last Seen", lambda value, now: _last_seen(value, now), description="When it last happened."),
    Column("Type", text("type"), description="Normal or Warning."),
    Column("Reason", text("reason"), description="Why, in a word."),
    Column(
        "Object",
        lambda value, now: "/".join(
            (
                str(look(value, ("involvedObject", "kind")) or "").lower(),
                str(look(value, ("involvedObject", "name")) or ""),
            )
        ),
        description="What it is about.",
    ),
    Column("Subobject", text("involvedObject", "fieldPath"), description="Which part of it.", priority=1),
    Column("Source", text("source", "component"), description="Who reported it.", priority=1),
    Column("Message", lambda value, now: str(value.get("message") or "").strip(), description="What happened."),
    Column("First Seen", age_of("firstTimestamp"), description="When it first happened.", priority=1),
    Column("Count", number("count", absent=1), description="How often it happened.", priority=1),
    Column("Name", NAME.cell, description=NAME.description, priority=1, format="name"),
)


def _last_seen(event: Object, now: float) -> str:
    for stamp in (look(event, ("series", "lastObservedTime")), event.get("lastTimestamp"), event.get("eventTime")):
        if stamp:
            return since(stamp, now)
    return since(event.get("firstTimestamp"), now) if event.get("firstTimestamp") else UNKNOWN

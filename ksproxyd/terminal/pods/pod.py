"""What both kinds of pods have in common: how they are looked at, and how one waits for them."""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.kube.resource import Resource
from ksproxyd.state.kinds import NAMESPACE
from ksproxyd.state.validation import field, text

PODS = Resource("", "v1", "pods", "Pod", namespaced=True)

#: Whose pods these are, for whoever looks at the cluster, and for the sweeper.
MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER = "ksproxyd"
USER = "kubesphere.io/username"

#: Seconds between looks at a pod that is not there yet.
LOOK = 1.0

#: Close codes (spec 05, 8.1): what is asked for is not there; it may be there later.
MISSING, LATER = 4404, 1013

Object = dict[str, Any]


class PodRef(msgspec.Struct, frozen=True):
    """A pod that is ready for a session. ``shell`` is the program to run in ``container``."""

    pod: str
    uid: str
    container: str
    shell: str
    namespace: str = NAMESPACE


class PodFailed(Exception):
    """There is no pod. ``code`` is the close code, the text is for the user."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_going(pod: Object) -> bool:
    """Whether the pod is being deleted."""
    return bool(text(pod, "metadata", "deletionTimestamp"))


def is_over(pod: Object) -> bool:
    """Whether the pod has run, and will not again."""
    return text(pod, "status", "phase") in ("Succeeded", "Failed")


def is_ready(pod: Object) -> bool:
    """Whether the pod is ready, and is to stay."""
    conditions = field(pod, "status", "conditions")
    return (
        not is_going(pod)
        and isinstance(conditions, list)
        and any(text(each, "type") == "Ready" and text(each, "status") == "True" for each in conditions)
    )


def trouble(pod: Object) -> str:
    """Why the pod is not running yet, in Kubernetes' words; empty if it does not say."""
    statuses = field(pod, "status", "containerStatuses")
    for status in statuses if isinstance(statuses, list) else ():
        reason = text(status, "state", "waiting", "reason")
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return reason
    conditions = field(pod, "status", "conditions")
    for condition in conditions if isinstance(conditions, list) else ():
        if text(condition, "type") == "PodScheduled" and text(condition, "status") == "False":
            return text(condition, "reason")
    return ""

"""Which container of a pod is meant (spec 05, 2)."""

from __future__ import annotations

import re
from typing import Any

from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.state.validation import field, text
from ksproxyd.terminal.pods.pod import LATER, MISSING, PODS, PodFailed, is_over

#: The annotation with the container that is meant where none is named.
DEFAULT = "kubectl.kubernetes.io/default-container"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Object = dict[str, Any]


def check_names(namespace: str, pod: str, container: str) -> None:
    """Raises :class:`PodFailed` for what Kubernetes gives no namespace, pod or container as a name."""
    for what, name, rule in (("namespace", namespace, _LABEL), ("pod", pod, _NAME), ("container", container, _LABEL)):
        if (name or what != "container") and not rule.fullmatch(name):
            raise PodFailed(MISSING, f"{name[:100]!r} is no name of a {what}")


def container_of(pod: Object, wanted: str) -> str:
    """The container called ``wanted``, or else the one that is meant. Raises :class:`PodFailed`."""
    names = [
        text(each, "name")
        for part in ("containers", "ephemeralContainers", "initContainers")
        for each in _listed(field(pod, "spec", part))
    ]
    if wanted:
        if wanted not in names:
            raise PodFailed(MISSING, f"there is no container {wanted} in the pod; it has {', '.join(names)}")
        return wanted
    chosen = text(pod, "metadata", "annotations", DEFAULT)
    if chosen in names:
        return chosen
    if not names:
        raise PodFailed(MISSING, "the pod has no container")
    return names[0]


async def find(client: KubeClient, namespace: str, name: str, wanted: str) -> tuple[Object, str]:
    """The pod, and which of its containers is meant. Raises :class:`PodFailed`."""
    check_names(namespace, name, wanted)
    try:
        pod = await client.get(PODS, name, namespace)
    except KubeError as error:
        if error.code == 404:
            raise PodFailed(MISSING, f"there is no pod {namespace}/{name}") from error
        raise PodFailed(LATER, "the cluster does not answer as it should; try again") from error
    if is_over(pod):
        raise PodFailed(MISSING, f"pod {namespace}/{name} has ended")
    return pod, container_of(pod, wanted)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""An event in Kubernetes' own form: ``audit.k8s.io/v1``, for receivers that read kube-apiserver's log too."""

from __future__ import annotations

from typing import Any

import msgspec

from ksproxyd.audit.event import Event, Place, moment
from ksproxyd.audit.form import MESSAGE, PREFIX, Writer, agent, annotations_of, bodies, plain
from ksproxyd.observe.redact import redact_target, redact_text

API_VERSION = "audit.k8s.io/v1"

#: Bytes of a request target that are written.
_TARGET = 4096

_encode = msgspec.json.encode


def kubernetes_writer(place: Place) -> Writer:
    """What writes events recorded at ``place``.

    What this form has no key for (workspace, cluster, scope, host) is in annotations.
    """

    def write(event: Event) -> bytes:
        info, user = event.info, event.user
        request, response = bodies(event)
        document: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": API_VERSION,
            "level": event.level,
            "auditID": event.id,
            "stage": event.stage,
            "requestURI": redact_target(event.target[:_TARGET]).decode("utf-8", "replace"),
            "verb": event.verb if info.is_resource else event.verb.lower(),
            "user": _some(username=user.name, uid=user.uid, groups=user.groups, extra=dict(user.extra)),
            "sourceIPs": [event.client] if event.client else [],
            "userAgent": agent(event),
        }
        if info.is_resource:
            document["objectRef"] = _some(
                resource=info.resource,
                namespace=info.namespace,
                name=plain(event.name or info.name),
                apiGroup=info.api_group,
                apiVersion=info.api_version,
                subresource=info.subresource,
            )
        message = redact_text(event.message[:MESSAGE])
        document["responseStatus"] = {"metadata": {}, **_some(message=message, code=event.status)}
        for key, value in (("requestObject", request), ("responseObject", response)):
            if value is not None:
                # An object of Kubernetes' form is an object; a text is what "unknown" objects hold.
                document[key] = value if isinstance(value, dict) else {"kind": "Unknown", "raw": value}
        document["requestReceivedTimestamp"] = moment(event.received)
        document["stageTimestamp"] = moment(event.at)
        more = {"workspace": event.workspace, "cluster": event.cluster, "scope": info.scope, "host": place.host_name}
        document["annotations"] = {
            **{PREFIX + name: value for name, value in more.items() if value},
            **(annotations_of(event) or {}),
        }
        return _encode(document)

    return write


def _some(**values: Any) -> dict[str, Any]:
    """Those that are not empty."""
    return {key: value for key, value in values.items() if value}

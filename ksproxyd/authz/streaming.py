"""Requests that give somebody a shell or a tunnel, and what they need besides the right to their method's verb.

A WebSocket begins with GET, so a role that may only look would be enough to run programs in a pod. Kubernetes asks for
``create`` whatever the method is, and so it is done here (spec 05, 11.3).
"""

from __future__ import annotations

import msgspec

from ksproxyd.authz.decision import Authorizer, Decision
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo

#: Subresources of a pod that are streams, with or without an upgrade.
_STREAMS = frozenset(["exec", "attach", "portforward"])
_PROXIED = frozenset(["pods", "services", "nodes"])
#: What a kubelet has such streams at, in lower case: its router may be kinder than this one.
_OF_KUBELET = frozenset(["exec", "run", "attach", "portforward", "cri"])


def also_needed(info: RequestInfo, upgrading: bool) -> RequestInfo | None:
    """``info`` with the verb that its user needs, too; None where the verb of its method is enough.

    :param upgrading: whether the request asks for another protocol.
    """
    if info.verb == "create" or info.api_group or not info.is_resource:
        return None
    subresource = info.subresource
    if info.verb == "proxy":
        # The old form of the path, with the name of the verb before the resource: it has no subresource.
        streams = info.resource in _PROXIED and (upgrading or (info.resource == "nodes" and _kubelet(info.parts[2:])))
        subresource = "proxy"
    elif info.resource == "pods" and subresource in _STREAMS:
        streams = True
    else:
        streams = (
            subresource == "proxy"
            and info.resource in _PROXIED
            and (upgrading or (info.resource == "nodes" and _kubelet(info.parts[3:])))
        )
    return msgspec.structs.replace(info, verb="create", subresource=subresource) if streams else None


def _kubelet(segments: tuple[str, ...]) -> bool:
    """Whether a path of a kubelet runs something."""
    return any(segment.lower() in _OF_KUBELET for segment in segments)


def decide(authorizer: Authorizer, user: Identity, info: RequestInfo, upgrading: bool) -> tuple[Decision, RequestInfo]:
    """What ``authorizer`` says of the whole request, and of which part of it."""
    decision = authorizer(user, info)
    if decision.allowed and (info.subresource or info.verb == "proxy"):
        more = also_needed(info, upgrading)
        if more is not None:
            return authorizer(user, more), more
    return decision, info

"""An event in KubeSphere's form: the keys that its auditing components know (spec 03, 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ksproxyd.audit.event import Body, Event, Place, moment
from ksproxyd.audit.redact import recorded
from ksproxyd.model.identity import Identity
from ksproxyd.observe.redact import redact_text

#: Writes an event.
Writer = Callable[[Event], bytes]

#: Characters of a User-Agent, of a message and of an annotation that are written.
AGENT, MESSAGE, ANNOTATION = 512, 1024, 2048

#: Annotations say what neither form has a key for.
PREFIX = "ksproxyd.io/"


class _User(msgspec.Struct, omit_defaults=True):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] | None = None


class _Object(msgspec.Struct, rename="pascal"):
    resource: str
    namespace: str
    name: str
    uid: str = msgspec.field(name="UID")
    api_group: str = msgspec.field(name="APIGroup")
    api_version: str = msgspec.field(name="APIVersion")
    resource_version: str
    subresource: str


class _Status(msgspec.Struct, omit_defaults=True):
    metadata: msgspec.Raw
    code: int = 0


class _Event(msgspec.Struct, rename="pascal"):
    workspace: str
    cluster: str
    message: str
    host_name: str
    host_ip: str = msgspec.field(name="HostIP")
    level: str
    audit_id: str = msgspec.field(name="AuditID")
    stage: str
    request_uri: str = msgspec.field(name="RequestURI")
    verb: str
    user: _User
    impersonated_user: None
    source_ips: str = msgspec.field(name="SourceIPs")
    user_agent: str
    object_ref: _Object
    response_status: _Status
    request_object: Any
    response_object: Any
    request_received_timestamp: str
    stage_timestamp: str
    annotations: dict[str, str] | None


_EMPTY = msgspec.Raw(b"{}")
_encode = msgspec.json.encode


def kubesphere_writer(place: Place) -> Writer:
    """What writes events recorded at ``place``."""

    def write(event: Event) -> bytes:
        info = event.info
        request, response = bodies(event)
        return _encode(
            _Event(
                workspace=event.workspace,
                cluster=event.cluster,
                message=redact_text(event.message[:MESSAGE]),
                host_name=place.host_name,
                host_ip=place.host_ip,
                level=event.level,
                audit_id=event.id,
                stage=event.stage,
                request_uri=plain(info.path),
                verb=event.verb,
                user=_user(event.user),
                impersonated_user=None,
                source_ips=event.client,
                user_agent=agent(event),
                object_ref=_Object(
                    resource=info.resource,
                    namespace=info.namespace,
                    name=plain(event.name or info.name),
                    uid="",
                    api_group=info.api_group,
                    api_version=info.api_version,
                    resource_version=info.scope,
                    subresource=info.subresource,
                ),
                response_status=_Status(_EMPTY, event.status),
                request_object=request,
                response_object=response,
                request_received_timestamp=moment(event.received),
                stage_timestamp=moment(event.at),
                annotations=noted(event),
            )
        )

    return write


def bodies(event: Event) -> tuple[Any, Any]:
    """What is written of the bodies; says in the event's annotations what is not."""
    if event.request is None and event.response is None:
        return None, None
    found = []
    for name, body in (("request", event.request), ("response", event.response)):
        found.append(None if body is None else recorded(body, event.info))
        if body is not None and body.left_out:
            event.annotations = {**(event.annotations or {}), **_left_out(name, body)}
    # They are written now; what is kept is the result.
    event.request = event.response = None
    return found[0], found[1]


def _left_out(name: str, body: Body) -> dict[str, str]:
    return {f"{PREFIX}{name}-truncated": body.left_out, f"{PREFIX}{name}-bytes": str(body.size)}


def noted(event: Event) -> dict[str, str] | None:
    """The annotations as they are written."""
    found = event.annotations
    if found is None:
        return None
    return {plain(name): redact_text(plain(value[:ANNOTATION])) for name, value in found.items()}


def agent(event: Event) -> str:
    """The User-Agent."""
    return event.agent[:AGENT].decode("utf-8", "replace")


def plain(text: str) -> str:
    """``text`` as UTF-8 can carry it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _user(user: Identity) -> _User:
    return _User(user.name, user.uid, user.groups, dict(user.extra) or None)

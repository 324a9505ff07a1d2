"""An event in KubeSphere's form: the keys that its auditing components know (spec 03, 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from ksproxyd.audit.event import Body, Event, Place, moment
from ksproxyd.audit.redact import recorded
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.observe.redact import redact_text

#: Writes an event.
Writer = Callable[[Event], bytes]

#: Characters of a User-Agent, of a message and of an annotation that are written.
AGENT, MESSAGE, ANNOTATION = 512, 1024, 2048

#: Annotations say what neither form has a key for.
PREFIX = "ksproxyd.io/"


_encode = msgspec.json.encode

#: Users and meanings of paths whose text is remembered.
_REMEMBERED = 2048


_text = lru_cache(_REMEMBERED)(_encode)


@lru_cache(_REMEMBERED)
def _agent_text(agent: bytes) -> bytes:
    return _encode(agent.decode("utf-8", "replace"))


class _Texts:
    """The JSON text of what many events share, by the very object: users and meanings of paths are kept by others, and
    the same one comes again and again.
    """

    __slots__ = ("_known", "_text")

    def __init__(self, text: Callable[[Any], bytes]) -> None:
        self._text = text
        self._known: dict[int, tuple[object, bytes]] = {}

    def __call__(self, shared: Any) -> bytes:
        known = self._known.get(id(shared))
        # The object is kept beside its text, so another cannot have its number.
        if known is not None and known[0] is shared:
            return known[1]
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        text = self._text(shared)
        self._known[id(shared)] = shared, text
        return text


def kubesphere_writer(place: Place) -> Writer:
    """What writes events recorded at ``place``."""
    here = b'"HostName":%b,"HostIP":%b,' % (_encode(place.host_name), _encode(place.host_ip))
    users, objects, paths = _Texts(_user), _Texts(_object), _Texts(lambda info: _encode(plain(info.path)))

    def write(event: Event) -> bytes:
        info = event.info
        request, response = b"null", b"null"
        if event.request is not None or event.response is not None:
            request, response = map(_encode, bodies(event))
        noted = b"null" if event.annotations is None else _encode(annotations_of(event))
        return b"".join(
            (
                b'{"Workspace":',
                _text(event.workspace),
                b',"Cluster":',
                _text(event.cluster),
                b',"Message":',
                _encode(redact_text(plain(event.message[:MESSAGE]))) if event.message else b'""',
                b",",
                here,
                b'"Level":"%b","AuditID":"%b","Stage":"%b","RequestURI":'
                % (event.level.encode(), event.id.encode(), event.stage.encode()),
                paths(info),
                b',"Verb":',
                _text(event.verb),
                b',"User":',
                users(event.user),
                b',"ImpersonatedUser":null,"SourceIPs":',
                _text(event.client),
                b',"UserAgent":',
                _agent_text(event.agent[:AGENT]),
                b',"ObjectRef":',
                objects(info) if not event.name else _object(info, event.name),
                b',"ResponseStatus":{"metadata":{},"code":%d}' % event.status
                if event.status
                else b',"ResponseStatus":{"metadata":{}}',
                b',"RequestObject":',
                request,
                b',"ResponseObject":',
                response,
                b',"RequestReceivedTimestamp":"%b","StageTimestamp":"%b","Annotations":%b}'
                % (moment(event.received).encode(), moment(event.at).encode(), noted),
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


def annotations_of(event: Event) -> dict[str, str] | None:
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


def _user(user: Identity) -> bytes:
    values = {"username": plain(user.name), "uid": user.uid, "groups": user.groups, "extra": dict(user.extra)}
    return _encode({key: value for key, value in values.items() if value})


def _object(info: RequestInfo, name: str = "") -> bytes:
    return _encode(
        {
            "Resource": plain(info.resource),
            "Namespace": plain(info.namespace),
            "Name": plain(name or info.name),
            "UID": "",
            "APIGroup": plain(info.api_group),
            "APIVersion": plain(info.api_version),
            # KubeSphere's auditing components find the scope here.
            "ResourceVersion": info.scope,
            "Subresource": plain(info.subresource),
        }
    )

"""User objects at the Kubernetes API behind the gateway (spec 02, D-32).

Whoever may read users there reads them without password hashes, in whatever form they ask for them: as objects, lists,
Tables, metadata or a watch, compressed or not. The form is always JSON, as that is what can be looked at in passing;
clients that prefer YAML or protobuf take it, too.

Writing there is for those who may make anybody anything: a User object says which group and which account of an
identity provider its user is, so who may write it freely could become anybody. Everybody else has the users' own API,
which tells such changes apart (:mod:`ksproxyd.kapis.iam.users`). Nobody writes a password: it would be stored as it is.
A body is read completely and what is sent on is what was read; a PUT that does not have the hash gets the stored one,
so that an object that was read here can be written here.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from ksproxyd.chain import TAKEN
from ksproxyd.kube.errors import KubeError
from ksproxyd.kube.resource import Resource
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.model.status import StatusError, bad_gateway, bad_request, denied
from ksproxyd.server.exchange import Exchange
from ksproxyd.state.kinds import USERS
from ksproxyd.state.validation import text
from ksproxyd.tree.recode import CODINGS, BodyRewriter, NoBody
from ksproxyd.tree.user_redaction import APPLIED, UserRedaction
from ksproxyd.upstream.plan import Answer

#: The resource that all of this is about.
GROUP, PLURAL = "iam.kubesphere.io", "users"

#: Where users are changed instead.
OWN_API = f"/kapis/{GROUP}/v1beta1/{PLURAL}"

#: Fields of the client's that would bring an answer in a form that cannot be looked at, or only a part of one.
DROP = frozenset([b"accept", b"accept-encoding", b"range", b"if-range"])

#: Largest body of a write, in bytes: decoding it takes some milliseconds, and no user is nearly as large.
BODY_LIMIT = 1024 * 1024

_WRITES = frozenset(["create", "update", "patch", "delete", "deletecollection"])
_WITH_BODY = frozenset(["create", "update", "patch"])
_JSON = b"application/json"
_JSON_PATCH = b"application/json-patch+json"
#: What a body may be. An apply patch is YAML by its name; clients send JSON, which is YAML.
_TYPES = {
    "create": frozenset([_JSON, b""]),
    "update": frozenset([_JSON, b""]),
    "patch": frozenset([b"application/merge-patch+json", _JSON_PATCH, b"application/apply-patch+yaml"]),
}
# What describes the bytes of a body and is wrong once it has been changed.
_OF_THE_BYTES = frozenset(
    [b"content-length", b"etag", b"accept-ranges", b"content-md5", b"digest", b"content-digest", b"repr-digest"]
)
_APPLIED = APPLIED.decode("ascii")
# Where secrets are.
_HASH, _NOTE = ["spec", "password"], ["metadata", "annotations", _APPLIED]

Object = dict[str, Any]


def concerns(info: RequestInfo) -> bool:
    """Whether a request is about users."""
    return info.resource == PLURAL and info.api_group == GROUP


class Reader(Protocol):
    """The part of :class:`ksproxyd.kube.client.KubeClient` that is needed here."""

    async def get(self, resource: Resource, name: str) -> Object: ...


class UserSecrets:
    """``may_write(user)`` is whether ``user`` may make anybody anything; nobody may unless that is given.

    ``reader`` reads Users as they are stored.
    """

    def __init__(
        self, may_write: Callable[[Identity], bool] = lambda user: False, reader: Reader | None = None
    ) -> None:
        self._may_write = may_write
        self._reader = reader

    # -- requests ----------------------------------------------------------------------------------------------

    def admit(self, exchange: Exchange, forward: Callable[[], object]) -> Awaitable[Response] | None:
        """Look at a request for users. Calls ``forward`` when it may go on, at once or later.

        Raises the :class:`StatusError` for one that may not; so does what is returned for one that is looked into.
        """
        if exchange.upgrade is not None:
            # What follows an upgrade cannot be looked at.
            raise bad_request("users are not served over upgraded connections; send the request without Upgrade")
        verb = exchange.info.verb
        if verb in _WRITES and not self._may_write(exchange.user):
            why = f"User objects are written here only by those who may grant every global role; use {OWN_API}"
            raise denied(exchange.user, exchange.info, why)
        if verb in _WITH_BODY:
            return self._look_into(exchange, forward)
        forward()
        return None

    async def _look_into(self, exchange: Exchange, forward: Callable[[], object]) -> Response:
        info = exchange.info
        kind = (exchange.fields.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind not in _TYPES[info.verb]:
            wanted = ", ".join(sorted(each.decode() for each in _TYPES[info.verb] if each))
            message = f"users are written as JSON here: {wanted}"
            raise StatusError(415, "UnsupportedMediaType", message)
        body = await exchange.read_body(BODY_LIMIT)
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise bad_request(f"the body is not JSON, which is what users are written in here: {error}") from None
        if kind == _JSON_PATCH:
            check_operations(info.name, value)
        else:
            await self._check_object(info, value)
        exchange.replace_body(msgspec.json.encode(value))
        if not kind:
            exchange.fields.replace(b"Content-Type", _JSON)
        forward()
        return TAKEN

    async def _check_object(self, info: RequestInfo, value: Any) -> None:
        spec = value.get("spec") if isinstance(value, dict) else None
        metadata = value.get("metadata") if isinstance(value, dict) else None
        name = info.name
        if isinstance(metadata, dict):
            if not name and isinstance(metadata.get("name"), str):
                name = metadata["name"]
            annotations = metadata.get("annotations")
            if isinstance(annotations, dict) and "password" in str(annotations.get(_APPLIED)).lower():
                raise _refused(name, f"metadata.annotations[{_APPLIED}]")
        if not isinstance(spec, dict):
            return
        if info.verb == "update" and not info.subresource and name:
            password = await self._stored(name)
            given = spec.get("password", password)
            if not isinstance(given, str) or not hmac.compare_digest(given.encode(), password.encode()):
                raise _refused(name, "spec.password")
            if password:
                # If it has been changed since, the body's resourceVersion is too old, and nothing is written.
                spec["password"] = password
        elif "password" in spec:
            raise _refused(name, "spec.password")

    async def _stored(self, name: str) -> str:
        """The hash of a user; empty if there is none."""
        assert self._reader is not None
        try:
            return text(await self._reader.get(USERS.resource, name), "spec", "password")
        except KubeError as error:
            if error.code == 404:
                return ""
            raise StatusError(error.code, error.reason, error.message) from error

    # -- answers -----------------------------------------------------------------------------------------------

    @staticmethod
    def request_lines(exchange: Exchange, target: bytes) -> bytes:
        """The field that says which forms can be looked at, for :attr:`Plan.more`."""
        return b"Accept: " + json_only(exchange.fields.get(b"accept")) + b"\r\n"

    @staticmethod
    def on_answer(exchange: Exchange, answer: Answer) -> None:
        """Have the body go through :class:`UserRedaction`, for :attr:`Plan.on_answer`."""
        kind = coding = b""
        for key, _, value in answer.items:
            if key == b"content-type":
                kind = value.partition(b";")[0].strip().lower()
            elif key == b"content-encoding":
                coding = value.strip().lower()
        answer.items = [item for item in answer.items if item[0] not in _OF_THE_BYTES]
        if exchange.method == "HEAD" or answer.status in (204, 304):
            answer.body = NoBody()
            return
        if coding not in CODINGS or answer.status == 206 or (kind != _JSON and answer.status < 400):
            raise bad_gateway("the Kubernetes API sent users in a form that cannot be looked at")
        answer.body = BodyRewriter(UserRedaction(), coding)


def json_only(accept: bytes | None) -> bytes:
    """The part of an ``Accept`` field that is about JSON; plain JSON if there is none.

    Kubernetes has its Tables and metadata as parameters of the same type.
    """
    kept = [
        clause.strip() for clause in (accept or b"").split(b",") if clause.partition(b";")[0].strip().lower() == _JSON
    ]
    return b", ".join(kept) or _JSON


def check_operations(name: str, patch: Any) -> None:
    """Raises the refusal for a JSON patch (RFC 6902) that reads, writes or moves a password, or what holds it."""
    if not isinstance(patch, list):
        raise bad_request("a JSON patch is a list")
    for operation in patch:
        if not isinstance(operation, dict):
            raise bad_request("the operations of a JSON patch are objects")
        for key in ("path", "from"):
            pointer = operation.get(key)
            if isinstance(pointer, str) and _touches(pointer):
                raise _refused(name, f"spec.password ({operation.get('op')} with {key} {pointer!r})")
            # What is copied or moved shows under another name, and a test that fails names what it has found.
            shown = key == "from" or operation.get("op") == "test"
            if shown and isinstance(pointer, str) and _touches(pointer, _NOTE):
                raise _refused(name, f"metadata.annotations[{_APPLIED}]")
        all_of_it = str(operation.get("path")).replace("~1", "/") + msgspec.json.encode(operation).decode()
        if _APPLIED in all_of_it and "password" in all_of_it.lower():
            raise _refused(name, f"metadata.annotations[{_APPLIED}]")


def _touches(pointer: str, target: list[str] = _HASH) -> bool:
    """Whether a JSON pointer leads to ``target``, above it or below it."""
    # API servers do not look at what stands before the first slash.
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    shared = min(len(steps), len(target))
    return steps[:shared] == target[:shared]


def _refused(name: str, where: str) -> StatusError:
    message = (
        f'User.{GROUP} "{name}" is invalid: {where}: Forbidden: a password that is written here would be stored as it '
        f"is; set it with PUT {OWN_API}/{name or '{user}'}/password, or create the user with POST {OWN_API}"
    )
    return StatusError(422, "Invalid", message, {"name": name, "group": GROUP, "kind": "User"})

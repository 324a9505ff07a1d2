"""Bodies of requests: JSON or YAML in, plain values out."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.standalone.schema.nodes import MISSING, Node
from ksproxyd.standalone.wire import protobuf
from ksproxyd.standalone.wire.errors import unsupported_media_type
from ksproxyd.standalone.wire.request import Request

JSON = "application/json"
YAML = "application/yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

#: A YAML document may have at most this many values once its aliases are expanded.
YAML_VALUES = 500_000


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: what looks like a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def content_type(request: Request) -> str:
    """The media type of the body, lower case and without parameters; empty if the request does not say."""
    return request.field(b"content-type").partition(";")[0].strip().lower()


def is_yaml(media: str) -> bool:
    """Whether a body of this type may be YAML."""
    return media in (YAML, APPLY_PATCH)


class Unreadable(msgspec.Struct, frozen=True):
    """Stands for the document of a request whose body somebody has found to be nonsense already."""

    why: str


def decode(request: Request) -> Any:
    """The body as a value. Raises ``ValueError`` saying what is wrong with it.

    A body that may be YAML is tried as JSON first: that is what ``kubectl`` sends, and it is much faster.
    """
    if isinstance(request.document, Unreadable):
        raise ValueError(request.document.why)
    if request.document is not MISSING:
        return request.document
    return parse(request.body, is_yaml(content_type(request)))


def parse(body: bytes, yaml_allowed: bool) -> Any:
    """``body`` as a value; JSON, or YAML too. Raises ``ValueError``."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if not yaml_allowed:
            raise ValueError(f"json parse error: {_told(error)}") from None
    try:
        return _plain(yaml.load(body, _Loader), [YAML_VALUES])
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"error converting YAML to JSON: {_told(error)}") from None


def _told(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the nesting is too deep"
    return " ".join(str(error).split())


def _plain(value: Any, budget: list[int]) -> Any:
    """A YAML value as JSON has it: string keys, nothing shared between two places, nothing but plain types."""
    budget[0] -= 1
    if budget[0] < 0:
        raise ValueError(f"the document has more than {YAML_VALUES} values")
    if isinstance(value, dict):
        return {_key(key): _plain(each, budget) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, budget) for each in value]
    if isinstance(value, bytes | set | tuple):
        raise ValueError(f"a YAML value of type {type(value).__name__} has no JSON form")
    return value


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return str(key)
    raise ValueError(f"a key of type {type(key).__name__} has no JSON form")


def decode_object(request: Request, kind: str, node: Node | None = None) -> dict[str, Any]:
    """The object in the body of a create or update of ``kind``. 415 for a type we do not read, 400 for nonsense.

    Protobuf is read for kinds whose type ``node`` is given.
    """
    media = content_type(request)
    accepted = (JSON, YAML) if node is None else (JSON, YAML, protobuf.MEDIA_TYPE)
    if media and media not in accepted:
        raise unsupported_media_type(accepted)
    try:
        value = _from_protobuf(request.body, node) if node and media == protobuf.MEDIA_TYPE else decode(request)
    except ValueError as error:
        raise unrecognized(kind, f"couldn't get version/kind; {error}") from None
    if not isinstance(value, dict):
        raise unrecognized(kind, "couldn't get version/kind; json parse error: the body is not an object")
    return value


def _from_protobuf(body: bytes, node: Node) -> dict[str, Any]:
    api_version, kind, message = protobuf.kind_of(body)
    return {"apiVersion": api_version, "kind": kind, **protobuf.decode(node, message)}


def decode_configuration(request: Request) -> Any:
    """The body of an apply. 400 for one that is neither JSON nor YAML."""
    try:
        return decode(request)
    except ValueError as error:
        raise bad_request(f"error decoding YAML: {error}") from None


def unrecognized(kind: str, why: str) -> StatusError:
    """400 for a body that is not an object of the API."""
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why}")

"""Which form of an answer a client wants (RFC 9110, 12.5.1, with Kubernetes' parameters)."""

from __future__ import annotations

import msgspec
import yaml

from ksproxyd.model.message import Pairs
from ksproxyd.model.query import TRUE
from ksproxyd.standalone.wire.bodies import JSON, YAML
from ksproxyd.standalone.wire.errors import not_acceptable
from ksproxyd.standalone.wire.request import Reply, Request

TABLE = "Table"
PARTIAL = "PartialObjectMetadata"
PARTIAL_LIST = "PartialObjectMetadataList"

_META = "meta.k8s.io"
_VERSION = "v1"
_BROWSERS = ("curl", "Wget", "Mozilla/5.0")

#: Longer answers are not laid out as YAML: it takes long, and JSON is YAML.
_YAML_LIMIT = 256 * 1024


class Clause(msgspec.Struct, frozen=True):
    """One alternative of an ``Accept`` field."""

    media: str
    parameters: dict[str, str]
    quality: float


def clauses(accept: str) -> list[Clause]:
    """The alternatives of an ``Accept`` field, the best first."""
    found = []
    for part in accept.split(","):
        media, *rest = (piece.strip() for piece in part.split(";"))
        parameters = {}
        for piece in rest:
            key, _, value = piece.partition("=")
            parameters[key.strip().lower()] = value.strip()
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 1.0
        if media and quality > 0:
            found.append(Clause(media.lower(), parameters, quality))
    found.sort(key=lambda clause: -clause.quality)
    return found


class Form(msgspec.Struct, frozen=True):
    """How to answer: ``media`` type, what objects are turned into (empty: nothing), laid out for people or not."""

    media: str = JSON
    transform: str = ""
    pretty: bool = False

    def reply(self, status: int, body: bytes, headers: Pairs | None = None) -> Reply:
        """An answer whose body is the JSON ``body``, in this form."""
        given = [] if headers is None else headers
        if self.media == YAML:
            body = _as_yaml(body)
        elif self.pretty:
            body = msgspec.json.format(body, indent=2)
        return Reply(status, [(b"Content-Type", self.media.encode()), *given], body)


def form(request: Request, *, transforms: bool = True, streaming: bool = False, several: bool = False) -> Form:
    """The form of the answer to ``request``. 406 if there is none that the client accepts.

    ``streaming``: the answer is a watch; ``several``: it is a list (metadata of one object is another type).
    """
    pretty = wants_pretty(request)
    accept = request.field(b"accept")
    if not accept.strip():
        return Form(pretty=pretty)
    for clause in clauses(accept):
        transform = clause.parameters.get("as", "")
        if transform:
            fits = clause.parameters.get("g") == _META and clause.parameters.get("v") == _VERSION
            if not transforms or not fits or transform not in (TABLE, PARTIAL_LIST if several else PARTIAL):
                continue
        if clause.media in (JSON, "application/*", "*/*"):
            return Form(JSON, transform, pretty)
        if clause.media == YAML and not streaming:
            return Form(YAML, transform)
    available = (f"{JSON};stream=watch",) if streaming else (JSON, YAML)
    raise not_acceptable(available)


def wants_pretty(request: Request) -> bool:
    """Whether a person seems to look: ``?pretty`` says so, or the client is curl, Wget or a browser."""
    asked = request.parameter("pretty")
    if asked:
        return asked in TRUE
    return request.field(b"user-agent").startswith(_BROWSERS)


def _as_yaml(body: bytes) -> bytes:
    if len(body) > _YAML_LIMIT:
        return body
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(msgspec.json.decode(body), Dumper=dumper, allow_unicode=True)
    return text.encode()

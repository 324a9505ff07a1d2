"""The embedded Kubernetes API: a request in, a reply or a watch out."""

from __future__ import annotations

import random
from typing import Any

from ksproxyd.standalone.controllers.chores import Chores
from ksproxyd.standalone.controllers.collector import Collector
from ksproxyd.standalone.controllers.purge import Purger
from ksproxyd.standalone.endpoints.discovery import Discovery
from ksproxyd.standalone.endpoints.openapi import OpenAPI
from ksproxyd.standalone.endpoints.resources import Answer, Endpoints, Target
from ksproxyd.standalone.endpoints.reviews import REVIEWS, Review
from ksproxyd.standalone.kinds.builtin import builtin_kinds
from ksproxyd.standalone.kinds.definitions import Definitions, definition_kind
from ksproxyd.standalone.kinds.registry import Kinds
from ksproxyd.standalone.reading.reader import Reader
from ksproxyd.standalone.storage.log import Clock, Log
from ksproxyd.standalone.storage.store import Store
from ksproxyd.standalone.wire import bodies
from ksproxyd.standalone.wire.errors import method_not_allowed, no_such_resource
from ksproxyd.standalone.wire.negotiation import form
from ksproxyd.standalone.wire.options import write_options
from ksproxyd.standalone.wire.replies import encoded, no_such_path, text
from ksproxyd.standalone.wire.request import Reply, Request
from ksproxyd.standalone.writing.deleter import Deleter
from ksproxyd.standalone.writing.namespaces import Namespaces
from ksproxyd.standalone.writing.writer import Writer

#: The Kubernetes version whose API this is.
VERSION = "v1.36.0-ksproxyd"

_READY = ("/healthz", "/livez", "/readyz")

#: Paths that need no token.
PUBLIC = frozenset((*_READY, "/version"))


class StandaloneAPI:
    """The API on ``store``. ``clock`` is the reactor or a test's clock; ``source`` gives uids and generated names.

    Call :meth:`start` once before the first request, :meth:`stop` before the store is closed.
    """

    def __init__(self, store: Store, clock: Clock, source: random.Random | None = None) -> None:
        chance = random.SystemRandom() if source is None else source
        self.store = store
        self.log = Log(store, clock)
        self.kinds = Kinds(builtin_kinds())
        self.kinds.replace("", [definition_kind(self.kinds)])
        self.writer = Writer(store, Namespaces(store), clock, chance)
        self.chores = Chores(clock)
        deleter = Deleter(self.writer)
        reader = Reader(store, self.log, clock, chance)
        # The registry hears of a definition before those who act on its objects do.
        self._definitions = Definitions(self.kinds, self.log)
        self._purger = Purger(store, self.log, self.kinds, self.writer, deleter, self.chores)
        self._collector = Collector(store, self.log, self.kinds, self.writer, deleter, self.chores)
        self._endpoints = Endpoints(reader, self.writer, deleter)
        self._discovery = Discovery(self.kinds)
        self._openapi = OpenAPI(self.kinds, VERSION)

    def start(self) -> None:
        """Serve what is stored, and go on with what the last process left to do."""
        self._definitions.start(self.store)
        self._purger.start()
        self._collector.start()

    def stop(self) -> None:
        """Do no more work in the background."""
        self.chores.stop()

    def handle(self, request: Request) -> Answer:
        """The answer to ``request``. Raises :class:`~ksproxyd.model.status.StatusError` for every refusal."""
        parts = tuple(part for part in request.path.split("/") if part)
        if parts and parts[0] in ("api", "apis"):
            return self._api(request, parts)
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        return self._other(request, parts)

    def _other(self, request: Request, parts: tuple[str, ...]) -> Reply:
        path = "/" + "/".join(parts)
        if path in _READY:
            return text(200, "ok")
        if path == "/version":
            return form(request, transforms=False).reply(200, encoded(_version()))
        if path == "/":
            return form(request, transforms=False).reply(200, encoded({"paths": self._paths()}))
        if path == "/openapi/v2":
            return self._openapi.version2(request)
        if path == "/openapi/v3":
            return self._openapi.index(request)
        if parts[:2] == ("openapi", "v3"):
            return self._openapi.version3(request, "/".join(parts[2:])) or no_such_path()
        return no_such_path()

    def _paths(self) -> list[str]:
        found = ["/api", "/apis", "/openapi/v2", "/openapi/v3", *PUBLIC]
        for group, versions in self.kinds.groups().items():
            found += [f"/apis/{group}/{version}" if group else f"/api/{version}" for version in versions]
        return sorted(found)

    def _api(self, request: Request, parts: tuple[str, ...]) -> Answer:
        core = parts[0] == "api"
        depth = 2 if core else 3
        if len(parts) <= depth:
            return self._discover(request, parts, core)
        group, version = ("", parts[1]) if core else (parts[1], parts[2])
        rest = parts[depth:]
        review = REVIEWS.get((group, version, rest[0])) if len(rest) == 1 else None
        if review is not None:
            return self._review(request, review)
        if not self.kinds.serves(group, version):
            if core or group in self.kinds.groups():
                raise no_such_resource()
            return no_such_path()
        return self._endpoints.handle(request, self._target(group, version, rest))

    def _discover(self, request: Request, parts: tuple[str, ...], core: bool) -> Reply:
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        if len(parts) == 1:
            return self._discovery.core(request) if core else self._discovery.groups(request)
        if core:
            return self._discovery.resources(request, "", parts[1])
        if len(parts) == 3:
            return self._discovery.resources(request, parts[1], parts[2])
        return self._discovery.group(request, parts[1]) or no_such_path()

    def _target(self, group: str, version: str, rest: tuple[str, ...]) -> Target:
        """What stands behind a group and version: ``[namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]]``."""
        namespace: str | None = None
        scoped = self.kinds.find(group, version, rest[2]) if rest[0] == "namespaces" and len(rest) > 2 else None
        if scoped is not None and scoped.namespaced:
            namespace, rest = rest[1], rest[2:]
        kind = self.kinds.find(group, version, rest[0])
        if kind is None or len(rest) > 3:
            raise no_such_resource()
        name = rest[1] if len(rest) > 1 else ""
        if name and kind.namespaced and namespace is None:
            raise no_such_resource()
        return Target(kind, namespace, name, rest[2] if len(rest) > 2 else "")

    def _review(self, request: Request, review: Review) -> Reply:
        if request.method != "POST":
            raise method_not_allowed()
        write_options(request, "CreateOptions")
        value = bodies.decode_object(request, review.kind, review.protobuf)
        api_version = f"{review.group}/{review.version}"
        answered: dict[str, Any] = {"kind": review.kind, "apiVersion": api_version, "metadata": {}}
        if isinstance(value.get("spec"), dict):
            answered["spec"] = value["spec"]
        answered["status"] = review.answer(value, request.user)
        return form(request, transforms=False).reply(201, encoded(answered))


def _version() -> dict[str, str]:
    major, minor = VERSION.removeprefix("v").split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }

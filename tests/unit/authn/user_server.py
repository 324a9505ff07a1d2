"""An API server in memory for what looks after users: whole objects, versions, finalizers, labels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from ksproxyd.authn.lock_note import write_time
from ksproxyd.kube.errors import KubeError, failure_status
from ksproxyd.kube.listing import Listing
from ksproxyd.kube.resource import Resource
from ksproxyd.model.selectors import parse_labels
from ksproxyd.state.kinds import USERS
from ksproxyd.state.store import Store

Object = dict[str, Any]
Key = tuple[str, str, str]


def refusal(code: int, reason: str) -> KubeError:
    return KubeError(failure_status(code, reason, reason))


class Server:
    """``subresource`` is whether the User kind has a status subresource; ``missing`` are kinds that are not served."""

    def __init__(self, clock: Clock, *, subresource: bool = False) -> None:
        self.clock = clock
        self.subresource = subresource
        self.users = Store("User", clock)
        self.users.mark_synced()
        self.objects: dict[Key, Object] = {}
        self.missing: set[str] = set()
        self.version = 0
        self.writes: list[str] = []
        self.error: KubeError | None = None
        #: Runs between a read and the write that follows it.
        self.meanwhile: Callable[[], object] | None = None
        #: Runs before a write arrives.
        self.before_write: Callable[[], object] | None = None

    # -- what others do

    def user(self, name: str, state: str | None = "Active", **more: Any) -> None:
        spec = {"email": f"{name}@ks.test", **more.get("spec", {})}
        status = ({} if state is None else {"state": state}) | more.get("status", {})
        self.put(USERS.resource, name, {"spec": spec, "status": status}, **more.get("metadata", {}))

    def put(self, resource: Resource, name: str, body: Object, namespace: str = "", **metadata: Any) -> None:
        whole = {"name": name, "creationTimestamp": write_time(self.clock.seconds()), **metadata}
        if namespace:
            whole["namespace"] = namespace
        self._store(self._key(resource, name, namespace), {"metadata": whole, **copy.deepcopy(body)})

    def get_user(self, name: str) -> Object | None:
        return self.objects.get(self._key(USERS.resource, name, ""))

    def delete_user(self, name: str) -> None:
        key = self._key(USERS.resource, name, "")
        value = copy.deepcopy(self.objects[key])
        if value["metadata"].get("finalizers"):
            value["metadata"]["deletionTimestamp"] = write_time(self.clock.seconds())
            self._store(key, value)
        else:
            self._remove(key)

    def names(self, resource: Resource) -> list[str]:
        return sorted(key[2] for key in self.objects if key[0] == self._key(resource, "", "")[0])

    # -- what is called

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        self._refuse(resource)
        value = copy.deepcopy(self._found(self._key(resource, name, namespace)))
        if self.meanwhile is not None and resource == USERS.resource:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return value

    async def list(self, resource: Resource, namespace: str = "", *, label_selector: str = "") -> Listing:
        self._refuse(resource)
        labels = parse_labels(label_selector)
        kind = self._key(resource, "", "")[0]
        found = [value for key, value in self.objects.items() if key[0] == kind]
        items = [value for value in found if labels.matches(value["metadata"].get("labels") or {})]
        return Listing(copy.deepcopy(items), str(self.version))

    def reader(self, resource: Resource) -> Any:
        server = self

        class Reader:
            async def read(self, visit: Callable[[Object], None], arrived: Callable[[], None]) -> str:
                for item in (await server.list(resource)).items:
                    visit(item)
                return str(server.version)

        return Reader()

    async def update(self, resource: Resource, body: Object, *, field_manager: str) -> Object:
        self._refuse(resource)
        assert field_manager == "ksproxyd"
        if self.before_write is not None:
            before, self.before_write = self.before_write, None
            before()
        metadata = body["metadata"]
        key = self._key(resource, metadata["name"], metadata.get("namespace", ""))
        old = self._found(key)
        if metadata["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise refusal(409, "Conflict")
        self.writes.append(f"PUT {metadata['name']}")
        new = copy.deepcopy(body)
        if self.subresource:
            new["status"] = copy.deepcopy(old.get("status", {}))
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            self._remove(key)
            return new
        return copy.deepcopy(self._store(key, new))

    async def patch(
        self, resource: Resource, name: str, patch: Object, *, subresource: str, field_manager: str
    ) -> Object:
        assert (subresource, field_manager, self.subresource) == ("status", "ksproxyd", True)
        key = self._key(resource, name, "")
        value = copy.deepcopy(self._found(key))
        if patch["metadata"] != {"resourceVersion": value["metadata"]["resourceVersion"]}:
            raise refusal(409, "Conflict")
        self.writes.append(f"PATCH {name}/status")
        for field, new in patch["status"].items():
            if new is None:
                value["status"].pop(field, None)
            else:
                value["status"][field] = new
        return copy.deepcopy(self._store(key, value))

    async def create(self, resource: Resource, body: Object, *, field_manager: str) -> Object:
        self._refuse(resource)
        value = copy.deepcopy(body)
        name = value["metadata"].setdefault("name", f"{value['metadata'].pop('generateName', '')}{self.version:05}")
        value["metadata"]["creationTimestamp"] = write_time(self.clock.seconds())
        return copy.deepcopy(self._store(self._key(resource, name, ""), value))

    async def put_in(self, resource: Resource, body: Object, *, field_manager: str) -> None:
        await self.create(resource, body, field_manager=field_manager)

    async def delete(self, resource: Resource, name: str, namespace: str = "") -> Object:
        self._refuse(resource)
        key = self._key(resource, name, namespace)
        self._found(key)
        self.writes.append(f"DELETE {name}")
        del self.objects[key]
        return {}

    # -- inside

    def _key(self, resource: Resource, name: str, namespace: str) -> Key:
        return f"{resource.plural}.{resource.group}", namespace, name

    def _found(self, key: Key) -> Object:
        if key not in self.objects:
            raise refusal(404, "NotFound")
        return self.objects[key]

    def _store(self, key: Key, value: Object) -> Object:
        self.version += 1
        value["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = value
        if key[0] == self._key(USERS.resource, "", "")[0]:
            self.users.put(copy.deepcopy(value))
        return value

    def _remove(self, key: Key) -> None:
        del self.objects[key]
        self.users.remove(("", key[2]))

    def _refuse(self, resource: Resource) -> None:
        if self.error is not None:
            raise self.error
        if f"{resource.plural}.{resource.group}" in self.missing:
            raise refusal(404, "NotFound")

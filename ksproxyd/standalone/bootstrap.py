"""What there is at first start: namespaces, and the definitions we ship."""

from __future__ import annotations

from collections.abc import Iterable

from ksproxyd.model.status import StatusError
from ksproxyd.standalone.api import StandaloneAPI
from ksproxyd.standalone.kinds.definitions import TOPIC as DEFINITIONS
from ksproxyd.standalone.kinds.registry import Object
from ksproxyd.standalone.storage.store import Key
from ksproxyd.standalone.wire.options import WriteOptions
from ksproxyd.standalone.writing.namespaces import key_of

#: Namespaces that are made at first start.
NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system", "kubesphere-system")

_OPTIONS = WriteOptions(manager="ksproxyd-standalone")


def fill(api: StandaloneAPI, definitions: Iterable[Object]) -> None:
    """Make sure that the namespaces and ``definitions`` (CustomResourceDefinitions) are there and up to date.

    Call it after :meth:`StandaloneAPI.start`. Raises :class:`StatusError` for a definition that cannot be served.
    History before this cannot be watched: nobody has seen it.
    """
    namespace = api.kinds.of_topic("/namespaces")
    definition = api.kinds.of_topic(DEFINITIONS)
    if namespace is None or definition is None:
        raise RuntimeError("the built-in kinds are incomplete")
    for name in NAMESPACES:
        if api.store.get(key_of(name)) is None:
            api.writer.create(namespace, "", {"metadata": {"name": name}}, _OPTIONS)
    for wanted in definitions:
        key = Key(DEFINITIONS, "", wanted["metadata"]["name"])
        present = api.writer.current(definition, key)
        try:
            if present is None:
                api.writer.create(definition, "", wanted, _OPTIONS)
            elif not present["metadata"].get("deletionTimestamp"):
                wanted["metadata"]["resourceVersion"] = present["metadata"]["resourceVersion"]
                api.writer.update(definition, key, wanted, _OPTIONS)
        except StatusError as error:
            raise StatusError(error.code, error.reason, f"{key.name}: {error.message}", error.details) from None
    api.store.compact(api.store.revision)

"""How built-in kinds are declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ksproxyd.standalone.kinds.registry import NEVER, Kind, Object, ScalePaths
from ksproxyd.standalone.schema.typetable import type_node

#: The scale subresource of every built-in kind that has one.
SCALE = ScalePaths(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"))

#: The categories of what ``kubectl get all`` shows.
ALL = ("all",)


def declare(group: str, version: str, table: str, kind: str, plural: str, *short: str, **rest: Any) -> Kind:
    """A kind whose type is ``kind`` in the type table ``table``; ``rest`` are fields of :class:`Kind`."""
    namespaced = rest.pop("namespaced", True)
    return Kind(group, version, plural, kind, namespaced, type_node(table, kind), short_names=short, **rest)


def fields(*names: str) -> dict[str, tuple[str, ...]]:
    """Selectable fields that are found where their name says."""
    return {name: tuple(name.split(".")) for name in names}


def counted(*names: str) -> Callable[[Object], Object]:
    """The status of something new that counts what it has: nothing yet."""
    return lambda _: dict.fromkeys(names, 0)


def with_status(initial: Callable[[Object], Object] | None = None, generation: str = NEVER) -> dict[str, Any]:
    """A status subresource, and the status of what is new (empty by default)."""
    return {"has_status": True, "initial_status": initial or counted(), "generation": generation}

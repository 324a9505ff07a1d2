"""Values inside objects, by path of keys."""

from __future__ import annotations

from typing import Any


def look(value: Any, path: tuple[str, ...]) -> Any:
    """What stands at ``path`` in nested dicts, None if anything on the way is missing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def put(value: dict[str, Any], path: tuple[str, ...], new: Any) -> None:
    """Set what stands at ``path``, making the dicts on the way."""
    for key in path[:-1]:
        inner = value.get(key)
        if not isinstance(inner, dict):
            inner = value[key] = {}
        value = inner
    value[path[-1]] = new


def simple(path: str) -> tuple[str, ...]:
    """The keys of a simple JSON path like ``.spec.replicas``."""
    return tuple(part for part in path.split(".") if part)

"""Which groups, versions and resources may become metric labels (spec 01, D4)."""

from __future__ import annotations

from collections.abc import Iterable

#: Resources of one group and version that become labels; real ones have far fewer.
MOST_RESOURCES = 200


class KnownResources:
    """Group versions that exist, and the resources that were asked for in them.

    What exists comes from discovery and from APIServices; a made-up group never becomes a label, and made-up
    resources of a real group only up to a bound.
    """

    def __init__(self) -> None:
        self._discovered: frozenset[tuple[str, str]] = frozenset()
        self._extensions: set[tuple[str, str]] = set()
        self._resources: dict[tuple[str, str], set[str]] = {}

    def discovered(self, versions: Iterable[tuple[str, str]]) -> None:
        """What the Kubernetes API serves, as of now."""
        self._discovered = frozenset(versions)
        self._prune()

    def add(self, group: str, version: str) -> None:
        """An extension serves this."""
        self._extensions.add((group, version))

    def remove(self, group: str, version: str) -> None:
        """It no longer does."""
        self._extensions.discard((group, version))
        self._prune()

    def _prune(self) -> None:
        self._resources = {
            key: seen for key, seen in self._resources.items() if key in self._discovered or key in self._extensions
        }

    def __call__(self, group: str, version: str, resource: str) -> bool:
        key = (group, version)
        if key not in self._discovered and key not in self._extensions:
            return False
        seen = self._resources.setdefault(key, set())
        if resource in seen:
            return True
        if len(seen) >= MOST_RESOURCES:
            return False
        seen.add(resource)
        return True

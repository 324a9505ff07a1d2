"""Paths that no events are made of: probes and scrapes, many a minute and nobody's doing."""

from __future__ import annotations

from collections.abc import Iterable


class Omitted:
    """Says of a path whether it is one of ``rules``: paths, or beginnings of paths with a ``*`` behind."""

    __slots__ = ("_beginnings", "_whole")

    def __init__(self, rules: Iterable[str]) -> None:
        given = tuple(filter(None, rules))
        self._whole = frozenset(rule for rule in given if not rule.endswith("*"))
        self._beginnings = tuple(rule[:-1] for rule in given if rule.endswith("*"))

    def __call__(self, path: str) -> bool:
        return path in self._whole or path.startswith(self._beginnings)

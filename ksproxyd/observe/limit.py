"""Keeps a storm of the same error from filling the log: the first ones are written, the others counted."""

from __future__ import annotations

from collections.abc import Hashable

#: Seconds in which repetitions are counted.
WINDOW = 10.0

#: How often the very same line is written in a window.
SAME_LINE = 3

#: How often lines of one kind (the same call with other values) are written in a window.
SAME_KIND = 50


class RepeatLimiter:
    """Counts lines, for one window after the other.

    :meth:`allows_kind` is asked before a line is rendered, so that a storm costs little, and :meth:`allows_line` after.
    Kinds are as many as there are calls that log; lines at most :data:`SAME_KIND` times that.
    """

    def __init__(self) -> None:
        self._kinds: dict[Hashable, tuple[int, str]] = {}
        self._lines: dict[str, int] = {}

    def allows_kind(self, kind: Hashable, label: str) -> bool:
        """Whether one more line of this kind may be written. A summary calls the kind ``label``."""
        count, _ = self._kinds.get(kind, (0, ""))
        self._kinds[kind] = (count + 1, label)
        return count < SAME_KIND

    def allows_line(self, line: str) -> bool:
        """Whether this very line may be written once more."""
        count = self._lines.get(line, 0)
        self._lines[line] = count + 1
        return count < SAME_LINE

    def summaries(self) -> list[str]:
        """What has been held back, a line each; then everything is allowed again."""
        said = [f"{n - SAME_LINE} more: {line}" for line, n in self._lines.items() if n > SAME_LINE]
        said += [f"{n - SAME_KIND} more like: {label}" for n, label in self._kinds.values() if n > SAME_KIND]
        self._lines.clear()
        self._kinds.clear()
        return said

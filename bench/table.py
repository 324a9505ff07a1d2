"""Tables that are read in a terminal and pasted into documents: Markdown, with the columns aligned."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is text, the others are numbers."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(row, widths) for row in (head, rule, *rows))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"


def micros(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def millis(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def mebibytes(size: float) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def times(ratio: float | None) -> str:
    return "—" if ratio is None else f"{ratio:.2f}×"


def spread(ratios: Sequence[float]) -> str:
    """The least and the greatest."""
    return f"{min(ratios):.2f}–{max(ratios):.2f}" if ratios else "—"

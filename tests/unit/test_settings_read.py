"""Every key of our own section is read by something: a setting that does nothing is a promise not kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ksproxyd.settings import KsproxydSettings

PACKAGE = Path(__file__).resolve().parents[2] / "ksproxyd"
#: The checks of the settings read them, too; the rest of that part only carries them.
SOURCE = "\n".join(
    path.read_text()
    for path in PACKAGE.rglob("*.py")
    if "settings" not in path.relative_to(PACKAGE).parts or path.name == "checks.py"
)


def names() -> list[str]:
    found = []

    def walk(section: type, prefix: str) -> None:
        for name, field in section.model_fields.items():  # type: ignore[attr-defined]
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                walk(inner, f"{prefix}{name}.")
            else:
                found.append(f"{prefix}{name}")

    walk(KsproxydSettings, "")
    return found


def test_there_are_keys() -> None:
    assert len(names()) > 30


@pytest.mark.parametrize("name", names())
def test_somebody_reads(name: str) -> None:
    attribute = name.rsplit(".", 1)[-1]
    assert re.search(rf"\.{attribute}\b", SOURCE), f"nothing reads ksproxyd.{name}"

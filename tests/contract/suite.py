"""All the checks, for a module that runs them against another server."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path


def checks() -> dict[str, Callable[..., None]]:
    """Every check by name. Two of one name are a mistake."""
    found: dict[str, Callable[..., None]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"contract.{path.stem}")
        for name, value in vars(module).items():
            if name.startswith("test_") and callable(value):
                if name in found:
                    raise AssertionError(f"there are two checks called {name}")
                found[name] = value
    return found

"""Imports point one way (docs/internals.md): who may import what is said here once, and arrows that point back fail."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "ksproxyd"

#: Every top-level part with its height; a part may import parts below it, and those beside it that are named here.
LEVELS = {
    "tap": 10,
    "cli": 10,
    "testing": 10,
    "gateway": 9,
    "api_server": 8,
    "readiness": 8,
    "tuning": 8,
    "apis": 8,
    "logins": 7,
    "controllers": 7,
    "authorization": 7,
    "standalone": 6,
    "kapis": 6,
    "tree": 6,
    "chain": 6,
    "audit": 6,
    "server": 6,
    "authn": 5,
    "authz": 5,
    "terminal": 5,
    "manifests": 4,
    "web": 4,
    "state": 4,
    "kube": 4,
    "upstream": 4,
    "observe": 4,
    "settings": 4,
    "transport": 3,
    "kubectl": 2,
    "model": 1,
}

#: Beside one another, and needed: the first may import the second, never the other way round.
BESIDE = {
    # Whoever serves something that outlives its request keeps account of it.
    ("kapis", "audit"),
    # Commands that need a reactor have it from there.
    ("cli", "tap"),
    ("state", "kube"),
    ("kube", "upstream"),
    ("state", "upstream"),
    ("tree", "chain"),
    ("tree", "server"),
    ("chain", "server"),
    ("audit", "server"),
    ("kapis", "chain"),
    ("kapis", "server"),
    ("kapis", "tree"),
    ("standalone", "server"),
    ("standalone", "tree"),
}


def imports(path: Path) -> list[tuple[str, int]]:
    """What ``path`` imports of ours, at run time: names for type checkers only are no arrows."""
    found: list[tuple[str, int]] = []

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ksproxyd":
                names = [node.module] if "." in node.module else [f"ksproxyd.{a.name}" for a in node.names]
                found.extend((name, node.lineno) for name in names)
            elif isinstance(node, ast.Import):
                found.extend((a.name, node.lineno) for a in node.names if a.name.split(".")[0] == "ksproxyd")
            for field in ("body", "orelse", "finalbody", "handlers"):
                visit(getattr(node, field, []))

    visit(ast.parse(path.read_text()).body)
    return found


def part(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVELS else None


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts != ("__init__.py",))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_down(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert here in LEVELS, f"{here} has no place: add it to LEVELS and to the documents"
    for name, line in imports(path):
        there = part(name)
        if there is None or there == here:
            continue
        assert LEVELS[there] < LEVELS[here] or (here, there) in BESIDE, (
            f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}: {here} must not import {there}"
        )


def modules(path: Path) -> list[str]:
    """Every module that ``path`` imports, whoever's it is."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def test_model_knows_neither_us_nor_twisted() -> None:
    for path in (PACKAGE / "model").rglob("*.py"):
        for name in modules(path):
            assert not name.startswith("twisted"), f"{path.name} imports {name}"
            ours = name.startswith("ksproxyd")
            assert not ours or name.startswith("ksproxyd.model"), f"{path.name} imports {name}"


def test_only_tap_imports_the_reactor() -> None:
    for path in FILES:
        if path.name == "tap.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                assert "reactor" not in [a.name for a in node.names], f"{path} imports the global reactor"


def test_no_module_is_called_utils_or_the_like() -> None:
    for path in FILES:
        assert path.stem not in {"utils", "util", "helpers", "common", "base", "misc"}, path

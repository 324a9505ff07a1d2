"""The page with a terminal: what a browser loads, and whether all of it is there.

What others have written (``vendor.json``) is not in the repository. ``python -m ksproxyd.web.terminal.vendor`` gets it
from npm, checked against the digests in there; ``make install`` does that.
"""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec

#: Our own files, by name.
OWN = (
    "api.js",
    "app.js",
    "connection.js",
    "dialogs.js",
    "files.js",
    "index.html",
    "places.js",
    "screen.js",
    "styles.js",
    "terminal.css",
    "words.js",
)


class Package(msgspec.Struct, frozen=True):
    """A package of npm. ``files`` are those of it that are needed, and what they are called here."""

    version: str
    integrity: str
    files: dict[str, str]


def packages() -> dict[str, Package]:
    """What is not ours, by name."""
    return msgspec.json.decode(_folder().joinpath("vendor.json").read_bytes(), type=dict[str, Package])


def missing() -> list[str]:
    """The packages that have not been got yet; empty if the page can be served."""
    folder = _folder().joinpath("vendor")
    return [
        f"{name} {package.version}"
        for name, package in packages().items()
        if package.version != _got(folder, name)
        or not all(folder.joinpath(file).is_file() for file in package.files.values())
    ]


def contents() -> dict[str, bytes]:
    """Every file that a browser may load, by the name that it asks for. Raises :class:`OSError` if one is missing."""
    folder = _folder()
    found = {name: folder.joinpath(name).read_bytes() for name in OWN}
    vendor = folder.joinpath("vendor")
    for package in packages().values():
        for name in package.files.values():
            found[name] = vendor.joinpath(name).read_bytes()
    return found


def _got(folder: Traversable, name: str) -> str:
    """The version of a package that is there."""
    try:
        return str(json.loads(folder.joinpath("versions.json").read_bytes()).get(name, ""))
    except (OSError, ValueError):
        return ""


def _folder() -> Traversable:
    return files(__name__)

"""Gets what the terminal's page needs of npm into ``vendor``: ``python -m ksproxyd.web.terminal.vendor``.

``npm pack`` gets it from wherever npm is told to; nothing of a package is run. What comes has to have the digest that
``vendor.json`` says, so that it does not matter from where it came.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from ksproxyd.web.terminal import Package, missing, packages

FOLDER = Path(__file__).parent / "vendor"

#: Seconds that npm may take for one package.
_PATIENCE = 120


class NotGot(Exception):
    """A package could not be had. One line says why."""


def npm_pack(spec: str, folder: Path) -> Path:
    """The archive of a package, ``name@version``, in ``folder``. Raises :class:`NotGot`."""
    try:
        done = subprocess.run(
            ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), spec],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            cwd=folder,
            check=False,
        )
    except FileNotFoundError:
        raise NotGot("npm is not installed") from None
    except subprocess.TimeoutExpired:
        raise NotGot(f"npm has not got {spec} within {_PATIENCE} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise NotGot(f"npm cannot get {spec}: {lines[0] if lines else f'exit code {done.returncode}'}")
    return folder / done.stdout.split()[-1]


def get(name: str, package: Package, target: Path, pack: Callable[[str, Path], Path] = npm_pack) -> None:
    """Put the files of one package into ``target``. Raises :class:`NotGot`; then nothing has been written."""
    with tempfile.TemporaryDirectory() as folder:
        archive = pack(f"{name}@{package.version}", Path(folder))
        check(archive.read_bytes(), package.integrity, name)
        found = {}
        with tarfile.open(archive) as tar:
            for inside, ours in package.files.items():
                try:
                    member = tar.extractfile(f"package/{inside}")
                except KeyError:
                    member = None
                if member is None:
                    raise NotGot(f"{name} {package.version} has no {inside}")
                found[ours] = member.read()
    target.mkdir(exist_ok=True)
    for ours, content in found.items():
        (target / ours).write_bytes(content)


def check(archive: bytes, integrity: str, name: str) -> None:
    """Raise :class:`NotGot` for an archive that is not the one that is meant (Subresource Integrity, 3.1)."""
    kind, _, wanted = integrity.partition("-")
    found = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if kind != "sha512" or not hmac.compare_digest(found, wanted):
        raise NotGot(f"{name} is not what it should be: its digest is sha512-{found}, not {integrity}")


def main() -> int:
    """Get what is missing. Returns the exit code."""
    if not missing():
        return 0
    got = {}
    try:
        for name, package in packages().items():
            get(name, package, FOLDER)
            got[name] = package.version
    except (NotGot, OSError, tarfile.TarError) as error:
        sys.stderr.write(
            f"The terminal page will not be there: {error}. Run 'python -m ksproxyd.web.terminal.vendor' where npm can "
            "be used; everything else works without it.\n"
        )
        return 1
    (FOLDER / "versions.json").write_text(json.dumps(got, indent=1) + "\n")
    sys.stdout.write(f"got {', '.join(f'{name} {version}' for name, version in got.items())}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The tar archive that an upload is sent as, piece by piece."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable

BLOCK = 512

#: What ends an archive.
END = b"\0" * (2 * BLOCK)


def head(name: str, size: int) -> bytes:
    """What stands before the content of a file: readable by its owner, who is root."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    # Long names in GNU's way, which busybox understands, too.
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What stands behind the content of a file of that size."""
    return b"\0" * (-size % BLOCK)


def length(files: Iterable[tuple[str, int]]) -> int:
    """Bytes of the whole archive with these files (names and sizes)."""
    return len(END) + sum(len(head(name, size)) + size + len(padding(size)) for name, size in files)

"""Paths in containers and names of files, before anything is done with them."""

from __future__ import annotations

import posixpath
from urllib.parse import quote

#: Longest path, in bytes (Linux' PATH_MAX).
LONGEST = 4096


class BadName(ValueError):
    """A path or name that is refused; the text says why."""


def container_path(path: str) -> str:
    """``path``, absolute and without ``.`` and ``..``, which are resolved here. Raises :class:`BadName`."""
    if not path:
        raise BadName("path is needed: the absolute path of a file or folder in the container")
    if not path.startswith("/"):
        raise BadName("path is not absolute: begin it with a slash")
    if "\0" in path:
        raise BadName("path has a NUL character")
    if len(path.encode("utf-8", "surrogatepass")) > LONGEST:
        raise BadName(f"path is longer than {LONGEST} bytes")
    # Two slashes at the beginning mean something else to POSIX, and nothing to Linux.
    return posixpath.normpath("/" + path.lstrip("/"))


def literally(path: str) -> tuple[str, ...]:
    """Options for tar to take ``path`` as it is.

    GNU tar takes backslashes in names for escapes unless it is told otherwise, which others do not understand.
    """
    return ("--no-unquote",) if "\\" in path else ()


def stored_name(filename: str) -> str:
    """The name that an uploaded file gets: what browsers send may have folders before it. Raises :class:`BadName`."""
    name = filename.replace("\\", "/").rpartition("/")[2] if "/" in filename else filename
    if name in ("", ".", ".."):
        raise BadName(f"{filename!r} is no name for a file")
    if any(character < " " or character == "\x7f" for character in name):
        raise BadName(f"{filename!r} has control characters")
    if len(name.encode("utf-8", "surrogatepass")) > 255:
        raise BadName("a file name is longer than 255 bytes")
    return name


def disposition(name: str) -> bytes:
    """``Content-Disposition`` for a download called ``name`` (RFC 6266, RFC 8187)."""
    plain = "".join(c if " " <= c < "\x7f" and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}".encode("ascii")

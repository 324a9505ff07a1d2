"""Uploaded files wait on disk until their sizes are known: an archive says a file's size before its content.

The files have no names there, so nothing is left of them whatever happens. Reading and writing is done in threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred

from ksproxyd.terminal.files.names import stored_name

#: Bytes that are written, or read, at a time.
PIECE = 256 * 1024

InThread = Callable[..., "Deferred[Any]"]


class TooLarge(Exception):
    """More than may be uploaded; the text says how much that is."""


class Full(Exception):
    """The uploads of everybody together take too much room at the moment."""


class Duplicate(ValueError):
    """Two files of one upload would have the same name."""


class Room:
    """What all uploads of this process may take on disk, in bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def take(self, size: int) -> None:
        """Take room for ``size`` bytes. Raises :class:`Full`."""
        if self.taken + size > self._most:
            raise Full("too many uploads at the moment; try again later")
        self.taken += size

    def give_back(self, size: int) -> None:
        """They are gone."""
        self.taken -= size


class File:
    """One uploaded file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.handle: BinaryIO | None = None


class Spool:
    """The files of one upload, as :class:`~ksproxyd.model.multipart.Parts`. ``limit`` are bytes of all of them.

    With a limit of 0 none are allowed. What :meth:`content` takes is written by :meth:`write_out`, which is to be
    awaited whenever :attr:`full`.
    """

    def __init__(self, in_thread: InThread, limit: int, room: Room) -> None:
        self._in_thread = in_thread
        self._limit = limit
        self._room = room
        self._waiting = 0
        self._current: File | None = None
        self._unwritten: list[tuple[File, bytes]] = []
        self.files: list[File] = []
        self.size = 0

    # -- what the form says ------------------------------------------------------------------------------------

    def part(self, name: str, filename: str | None, kind: str = "") -> None:
        """A file begins, unless it is a plain field. Raises :class:`~.names.BadName` and :class:`Duplicate`."""
        self._current = None
        if filename is None:
            return
        stored = stored_name(filename)
        if any(file.name == stored for file in self.files):
            raise Duplicate(f"there are two files called {stored!r}")
        self._current = File(stored)
        self.files.append(self._current)

    def content(self, data: bytes) -> None:
        """Raises :class:`TooLarge` and :class:`Full`."""
        if self._current is None:
            return
        if self.size + len(data) > self._limit:
            raise TooLarge(f"the files have more than {self._limit} bytes together, which is the limit")
        self._room.take(len(data))
        self.size += len(data)
        self._current.size += len(data)
        self._unwritten.append((self._current, data))
        self._waiting += len(data)

    def part_end(self) -> None:
        self._current = None

    # -- the disk ----------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether so much waits for the disk that nothing more should come."""
        return self._waiting >= PIECE

    @property
    def waiting(self) -> bool:
        """Whether anything waits for the disk."""
        return bool(self._unwritten)

    async def write_out(self) -> None:
        """Write what has come."""
        unwritten, self._unwritten, self._waiting = self._unwritten, [], 0
        if unwritten:
            await self._in_thread(_write, unwritten)

    async def rewind(self) -> None:
        """From now on the files are read."""
        await self._in_thread(_rewind, self.files)

    async def read(self, file: File) -> bytes:
        """The next bytes of a file; none at its end."""
        if file.handle is None:
            return b""
        data: bytes = await self._in_thread(file.handle.read, PIECE)
        return data

    async def close(self) -> None:
        """Let go of everything."""
        self._room.give_back(self.size)
        self.size = 0
        files, self.files, self._unwritten = self.files, [], []
        await self._in_thread(_close, files)


def _write(pieces: list[tuple[File, bytes]]) -> None:
    for file, data in pieces:
        if file.handle is None:
            # It lives as long as the upload does.
            file.handle = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        assert file.handle is not None
        view = memoryview(data)
        while view:
            view = view[file.handle.write(view) :]


def _rewind(files: list[File]) -> None:
    for file in files:
        if file.handle is not None:
            file.handle.seek(0)


def _close(files: list[File]) -> None:
    for file in files:
        if file.handle is not None:
            file.handle.close()

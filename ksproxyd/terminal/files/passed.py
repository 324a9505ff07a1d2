"""Files as they pass, for the record: how many bytes, and their SHA-256. Nothing of a body is kept (spec 05, D16)."""

from __future__ import annotations

import hashlib

#: Files of one upload that are told of one by one: an annotation with more would be cut.
MOST = 31


class Passed:
    """What has passed of the files of one transfer.

    :attr:`complete` is set by whoever knows that all of it has arrived. Until then everything is called ``partial-…``,
    so that nobody takes the beginning of a file for the file.
    """

    def __init__(self) -> None:
        self.complete = False
        self.count = 0
        self.size = 0
        #: The part of the file that was asked for, as ``Content-Range`` says it; empty for all of it.
        self.range = ""
        self._name = ""
        self._digest = hashlib.sha256()
        self._first: list[tuple[str, str]] = []
        #: Of the lines that sha256sum prints of the files that are over.
        self._lines = hashlib.sha256()

    def begin(self, name: str = "") -> None:
        """What passes from now on is the file ``name``; a download has none but the path that was asked for."""
        self._end()
        self.count += 1
        self._name, self._digest = name, hashlib.sha256()

    def take(self, data: bytes) -> None:
        """A piece of it has passed. Hashing it takes about a millisecond a megabyte, and messages have four at most."""
        self.size += len(data)
        self._digest.update(data)

    def _end(self) -> None:
        if self.count:
            digest = self._digest.hexdigest()
            self._lines.update(f"{digest}  {self._name}\n".encode("utf-8", "surrogatepass"))
            if self.count <= MOST:
                self._first.append((self._name, digest))

    def said(self) -> dict[str, str]:
        """What is recorded, by name, when the transfer is over; nothing if nothing has passed."""
        if not self.complete and not self.size:
            return {}
        self._end()
        found = {"bytes": str(self.size)}
        if self.range:
            found["range"] = self.range
        if self._name:
            found["count"] = str(self.count)
            # No name has a slash in it.
            found["names"] = "/".join(name for name, _ in self._first)
        if self.count <= MOST:
            found["sha256"] = " ".join(digest for _, digest in self._first)
        else:
            found["list-sha256"] = self._lines.hexdigest()
        kind = "file" if self.complete else "partial"
        return {f"{kind}-{name}": value for name, value in found.items()}

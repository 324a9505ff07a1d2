"""The last output of a session, for a browser that comes back."""

from __future__ import annotations

#: Where the beginning of a line is looked for, in bytes.
_LINE = 4096


class ScrollBack:
    """Keeps the last ``limit`` bytes, and while nobody looks (:meth:`keep` until :meth:`seen`), all that come on top.

    Some of what was sent to a browser that is gone has never reached it: the last bytes of before, which are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._cut = False
        self._keeping = False
        #: Bytes since :meth:`keep`.
        self.unseen = 0

    def add(self, data: bytes) -> None:
        """The process has printed ``data``."""
        self._data += data
        if self._keeping:
            self.unseen += len(data)
        elif len(self._data) > 2 * self._limit:
            # Only now and then, as it moves what remains.
            self._trim()

    def keep(self) -> None:
        """Nobody sees what is printed from now on."""
        self._trim()
        self._keeping = True

    def seen(self) -> None:
        """Somebody has got :meth:`replay`."""
        self._keeping = False
        self.unseen = 0
        self._trim()

    def replay(self) -> bytes:
        """What is kept. Where older output was dropped, it begins with a line."""
        self._trim()
        data = bytes(self._data)
        if not self._cut:
            return data
        optional = len(data) - self.unseen
        newline = data.find(b"\n", 0, min(_LINE, optional))
        if newline >= 0:
            return data[newline + 1 :]
        start = 0
        while start < min(3, optional) and 0x80 <= data[start] < 0xC0:
            # The rest of a character.
            start += 1
        return data[start:]

    def clear(self) -> None:
        """Nobody will come back."""
        self._data.clear()

    def _trim(self) -> None:
        surplus = len(self._data) - self._limit - self.unseen
        if surplus > 0:
            self._cut = True
            del self._data[:surplus]

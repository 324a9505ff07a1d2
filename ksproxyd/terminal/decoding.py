"""Bytes of a process become text for a browser, whatever the pieces they come in (spec 05, 7.4)."""

from __future__ import annotations

import codecs

_Decoder = codecs.getincrementaldecoder("utf-8")


class Output:
    """Decodes a stream of UTF-8. What is none becomes U+FFFD; at most three bytes of a character are held back."""

    def __init__(self) -> None:
        self._decoder = _Decoder("replace")

    def feed(self, data: bytes) -> str:
        """The text that is complete with ``data``."""
        return self._decoder.decode(data)

    def end(self) -> str:
        """What was held back: the stream is over."""
        return self._decoder.decode(b"", True)

"""A body that is rewritten in passing, under its content coding: undo it, rewrite, do it again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from ksproxyd.upstream.errors import UpstreamError

#: Content codings (RFC 9110, 8.4.1) that can be undone; the empty one is none.
CODINGS = frozenset({b"", b"identity", b"gzip", b"x-gzip", b"deflate"})

#: Most bytes of text worked on in one step, a millisecond or two of work.
STEP_BYTES = 32768

_GZIP = 16 + zlib.MAX_WBITS
# The pages pass through once and are often made for it; the effort of the best ratio is not repaid.
_LEVEL = 4


class Rewriter(Protocol):
    """Changes a stream of bytes."""

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class BodyRewriter:
    """Passes a body in ``coding`` (one of :data:`CODINGS`) through ``rewriter``.

    What :meth:`steps` gives may be sent at once: a page that is delivered little by little arrives so. However far a
    body expands, memory stays at one step's, and the caller may rest in between.
    """

    __slots__ = ("_coding", "_compress", "_inflate", "_rewriter", "_started")

    def __init__(self, rewriter: Rewriter, coding: bytes = b"") -> None:
        self._rewriter = rewriter
        self._coding = {b"identity": b"", b"x-gzip": b"gzip"}.get(coding, coding)
        self._started = False
        self._inflate = zlib.decompressobj(_GZIP)
        # "deflate" means the zlib format (RFC 9110, 8.4.1.2), though some send the bare stream; we do not.
        wbits = _GZIP if self._coding == b"gzip" else zlib.MAX_WBITS
        self._compress = zlib.compressobj(_LEVEL, zlib.DEFLATED, wbits)

    def steps(self, data: bytes) -> Iterator[bytes]:
        """Take the next piece of the body: what can be sent of it, a step of :data:`STEP_BYTES` of text at a time.

        All must have been taken before the next piece is given. Raises :class:`UpstreamError` when the body is not what
        its ``Content-Encoding`` says: the answer cannot be completed then.
        """
        if not self._coding:
            for start in range(0, len(data), STEP_BYTES):
                yield self._rewriter.feed(data[start : start + STEP_BYTES])
            return
        if not data:
            return
        for text in self._texts(data):
            yield self._compress.compress(self._rewriter.feed(text))
        yield self._compress.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """The body is over: the rest of it. Fails as :meth:`steps` does if it should not be over."""
        if not self._coding:
            return self._rewriter.end()
        if self._started and not self._inflate.eof:
            raise _broken(f"the upstream's {self._coding.decode()} body ends early")
        # A body of no bytes at all is an empty page, though strictly it is no gzip or zlib stream.
        return self._compress.compress(self._rewriter.end()) + self._compress.flush()

    def _texts(self, data: bytes) -> Iterator[bytes]:
        if not self._started:
            self._started = True
            if self._coding == b"deflate":
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS)
        full = False
        # A step that came out full may have left text in the decompressor, even with no input left.
        while data or full:
            if self._inflate.eof:
                if self._coding != b"gzip":
                    raise _broken("bytes follow the end of the upstream's deflate body")
                self._inflate = zlib.decompressobj(_GZIP)  # The next member (RFC 1952, 2.2).
            try:
                text = self._inflate.decompress(data, STEP_BYTES)
            except zlib.error as error:
                raise _broken(f"the upstream's body is not {self._coding.decode()}", str(error)) from error
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            full = len(text) == STEP_BYTES and not self._inflate.eof
            if text:
                yield text


class NoBody:
    """Stands for the body that an answer to ``HEAD``, or a 304, does not have: its length, too, is not known."""

    def steps(self, data: bytes) -> Iterator[bytes]:
        return iter(())

    def end(self) -> bytes:
        return b""


def _broken(message: str, detail: str = "") -> UpstreamError:
    return UpstreamError("protocol", message, detail)


def _is_zlib(start: bytes) -> bool:
    """Whether a deflate body starts with the zlib format's header (RFC 1950, 2.2), seen from its first byte.

    A bare stream that starts so would begin with a stored block whose padding is not zero (RFC 1951, 3.2.4); none does.
    """
    return start[0] & 0x0F == 8 and start[0] >> 4 <= 7

"""TLS inside our own protocols: the standard library's engine between two memory buffers.

This costs about half of what a TLS transport around the protocol costs, because records are made and
opened in the call that already holds the bytes. Handshake, data and shutdown are driven by
:class:`ksproxyd.transport.stream.Stream`.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

#: Larger than any TLS record's plaintext (RFC 8446, 5.1: 2^14), so one read takes a whole record.
_RECORD = 65536


class TLSLayer:
    """One connection: bytes in, bytes out. Raises :class:`ssl.SSLError` when the peer breaks it."""

    __slots__ = ("_incoming", "_object", "_outgoing", "closed", "ready")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        #: The handshake is complete.
        self.ready = False
        #: The peer has sent its close_notify: nothing more will come.
        self.closed = False

    def handshake(self, data: bytes = b"") -> bytes:
        """Feed ``data`` from the wire; returns what must be sent. :attr:`ready` tells whether it is done."""
        if data:
            self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            self.ready = True
        return self._outgoing.read() if self._outgoing.pending else b""

    def alert(self) -> bytes:
        """What the engine still wants to say after an error (an alert), or nothing."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def decrypt(self, data: bytes) -> bytes:
        """Open the records in ``data``; returns the plaintext so far. Sets :attr:`closed` at close_notify."""
        incoming = self._incoming
        if data:
            incoming.write(data)
        read = self._object.read
        parts: list[bytes] = []
        try:
            while True:
                plain = read(_RECORD)
                if not plain:
                    self.closed = True
                    break
                parts.append(plain)
                # One read takes one record, so an empty buffer spares the exception of one more try.
                if not incoming.pending:
                    break
        except ssl.SSLWantReadError:
            # The rest of a record is still on its way.
            pass
        except ssl.SSLZeroReturnError:
            # What reading nothing becomes once we have said goodbye ourselves.
            self.closed = True
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, data: bytes) -> bytes:
        """``data`` as records."""
        self._object.write(data)
        return self._outgoing.read()

    def pending(self) -> bytes:
        """What the engine wants to send on its own (key updates, session tickets)."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close(self) -> bytes:
        """Our close_notify."""
        # SSLWantReadError: the peer's half is not here yet, which is fine; anything else: nothing to close.
        with suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read() if self._outgoing.pending else b""

    def protocol(self) -> str | None:
        """The ALPN protocol agreed on."""
        return self._object.selected_alpn_protocol()

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER, if it sent one."""
        return self._object.getpeercert(binary_form=True)

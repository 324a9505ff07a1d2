"""A listener's certificate: loaded from files, and again when they change."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: How often the files are looked at, in seconds. Certificates are renewed days before they end.
INTERVAL = 5.0


class CertificateError(Exception):
    """The files do not make a usable certificate; the message says which and why."""


def server_context(cert_file: str, key_file: str, client_ca_file: str = "") -> ssl.SSLContext:
    """A TLS context for a listener: TLS 1.2 or newer, ALPN http/1.1. Raises :class:`CertificateError`.

    With ``client_ca_file`` clients may show a certificate, and one that they show must be from that authority.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # Renegotiation lets a client make us work; nothing needs it (RFC 9325, 3.5).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ValueError) as error:
        raise CertificateError(f"{cert_file} and {key_file}: {_reason(error)}") from error
    if client_ca_file:
        try:
            context.load_verify_locations(client_ca_file)
        except (OSError, ValueError) as error:
            raise CertificateError(f"{client_ca_file}: {_reason(error)}") from error
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _no_password() -> str:
    """A daemon has nobody to ask; without this OpenSSL would read the terminal."""
    raise ValueError("the private key is encrypted; give one that is not")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)


class Certificate:
    """The certificate of one listener, and the watch on its files.

    ``changed(context)`` is called with every new one. What cannot be loaded is logged and leaves the old in use.
    """

    log = Logger()

    def __init__(
        self,
        cert_file: str,
        key_file: str,
        client_ca_file: str,
        clock: IReactorTime,
        changed: Callable[[ssl.SSLContext], None],
    ) -> None:
        self._files = (cert_file, key_file, client_ca_file)
        self._clock = clock
        self._changed = changed
        self._seen = self._stamp()
        self._call: IDelayedCall | None = None
        self.context = server_context(*self._files)

    def start(self) -> None:
        """Begin to watch the files."""
        self._call = self._clock.callLater(INTERVAL, self._look)

    def stop(self) -> None:
        """Watch no longer."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def reload(self) -> None:
        """Load the files now, whether they look changed or not."""
        self._seen = self._stamp()
        try:
            context = server_context(*self._files)
        except CertificateError as error:
            self.log.error("the new certificate cannot be used, the old one stays: {error}", error=error)
            return
        self.context = context
        self._changed(context)
        self.log.info("certificate loaded from {file}", file=self._files[0])

    def _look(self) -> None:
        self._call = self._clock.callLater(INTERVAL, self._look)
        stamp = self._stamp()
        if stamp != self._seen and None not in stamp:
            self.reload()

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        stamps: list[tuple[int, int, int] | None] = []
        for name in self._files:
            if not name:
                continue
            try:
                found = os.stat(name)
            except OSError:
                # In the middle of being replaced; the next look sees it whole.
                stamps.append(None)
            else:
                stamps.append((found.st_ino, found.st_mtime_ns, found.st_size))
        return tuple(stamps)

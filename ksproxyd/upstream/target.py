"""Where a request goes: the value that keys a connection pool."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache

import msgspec


class TrustPolicy(msgspec.Struct, frozen=True):
    """How an https peer is verified and what we show it.

    ``ca_pem`` replaces the system's roots; ``insecure`` switches verification off altogether;
    ``server_name`` is verified and sent as SNI instead of the host; the client certificate is PEM.
    """

    ca_pem: bytes | None = None
    insecure: bool = False
    server_name: str | None = None
    client_cert_pem: bytes | None = None
    client_key_pem: bytes | None = None

    def __repr__(self) -> str:
        # Not the PEM: keys are in it, and a repr ends up in logs and tracebacks.
        roots = "none" if self.insecure else "system" if self.ca_pem is None else f"{len(self.ca_pem)} bytes"
        shown = "none" if self.client_cert_pem is None else f"{len(self.client_cert_pem)} bytes"
        return f"<TrustPolicy roots={roots} server_name={self.server_name} client_cert={shown}>"


class Target(msgspec.Struct, frozen=True):
    """One backend address. Equal targets share a pool; ``trust`` is None for plain http."""

    scheme: str
    host: str
    port: int
    trust: TrustPolicy | None = None

    @property
    def authority(self) -> str:
        """The value of the ``Host`` field: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def host_field(self) -> bytes:
        """:attr:`authority` as it is sent. Hosts are ASCII wherever they come from."""
        return self.authority.encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@lru_cache(maxsize=512)
def client_context(trust: TrustPolicy) -> ssl.SSLContext:
    """The TLS context for ``trust``: TLS 1.2 or newer, ALPN http/1.1, verified unless ``insecure``.

    Raises :class:`ssl.SSLError` or :class:`ValueError` when the PEM does not load. Loading the system's roots
    takes some milliseconds, so contexts are kept.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif trust.ca_pem is not None:
        context.load_verify_locations(cadata=trust.ca_pem.decode("ascii"))
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if trust.client_cert_pem is not None:
        load_key_pair(context, trust.client_cert_pem, trust.client_key_pem or trust.client_cert_pem)
    return context


def load_key_pair(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    """Load a certificate chain and key given as PEM. Raises :class:`ssl.SSLError`; keys must not be encrypted."""
    # The standard library takes them only from a file: this one is memory, and no name leads to it.
    memory = os.memfd_create("ksproxyd-key", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(cert_pem.rstrip() + b"\n" + key_pem)
        # Without a password OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(f"/proc/self/fd/{memory}", password="")
    finally:
        os.close(memory)

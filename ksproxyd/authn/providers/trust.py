"""How the certificate of an identity provider is verified."""

from __future__ import annotations

from typing import Any

import msgspec
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from zope.interface import implementer

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


class Trust(msgspec.Struct, frozen=True):
    """``roots`` are PEM certificates in place of the system's; ``insecure`` verifies nothing at all."""

    roots: bytes | None = None
    insecure: bool = False

    def creator(self, host: str) -> Any:
        """What makes TLS connections to ``host`` (a name or an address), whose certificate must be for it.

        Raises :class:`ValueError` for roots that are no certificates.
        """
        lowest = {"lowerMaximumSecurityTo": None, "raiseMinimumTo": TLSVersion.TLSv1_2}
        options = {key: value for key, value in lowest.items() if value is not None}
        if self.insecure:
            return _Unverified(host, CertificateOptions(verify=False, **options).getContext())
        root = None if self.roots is None else trustRootFromCertificates(certificates(self.roots))
        return optionsForClientTLS(host, trustRoot=root, extraCertificateOptions=options)


def certificates(pem: bytes) -> list[Certificate]:
    """Every certificate in a PEM text. Raises :class:`ValueError` if there is none, or one that cannot be read."""
    found = []
    for part in pem.split(_BEGIN)[1:]:
        body, end, _ = part.partition(_END)
        try:
            found.append(Certificate.loadPEM(_BEGIN + body + end + b"\n"))
        except (crypto.Error, SSL.Error, ValueError) as error:
            raise ValueError("a certificate in it cannot be read") from error
    if not found:
        raise ValueError("there is no certificate in it")
    return found


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Connections that say which host they want, and take whatever certificate it shows."""

    def __init__(self, host: str, context: SSL.Context) -> None:
        self._host = host
        self._context = context

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """A connection of pyOpenSSL's, before its handshake."""
        connection = SSL.Connection(self._context, None)
        if not self._host.replace(".", "").isdigit() and ":" not in self._host:
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection

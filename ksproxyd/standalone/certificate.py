"""The embedded API's certificate: ``kubectl`` shows its token only to a server that speaks TLS."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: How long a certificate is good for. A new one is made at each start, so this only bounds a process's life.
LIFETIME = timedelta(days=3650)


def make_certificate(host: str) -> tuple[bytes, bytes]:
    """A self-signed certificate for ``host`` (a name or address), loopback included, and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ksproxyd standalone")])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    addresses = ["127.0.0.1", "::1"]
    try:
        addresses.append(str(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(addresses)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def keep_certificate(state_dir: str, host: str) -> tuple[str, str, bytes]:
    """Make a certificate for ``host`` and keep it in ``state_dir``: its file, the key's file, and its PEM.

    Raises ``OSError`` if it cannot be written.
    """
    certificate, key = make_certificate(host)
    paths = os.path.join(state_dir, "kube.crt"), os.path.join(state_dir, "kube.key")
    for path, content in zip(paths, (certificate, key), strict=True):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    return *paths, certificate

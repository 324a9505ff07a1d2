"""How to connect, as configured: values read once, and the files that stand behind them."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ksproxyd.kube.address import ServerAddress, parse_server
from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.exec_plugin import ExecCredential, PluginCall
from ksproxyd.upstream.target import Target, TrustPolicy, client_context

#: Something given in the configuration itself, or as a file that may change while we run.
Source = bytes | Path

#: No token, key or certificate bundle is larger than this; a file that is was named by mistake.
MAX_FILE = 4 * 1024 * 1024

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """One API server and our credentials for it, before any file is read.

    ``origin`` says in a few words where this was configured; ``impersonate`` are ready header fields.
    """

    origin: str
    address: ServerAddress
    ca: Source | None = None
    insecure: bool = False
    server_name: str | None = None
    client_cert: Source | None = None
    client_key: Source | None = None
    token: Source | None = None
    basic: tuple[str, str] | None = None
    plugin: PluginCall | None = None
    impersonate: tuple[tuple[bytes, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"<Connection {self.address} from {self.origin}>"

    @property
    def has_files(self) -> bool:
        """Whether something of it is in files, which are to be looked at again from time to time."""
        return any(isinstance(s, Path) for s in (self.ca, self.client_cert, self.client_key, self.token))


class Presentation(msgspec.Struct, frozen=True):
    """What a request is made with: where to, and the header fields that say who we are."""

    target: Target
    headers: tuple[tuple[bytes, bytes], ...]

    def __repr__(self) -> str:
        return f"<Presentation {self.target}>"


def present(connection: Connection, credential: ExecCredential | None) -> Presentation:
    """Read the files of ``connection`` and put everything together; ``credential`` is the plugin's answer.

    Blocks on the disk and on building a TLS context: to be called in a thread.
    Raises :class:`AccessError` when something is missing or unusable.
    """
    origin, address = connection.origin, connection.address
    cert, key = connection.client_cert, connection.client_key
    token = connection.token
    if credential is not None:
        if credential.client_cert is not None:
            cert, key = credential.client_cert, credential.client_key
        if credential.token is not None:
            token = credential.token.encode()
    trust = None
    if address.scheme == "https":
        trust = TrustPolicy(
            ca_pem=_read(connection.ca, "certificate authority", origin),
            insecure=connection.insecure,
            server_name=connection.server_name,
            client_cert_pem=_read(cert, "client certificate", origin),
            client_key_pem=_read(key, "client key", origin),
        )
        _check(trust, origin)
    headers = list(connection.impersonate)
    bearer = _read(token, "token", origin)
    if bearer is not None:
        headers.append((b"Authorization", b"Bearer " + _field(bearer.strip(), "token", origin)))
    elif connection.basic is not None:
        pair = ":".join(connection.basic).encode()
        headers.append((b"Authorization", b"Basic " + base64.b64encode(pair)))
    return Presentation(Target(address.scheme, address.host, address.port, trust), tuple(headers))


def service_account(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Connection:
    """The connection of a pod: the environment says where, the mounted service account who.

    Raises :class:`AccessError` when this is not a pod, or one without a service account token.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise AccessError("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is not a pod")
    try:
        address = parse_server(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")
    except ValueError as error:
        raise AccessError(f"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: {error}") from error
    return Connection(
        origin="the pod's service account",
        address=address,
        ca=folder / "ca.crt",
        token=folder / "token",
    )


def _read(source: Source | None, what: str, origin: str) -> bytes | None:
    if not isinstance(source, Path):
        return source
    try:
        with source.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise AccessError(f"{origin}: {what} {source}: {error.strerror or error}") from error
    if not content.strip():
        raise AccessError(f"{origin}: {what} {source} is empty")
    if len(content) > MAX_FILE:
        raise AccessError(f"{origin}: {what} {source} is larger than {MAX_FILE} bytes")
    return content


def _field(value: bytes, what: str, origin: str) -> bytes:
    """``value`` if it can stand in a header field; the value itself is never shown."""
    if not value:
        raise AccessError(f"{origin}: the {what} is empty")
    if any(byte <= 0x20 or byte >= 0x7F for byte in value):
        raise AccessError(f"{origin}: the {what} has characters that a header field cannot have")
    return value


def _check(trust: TrustPolicy, origin: str) -> None:
    if (trust.client_cert_pem is None) != (trust.client_key_pem is None):
        raise AccessError(f"{origin}: a client certificate and its key belong together; one is missing")
    if trust.ca_pem is not None and b"-----BEGIN CERTIFICATE-----" not in trust.ca_pem:
        raise AccessError(f"{origin}: the certificate authority holds no PEM certificate")
    try:
        client_context(trust)
    except (ssl.SSLError, ValueError) as error:
        which = "the certificate authority" if trust.client_cert_pem is None else "the certificates"
        reason = getattr(error, "reason", None) or str(error)
        raise AccessError(f"{origin}: {which} cannot be used: {reason}") from error

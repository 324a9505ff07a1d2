"""The endpoint of an extension object, resolved to where its requests go.

An endpoint is what ``APIService.spec``, ``ReverseProxy.spec.upstream``, ``JSBundle.spec.rawFrom`` and a
bundle's style and asset files hold in common: ``url`` or ``service``, ``caBundle``, ``insecureSkipVerify``.
Objects may have been stored by anything, so nothing about their shape is taken for granted.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ksproxyd.upstream.target import Target, TrustPolicy

SERVICE_PORT = 443
_PEM_MARK = b"-----BEGIN"
_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"

# RFC 3986, appendix B, for a hierarchical URL: scheme, authority, path; a query and a fragment are cut off.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)")
# Printable ASCII: what a request line may hold (RFC 9112, 3.2).
_PRINTABLE = re.compile(r"[!-~]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Labels of a name that resolvers take; "_" is not a host name's (RFC 1123) but is found in real zones.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_DNS_1123_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class EndpointError(Exception):
    """An endpoint cannot be used; the message says what is wrong and what to write instead.

    It may name inner addresses, so it is for logs and ``status.conditions``, not for clients.
    """


class Endpoint(NamedTuple):
    """Where requests go: the ``target`` to connect to, and the endpoint's own ``path``.

    ``path`` is as written (percent-encoded, without query) and empty where the endpoint has none or its path
    is not to be used.
    """

    target: Target
    path: bytes

    def join(self, path: bytes) -> bytes:
        """The request path ``path`` (starting with ``/``) below this endpoint's own path."""
        return self.path.rstrip(b"/") + path if self.path else path


def resolve(spec: Any, *, join_path: bool = False) -> Endpoint:
    """The endpoint that ``spec`` describes; its path only with ``join_path``.

    ``url`` wins over ``service`` wherever it is present, even empty. A service is always spoken to over
    https, at ``https://<name>.<namespace>.svc:<port, or 443><path>``. The trust policy follows
    ``insecureSkipVerify`` and ``caBundle`` (:func:`ca_pem`); without either the system's roots apply.

    :raises EndpointError: for anything else, whatever ``spec`` is.
    """
    if not isinstance(spec, dict):
        raise EndpointError(f"the endpoint is {_kind(spec)}: write an object with url or service")
    insecure = _optional(spec, "insecureSkipVerify", bool, "true or false") or False
    url = _optional(spec, "url", str, "a string such as https://host:port")
    if url is not None:
        scheme, host, port, path = _parse(url, "url")
    elif spec.get("service") is not None:
        scheme, host, port, path = _parse(_service_url(spec["service"]), "service")
    else:
        raise EndpointError("the endpoint has neither url nor service: write one of them")
    authorities = None if insecure else ca_pem(spec.get("caBundle"))
    # The final dot of an absolute name is the resolver's; certificates and SNI do not have it (RFC 6066, 3).
    verified = host.removesuffix(".") if host.endswith(".") else None
    trust = TrustPolicy(authorities, insecure, verified) if scheme == "https" else None
    return Endpoint(Target(scheme, host, port, trust), path if join_path else b"")


def ca_pem(value: Any) -> bytes | None:
    """The certificates of a ``caBundle``, as PEM, or None when there is no bundle.

    ``value`` is the field as it stands in the object's JSON: base64 of PEM, or base64 of base64 of PEM, which
    is what stock installations carry. Text around the certificates and other PEM blocks are dropped, so equal
    trust makes equal values and no private key is kept.

    :raises EndpointError: if it is anything else, or no certificate is in it.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise EndpointError(f"caBundle is {_kind(value)}: write base64 of the CA's PEM")
    if value.lstrip().startswith("-----"):
        raise EndpointError("caBundle holds PEM text: write base64 of it")
    try:
        decoded = decode_base64(value)
        if _PEM_MARK not in decoded:
            decoded = decode_base64(decoded)
    except ValueError as error:
        raise EndpointError(f"caBundle is not base64 of PEM ({error}): write base64 of the CA's PEM") from error
    if _CERTIFICATE_MARK not in decoded:
        raise EndpointError("caBundle holds no certificate: write base64 of the CA's PEM")
    try:
        certificates = x509.load_pem_x509_certificates(decoded)
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    except ValueError as error:
        raise EndpointError(f"caBundle holds a certificate that does not parse: {error}") from error


def decode_base64(value: str | bytes) -> bytes:
    """Decode standard base64 (RFC 4648, 4) with padding; line breaks are skipped, nothing else is.

    :raises ValueError: if it is not that.
    """
    try:
        data = value.encode("ascii") if isinstance(value, str) else value
    except UnicodeEncodeError as error:
        raise ValueError("it has characters that are not base64") from error
    try:
        return base64.b64decode(data.translate(None, b"\r\n"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _service_url(service: Any) -> str:
    if not isinstance(service, dict):
        raise EndpointError(f"service is {_kind(service)}: write an object with name and namespace")
    for key in ("name", "namespace"):
        value = service.get(key)
        if not isinstance(value, str) or not _DNS_1123_LABEL.fullmatch(value):
            raise EndpointError(f"service.{key} is {_quote(value)}: write the {key} of a Kubernetes Service")
    port = service.get("port")
    if port is None:
        port = SERVICE_PORT
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise EndpointError(f"service.port is {_quote(port)}: write a number from 1 to 65535")
    path = _optional(service, "path", str, "a string that starts with /") or ""
    if path and not path.startswith("/"):
        raise EndpointError(f"service.path is {_quote(path)}: write it with a leading /")
    return f"https://{service['name']}.{service['namespace']}.svc:{port}{path}"


def _parse(url: str, field: str) -> tuple[str, str, int, bytes]:
    """Split ``url`` into scheme, host (lower case, without brackets), port and path."""
    if not url:
        raise EndpointError(f"{field} is empty: write https://host:port, or remove it to use service")
    if not _PRINTABLE.fullmatch(url):
        raise EndpointError(
            f"{field} {_quote(url)} has white space or characters outside ASCII: percent-encode them, and "
            "write an international host name as its xn-- form"
        )
    match = _URL.match(url)
    if match is None:
        raise EndpointError(
            f"{field} {_quote(url)} has no scheme and host: write http://host:port or https://host:port"
        )
    scheme, authority, path = match[1].lower(), match[2], match[3]
    if scheme not in ("http", "https"):
        raise EndpointError(f"{field} {_quote(url)} has the scheme {_quote(scheme)}: write http or https")
    if "@" in authority:
        # Not quoted: what stands there may be a password.
        raise EndpointError(f"{field} has a user name or password in it: remove it")
    if _BAD_ESCAPE.search(path):
        raise EndpointError(f"{field} {_quote(url)} has a % that escapes nothing: write %25")
    host, port = _host_and_port(authority, field, url)
    return scheme, host, port or (443 if scheme == "https" else 80), path.encode("ascii")


def _host_and_port(authority: str, field: str, url: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        literal, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise EndpointError(f"{field} {_quote(url)} has an unfinished IPv6 address: write [address]:port")
        # A zone names an interface of one machine, and "%" begins an escape in a URL (RFC 6874).
        if "%" in literal or not _is_address(literal, 6):
            raise EndpointError(f"{field} {_quote(url)} has no IPv6 address between the brackets")
        host, digits = ipaddress.IPv6Address(literal).compressed, rest[1:]
    else:
        host, _, digits = authority.partition(":")
        if ":" in digits:
            raise EndpointError(
                f"{field} {_quote(url)} has more than one colon in its host: write IPv6 as [address]:port"
            )
        host = _host_name(host.lower(), field, url)
    if not digits:
        return host, None
    # int() takes signs, underscores and other scripts' digits.
    if not re.fullmatch("[0-9]{1,5}", digits) or not 0 < int(digits) < 65536:
        raise EndpointError(f"{field} {_quote(url)} has the port {_quote(digits)}: write a number from 1 to 65535")
    return host, int(digits)


def _host_name(host: str, field: str, url: str) -> str:
    if not host:
        raise EndpointError(f"{field} {_quote(url)} has no host: write http://host:port or https://host:port")
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise EndpointError(f"{field} {_quote(url)} has {_quote(host)} for a host: write a DNS name or an address")
    # A name that ends in a number is read as an address by some and as a name by others.
    if labels[-1].isdigit() and not _is_address(host, 4):
        raise EndpointError(f"{field} {_quote(url)} has {_quote(host)} for a host, which is no IPv4 address")
    return host


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _optional(spec: dict[str, Any], key: str, kind: type, wanted: str) -> Any:
    value = spec.get(key)
    if value is not None and not isinstance(value, kind):
        raise EndpointError(f"{key} is {_kind(value)}: write {wanted}")
    return value


_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def _kind(value: Any) -> str:
    return "missing" if value is None else _KINDS.get(type(value), "of an unknown type")


def _quote(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value[:200]}"' if value.isprintable() else ascii(value[:200])
    # str() of an int has a limit of digits, and raises above it.
    return str(value) if isinstance(value, int) and abs(value) < 10**12 else _kind(value)

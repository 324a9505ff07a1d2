"""The server line of a kubeconfig (or ``--master``) as an address."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?")
_PREFIX = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*")
_PORTS = {"https": 443, "http": 80}


class ServerAddress(msgspec.Struct, frozen=True):
    """``prefix`` is the path below which the API is served, without a trailing slash; mostly empty."""

    scheme: str
    host: str
    port: int
    prefix: bytes = b""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix.decode()}"


def parse_server(text: str) -> ServerAddress:
    """The address in ``text``: ``https://host:port/prefix``, or only ``host:port``, which means https.

    Raises :class:`ValueError` whose text says what is wrong with it.
    """
    if not text:
        raise ValueError("the server is empty")
    if not text.isascii() or any(ord(char) <= 0x20 or ord(char) == 0x7F for char in text):
        raise ValueError(f"server {text!r} has characters that a URL cannot have")
    url = urlsplit(text if "://" in text else f"https://{text}")
    if url.scheme not in _PORTS:
        raise ValueError(f"server {text!r}: the scheme must be https or http")
    if "@" in url.netloc:
        # The value may hold a password: it is not shown.
        raise ValueError("the server holds a user name; credentials belong into the users section")
    if "?" in text or "#" in text:
        raise ValueError(f"server {text!r}: a query or fragment has no meaning here")
    try:
        port = url.port
    except ValueError:
        port = 0
    if port == 0 or url.netloc.endswith(":"):
        raise ValueError(f"server {text!r}: the port must be a number from 1 to 65535")
    host = url.hostname or ""
    if not _valid_host(host, url.netloc.startswith("[")):
        raise ValueError(f"server {text!r} has no usable host")
    prefix = url.path.rstrip("/")
    if not _PREFIX.fullmatch(prefix) or any(part in (".", "..") for part in prefix.split("/")):
        raise ValueError(f"server {text!r}: the path is not usable as a prefix")
    return ServerAddress(url.scheme, host, port or _PORTS[url.scheme], prefix.encode())


def _valid_host(host: str, bracketed: bool) -> bool:
    if not bracketed:
        return _HOST.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False

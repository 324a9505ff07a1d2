"""Who may use the embedded API: whoever has its token, which is made at first start."""

from __future__ import annotations

import base64
import hmac
import os
import secrets

import yaml

from ksproxyd.standalone.wire.request import Request

#: The token's file in the state directory.
TOKEN_FILE = "admin.token"

#: The name of cluster, user and context in the kubeconfig.
_NAME = "ksproxyd-standalone"


class Access:
    """Knows the token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def admits(self, request: Request) -> bool:
        """Whether a request carries the token (RFC 6750, 2.1)."""
        scheme, _, given = request.field(b"authorization").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._token)


def admin_token(state_dir: str) -> str:
    """The token kept in ``state_dir``, made if it is not there yet; a new one each time if that is empty.

    Raises ``OSError`` if it cannot be read or written.
    """
    if not state_dir:
        return secrets.token_urlsafe(32)
    path = os.path.join(state_dir, TOKEN_FILE)
    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
        if token:
            return token
    except FileNotFoundError:
        pass
    token = secrets.token_urlsafe(32)
    write_private(path, token + "\n")
    return token


def write_admin_kubeconfig(path: str, url: str, token: str, ca_pem: bytes = b"") -> None:
    """Write a kubeconfig for ``kubectl`` at once and readable for its owner only. Raises ``OSError``.

    ``ca_pem`` is what an https ``url`` is verified by. Over plain http ``kubectl`` sends no token.
    """
    cluster = {"server": url}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": _NAME, "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": "default"}}],
        "current-context": _NAME,
    }
    write_private(path, yaml.safe_dump(config, sort_keys=False))


def write_private(path: str, text: str) -> None:
    """Replace a file as a whole: nobody ever reads half of it, or reads it who may not."""
    scratch = f"{path}.{secrets.token_hex(4)}"
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(scratch, path)
    except OSError:
        os.unlink(scratch)
        raise

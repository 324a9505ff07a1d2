"""Which client sends a form: by name and secret (RFC 6749, 2.3.1; spec 02, D-17).

A client shows them in the form or in the ``Authorization`` field, never in both. One without a secret says its name
only. Whatever is wrong, the answer is the same. A bearer token in the ``Authorization`` field is nobody's here and is
not looked at.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from ksproxyd.authn.clients import Clients, OAuthClient, has_secret
from ksproxyd.authn.passwords import Busy, Passwords
from ksproxyd.kapis.bodies import read_form
from ksproxyd.kapis.oauth.errors import invalid_client, invalid_request, unavailable
from ksproxyd.model.percent import unquote
from ksproxyd.server.exchange import Exchange

#: As the discovery document names the ways.
METHODS = ("client_secret_basic", "client_secret_post", "none")

#: What is sent longer than this is no secret of anybody.
_LONGEST = 4096


class _Shown(NamedTuple):
    client_id: str
    secret: str


class Form(NamedTuple):
    """A form and the client that has sent it. An absent field is an empty one (RFC 6749, 3.2)."""

    client: OAuthClient
    fields: dict[str, str]

    def get(self, name: str) -> str:
        """The value of a field; empty if it is not there."""
        return self.fields.get(name, "")


class ClientAuthentication:
    """Finds out who sends a form. ``passwords`` compares with secrets that are kept as bcrypt hashes."""

    def __init__(self, clients: Clients, passwords: Passwords) -> None:
        self._clients = clients
        self._passwords = passwords

    async def read(self, exchange: Exchange, *, public: bool = True) -> Form:
        """The form in the body of ``exchange``; without ``public`` only a client with a secret may send it.

        Raises :class:`~ksproxyd.kapis.oauth.errors.OAuthError`, and what
        :func:`~ksproxyd.kapis.bodies.read_form` raises.
        """
        fields = single(await read_form(exchange))
        shown, header = _shown(exchange, fields)
        client = self._clients.find(shown.client_id) if shown.client_id else None
        if client is None or len(shown.secret) > _LONGEST:
            raise invalid_client(header=header)
        if client.public:
            good = public and not shown.secret
        else:
            try:
                good = await has_secret(client, shown.secret, self._passwords)
            except Busy:
                raise unavailable("Too many secrets are being compared; try again.", 1) from None
        if not good:
            raise invalid_client(header=header)
        return Form(client, fields)


def single(form: dict[str, list[str]]) -> dict[str, str]:
    """Each field with its only value. Raises ``invalid_request`` for one that is there twice (RFC 6749, 3.2)."""
    for name, values in form.items():
        if len(values) > 1:
            raise invalid_request(f"The parameter {_plain(name)} is there more than once.")
    return {name: values[0] for name, values in form.items()}


def _shown(exchange: Exchange, fields: dict[str, str]) -> tuple[_Shown, bool]:
    """What the client shows, and whether it does so in the ``Authorization`` field."""
    in_form = _Shown(fields.get("client_id", ""), fields.get("client_secret", ""))
    headers = exchange.fields.all(b"authorization")
    basic = [header for header in headers if header.strip()[:6].lower() == b"basic "]
    if not basic:
        return in_form, False
    if len(headers) > 1:
        raise invalid_request("There is more than one Authorization field.")
    if in_form.secret:
        raise invalid_request("The client shows its secret in two ways; use one (RFC 6749, 2.3).")
    in_header = _basic(basic[0].strip()[6:].strip())
    if in_header is None or (in_form.client_id and in_form.client_id != in_header.client_id):
        raise invalid_client(header=True)
    return in_header, True


def _basic(encoded: bytes) -> _Shown | None:
    """Name and secret, each encoded as in a form before they were joined (RFC 6749, 2.3.1); None for what is broken."""
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).partition(b":")
        found = _Shown(*(unquote(part.replace(b"+", b" ")).decode("utf-8") for part in (name, secret)))
    except (binascii.Error, ValueError):
        return None
    return found if colon else None


def _plain(name: str) -> str:
    return "".join(c for c in name if c.isascii() and (c.isalnum() or c in "-_."))[:40]

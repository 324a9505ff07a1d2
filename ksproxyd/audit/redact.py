"""Bodies as they may be recorded: without passwords, tokens and the contents of Secrets (spec 03, D37).

Hides rather too much than too little: a record is read by more people than may read a Secret. What cannot be looked
into (a binary body of a resource that holds secrets, a body that is longer than what is kept) is left out.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from contextlib import suppress
from typing import Any
from urllib.parse import quote_plus, unquote_to_bytes

import msgspec

from ksproxyd.audit.event import Body
from ksproxyd.audit.redact_text import safe_text
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.observe.redact import REDACTED, is_secret_name

#: Resources whose every value is a secret.
_SECRETS = frozenset(["secrets"])

#: Resources and subresources whose bodies are left out unless they are JSON, which can be looked into.
_SENSITIVE = frozenset(["secrets", "kubeconfig", "kubeconfigs", "users", "tokenreviews", "serviceaccounts", "token"])

#: Names that only say where a secret is, although they have one's name.
_REFERENCES = frozenset(
    (
        *("secretName", "secretNamespace", "secretRef", "secretKeyRef", "imagePullSecrets", "secrets", "tokenRequests"),
        *("serviceAccountToken", "automountServiceAccountToken", "nodePublishSecretRef", "passwordSecretRef"),
        *("secretReference", "secretObjects", "secretClass"),
    )
)

#: Private keys, by the names that kubeconfigs have for them.
_KEYS = frozenset(["client-key-data", "clientKeyData", "client-key", "tls.key", "keyData"])

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_FORM = b"application/x-www-form-urlencoded"

#: The beginning of a text that may be a JSON document.
_DOCUMENT = re.compile(r"\s*[\[{]")

#: Texts that are shorter have no room for a secret and what gives it away.
_SHORTEST = 8

#: Fields of a form that are recorded.
_FIELDS = 200

_PLAIN = frozenset([int, float, bool, type(None)])

#: Nesting beyond this is nobody's object.
_DEEPEST = 64

_decode = msgspec.json.decode


def recorded(body: Body, info: RequestInfo) -> Any:
    """What is recorded of ``body`` of a request about ``info``: a JSON value, a text, or None."""
    if body.left_out or not body.data:
        return None
    data = body.data
    if body.encoding and body.encoding != b"identity":
        unpacked = _unpacked(body)
        if unpacked is None:
            return None
        data = unpacked
    kind = body.content_type.partition(b";")[0].strip().lower()
    if kind == _FORM:
        return _form(data)
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _opaque(data, info)
    if not isinstance(value, (dict, list)):
        # A lone string has no name to tell what it is.
        return value if not isinstance(value, str) else REDACTED if sensitive(info) else _text(value)
    return hidden(value, info.resource in _SECRETS)


def sensitive(info: RequestInfo) -> bool:
    """Whether bodies of such requests are about nothing but secrets."""
    return info.resource in _SENSITIVE or info.subresource in _SENSITIVE


def hidden(value: Any, secret: bool = False, depth: int = 0) -> Any:
    """A copy of a JSON value without secrets; ``secret``: it is a Secret, a list of them, or a patch of one."""
    if depth > _DEEPEST:
        return REDACTED
    kind = type(value)
    if kind is dict:
        return _hidden_object(value, secret, depth)
    if kind is list:
        return [item if type(item) in _PLAIN else hidden(item, secret, depth + 1) for item in value]
    return _text(value, depth) if kind is str else value


def _hidden_object(value: dict[str, Any], secret: bool, depth: int) -> dict[str, Any]:
    kind = value.get("kind")
    secret = secret or kind == "Secret" or kind == "SecretList"
    path = value.get("path")
    places = path.split("/") if isinstance(path, str) and "op" in value and "value" in value else []
    if places and (secret or any(map(_is_secret, places))):
        # An operation of a JSON patch.
        return {**value, "value": blank(value["value"])}
    name = value.get("name")
    named = isinstance(name, str) and isinstance(value.get("value"), str) and _is_secret(name)
    found: dict[str, Any] = {}
    for key, item in value.items():
        if type(item) in _PLAIN:
            found[key] = item
        elif secret and key in ("data", "stringData"):
            found[key] = blank(item)
        elif named and key == "value":
            found[key] = REDACTED
        elif key == _LAST_APPLIED and isinstance(item, str):
            found[key] = _applied(item, secret)
        elif _is_secret(key) and key not in _REFERENCES:
            # A mapping under such a name is looked into: "secret" is also what a volume of one is called.
            found[key] = hidden(item, secret, depth + 1) if _is_volume(key, item) else blank(item)
        else:
            found[key] = hidden(item, secret, depth + 1)
    return found


def _is_secret(name: str) -> bool:
    return name in _KEYS or is_secret_name(name)


def _is_volume(key: str, item: Any) -> bool:
    return key == "secret" and isinstance(item, dict) and "secretName" in item


def blank(value: Any) -> Any:
    """The shape of ``value`` with every text hidden; numbers are no secrets."""
    if isinstance(value, dict):
        return {key: blank(item) for key, item in value.items()}
    if isinstance(value, list):
        return [blank(item) for item in value]
    return REDACTED if isinstance(value, str) else value


def _applied(text: str, secret: bool) -> str:
    """The copy of an object that ``kubectl apply`` keeps within it."""
    try:
        return msgspec.json.encode(hidden(_decode(text), secret)).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return REDACTED


def _text(value: str, depth: int = 0) -> str:
    """A text on its own: what looks like a secret is hidden wherever it stands."""
    if len(value) < _SHORTEST:
        return value
    if _DOCUMENT.match(value) is not None:
        # An object within a text.
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return msgspec.json.encode(hidden(_decode(value), depth=depth + 1)).decode()
    return safe_text(value)


def _form(data: bytes) -> str:
    """A form as it was sent, without the values of secret fields."""
    pairs = []
    fields = data.split(b"&", _FIELDS)
    for pair in fields[:_FIELDS]:
        name, sign, value = pair.partition(b"=")
        plain = unquote_to_bytes(name.replace(b"+", b" ")).decode("utf-8", "replace")
        if sign and is_secret_name(plain):
            pairs.append(f"{quote_plus(plain)}={REDACTED}")
        else:
            text = unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace")
            pairs.append(quote_plus(plain) + sign.decode() + quote_plus(safe_text(text), safe="[]"))
    if len(fields) > _FIELDS:
        pairs.append(REDACTED)
    return "&".join(pairs)


def _opaque(data: bytes, info: RequestInfo) -> str | None:
    """What is no JSON: text as text, everything else as base64, unless it may be a secret as a whole."""
    if sensitive(info):
        return REDACTED
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "base64:" + b64encode(data).decode()
    if "\0" in text:
        return "base64:" + b64encode(data).decode()
    return safe_text(text)


def _unpacked(body: Body) -> bytes | None:
    """The contents of a compressed body; None, and left out, where they cannot be had or are a lot more."""
    if body.encoding not in (b"gzip", b"x-gzip", b"deflate"):
        body.left_out = "encoded"
        return None
    most = 16 * len(body.data) + 65536
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        data = unpacker.decompress(body.data, min(most, 2**20))
    except zlib.error:
        body.left_out = "encoded"
        return None
    if unpacker.unconsumed_tail or not unpacker.eof:
        body.left_out = "too large"
        return None
    return data

"""Keeps secrets out of logs: in URLs, in free text, and in the fields of events (spec 01, D43).

This is the second line of defence. The first is not to log secrets at all; but a URL that a client sent, or the
text of somebody else's exception, is not ours to choose.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

#: What stands in a secret's place.
REDACTED = "[redacted]"

# Parts of a name that make its value a secret: access_token, id_token_hint, refresh_token, client_secret,
# clientSecret, password, X-Amz-Signature, client_assertion …
_PARTS = (
    *("token", "secret", "passw", "passphrase", "credential", "assertion", "signature", "apikey", "cookie"),
    *("authorization", "kubeconfig", "privatekey", "signkey", "codeverifier"),
)

# Names that are secrets as a whole; as parts they would hit too much ("code" is in "encoding").
_WHOLE = frozenset(
    (
        *("code", "pwd", "pass", "jwt", "sig", "otp", "ticket", "samlresponse", "samlrequest", "auth", "bearer"),
        *("session", "sessionid", "sid"),
    )
)

_NAME_NOISE = re.compile(r"[^a-z0-9]+")
_LAST_WORD = re.compile(r"[a-z0-9_-]+(?=[^a-z0-9_-]*\Z)")

#: How often text is percent-decoded while looking for secrets; nobody encodes more often than that honestly.
_DEPTH = 4

_SEPARATOR = re.compile(rb"([?&;#])")
_SIGNS = (b"=", b"%", b"@", b"eyJ")
_USERINFO = re.compile(rb"//[^/?#@\s]*@")
_JWT = re.compile(rb"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){1,4}")

_HIDDEN = REDACTED.encode()


@lru_cache(maxsize=2048)
def is_secret_name(name: str) -> bool:
    """Whether a parameter, header or field of this name holds a secret; case and punctuation do not matter."""
    name = name.lower()
    plain = _NAME_NOISE.sub("", name)
    if plain in _WHOLE or any(part in plain for part in _PARTS):
        return True
    # "form[code]", "oauth.code"
    last = _LAST_WORD.search(name)
    return last is not None and _NAME_NOISE.sub("", last[0]) in _WHOLE


def redact_target(target: bytes) -> bytes:
    """A request target or URL without its secrets: values of secret parameters wherever they stand (in the query, in
    what looks like one, encoded inside another parameter), user information of an authority, JSON web tokens.
    """
    if not any(sign in target for sign in _SIGNS):
        return target
    target = _USERINFO.sub(b"//" + _HIDDEN + b"@", target)
    target = b"".join(_redact_piece(piece) for piece in _SEPARATOR.split(target))
    return _JWT.sub(_HIDDEN, target)


def _redact_piece(piece: bytes) -> bytes:
    """What stands between two separators (or a separator): ``name=value``, a path, anything."""
    names = piece.split(b"=")
    for position, name in enumerate(names[:-1], 1):
        if _is_secret(name):
            return b"=".join([*names[:position], _HIDDEN])
    if (b"%" in piece or b"+" in piece) and _hides_secret(piece):
        return names[0] + b"=" + _HIDDEN if len(names) > 1 and b"%" not in names[0] else _HIDDEN
    return piece


def _is_secret(name: bytes) -> bool:
    # "/a/b/token=x" has its name behind the last slash.
    decoded = _decoded(name)
    return decoded is None or is_secret_name(decoded.rpartition(b"/")[2].decode("latin-1")[-128:])


def _hides_secret(piece: bytes) -> bool:
    """Whether the piece, decoded, holds secrets of its own."""
    decoded = _decoded(piece)
    if decoded is None:
        return True
    return decoded != piece and redact_target(decoded) != decoded


def _decoded(data: bytes) -> bytes | None:
    """Percent-decoded until nothing changes; None if that does not end soon."""
    data = data.replace(b"+", b" ")
    for _ in range(_DEPTH):
        decoded = unquote_to_bytes(data)
        if decoded == data:
            return data
        data = decoded
    return None


# -- free text -----------------------------------------------------------------------------------------------------

# A credential field with its value, up to the end of the line or of the quotes, also as the repr of a pair.
_FIELD = re.compile(
    r"""\b((?:proxy-|x-kubesphere-)?authorization|(?:set-)?cookie)(["']?\s*[:=,]\s*b?["']?)[^\r\n"']+""",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(bearer|basic|digest|negotiate)(\s+)(?!auth|token|realm)[\w.~+/=-]{4,}", re.IGNORECASE)
_URL = re.compile(r"""(?:\w{1,32}://|/|[?&])[^\s"'<>]*""")
_PAIR = re.compile(
    r"""(?<![\w.%\[\]-])(["']?)([\w.%\[\]-]{1,64})(\1\s*[:=]\s*b?)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'&;,)}\]]+)"""
)
_WORTH_A_LOOK = re.compile(
    r"token|secret|passw|passphrase|credential|assertion|signature|api.?key|cookie|authorization|kubeconfig"
    r"|private.?key|sign.?key|bearer|basic|digest|negotiate|eyJ|[?&@%=]",
    re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """Free text (a message, a traceback) without what looks like a secret in it.

    Errs on the side of hiding: "password: is required" loses a word.
    """
    if _WORTH_A_LOOK.search(text) is None:
        return text
    text = _FIELD.sub(rf"\1\2{REDACTED}", text)
    text = _SCHEME.sub(rf"\1\2{REDACTED}", text)
    text = _URL.sub(_redact_url, text)
    text = _PAIR.sub(_redact_pair, text)
    return _JWT.sub(_HIDDEN, text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _redact_url(match: re.Match[str]) -> str:
    return redact_target(match[0].encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _redact_pair(match: re.Match[str]) -> str:
    quote, name, sign, value = match.groups()
    # Names like "code" are everyday words outside of a URL: "status code: 503".
    plain = _NAME_NOISE.sub("", name.lower())
    if value.startswith(REDACTED[:-1]) or not any(part in plain for part in _PARTS):
        return match[0]
    return f"{quote}{name}{sign}{REDACTED}"


def redact_value(name: str, value: Any) -> Any:
    """The value of an event's field of that name. Numbers pass: a status ``code`` is not a secret."""
    if isinstance(value, (str, bytes)) and is_secret_name(name):
        return REDACTED
    return value

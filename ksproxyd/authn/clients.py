"""OAuth clients: the programs that may ask for tokens, as Secrets in the cluster describe them (spec 02, 3.9).

A Secret in ``kubesphere-system`` with the label ``config.kubesphere.io/type: oauthclient`` and the type
``config.kubesphere.io/oauthclient`` holds YAML in ``configuration.yaml``. What ks-apiserver does not know (``public``,
``postLogoutRedirectURIs``) may also be in a second field, ``ksproxyd.yaml``: ks-controller-manager's webhook writes the
first one anew, with the keys that it knows.

Clients come, change and go with their Secrets, at once. One that cannot be understood, or that would be open to
everybody, is none, and the log says what to do about it. Of several with the same name the oldest counts, then the
first by the name of its Secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
import yaml
from twisted.logger import Logger

from ksproxyd.authn.passwords import Passwords
from ksproxyd.authn.redirect_uris import accepted, problem_of
from ksproxyd.authn.tokens.claims import Lifetimes, is_reserved
from ksproxyd.state.store import Key, Object, Store, key_of
from ksproxyd.state.validation import field, precedence, text

LABEL, LABEL_VALUE = "config.kubesphere.io/type", "oauthclient"
TYPE = "config.kubesphere.io/oauthclient"
FIELD, OWN_FIELD = "configuration.yaml", "ksproxyd.yaml"

#: The secret of the client that KubeSphere installs, which everybody knows (spec 02, D-18).
WELL_KNOWN_SECRET = "kubesphere"

#: Largest configuration of a client, in bytes: it is parsed between two requests.
LARGEST = 32 * 1024

#: Most entries of its lists.
MOST_ENTRIES = 200

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TextLoader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
# What a client_id may consist of (RFC 6749, A.1, without the blank).
_NAME = re.compile(r"[!-~]{1,256}")
# RFC 6749, 3.3.
_SCOPE = re.compile(r"[!#-\[\]-~]+")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_BCRYPT = re.compile(r"\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}")
_LONGEST_LIFETIME = 10 * 365 * 86400


class OAuthClient(msgspec.Struct, frozen=True):
    """A client. ``secret`` is in clear, ``sha256:`` with the digest in hexadecimal, or a bcrypt hash.

    ``trusted`` clients may log people in by their passwords. ``grant_method``: whether people are asked before it gets
    a code. ``lifetimes`` are None where the global ones count. A ``public`` one has no secret, and its name proves
    nothing.
    """

    name: str
    secret: str = ""
    trusted: bool = False
    grant_method: Literal["auto", "prompt", "deny"] = "auto"
    scopes: tuple[str, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    lifetimes: Lifetimes | None = None
    public: bool = False

    def __repr__(self) -> str:
        # Without the secret: a client may end up in an error.
        return f"OAuthClient(name={self.name!r}, public={self.public})"

    __str__ = __repr__

    def redirect_to(self, asked: str) -> str | None:
        """Where a request may be answered that names ``asked``; see :func:`ksproxyd.authn.redirect_uris.accepted`."""
        return accepted(asked, self.redirect_uris, any_loopback_port=self.public)


#: The client that ``ksproxyd credential`` is, for which nothing needs to be installed. It has no address that it could
#: be answered at, so that the device flow is all it can use. A Secret with a client of this name takes its place.
COMMAND_LINE = OAuthClient("ksproxyd-cli", grant_method="prompt", scopes=("openid", "email", "profile"), public=True)


async def has_secret(client: OAuthClient, shown: str, passwords: Passwords) -> bool:
    """Whether ``shown`` is the secret of ``client``; never for one that has none.

    Raises :class:`~ksproxyd.authn.passwords.Busy` where the secret is a bcrypt hash and too many passwords wait.
    """
    if client.public or not client.secret or not shown:
        return False
    if client.secret[:1] == "$" and _BCRYPT.fullmatch(client.secret):
        return await passwords.verify(shown, client.secret)
    given = shown.encode("utf-8", "surrogatepass")
    if client.secret[:1] == "s" and _SHA256.fullmatch(client.secret):
        return hmac.compare_digest("sha256:" + hashlib.sha256(given).hexdigest(), client.secret)
    # Digests are of one length: how long the secret is, is not told either.
    return hmac.compare_digest(hashlib.blake2b(given).digest(), hashlib.blake2b(client.secret.encode()).digest())


class Clients:
    """The clients by name. ``default_secret``: whether :data:`WELL_KNOWN_SECRET` may be the secret of one.

    ``built_in`` are there without a Secret.
    """

    log = Logger()

    def __init__(
        self, configs: Store, *, default_secret: bool = True, built_in: Iterable[OAuthClient] = (COMMAND_LINE,)
    ) -> None:
        self._default_secret = default_secret
        self._read: dict[Key, OAuthClient] = {}
        self._objects: dict[Key, Object] = {}
        self._by_name: dict[str, list[Key]] = {}
        self._built_in = {client.name: client for client in built_in}
        #: What is wrong with Secrets that describe no usable client, by namespace and name.
        self.problems: dict[Key, str] = {}
        self._warned = False
        self._unsubscribe = configs.subscribe(self._changed, replay=True)

    def stop(self) -> None:
        """Changes do not matter any more."""
        self._unsubscribe()

    def find(self, client_id: str) -> OAuthClient | None:
        """The client of that name."""
        keys = self._by_name.get(client_id)
        return self._read[keys[0]] if keys else self._built_in.get(client_id)

    def names(self) -> list[str]:
        """The names of all, sorted."""
        return sorted({*self._by_name, *self._built_in})

    def installed(self) -> list[OAuthClient]:
        """Those that Secrets describe, by name."""
        return [self._read[self._by_name[name][0]] for name in sorted(self._by_name)]

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._forget(key_of(old))
        if new is None or not _is_client(new):
            return
        key = key_of(new)
        warnings: list[str] = []
        try:
            client = read_client(new, warnings, default_secret=self._default_secret)
        except ValueError as error:
            self._report(key, str(error))
            return
        for warning in warnings:
            self.log.warn(
                "OAuth client {name} (Secret {secret}): {warning}",
                name=client.name,
                secret="/".join(key),
                warning=warning,
            )
        self._read[key] = client
        self._objects[key] = new
        keys = self._by_name.setdefault(client.name, [])
        keys.append(key)
        self._settle(keys)
        if client.secret == WELL_KNOWN_SECRET and not self._warned:
            self._warned = True
            self.log.warn(
                "SECURITY: OAuth client {name} (Secret {secret}) has the secret that every installation of KubeSphere "
                "has, with which anybody may try passwords of your users. Change it there and in ks-console's "
                "configuration, and set ksproxyd.compat.defaultClientSecret to false",
                name=client.name,
                secret="/".join(key),
            )

    def _forget(self, key: Key) -> None:
        self.problems.pop(key, None)
        self._objects.pop(key, None)
        client = self._read.pop(key, None)
        if client is None:
            return
        keys = self._by_name[client.name]
        keys.remove(key)
        if keys:
            self._settle(keys)
        else:
            del self._by_name[client.name]

    def _settle(self, keys: list[Key]) -> None:
        """Several Secrets have the same client: put the one that counts first, and report the others."""
        keys.sort(key=lambda key: precedence(self._objects[key]))
        self.problems.pop(keys[0], None)
        for key in keys[1:]:
            name = self._read[key].name
            first = "/".join(keys[0])
            self._report(key, f"the client {name!r} is that of Secret {first} already; give it another name")

    def _report(self, key: Key, problem: str) -> None:
        if self.problems.get(key) != problem:
            self.problems[key] = problem
            self.log.warn("Secret {secret} is no OAuth client: {why}", secret="/".join(key), why=problem)


def read_client(secret: Object, warnings: list[str], *, default_secret: bool = True) -> OAuthClient:
    """The client that a Secret describes. Raises :class:`ValueError`, whose text holds no value of a secret.

    ``warnings`` gets what is wrong with it but does not keep it from being used.
    """
    found = {**_mapping(secret, FIELD), **(_mapping(secret, OWN_FIELD) if _has(secret, OWN_FIELD) else {})}
    name = found.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError("its `name` is missing, or has more than 256 characters or other ones than visible ASCII")
    if is_reserved(name):
        raise ValueError("its `name` begins with system: or kubesphere:, which nobody's may")
    public = _flag(found, "public")
    trusted = _flag(found, "trusted")
    if public and trusted:
        # Anybody could say that they are it, and try passwords.
        raise ValueError("it is both `trusted` and `public`; a trusted client needs a secret")
    if public and found.get("secret"):
        warnings.append("it is `public`, so its `secret` is not looked at")
    return OAuthClient(
        name=name,
        secret="" if public else _secret(found, default_secret),
        trusted=trusted,
        grant_method=_grant_method(found),
        scopes=_scopes(found),
        redirect_uris=_addresses(found, "redirectURIs", warnings),
        post_logout_redirect_uris=_addresses(found, "postLogoutRedirectURIs", warnings),
        lifetimes=_lifetimes(found),
        public=public,
    )


def _is_client(obj: Object) -> bool:
    labels = field(obj, "metadata", "labels")
    return isinstance(labels, dict) and labels.get(LABEL) == LABEL_VALUE and text(obj, "type") == TYPE


def _has(secret: Object, name: str) -> bool:
    data = field(secret, "data")
    return isinstance(data, dict) and name in data


def _mapping(secret: Object, name: str) -> dict[str, Any]:
    """The YAML in the field ``name`` of the Secret."""
    encoded = field(secret, "data", name)
    if not isinstance(encoded, str):
        raise ValueError(f"it has no `{name}` in its data")
    if len(encoded) > LARGEST * 4 // 3 + 4:
        raise ValueError(f"its `{name}` is larger than {LARGEST} bytes")
    try:
        raw = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise ValueError(f"its `{name}` is not base64 of UTF-8") from None
    try:
        found = yaml.load(raw, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        # The parser quotes what it stumbles over, which may be the secret.
        raise ValueError(f"its `{name}` is not YAML{where}") from None
    if not isinstance(found, dict):
        raise ValueError(f"its `{name}` is no mapping")
    for key in ("name", "secret"):
        if not isinstance(found.get(key), str | bool | None):
            # A number or a date to YAML, but its text to ks-apiserver.
            found[key] = yaml.load(raw, Loader=_TextLoader).get(key)
    return found


def _flag(found: dict[str, Any], key: str) -> bool:
    value = found.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"its `{key}` is neither true nor false")
    return bool(value)


def _secret(found: dict[str, Any], default_allowed: bool) -> str:
    secret = found.get("secret")
    if secret is not None and not isinstance(secret, str):
        raise ValueError("its `secret` is no text; put it in quotes")
    if not secret:
        raise ValueError("it has no `secret`; give it one (openssl rand -hex 32), or make it `public: true`")
    if secret == WELL_KNOWN_SECRET and not default_allowed:
        raise ValueError(
            "its `secret` is the one that everybody knows; change it, or set ksproxyd.compat.defaultClientSecret"
        )
    if secret.startswith("sha256:") and not _SHA256.fullmatch(secret):
        raise ValueError("its `secret` begins with sha256: and goes on with something else than 64 hexadecimal digits")
    try:
        secret.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("its `secret` has a character that is none") from None
    return secret


def _grant_method(found: dict[str, Any]) -> Literal["auto", "prompt", "deny"]:
    value: Any = found.get("grantMethod") or "auto"
    if value not in ("auto", "prompt", "deny"):
        raise ValueError("its `grantMethod` is none of auto, prompt and deny")
    method: Literal["auto", "prompt", "deny"] = value
    return method


def _list(found: dict[str, Any], key: str) -> list[str]:
    value = found.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"its `{key}` is no list of texts")
    if len(value) > MOST_ENTRIES:
        raise ValueError(f"its `{key}` has more than {MOST_ENTRIES} entries")
    return list(dict.fromkeys(value))


def _scopes(found: dict[str, Any]) -> tuple[str, ...]:
    scopes = _list(found, "scopeRestrictions")
    if any(scope and _SCOPE.fullmatch(scope) is None for scope in scopes):
        raise ValueError("its `scopeRestrictions` have an entry that cannot be a scope")
    return tuple(scope for scope in scopes if scope)


def _addresses(found: dict[str, Any], key: str, warnings: list[str]) -> tuple[str, ...]:
    """The entries that may be used; ks-apiserver passes over others, too (spec 02, 3.9.3)."""
    usable = []
    for number, address in enumerate(_list(found, key), 1):
        problem = problem_of(address)
        if problem is None:
            usable.append(address)
        else:
            warnings.append(f"entry {number} of its `{key}` {problem}; it is passed over")
    return tuple(usable)


def _lifetimes(found: dict[str, Any]) -> Lifetimes | None:
    """Both, or neither (spec 02, 2.2)."""
    numbers = []
    for key in ("accessTokenMaxAgeSeconds", "accessTokenInactivityTimeoutSeconds"):
        value = found.get(key) or 0
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LONGEST_LIFETIME:
            raise ValueError(f"its `{key}` is no number of seconds from 0 to {_LONGEST_LIFETIME}")
        numbers.append(float(value))
    age, inactivity = numbers
    return Lifetimes(age, inactivity) if age and inactivity else None

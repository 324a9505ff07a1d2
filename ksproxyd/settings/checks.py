"""What must hold between values, and between values and the files they name."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ksproxyd.settings.binding import Binding
from ksproxyd.settings.daemon import Listener, ListenerTLS
from ksproxyd.settings.model import Settings
from ksproxyd.settings.nodes import quote
from ksproxyd.settings.problems import Problem
from ksproxyd.settings.section import Path

#: RFC 7518 section 3.2: a key for HS256 has at least the size of the hash.
JWT_SECRET_BYTES = 32

_DIRECTIVES = ("", "Ignore", "Warn", "Strict")
_ROLES = ("", "host", "member")


@dataclass(frozen=True, slots=True)
class _Finding:
    """A problem still to be placed: the paths it is about, the first of which is where it is reported."""

    paths: tuple[Path, ...]
    wanted: str
    found: str | None = None
    warning: bool = False


def check(settings: Settings, binding: Binding, failed: set[Path]) -> tuple[list[Problem], list[Problem]]:
    """Problems and warnings of settings whose values are each for itself in order.

    ``failed`` are the paths of values that were not and have been replaced by their defaults: nothing is said that
    depends on them. Reads the TLS files that listeners name; does not look at the network.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for rule in _RULES:
        for finding in rule(settings):
            if any(_overlap(path, bad) for path in finding.paths for bad in failed):
                continue
            problem = binding.problem(finding.paths[0], finding.wanted, finding.found)
            (warnings if finding.warning else problems).append(problem)
    return problems, warnings


def _overlap(path: Path, other: Path) -> bool:
    """Whether one of the paths lies within the other."""
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]


def _kubeconfig(settings: Settings) -> Iterator[_Finding]:
    path = settings.kubernetes.kubeconfig
    if path and not settings.ksproxyd.standalone.enabled and not os.path.isfile(path):
        yield _Finding((("kubernetes", "kubeconfig"),), "the path of a file that exists", quote(path))


def _cache(settings: Settings) -> Iterator[_Finding]:
    if settings.cache.type != "redis":
        return
    at: Path = ("cache", "options")
    if not settings.cache.options.host:
        yield _Finding(((*at, "host"), ("cache", "type")), "the host of the Redis server")
    if not settings.cache.options.port:
        yield _Finding(((*at, "port"), ("cache", "type")), "the port of the Redis server, usually 6379")


def _login(settings: Settings) -> Iterator[_Finding]:
    given = settings.authentication
    tries, entries = given.authenticate_rate_limiter_max_tries, given.login_history_maximum_entries
    if tries > entries:
        yield _Finding(
            (("authentication", "authenticateRateLimiterMaxTries"), ("authentication", "loginHistoryMaximumEntries")),
            f"at most loginHistoryMaximumEntries, which is {entries}",
            str(tries),
        )


def _issuer(settings: Settings) -> Iterator[_Finding]:
    issuer = settings.authentication.issuer
    at: Path = ("authentication", "issuer")
    path: Path = (*at, "jwtSecretFile" if issuer.jwt_secret_file else "jwtSecret")
    size = len(issuer.jwt_secret.get_secret_value().encode())
    if not size and settings.ksproxyd.standalone.enabled:
        # One is made up.
        pass
    elif not size:
        wanted = f"at least {JWT_SECRET_BYTES} bytes: until it is set no token can be verified"
        yield _Finding((path,), wanted, "no secret", warning=True)
    elif size < JWT_SECRET_BYTES:
        allowed = settings.ksproxyd.compat.short_jwt_secret
        wanted = f"at least {JWT_SECRET_BYTES} bytes (or ksproxyd.compat.shortJwtSecret: true)"
        yield _Finding((path,), wanted, f"a secret of {size} bytes", warning=allowed)
    if issuer.sign_key and not os.path.isfile(issuer.sign_key):
        yield _Finding(((*at, "signKey"),), "the path of a file that exists", quote(issuer.sign_key))
    elif issuer.sign_key and issuer.sign_key_data.get_secret_value():
        wanted = "only one of signKey and signKeyData: signKey is used"
        yield _Finding(((*at, "signKeyData"),), wanted, warning=True)


def _files(settings: Settings) -> Iterator[_Finding]:
    """Files of keys, authorities and passwords."""
    ours = settings.ksproxyd
    named: list[tuple[Path, str]] = [
        (("ksproxyd", "redis", "caFile"), ours.redis.ca_file),
        (("ksproxyd", "standalone", "adminPasswordFile"), ours.standalone.admin_password_file),
        *((("ksproxyd", "oauth", "retiredKeys", index), path) for index, path in enumerate(ours.oauth.retired_keys)),
    ]
    for at, path in named:
        if path and not os.path.isfile(path):
            yield _Finding((at,), "the path of a file that exists", quote(path))


def _loosely_checked(settings: Settings) -> Iterator[_Finding]:
    """Values that ks-apiserver takes whatever they are."""
    if settings.multicluster.cluster_role not in _ROLES:
        wanted = "host, member or nothing: it counts as nothing"
        yield _Finding((("multicluster", "clusterRole"),), wanted, warning=True)
    if settings.experimental.validation_directive not in _DIRECTIVES:
        wanted = "Ignore, Warn, Strict or nothing: it is sent to Kubernetes as it is"
        yield _Finding((("experimental", "validationDirective"),), wanted, warning=True)


def _cors(settings: Settings) -> Iterator[_Finding]:
    cors = settings.ksproxyd.cors
    at: Path = ("ksproxyd", "cors")
    if cors.allow_credentials and "*" in cors.allowed_origins:
        wanted = "false while allowedOrigins has *: any site could act as its visitors"
        yield _Finding(((*at, "allowCredentials"), (*at, "allowedOrigins")), wanted)


def _limits(settings: Settings) -> Iterator[_Finding]:
    limits = settings.ksproxyd.limits
    at: Path = ("ksproxyd", "limits")
    if limits.target_bytes > limits.head_bytes:
        wanted = f"at most headBytes, which is {limits.head_bytes}"
        yield _Finding(((*at, "targetBytes"), (*at, "headBytes")), wanted, str(limits.target_bytes))


def _listeners(settings: Settings) -> Iterator[_Finding]:
    at: Path = ("ksproxyd", "listeners")
    if not settings.ksproxyd.listeners:
        yield _Finding((at,), "at least one listener", "an empty list")
    seen: dict[str, int] = {}
    for index, listener in enumerate(settings.ksproxyd.listeners):
        here: Path = (*at, index)
        if listener.endpoint and listener.replaced_by_shorthand & listener.model_fields_set:
            yield _Finding((here,), "either endpoint, or address and port", "both")
        endpoint = listener.server_endpoint()
        if _is_fixed(listener) and endpoint in seen:
            found = f"{quote(endpoint)}, as listener {seen[endpoint]} has"
            yield _Finding((here, (*at, seen[endpoint])), "each address and port once", found)
        seen.setdefault(endpoint, index)
        if listener.tls is not None:
            yield from _tls(listener.tls, (*here, "tls"))


def _is_fixed(listener: Listener) -> bool:
    """Whether the listener takes one place; port 0 is another port each time."""
    return not listener.server_endpoint().startswith(("tcp:0:", "tcp6:0:"))


def _tls(tls: ListenerTLS, at: Path) -> Iterator[_Finding]:
    missing = False
    for key, path in (("certFile", tls.cert_file), ("keyFile", tls.key_file), ("clientCAFile", tls.client_ca_file)):
        if (path or key != "clientCAFile") and not os.path.isfile(path):
            missing = True
            yield _Finding(((*at, key),), "the path of a file that exists", quote(path))
    if missing:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, _no_passphrase)
    except _EncryptedKey:
        found = f"{quote(tls.key_file)}, an encrypted key"
        yield _Finding(((*at, "keyFile"),), "a key that is not encrypted", found)
    except (ssl.SSLError, OSError) as error:
        mismatch = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
        found = "the key of another certificate" if mismatch else f"PEM that cannot be used ({_reason(error)})"
        yield _Finding(((*at, "keyFile"),), "the private key of certFile", f"{quote(tls.key_file)}, {found}")
    if tls.client_ca_file:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (ssl.SSLError, OSError) as error:
            found = f"{quote(tls.client_ca_file)}, PEM that cannot be used ({_reason(error)})"
            yield _Finding(((*at, "clientCAFile"),), "certificates of authorities", found)


class _EncryptedKey(Exception):
    """OpenSSL asked for a passphrase."""


def _no_passphrase() -> str:
    raise _EncryptedKey


def _reason(error: OSError) -> str:
    """OpenSSL's reason or the system's."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or error.strerror or type(error).__name__).replace("_", " ").lower()


_RULES: tuple[Callable[[Settings], Iterator[_Finding]], ...] = (
    _kubeconfig,
    _cache,
    _login,
    _issuer,
    _files,
    _loosely_checked,
    _cors,
    _limits,
    _listeners,
)

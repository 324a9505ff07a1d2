"""The fields a request takes along to its backend. The one place where a client's claims about itself end.

Dropped from every request, upgrades included: hop-by-hop fields (RFC 9110, 7.6.1), the fields by which a proxy names
an identity (``X-Remote-*``, ``Impersonate-*``, ``X-Forwarded-User``) and those KubeSphere's hops use among themselves.
What ``X-Forwarded-*`` says of addresses is what this gateway knows: from a trusted proxy it is continued, from
anybody else it begins here.
"""

from __future__ import annotations

from ksproxyd.model.identity import ANONYMOUS, Identity

Item = tuple[bytes, bytes, bytes]

#: What becomes of a client's field.
KEEP, HOP, IDENTITY, FORWARDED = 0, 1, 2, 3

_HOP_BY_HOP = frozenset(
    [
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # The gateway decides when a body is sent, and to which name a request goes.
        b"expect",
        b"host",
        b"http2-settings",
    ]
)
_FORWARDED = frozenset(
    [
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-port",
        b"x-forwarded-uri",
        b"x-forwarded-server",
        b"x-forwarded-prefix",
        b"x-forwarded-ssl",
        b"x-real-ip",
        b"x-client-ip",
    ]
)
_IDENTITY_PREFIXES = (
    b"x-remote-",
    b"impersonate-",
    b"x-kubesphere-authorization",
    b"x-kubesphere-rawquery",
    # Behind the addresses above: -User, -Groups, -Email, -Access-Token, -Client-Cert and the like. Few proxies take
    # them off their own clients' requests, so not even a trusted one's are passed on.
    b"x-forwarded-",
)

#: What :func:`fate` has found, for those who look many up in a row.
fates: dict[bytes, int] = {}
_FATES = 2048


def fate(key: bytes) -> int:
    """What becomes of a client's field ``key`` (lower case)."""
    known = fates.get(key)
    if known is None:
        # Underscores are hyphens to many a backend (CGI, WSGI), so they are here.
        plain = key.replace(b"_", b"-")
        if plain in _HOP_BY_HOP:
            known = HOP
        elif plain in _FORWARDED:
            known = FORWARDED
        elif plain.startswith(_IDENTITY_PREFIXES):
            known = IDENTITY
        else:
            known = KEEP
        if len(key) <= 64:
            if len(fates) >= _FATES:
                fates.clear()
            fates[key] = known
    return known


_identities: dict[Identity, bytes] = {}
_IDENTITIES = 4096

#: RFC 9110, 5.6.2 token characters; others, and "%", are percent-encoded in the name of an extra field.
_TOKEN = frozenset(b"!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def identity_lines(user: Identity) -> bytes:
    """``X-Remote-*`` lines for ``user`` (spec 01, 6.8), ready to be put into a head."""
    # Nearly all requests of a gateway without logins are nobody's, and comparing objects is cheaper than hashing them.
    if user is ANONYMOUS:
        return _ANONYMOUS_LINES
    lines = _identities.get(user)
    if lines is None:
        lines = _made_lines(user)
        if len(_identities) >= _IDENTITIES:
            _identities.clear()
        _identities[user] = lines
    return lines


def _made_lines(user: Identity) -> bytes:
    parts = [_line(b"X-Remote-User", user.name)]
    if user.uid:
        parts.append(_line(b"X-Remote-Uid", user.uid))
    parts += [_line(b"X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra:
        escaped = "".join(chr(b) if b in _TOKEN else f"%{b:02x}" for b in key.lower().encode())
        name = b"X-Remote-Extra-" + escaped.encode("ascii")
        parts += [_line(name, value) for value in values]
    return b"".join(parts)


def impersonation_lines(user: Identity, groups: tuple[str, ...]) -> bytes:
    """``Impersonate-*`` lines by which the Kubernetes API takes a request for ``user``'s, who is in ``groups``, too."""
    parts = [_line(b"Impersonate-User", user.name)]
    parts += [_line(b"Impersonate-Group", group) for group in (*user.groups, *groups)]
    return b"".join(parts)


def _line(name: bytes, value: str) -> bytes:
    # A name with a line break would be a field of its bearer's choice. Kubernetes names have none; what has must not
    # become another's name either, so nothing is just left out.
    clean = "".join(c if c >= " " and c != "\x7f" else "\ufffd" for c in value)
    return name + b": " + clean.encode("utf-8", "replace") + b"\r\n"


_ANONYMOUS_LINES = _made_lines(ANONYMOUS)


_peers: dict[str, bytes] = {}
_PEERS = 4096


def forwarded_for(peer: str, named: bytes = b"") -> bytes:
    """The ``X-Forwarded-For`` line of a request from ``peer``, behind the addresses that it may have ``named``.

    A peer on a UNIX socket has no address.
    """
    if named:
        return b"X-Forwarded-For: %b%b%b\r\n" % (named, b", " if peer else b"", peer.encode("ascii"))
    line = _peers.get(peer)
    if line is None:
        line = b"X-Forwarded-For: %b\r\n" % peer.encode("ascii") if peer else b""
        if len(_peers) >= _PEERS:
            _peers.clear()
        _peers[peer] = line
    return line


def named_hops(connection: bytes | None) -> frozenset[bytes] | None:
    """The fields that the ``Connection`` field names, beyond the usual ones (RFC 9110, 7.6.1)."""
    if connection is None:
        return None
    value = connection.lower()
    if value in (b"keep-alive", b"close"):
        return None
    named = frozenset(token.strip() for token in value.split(b","))
    # What frames the message or says where it goes is not a hop's business (RFC 9110, 7.6.1, last paragraph).
    return named - {b"close", b"keep-alive", b"upgrade", b"content-length", b"host", b"content-type", b"authorization"}

"""Cross-origin requests (the Fetch standard, 3.2): which web origins may use the gateway from a browser.

An allow-list, off while it is empty. Preflights are answered here, before authentication, because browsers send them
without credentials; other requests go on and get their permission with the answer. ``null`` is nobody's origin and is
never allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from ksproxyd.model.message import Fields, Pairs, Response
from ksproxyd.model.status import forbidden

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_ORIGIN = re.compile(rf"(https?)://({_NAME}|\[[0-9a-f:.]+\])(?::([1-9][0-9]{{0,4}}))?")
# At least two labels behind the star: everything below a top-level domain is everybody.
_PATTERN = re.compile(rf"(https?)://\*\.({_LABEL}(?:\.{_LABEL})+)(?::([1-9][0-9]{{0,4}}))?")
_OWN_PORTS = {"http": "80", "https": "443"}
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VARY = (b"Vary", b"Origin")

#: Most names that a preflight may ask for, the longest origin, and origins whose answers are remembered.
_MOST_NAMES = 64
_LONGEST = 300
_KNOWN = 1024


class CorsRules(Protocol):
    """What is allowed; :class:`ksproxyd.settings.daemon.CorsSettings` in the gateway. ``max_age`` is in seconds."""

    @property
    def allowed_origins(self) -> Sequence[str]: ...

    @property
    def allowed_methods(self) -> Sequence[str]: ...

    @property
    def allowed_headers(self) -> Sequence[str]: ...

    @property
    def exposed_headers(self) -> Sequence[str]: ...

    @property
    def allow_credentials(self) -> bool: ...

    @property
    def max_age(self) -> float: ...


class Crossing(Protocol):
    """The part of an exchange that is read and set here."""

    method: str
    fields: Fields
    extra_headers: Pairs | None


class Cors:
    """The policy, and the step of the chain that applies it.

    An allowed origin is written out (``https://console.example.org``), or a pattern such as ``https://*.example.org``
    for every name below ``example.org`` (and not ``example.org`` itself), or ``*`` for any, which does not go together
    with credentials. Methods and headers may be ``*``: whatever is asked for.

    :raises ValueError: for rules that cannot be meant so, with a message that says why.
    """

    def __init__(self, rules: CorsRules) -> None:
        self._any = "*" in rules.allowed_origins
        if self._any and rules.allow_credentials:
            raise ValueError("origin * with credentials lets every web site act as its visitors: name the origins")
        self._exact: set[str] = set()
        self._below: set[tuple[str, str, str]] = set()
        for origin in rules.allowed_origins:
            if origin != "*":
                self._allow(origin)
        self._methods = frozenset(method.encode("ascii") for method in rules.allowed_methods)
        self._names = frozenset(name.lower().encode("ascii") for name in rules.allowed_headers)
        self._credentials = rules.allow_credentials
        self._max_age = b"%d" % int(rules.max_age)
        self._exposed = ", ".join(rules.exposed_headers).encode("ascii")
        self._allowed_methods = ", ".join(rules.allowed_methods).encode("ascii")
        self._allowed_names = ", ".join(rules.allowed_headers).encode("ascii")
        self._known: dict[bytes, Pairs] = {}

    def _allow(self, origin: str) -> None:
        pattern = _PATTERN.fullmatch(origin)
        match = pattern or _ORIGIN.fullmatch(origin)
        if match is None:
            wanted = "https://host[:port] or https://*.domain.tld[:port] in lower case"
            raise ValueError(f"{origin!r} is no origin: write {wanted}")
        scheme, host, port = match.groups()
        port = "" if port in (None, _OWN_PORTS[scheme]) else port
        if pattern is not None:
            self._below.add((scheme, "." + host, port))
        else:
            self._exact.add(f"{scheme}://{host}" + (f":{port}" if port else ""))

    def allows(self, origin: bytes) -> bool:
        """Whether the value of an ``Origin`` field is on the list, compared as browsers write it."""
        if len(origin) > _LONGEST:
            return False
        text = origin.decode("latin-1")
        match = _ORIGIN.fullmatch(text)
        if match is None:
            return False
        if self._any or text in self._exact:
            return True
        scheme, host, port = match[1], match[2], match[3] or ""
        return any(
            scheme == wanted and port == wanted_port and host.endswith(domain)
            for wanted, domain, wanted_port in self._below
        )

    def headers(self, origin: bytes | None) -> Pairs:
        """The fields to add to the answer to a request from ``origin`` (None: it has no ``Origin`` field).

        Always at least ``Vary``: what a cache keeps for one origin is not for another. The list is shared and must
        not be changed.
        """
        if origin is None:
            return [_VARY]
        known = self._known.get(origin)
        if known is None:
            known = self._grant(origin)
            if self._exposed and len(known) > 1:
                known.append((b"Access-Control-Expose-Headers", self._exposed))
            if len(origin) <= _LONGEST:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[origin] = known
        return known

    def __call__(self, exchange: Crossing) -> Response | None:
        """The step: answer a preflight, or let the request go on with what its answer needs.

        :raises StatusError: 403 for a preflight that asks for more than is allowed.
        """
        get = exchange.fields.get
        origin = get(b"origin")
        if exchange.method == "OPTIONS" and origin is not None:
            method = get(b"access-control-request-method")
            if method is not None:
                return self._preflight(origin, method, get(b"access-control-request-headers") or b"")
        exchange.extra_headers = self.headers(origin)
        return None

    def _grant(self, origin: bytes) -> Pairs:
        if not self.allows(origin):
            return [_VARY]
        pairs = [_VARY, (b"Access-Control-Allow-Origin", b"*" if self._any else origin)]
        if self._credentials:
            pairs.append((b"Access-Control-Allow-Credentials", b"true"))
        return pairs

    def _preflight(self, origin: bytes, method: bytes, names: bytes) -> Response:
        if not self.allows(origin):
            raise forbidden(f"the origin {_shown(origin)} may not use this gateway from a browser")
        asked = [name.strip() for name in names.split(b",", _MOST_NAMES) if name.strip()]
        headers = self._grant(origin)
        headers[0] = (b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
        methods = self._granted([method], self._methods, self._allowed_methods, bytes, "method")
        headers.append((b"Access-Control-Allow-Methods", methods))
        granted = self._granted(asked, self._names, self._allowed_names, bytes.lower, "request header")
        if granted:
            headers.append((b"Access-Control-Allow-Headers", granted))
        headers.append((b"Access-Control-Max-Age", self._max_age))
        return Response(204, headers)

    @staticmethod
    def _granted(
        asked: list[bytes],
        allowed: frozenset[bytes],
        listed: bytes,
        fold: Callable[[bytes], bytes],
        what: str,
    ) -> bytes:
        """The value of the field that grants what was asked for; a 403 if it is not allowed."""
        anything = b"*" in allowed
        for name in asked:
            if _TOKEN.fullmatch(name) is None or not (anything or fold(name) in allowed):
                raise forbidden(f"the {what} {_shown(name)} is not allowed to other origins")
        # Spelled out: to requests with credentials "*" is only a name.
        return b", ".join(asked) if anything else listed


def _shown(value: bytes) -> str:
    return ascii(value[:200].decode("latin-1"))

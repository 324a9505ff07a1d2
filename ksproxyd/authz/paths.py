"""Paths that everybody may ask for in every mode (spec 03, 1.4, D32): health, documents, and what leads to a login."""

from __future__ import annotations

from collections.abc import Iterable

from ksproxyd.authz.decision import Authorizer, Decision
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo

#: A star stands at an end only, and for whatever follows.
PUBLIC = (
    "/oauth/*",
    "/terminal",
    "/terminal/*",
    "/dist/*",
    "/.well-known/openid-configuration",
    "/version",
    "/metrics",
    "/livez",
    "/healthz",
    "/readyz",
    "/openapi/v2",
    "/openapi/v3",
)

#: A resource that everybody may create: a ticket stands for its user's own login and gives no more than that has.
_TICKETS = "/kapis/terminal.kubesphere.io/v1alpha2/tickets"

_ALLOWED = Decision(True)


def with_public_paths(authorizer: Authorizer, patterns: Iterable[str] = PUBLIC) -> Authorizer:
    """``authorizer``, asked for everything but the public paths. Raises :class:`ValueError` for a misplaced star."""
    exact, beginnings = set(), []
    for pattern in patterns:
        if pattern.endswith("*"):
            beginnings.append(pattern[:-1])
        else:
            exact.add(pattern)
        if "*" in pattern[:-1]:
            raise ValueError(f"a star may only be the last character of a path: {pattern}")
    begins = tuple(beginnings)
    known = frozenset(exact)

    def authorize(user: Identity, info: RequestInfo) -> Decision:
        if info.is_resource:
            if info.resource == "tickets" and info.path == _TICKETS and info.verb == "create":
                return _ALLOWED
        elif info.path in known or info.path.startswith(begins):
            return _ALLOWED
        return authorizer(user, info)

    return authorize

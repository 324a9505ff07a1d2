"""``/ksproxyd/explain``: why somebody may do something or not, for ``ksproxyd explain`` and for administrators.

Parameters: ``user``, ``verb`` (of Kubernetes or HTTP) and ``path`` (with a query if it has one); ``group``, any number
of times, are taken in place of the user's own groups.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ksproxyd.authz.explain import explain
from ksproxyd.authz.rights import Rights
from ksproxyd.chain import Outcome
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameters
from ksproxyd.model.request_info import RequestInfo, classify
from ksproxyd.model.status import bad_request, forbidden, method_not_allowed
from ksproxyd.server.exchange import Exchange

_METHODS = ("GET", "HEAD")

#: Methods that verbs of Kubernetes come from. Other verbs are asked for as they are, as if they were a method.
_OF_VERBS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}


class Explain:
    """The node. ``identity`` is who a user is by name, with groups, and None for nobody."""

    def __init__(self, rights: Rights, identity: Callable[[str], Identity | None]) -> None:
        self._rights = rights
        self._identity = identity

    def handle(self, exchange: Exchange) -> Outcome:
        if exchange.method not in _METHODS:
            raise method_not_allowed(list(_METHODS))
        # Whoever reads what others are bound to may know what it comes to.
        if not self._rights.may(exchange.user, "list", "globalrolebindings"):
            raise forbidden("explaining takes the right to list globalrolebindings of iam.kubesphere.io")
        asked = parameters(exchange.query)
        name, verb, path = (asked.get(word, [""])[0] for word in ("user", "verb", "path"))
        if not name or not verb or not path.startswith("/"):
            raise bad_request("user, verb and path are needed; the path begins with a slash")
        user = self._identity(name)
        groups = asked.get("group")
        if groups is not None:
            user = Identity(name, tuple(groups))
        elif user is None:
            user = Identity(name)
        found = explain(self._rights.rbac, user, request(verb, path))
        return Response.json(200, found)

    def describe(self) -> str:
        return "explanations of authorization"


def request(verb: str, path: str) -> RequestInfo:
    """What a request with this verb and path (and query) is about. Raises the 400 for one that is about nothing."""
    plain, _, query = path.partition("?")
    if verb == "watch":
        query = f"{query}&watch=true" if query else "watch=true"
    method = _OF_VERBS.get(verb, verb)
    info = classify(method, plain.encode(), query.encode())
    if info.is_resource and method == verb and not info.verb:
        # One of the verbs that no method stands for, such as bind.
        info = msgspec.structs.replace(info, verb=verb)
    return info

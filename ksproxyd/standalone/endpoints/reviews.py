"""Questions to the API about the asker: who am I, and what may I do? Here: everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ksproxyd.model.identity import Identity
from ksproxyd.standalone.kinds.registry import Object
from ksproxyd.standalone.schema.nodes import Node
from ksproxyd.standalone.schema.typetable import type_node
from ksproxyd.standalone.wire.errors import invalid, invalid_value

AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"


class Review(msgspec.Struct, frozen=True):
    """A kind that is only ever created: the answer is its status and nothing is stored."""

    group: str
    kind: str
    plural: str
    answer: Callable[[Object, Identity], Object]
    version: str = "v1"

    @property
    def protobuf(self) -> Node:
        """The type by which protobuf is read."""
        return type_node(self.group.partition(".")[0], self.kind)


def _who(value: Object, user: Identity) -> Object:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra}
    return {"userInfo": info}


def _may(value: Object, user: Identity) -> Object:
    spec = value.get("spec")
    given = spec if isinstance(spec, dict) else {}
    if bool(given.get("resourceAttributes")) is bool(given.get("nonResourceAttributes")):
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        error = invalid_value("spec.resourceAttributes", given.get("resourceAttributes"), detail)
        raise invalid("", AUTHORIZATION, "", [error])
    return {"allowed": True, "reason": "the embedded API allows everything to whoever has its token"}


def _rules(value: Object, user: Identity) -> Object:
    everything = ["*"]
    return {
        "resourceRules": [{"verbs": everything, "apiGroups": everything, "resources": everything}],
        "nonResourceRules": [{"verbs": everything, "nonResourceURLs": everything}],
        "incomplete": False,
    }


REVIEWS = {
    (review.group, review.version, review.plural): review
    for review in (
        Review(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", _who),
        Review(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", _may),
        Review(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", _rules),
        Review(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", _may),
    )
}

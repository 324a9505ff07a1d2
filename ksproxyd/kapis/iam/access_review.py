"""``/kapis/iam.kubesphere.io/v1beta1/subjectaccessreviews``: whether somebody may do something (spec 03, 4.6)."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime

from ksproxyd.authz.decision import Decision
from ksproxyd.kapis.bodies import read_document
from ksproxyd.kapis.router import Route
from ksproxyd.kube.pacing import Pacer
from ksproxyd.model.identity import Identity
from ksproxyd.model.message import Response
from ksproxyd.model.request_info import NAMESPACE, WORKSPACE, RequestInfo
from ksproxyd.model.status import bad_request
from ksproxyd.server.exchange import Exchange

#: Nobody is in more groups: each of them is looked for among the bindings.
MOST_GROUPS = 1000


class ResourceAttributes(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What would be done with which resource."""

    resource_scope: str = ""
    workspace: str = ""
    namespace: str = ""
    verb: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""


class NonResourceAttributes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What would be done with which path."""

    path: str = ""
    verb: str = ""


class Spec(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Who, and what. ``extra`` is given back, and nothing else is done with it."""

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None
    user: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] = {}
    uid: str = ""


class Answer(msgspec.Struct, frozen=True):
    """Empty reasons are left out."""

    allowed: bool
    reason: str | msgspec.UnsetType = msgspec.UNSET


class Review(msgspec.Struct, frozen=True, rename="camel"):
    """A question with its answer."""

    kind: str | msgspec.UnsetType = msgspec.UNSET
    api_version: str | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    spec: Spec = Spec()
    status: Answer | msgspec.UnsetType = msgspec.UNSET


class Rights(Protocol):
    """The part of :class:`ksproxyd.authz.rights.Rights` that is needed here."""

    def decide(self, user: Identity, info: RequestInfo) -> Decision: ...


class AccessReviews:
    """The endpoint; :meth:`routes` are relative to the group's version. RBAC alone is asked, whatever the mode is."""

    def __init__(self, clock: IReactorTime, rights: Rights) -> None:
        self._clock = clock
        self._rights = rights

    def routes(self) -> list[Route]:
        """The routes."""
        return [Route("POST", "/subjectaccessreviews", self.create, "Ask what somebody may do")]

    async def create(self, exchange: Exchange) -> Response:
        """One question, or a list of them in ``items``, answered in their order."""
        body = await read_document(exchange)
        if not isinstance(body, dict):
            raise bad_request("the body is not a JSON object: send a SubjectAccessReview, or a list with items")
        items = body.get("items")
        if not isinstance(items, list):
            return Response.json(200, self._answered(_review(body, "the body")))
        # All of it is read before anything is answered.
        reviews = [_review(each, f"items[{index}]") for index, each in enumerate(items)]
        answers = []
        pacer = Pacer(self._clock)
        pacer.begin()
        for each in reviews:
            answers.append(self._answered(each))
            if pacer.spent():
                await pacer.turn()
        return Response.json(200, {**body, "items": answers})

    def _answered(self, review: Review) -> Review:
        spec = review.spec
        decision = self._rights.decide(Identity(spec.user, spec.groups, spec.uid), info_of(spec))
        answer = Answer(decision.allowed, decision.reason or msgspec.UNSET)
        return msgspec.structs.replace(review, status=answer)


def info_of(spec: Spec) -> RequestInfo:
    """The request that a review asks about. Without attributes it is one that nobody may make."""
    asked = spec.resource_attributes
    if asked is None:
        other = spec.non_resource_attributes or NonResourceAttributes()
        return RequestInfo(other.path, other.verb)
    scope = NAMESPACE if asked.namespace else WORKSPACE if asked.workspace else asked.resource_scope
    return RequestInfo(
        "",
        asked.verb,
        is_resource=True,
        api_group=asked.group,
        api_version=asked.version,
        namespace=asked.namespace,
        resource=asked.resource,
        subresource=asked.subresource,
        name=asked.name,
        workspace=asked.workspace,
        scope=scope,
    )


def _review(value: Any, where: str) -> Review:
    if not isinstance(value, dict):
        raise bad_request(f"{where} is not a JSON object: send a SubjectAccessReview")
    # An answer that was sent along is not one.
    given = {key: each for key, each in value.items() if key != "status"}
    try:
        review = msgspec.convert(_without_nulls(given, _DEPTH), Review)
    except msgspec.ValidationError as error:
        raise bad_request(f"{where} is no SubjectAccessReview: {error}") from None
    if len(review.spec.groups) > MOST_GROUPS:
        raise bad_request(f"{where} has more than {MOST_GROUPS} groups")
    return review


#: How deep a review is: its spec, the attributes in it, and their values.
_DEPTH = 3


def _without_nulls(value: Any, depth: int) -> Any:
    """``null`` is as good as nothing."""
    if isinstance(value, dict) and depth:
        return {key: _without_nulls(each, depth - 1) for key, each in value.items() if each is not None}
    return value

"""The single steps of the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.authz.decision import Decision, always_allow, always_deny
from ksproxyd.chain import TAKEN
from ksproxyd.chain.authorize import authorize_step
from ksproxyd.chain.dispatch import dispatch_step
from ksproxyd.chain.request_info import rename_dry_run, request_info_step
from ksproxyd.chain.synced import synced_step
from ksproxyd.model.identity import Identity
from ksproxyd.model.status import StatusError, bad_request

Make = Callable[..., Any]


def error_of(step: Callable[[Any], Any], request: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        step(request)
    return caught.value


# -- request info ----------------------------------------------------------------------------------------------------


def test_info(exchange: Make) -> None:
    request = exchange("GET", b"/clusters/m/api/v1/nodes?watch=1")
    assert request_info_step(False)(request) is None
    assert (request.info.cluster, request.info.path, request.info.verb) == ("m", "/api/v1/nodes", "watch")


def test_hygiene(exchange: Make) -> None:
    assert error_of(request_info_step(False), exchange("GET", b"/a/../b")).code == 400


@pytest.fixture
def hop(exchange: Make) -> Any:
    return exchange("GET", b"/x", X_KubeSphere_Authorization="Bearer T", X_KubeSphere_Rawquery="a=1&dryrun=All")


def test_hop_fields_of_strangers_mean_nothing(hop: Any) -> None:
    request_info_step(False)(hop)
    assert hop.fields.get(b"authorization") is None
    assert (hop.query, hop.target) == (b"", b"/x")


@pytest.mark.parametrize(("member", "trusted"), [(True, False), (False, True), (True, True)])
def test_hop_fields(hop: Any, member: bool, trusted: bool) -> None:
    hop.trusted = trusted
    request_info_step(member)(hop)
    assert hop.fields.get(b"authorization") == b"Bearer T"
    assert (hop.query, hop.target, hop.has_query) == (b"a=1&dryRun=All", b"/x?a=1&dryRun=All", True)


def test_the_usual_fields_come_first(exchange: Make) -> None:
    request = exchange(
        "GET", b"/x?b=2", Authorization="Bearer A", X_KubeSphere_Authorization="Bearer T", X_KubeSphere_Rawquery="a=1"
    )
    request_info_step(True)(request)
    assert request.fields.all(b"authorization") == [b"Bearer A"]
    assert request.target == b"/x?b=2"


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_blank_credentials_are_none(exchange: Make, blank: str) -> None:
    request = exchange("GET", b"/x", Authorization=blank, X_KubeSphere_Authorization="Bearer T")
    request_info_step(True)(request)
    assert request.fields.all(b"authorization") == [b"Bearer T"]


@pytest.mark.parametrize("query", ["a b", "a HTTP/1.0", "a#b", "a\tb", 'a"b', "a<b", "a\\b", "\xe9"])
def test_a_query_that_would_break_the_request_line_is_refused(exchange: Make, query: str) -> None:
    request = exchange("GET", b"/x", X_KubeSphere_Rawquery=query)
    assert error_of(request_info_step(True), request).code == 400


def test_the_query_of_the_hop_is_classified(exchange: Make) -> None:
    request = exchange("GET", b"/api/v1/pods", X_KubeSphere_Rawquery="watch=1")
    request_info_step(True)(request)
    assert request.info.verb == "watch"


@pytest.mark.parametrize("member", [True, False])
@pytest.mark.parametrize("path", ["/api/v1/namespaces", "/clusters/host/apis/apps/v1/deployments"])
def test_a_dry_run_in_lower_case_is_one(exchange: Make, path: str, member: bool) -> None:
    """What was meant to be tried only must not be done."""
    request = exchange("POST", path.encode() + b"?a=dryrun&dryrun=All")
    request_info_step(member)(request)
    assert request.target == path.encode() + b"?a=dryrun&dryRun=All"


def test_what_others_call_dryrun_is_theirs(exchange: Make) -> None:
    request = exchange("POST", b"/kapis/example.io/v1/things?dryrun=All")
    request_info_step(False)(request)
    assert request.target == b"/kapis/example.io/v1/things?dryrun=All"


@pytest.mark.parametrize(
    ("query", "renamed"),
    [
        (b"dryrun=All", b"dryRun=All"),
        (b"a=dryrun&dryrun=All&dryrun", b"a=dryrun&dryRun=All&dryRun"),
        (b"xdryrun=1&dryrunx=2&dry=run", b"xdryrun=1&dryrunx=2&dry=run"),
        (b"", b""),
        (b"&&dryrun=&", b"&&dryRun=&"),
    ],
)
def test_rename_dry_run(query: bytes, renamed: bytes) -> None:
    assert rename_dry_run(query, b"dryrun", b"dryRun") == renamed


@given(st.lists(st.sampled_from([b"dryRun", b"dryrun", b"a", b"=", b"&", b"x=dryRun", b"%20"])).map(b"".join))
def test_renaming_there_and_back(query: bytes) -> None:
    there = rename_dry_run(query, b"dryRun", b"dryrun")
    if b"dryrun" not in query:
        assert rename_dry_run(there, b"dryrun", b"dryRun") == query


# -- authorize ---------------------------------------------------------------------------------------------------------


def test_allowed(exchange: Make) -> None:
    assert authorize_step(always_allow)(exchange("DELETE", b"/api/v1/nodes").classified()) is None


def test_a_shell_is_no_reading(exchange: Make) -> None:
    """Neither is a tunnel through a proxy subresource; without one it is."""

    def reader(user: Identity, info: Any) -> Decision:
        return Decision(info.verb == "get")

    pod = b"/api/v1/namespaces/n1/pods/p"
    request = exchange("GET", pod + b"/exec?command=sh").classified()
    assert 'cannot create resource "pods/exec"' in error_of(authorize_step(reader), request).message
    request = exchange("GET", pod + b"/proxy/").classified()
    assert authorize_step(reader)(request) is None
    request.upgrade = b"websocket"
    assert 'cannot create resource "pods/proxy"' in error_of(authorize_step(reader), request).message


@pytest.mark.parametrize(
    ("method", "target", "message", "details"),
    [
        (
            "GET",
            b"/healthz/ping",
            'forbidden: User "system:anonymous" cannot GET path "/healthz/ping": Everything is forbidden.',
            {},
        ),
        (
            "GET",
            b"/api/v1/nodes",
            'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" '
            "at the cluster scope: Everything is forbidden.",
            {"kind": "nodes"},
        ),
        (
            "DELETE",
            b"/apis/apps/v1/namespaces/n/deployments/d",
            'deployments.apps "d" is forbidden: User "system:anonymous" cannot delete resource "deployments" in API '
            'group "apps" in the namespace "n": Everything is forbidden.',
            {"name": "d", "group": "apps", "kind": "deployments"},
        ),
    ],
)
def test_denied(exchange: Make, method: str, target: bytes, message: str, details: dict[str, str]) -> None:
    error = error_of(authorize_step(always_deny), exchange(method, target).classified())
    assert (error.code, error.reason, error.message, error.details) == (403, "Forbidden", message, details)


def test_the_authorizer_sees_who_and_what(exchange: Make) -> None:
    seen = []
    request = exchange("GET", b"/x").classified()
    request.user = Identity("alice")
    authorize_step(lambda user, info: seen.append((user, info)) or Decision(True))(request)
    assert seen == [(request.user, request.info)]


def test_no_opinion_is_no(exchange: Make) -> None:
    error = error_of(authorize_step(lambda user, info: Decision(False)), exchange("GET", b"/x").classified())
    assert error.message == 'forbidden: User "system:anonymous" cannot GET path "/x"'


# -- dispatch ----------------------------------------------------------------------------------------------------------


class Hops:
    """Nobody is a user here."""

    def authorization(self, user: Identity) -> bytes | None:
        return None


class Members:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.forwarded: list[tuple[Any, bytes]] = []

    def find(self, name: str) -> Members | None:
        self.asked.append(name)
        if name == "nope":
            raise bad_request("cluster nope not exists")
        return None if name == "host" else self

    def forward(self, exchange: Any, path: bytes) -> None:
        self.forwarded.append((exchange, path))


def test_requests_for_this_cluster_are_not_looked_at(exchange: Make) -> None:
    members = Members()
    assert dispatch_step(members, Hops())(exchange("GET", b"/api/v1/nodes").classified()) is None
    assert not members.asked


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/clusters/m/api/v1/nodes?a=1", b"/api/v1/nodes"),
        (b"/kapis/clusters/m/g.io/v1/x", b"/kapis/g.io/v1/x"),
        (b"/clusters/m/proxy/a%2Fb//c", b"/proxy/a%2Fb//c"),
        (b"/clusters/m/clusters/m/version", b"/clusters/m/version"),
    ],
)
def test_requests_for_members_leave(exchange: Make, target: bytes, path: bytes) -> None:
    members = Members()
    request = exchange("GET", target).classified()
    assert dispatch_step(members, Hops())(request) is TAKEN
    assert members.forwarded == [(request, path)]
    assert request.cluster == "m"


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"/clusters/host/api/v1/nodes?a=%20", b"/api/v1/nodes?a=%20"),
        (b"/apis/clusters/host/apps/v1/x", b"/apis/apps/v1/x"),
    ],
)
def test_requests_for_the_host_go_on_without_its_name(exchange: Make, target: bytes, sent: bytes) -> None:
    members = Members()
    request = exchange("GET", target).classified()
    assert dispatch_step(members, Hops())(request) is None
    assert request.target == sent
    assert not members.forwarded


def test_unknown_clusters(exchange: Make) -> None:
    error = error_of(dispatch_step(Members(), Hops()), exchange("GET", b"/clusters/nope/api/v1/nodes").classified())
    assert (error.code, error.message) == (400, "cluster nope not exists")


# -- audit -------------------------------------------------------------------------------------------------------------


# -- synced ------------------------------------------------------------------------------------------------------------

FROM_STATE = [b"/kapis/g.io/v1/x", b"/kapis", b"/kapi/v1/x", b"/dist/e/i.js", b"/proxy/a", b"/proxyfoo", b"/proxy"]
OTHERS = [b"/api/v1/nodes", b"/apis", b"/healthz", b"/", b"/version", b"/kapisx", b"/distance", b"/prox"]


def test_before_the_state_is_known(exchange: Make) -> None:
    step = synced_step(lambda: False)
    for target in FROM_STATE:
        error = error_of(step, exchange("GET", target).classified())
        assert (error.code, error.retry_after) == (503, 1)
    for target in OTHERS:
        assert step(exchange("GET", target).classified()) is None


def test_once_known_it_is_not_asked_again(exchange: Make) -> None:
    answers = [False, True]
    step = synced_step(lambda: answers.pop(0))
    request = exchange("GET", b"/kapis/g.io/v1/x").classified()
    assert error_of(step, request).code == 503
    for _ in range(3):
        assert step(request) is None
    assert not answers

"""Which requests need the right to create, whatever their method."""

from __future__ import annotations

import pytest

from ksproxyd.authz.decision import Decision
from ksproxyd.authz.streaming import also_needed, decide
from ksproxyd.model.identity import Identity
from ksproxyd.model.request_info import RequestInfo, classify

POD = "/api/v1/namespaces/n1/pods/p"
NODE = "/api/v1/nodes/node"


def needs_create(method: str, path: str, upgrading: bool) -> bool:
    more = also_needed(classify(method, path.encode(), b""), upgrading)
    assert more is None or (more.verb == "create" and more.subresource)
    return more is not None


@pytest.mark.parametrize("part", ["exec", "attach", "portforward"])
@pytest.mark.parametrize("upgrading", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("start", ["", "/clusters/host"])
def test_streams_of_pods(part: str, upgrading: bool, method: str, start: str) -> None:
    assert needs_create(method, f"{start}{POD}/{part}", upgrading)
    assert needs_create(method, f"{start}{POD}/{part}/more", upgrading)


@pytest.mark.parametrize(
    ("path", "with_upgrade", "without"),
    [
        (f"{POD}/proxy", True, False),
        (f"{POD}/proxy/a/exec", True, False),
        ("/api/v1/namespaces/n1/services/s/proxy/", True, False),
        (f"{NODE}/proxy/pods", True, False),
        (f"{NODE}/proxy/exec/n1/p/c", True, True),
        (f"{NODE}/proxy/run/n1/p/c", True, True),
        (f"{NODE}/proxy/attach/n1/p/c", True, True),
        (f"{NODE}/proxy/portForward/n1/p", True, True),
        (f"{NODE}/proxy/cri/exec/token", True, True),
        (f"{NODE}/proxy/n1/p/EXEC", True, True),
        ("/api/v1/proxy/nodes/node/exec/n1/p/c", True, True),
        ("/api/v1/proxy/nodes/node/metrics", True, False),
        ("/api/v1/proxy/namespaces/n1/pods/p/x", True, False),
        (f"{POD}/log", False, False),
        (POD, False, False),
        ("/api/v1/namespaces/n1/pods", False, False),
        ("/apis/example.io/v1/namespaces/n1/pods/p/exec", False, False),
        ("/kapis/version", False, False),
        ("/version", False, False),
    ],
)
def test_proxies(path: str, with_upgrade: bool, without: bool) -> None:
    assert needs_create("GET", path, True) is with_upgrade
    assert needs_create("GET", path, False) is without


def test_what_creates_already_needs_nothing_more() -> None:
    assert not needs_create("POST", f"{POD}/exec", True)
    assert not needs_create("POST", f"{NODE}/proxy/run/n1/p/c", False)


@pytest.mark.parametrize(
    ("verbs", "allowed", "refused"),
    [({"get"}, False, "create"), ({"create"}, False, "get"), ({"get", "create"}, True, ""), (set(), False, "get")],
)
def test_both_verbs_are_needed(verbs: set[str], allowed: bool, refused: str) -> None:
    asked: list[str] = []

    def authorizer(user: Identity, info: RequestInfo) -> Decision:
        asked.append(info.verb)
        return Decision(info.verb in verbs)

    decision, about = decide(authorizer, Identity("joe"), classify("GET", f"{POD}/exec".encode(), b""), True)
    assert decision.allowed is allowed
    assert allowed or about.verb == refused
    assert asked[0] == "get"


def test_others_are_asked_about_once() -> None:
    asked: list[RequestInfo] = []

    def authorizer(user: Identity, info: RequestInfo) -> Decision:
        asked.append(info)
        return Decision(True)

    for path in (POD, f"{POD}/log", "/kapis/version", "/api/v1/namespaces/n1/pods"):
        info = classify("GET", path.encode(), b"")
        assert decide(authorizer, Identity("joe"), info, False) == (Decision(True), info)
    assert len(asked) == 4

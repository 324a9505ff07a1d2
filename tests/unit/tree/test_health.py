"""Spec 01, 1.6 and facts 1 and 2 of section 8; ``/readyz`` as docs/observability.md says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ksproxyd.model.message import Response
from ksproxyd.model.request_info import RequestInfo, classify
from ksproxyd.model.status import StatusError
from ksproxyd.tree.health import (
    Check,
    Finding,
    Health,
    healthz,
    informer_sync,
    kube_apiserver,
    livez,
    readyz,
    shutdown,
)


class Asked:
    """As much of an exchange as a health node reads."""

    def __init__(self, target: bytes, method: str = "GET") -> None:
        path, _, self.query = target.partition(b"?")
        self.info: RequestInfo = classify(method, path, self.query)


def ask(node: Health, target: bytes, method: str = "GET") -> tuple[int, str]:
    answer = node.handle(Asked(target, method))
    return answer.status, answer.body.decode()


def check(name: str, finding: Finding) -> Check:
    return Check(name, lambda: finding)


class TestSpec:
    def test_fact_1(self) -> None:
        answer: Response = healthz().handle(Asked(b"/healthz"))
        assert (answer.status, answer.body) == (200, b"ok")
        assert (b"Content-Type", b"text/plain; charset=utf-8") in answer.headers
        assert (b"X-Content-Type-Options", b"nosniff") in answer.headers
        assert (b"Cache-Control", b"no-store") in answer.headers

    @pytest.mark.parametrize("query", [b"?verbose", b"?verbose=", b"?verbose=1", b"?x=y&verbose"])
    def test_fact_2(self, query: bytes) -> None:
        assert ask(healthz(), b"/healthz" + query) == (200, "[+]ping ok\nhealthz check passed\n")
        assert ask(livez(), b"/livez" + query) == (200, "[+]ping ok\nlivez check passed\n")

    def test_exclude(self) -> None:
        target = b"/healthz?verbose&exclude=ping"
        assert ask(healthz(), target) == (200, "[+]ping excluded: ok\nhealthz check passed\n")

    def test_exclude_what_is_not_there(self) -> None:
        assert ask(healthz(), b"/healthz?exclude=x&exclude=ping&exclude=y&verbose") == (
            200,
            "[+]ping excluded: ok\n"
            'warn: some health checks cannot be excluded: no matches for "x","y"\n'
            "healthz check passed\n",
        )

    def test_exclude_is_not_verbose(self) -> None:
        assert ask(healthz(), b"/healthz?exclude=x") == (200, "ok")

    @pytest.mark.parametrize("node", [healthz(), livez()])
    def test_one_check(self, node: Health) -> None:
        name = node.describe().partition(":")[0]
        assert ask(node, f"/{name}/ping".encode()) == (200, "ok")
        assert node.describe() == f"{name}: ping"

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
    def test_any_method(self, method: str) -> None:
        assert ask(healthz(), b"/healthz", method) == (200, "ok")

    def test_a_failing_check(self) -> None:
        node = Health("healthz", [check("a", None), check("b", "10.0.0.1 is down"), check("c", None)])
        expected = "[+]a ok\n[-]b failed: reason withheld\n[+]c ok\nhealthz check failed\n"
        assert ask(node, b"/healthz") == (500, expected)
        assert ask(node, b"/healthz?verbose") == (500, expected)
        assert ask(node, b"/healthz/a") == (200, "ok")
        assert ask(node, b"/healthz/b") == (500, "[-]b failed: reason withheld\n")

    def test_a_failing_check_may_be_excluded(self) -> None:
        node = Health("healthz", [check("a", None), check("b", "down")])
        assert ask(node, b"/healthz?exclude=b") == (200, "ok")

    @pytest.mark.parametrize("path", [b"/healthz/nope", b"/healthz/", b"/healthz/ping/", b"/healthz/ping/x"])
    def test_a_check_that_is_not_there(self, path: bytes) -> None:
        with pytest.raises(StatusError) as caught:
            ask(healthz(), path)
        assert caught.value.code == 404

    def test_below_the_host_cluster(self) -> None:
        assert ask(healthz(), b"/clusters/host/healthz?verbose") == (200, "[+]ping ok\nhealthz check passed\n")

    def test_two_checks_of_one_name(self) -> None:
        with pytest.raises(ValueError, match="two checks of one name"):
            Health("healthz", [check("a", None), check("a", None)])

    def test_a_check_that_raises_fails(self, logged_errors: Any) -> None:
        def broken() -> Finding:
            raise RuntimeError("10.0.0.1")

        assert ask(readyz([Check("broken", broken)]), b"/readyz") == (
            503,
            "[+]ping ok\n[-]broken failed: the check itself failed, see the log\nreadyz check failed\n",
        )
        assert [event["log_failure"].type for event in logged_errors.take()] == [RuntimeError]


class FakeWatch:
    def __init__(self, label: str, synced: bool, status: str) -> None:
        self.label = label
        self.store = SimpleNamespace(synced=synced)
        self._status = status

    def status(self) -> str:
        return self._status


class TestReadyz:
    def test_a_failing_check_is_503_and_says_why(self) -> None:
        node = readyz([check("a", "not yet"), check("b", (False, "nor this"))])
        expected = "[+]ping ok\n[-]a failed: not yet\n[-]b failed: nor this\nreadyz check failed\n"
        assert ask(node, b"/readyz") == (503, expected)
        assert ask(node, b"/readyz/a") == (503, "[-]a failed: not yet\n")

    def test_a_check_may_pass_with_a_remark(self) -> None:
        node = readyz([check("a", (True, "3 s old"))])
        assert ask(node, b"/readyz") == (200, "ok")
        assert ask(node, b"/readyz?verbose") == (200, "[+]ping ok\n[+]a ok: 3 s old\nreadyz check passed\n")

    def test_is_not_ready_before_everything_is_synced(self) -> None:
        users = FakeWatch("users", False, "not synced: connection refused")
        node = readyz([informer_sync(users), informer_sync(FakeWatch("clusters", True, "2 objects"))])
        assert ask(node, b"/readyz") == (
            503,
            "[+]ping ok\n"
            "[-]informer-sync/users failed: not synced: connection refused\n"
            "[+]informer-sync/clusters ok: 2 objects\n"
            "readyz check failed\n",
        )
        users.store.synced = True
        assert ask(node, b"/readyz") == (200, "ok")
        assert ask(node, b"/readyz/informer-sync/users") == (200, "ok")

    def test_a_stale_kind_stays_ready_and_says_so(self) -> None:
        users = FakeWatch("users", True, "12 objects, last heard 75 s ago, stale: connection refused")
        body = ask(readyz([informer_sync(users)]), b"/readyz?verbose")
        assert body[0] == 200
        assert "[+]informer-sync/users ok: 12 objects, last heard 75 s ago, stale: connection refused\n" in body[1]

    @pytest.mark.parametrize(
        ("age", "remark"),
        [
            (float("inf"), "not heard of yet"),
            (-0.5, "last heard 0 s ago"),
            (12.4, "last heard 12 s ago"),
            (60.0, "lost, last heard 60 s ago; serving the last known state"),
        ],
    )
    def test_the_api_server_is_a_remark(self, age: float, remark: str) -> None:
        node = readyz([kube_apiserver(lambda: age, 60.0)])
        assert ask(node, b"/readyz?verbose") == (
            200,
            f"[+]ping ok\n[+]kube-apiserver ok: {remark}\nreadyz check passed\n",
        )

    def test_draining(self) -> None:
        draining: list[bool] = []
        node = readyz([shutdown(lambda: bool(draining))])
        assert ask(node, b"/readyz") == (200, "ok")
        draining.append(True)
        assert ask(node, b"/readyz")[0] == 503
        assert ask(node, b"/readyz/shutdown") == (503, "[-]shutdown failed: the process is shutting down\n")
        assert ask(healthz(), b"/healthz") == (200, "ok")

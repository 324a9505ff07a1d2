from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.observe.requests import DURATION_BOUNDS, RequestMetrics

from .conftest import FakeExchange
from .test_exposition import parse

Make = Callable[..., FakeExchange]

KNOWN = {("apps", "v1", "deployments"), ("iam.kubesphere.io", "v1beta1", "users"), ("", "v1", "pods")}


def known(group: str, version: str, resource: str) -> bool:
    return (group, version, resource) in KNOWN


def exposed(metrics: RequestMetrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    return parse(block for family in metrics.families() for block in family.blocks())


def observe(metrics: RequestMetrics, exchange: FakeExchange, seconds: float = 0.01) -> None:
    metrics.began(exchange)
    metrics.finished(exchange, seconds)


def series(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


DEPLOYMENTS = {"verb": "list", "group": "apps", "version": "v1", "resource": "deployments"}


class TestSpec:
    """Names, labels and buckets of spec 01, 1.4."""

    def test_counter(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        observe(metrics, exchange())
        observe(metrics, exchange())
        observe(metrics, exchange(status=403))
        assert exposed(metrics)["ks_server_request_total"] == {
            series(**DEPLOYMENTS, code="200"): 2.0,
            series(**DEPLOYMENTS, code="403"): 1.0,
        }

    def test_one_head_with_several_outcomes(self, exchange: Make) -> None:
        """A head remembers where it was counted last; what came of it otherwise is counted elsewhere."""
        metrics = RequestMetrics(known, 100)
        one, other = exchange(), exchange(target=b"/api/v1/pods")
        other.head = one.head
        for status in (200, 200, 403, 200, 403):
            one.status = other.status = status
            observe(metrics, one)
            observe(metrics, other)
        other.info = None
        observe(metrics, other)
        assert exposed(metrics)["ks_server_request_total"] == {
            series(**DEPLOYMENTS, code="200"): 3.0,
            series(**DEPLOYMENTS, code="403"): 2.0,
        }

    def test_what_becomes_known_later_gets_its_name_then(self, exchange: Make) -> None:
        served: set[tuple[str, str, str]] = set()
        metrics = RequestMetrics(lambda *names: names in served, 100)
        one = exchange()
        observe(metrics, one)
        observe(metrics, one)
        served.add(("apps", "v1", "deployments"))
        observe(metrics, one)
        found = exposed(metrics)["ks_server_request_total"]
        assert found[series(**DEPLOYMENTS, code="200")] == 1
        assert sum(found.values()) == 3

    def test_histogram(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        for seconds in (0.05, 0.051, 61.0):
            observe(metrics, exchange(), seconds)
        found = exposed(metrics)
        buckets = found["ks_server_request_duration_seconds_bucket"]
        assert buckets[series(**DEPLOYMENTS, le="0.05")] == 1
        assert buckets[series(**DEPLOYMENTS, le="0.1")] == 2
        assert buckets[series(**DEPLOYMENTS, le="60")] == 2
        assert buckets[series(**DEPLOYMENTS, le="+Inf")] == 3
        assert found["ks_server_request_duration_seconds_sum"] == {series(**DEPLOYMENTS): 61.101}
        assert len(buckets) == len(DURATION_BOUNDS) + 1 == 38

    def test_help_begins_as_the_original(self) -> None:
        metrics = RequestMetrics(known, 100)
        observe(metrics, FakeExchange())
        text = "".join(block for family in metrics.families() for block in family.blocks())
        for name in ("ks_server_request_total", "ks_server_request_duration_seconds"):
            assert f"# HELP {name} [ALPHA] " in text

    @pytest.mark.parametrize("target", [b"/api/v1/pods", b"/healthz", b"/apis/apps", b"/proxy/x", b"/kapis/a/b"])
    def test_without_a_group_only_the_class_is_counted(self, exchange: Make, target: bytes) -> None:
        metrics = RequestMetrics(known, 100)
        observe(metrics, exchange(target=target, status=404))
        found = exposed(metrics)
        assert "ks_server_request_total" not in found
        assert found["ksproxyd_responses_total"][series(**{"class": "4xx"})] == 1

    def test_a_request_that_could_not_be_classified(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        observe(metrics, exchange(info=None, status=400))
        assert exposed(metrics)["ksproxyd_responses_total"][series(**{"class": "4xx"})] == 1

    def test_an_upgraded_request_counts_as_200(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        observe(metrics, exchange(status=101), 3600)
        observe(metrics, exchange(), 0.01)
        found = exposed(metrics)
        assert found["ks_server_request_total"] == {series(**DEPLOYMENTS, code="200"): 2}
        assert found["ks_server_request_duration_seconds_count"] == {series(**DEPLOYMENTS): 1}
        assert found["ksproxyd_responses_total"][series(**{"class": "1xx"})] == 1


class TestLongRunning:
    """D4: a gauge of their own, and not in the latency histogram."""

    def test_watch(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        watch = exchange(target=b"/apis/apps/v1/deployments?watch=true", status=0)
        metrics.began(watch)
        labels = DEPLOYMENTS | {"verb": "watch"}
        assert exposed(metrics)["ksproxyd_long_running_requests"] == {series(**labels): 1}
        watch.status = 200
        metrics.finished(watch, 1800.0)
        found = exposed(metrics)
        assert "ksproxyd_long_running_requests" not in found
        assert found["ks_server_request_total"] == {series(**labels, code="200"): 1}
        assert "ks_server_request_duration_seconds_count" not in found

    @pytest.mark.parametrize(
        ("query", "long"),
        [
            (b"follow=true", True),
            (b"follow", True),
            (b"a=1&follow=1", True),
            (b"%66ollow=true", True),
            (b"follow=false", False),
            (b"follow=False", False),
            (b"follow=0", False),
            (b"follow=false&follow=true", False),
            (b"tailLines=10", False),
            (b"", False),
        ],
    )
    def test_followed_logs(self, exchange: Make, query: bytes, long: bool) -> None:
        metrics = RequestMetrics(known, 100)
        log = exchange(target=b"/api/v1/namespaces/n/pods/p/log?" + query)
        metrics.began(log)
        assert ("ksproxyd_long_running_requests" in exposed(metrics)) is long

    def test_followed_logs_of_an_extension_are_not_timed(self, exchange: Make) -> None:
        metrics = RequestMetrics(lambda *_: True, 100)
        observe(metrics, exchange(target=b"/apis/x.io/v1/namespaces/n/jobs/j/log?follow=true"), 600)
        observe(metrics, exchange(target=b"/apis/x.io/v1/namespaces/n/jobs/j/log"), 0.1)
        [(_, count)] = exposed(metrics)["ks_server_request_duration_seconds_count"].items()
        assert count == 1

    def test_an_upgrade_from_when_it_has_happened(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        exec_ = exchange("POST", b"/api/v1/namespaces/n/pods/p/exec", status=0)
        metrics.began(exec_)
        assert "ksproxyd_long_running_requests" not in exposed(metrics)
        exec_.status = 101
        labels = series(verb="create", group="", version="v1", resource="pods")
        assert exposed(metrics)["ksproxyd_long_running_requests"] == {labels: 1}

    def test_an_upgrade_outside_of_the_api(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        metrics.began(exchange(target=b"/proxy/x", status=101))
        labels = series(verb="GET", group="", version="", resource="")
        assert exposed(metrics)["ksproxyd_long_running_requests"] == {labels: 1}

    def test_twenty_thousand_watches_leave_room_for_others(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        for _ in range(20_000):
            watch = exchange(target=b"/apis/apps/v1/deployments?watch=1")
            metrics.began(watch)
        [gauge] = [family for family in metrics.families() if family.name == "ksproxyd_long_running_requests"]
        assert list(gauge.blocks()).count("") == 40


class TestOpen:
    def test_in_flight(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        one, other = exchange(), exchange(target=b"/healthz")
        metrics.began(one)
        metrics.began(other)
        assert metrics.open == {one, other}
        assert exposed(metrics)["ksproxyd_requests_in_flight"] == {(): 2}
        metrics.finished(one, 0.1)
        assert exposed(metrics)["ksproxyd_requests_in_flight"] == {(): 1}

    def test_a_client_that_left_is_499(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        observe(metrics, exchange(status=0))
        observe(metrics, exchange(status=499))
        found = exposed(metrics)
        assert found["ks_server_request_total"] == {series(**DEPLOYMENTS, code="499"): 2}
        assert found["ksproxyd_requests_abandoned_total"] == {(): 2}

    def test_classes(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        for status in (101, 200, 201, 304, 404, 503, 599, 999):
            observe(metrics, exchange(target=b"/", status=status))
        assert exposed(metrics)["ksproxyd_responses_total"] == {
            series(**{"class": name}): count
            for name, count in (("1xx", 1), ("2xx", 2), ("3xx", 1), ("4xx", 1), ("5xx", 2), ("other", 1))
        }


class TestCardinality:
    """D4 and fact 60: anonymous requests for anything do not make series."""

    @given(st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=3, max_size=60))
    def test_what_is_not_known_is_other(self, words: list[str]) -> None:
        metrics = RequestMetrics(known, 100)
        for group, version, resource in zip(words, words[1:], words[2:], strict=False):
            observe(metrics, FakeExchange(target=f"/kapis/{group}/{version}/{resource}".encode()))
        assert set(exposed(metrics)["ks_server_request_total"]) == {
            series(verb="list", group="other", version="other", resource="other", code="200")
        }

    def test_ten_thousand_random_requests(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 1000)
        for i in range(10_000):
            status = 400 + i % 30
            observe(metrics, exchange(("GET", "POST", "PUT")[i % 3], b"/kapis/g%d/v1/r%d" % (i, i), status=status))
        found = exposed(metrics)
        assert len(found["ks_server_request_total"]) == 30
        assert sum(found["ks_server_request_total"].values()) == 10_000
        assert len(found["ks_server_request_duration_seconds_count"]) == 3
        assert metrics.overflowed == 0

    def test_a_method_that_http_does_not_know_is_other(self, exchange: Make) -> None:
        metrics = RequestMetrics(known, 100)
        metrics.began(exchange("BREW", b"/pot", status=101))
        labels = series(verb="other", group="", version="", resource="")
        assert exposed(metrics)["ksproxyd_long_running_requests"] == {labels: 1}

    def test_the_cap_holds_and_nothing_is_lost(self, exchange: Make) -> None:
        metrics = RequestMetrics(lambda *_: True, 50)
        for i in range(200):
            observe(metrics, exchange(target=b"/apis/g/v1/r%d" % i))
        found = exposed(metrics)
        overflow = series(verb="other", group="other", version="other", resource="other", code="other")
        assert len(found["ks_server_request_total"]) == 51
        assert found["ks_server_request_total"][overflow] == 150
        assert len(found["ks_server_request_duration_seconds_count"]) == 50
        assert found["ksproxyd_metrics_overflow_total"] == {(): 150}

    def test_the_long_running_gauge_is_capped_too(self, exchange: Make) -> None:
        metrics = RequestMetrics(lambda *_: True, 50)
        for i in range(200):
            metrics.began(exchange(target=b"/apis/g/v1/r%d?watch=1" % i))
        gauge = exposed(metrics)["ksproxyd_long_running_requests"]
        assert len(gauge) == 51
        assert sum(gauge.values()) == 200

    def test_what_becomes_known_gets_its_name(self, exchange: Make) -> None:
        extensions: set[str] = set()
        metrics = RequestMetrics(lambda group, *_: group in extensions, 100)
        observe(metrics, exchange(target=b"/kapis/g.io/v1/x"))
        extensions.add("g.io")
        observe(metrics, exchange(target=b"/kapis/g.io/v1/x"))
        groups = {dict(labels)["group"] for labels in exposed(metrics)["ks_server_request_total"]}
        assert groups == {"other", "g.io"}


def test_observing_calls_nothing_of_ours(exchange: Make) -> None:
    """A request that has its series costs two calls, and no others below them: that is what keeps it below 0.6 µs."""
    metrics = RequestMetrics(known, 100)
    request = exchange()
    observe(metrics, request)
    calls: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        metrics.began(request)
        metrics.finished(request, 0.01)
    finally:
        sys.setprofile(None)
    assert calls == ["finished"]

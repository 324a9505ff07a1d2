"""Probes for an object's state: who is asked, and what the answer means."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from ksproxyd.tree.status_probe import StatusProbe
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.target import Target

CHECK = {"active": {"path": "/healthz", "method": "HEAD", "hostname": "h.test", "timeout": "2s"}}


class Backend:
    def __init__(self, result: Any = 200) -> None:
        self.result = result
        self.asked: list[Any] = []
        client: Any = self
        self.probe = StatusProbe(client, 7.0)

    def request(self, *args: Any, **options: Any) -> Deferred[Any]:
        self.asked.append((*args, options["timeout"]))
        if isinstance(self.result, Exception):
            return fail(self.result)
        return succeed(SimpleNamespace(status=self.result))

    def ask(self, kind: str, **spec: Any) -> Any:
        done = self.probe(kind, {"metadata": {"name": "x"}, "spec": spec})
        return None if done is None else done.result


def test_what_is_sent() -> None:
    backend = Backend()
    assert backend.ask("APIService", url="http://b.test", healthCheck=CHECK) == ""
    assert backend.ask("ReverseProxy", upstream={"url": "http://b.test"}, healthCheck=CHECK) == ""
    headers = [(b"User-Agent", b"ksproxyd-probe"), (b"Accept", b"*/*"), (b"Host", b"h.test")]
    assert backend.asked == [(Target("http", "b.test", 80), b"HEAD", b"/healthz", headers, 2.0)] * 2


def test_defaults_and_annotations() -> None:
    backend = Backend()
    metadata = {"annotations": {"ksproxyd.io/health-check": json.dumps({"active": {}})}}
    done = backend.probe("APIService", {"metadata": metadata, "spec": {"url": "http://b.test"}})
    assert done is not None and done.result == ""
    ((_, method, path, headers, timeout),) = backend.asked
    assert (method, path, len(headers), timeout) == (b"GET", b"/", 2, 7.0)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("APIService", {"url": "http://b.test"}),
        ("APIService", {"url": "http://b.test", "healthCheck": {"passive": {}}}),
        ("APIService", {"url": "b.test", "healthCheck": CHECK}),
        ("ReverseProxy", {"url": "http://b.test", "healthCheck": CHECK}),
        ("JSBundle", {"url": "http://b.test", "healthCheck": CHECK}),
    ],
)
def test_who_is_not_asked(kind: str, spec: dict[str, Any]) -> None:
    backend = Backend()
    assert backend.ask(kind, **spec) is None and not backend.asked


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (204, ""),
        (399, ""),
        (404, "HEAD /healthz is answered 404"),
        (UpstreamError("connect", "connection refused", "10.0.0.9:80 refused"), "connect: 10.0.0.9:80 refused"),
    ],
)
def test_what_an_answer_means(result: Any, why: str) -> None:
    assert Backend(result).ask("APIService", url="http://b.test", healthCheck=CHECK) == why


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["APIService", "ReverseProxy"]),
    st.fixed_dictionaries(
        {},
        optional={
            "metadata": json_values,
            "spec": json_values
            | st.fixed_dictionaries(
                {}, optional={"url": json_values, "upstream": json_values, "healthCheck": json_values | st.just(CHECK)}
            ),
        },
    ),
)
def test_any_shape_is_asked_or_not(kind: str, value: Any) -> None:
    done = Backend().probe(kind, value)
    assert done is None or done.result == ""

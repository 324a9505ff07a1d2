"""The wrapped transport in a plan: what the backend is told, and where its links lead, by way of the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ksproxyd.model.identity import ANONYMOUS
from ksproxyd.model.message import Fields
from ksproxyd.model.request_info import classify
from ksproxyd.server.exchange import Exchange
from ksproxyd.server.head import RequestHead
from ksproxyd.tree.header_rules import compile_header_rules
from ksproxyd.tree.links import narrow_accept_encoding
from ksproxyd.tree.wrapped import OWN_FIELDS, WrappedTransport
from ksproxyd.upstream.plan import Answer, Plan, request_head
from ksproxyd.upstream.pool import Pool
from ksproxyd.upstream.target import Target

GOLDEN = Path(__file__).parents[4] / "shared" / "golden"
TARGET = Target("http", "b.test", 8080)


class FakeExchange:
    length = 0
    upgrade: bytes | None = None
    wants_continue = False
    user = ANONYMOUS
    secure = False
    peer = client = "192.0.2.1"

    def __init__(self, target: bytes = b"/proxy/ex/x?a=1", trusted: bool = False, **fields: str) -> None:
        self.method = "GET"
        self.path, _, self.query = target.partition(b"?")
        self.info = classify("GET", self.path, self.query)
        pairs = [(name.replace("__", "-").encode(), value.encode()) for name, value in fields.items()]
        self.head = RequestHead("GET", target, 1, tuple(Fields([(b"Host", b"gw.example"), *pairs])))
        self.fields = Fields.of(self.head.items)
        self.trusted = trusted
        self.connection = SimpleNamespace(forwarded=None)


def wrapped(prefix: bytes = b"/proxy/ex", *rules: str) -> tuple[Plan, WrappedTransport]:
    links = WrappedTransport(prefix, TARGET)
    up, problems = compile_header_rules(enumerate(rules))
    assert not problems
    plan = Plan(
        "test",
        cast(Pool, SimpleNamespace(target=TARGET)),
        drop=OWN_FIELDS,
        codings=narrow_accept_encoding,
        more=links.request_lines,
        up=up or None,
        on_answer=links.on_answer,
    )
    return plan, links


def sent(exchange: FakeExchange, plan: Plan, target: bytes = b"/x?a=1") -> list[tuple[str, str]]:
    head = request_head(cast(Exchange, exchange), plan, b"GET", target).decode()
    assert head.endswith("\r\n\r\n")
    lines = (line.partition(": ") for line in head.split("\r\n")[1:-2])
    return [(name.lower(), value) for name, _, value in lines]


def values(fields: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in fields if key == name]


def location(exchange: FakeExchange, links: WrappedTransport, value: bytes) -> bytes:
    answer = Answer(302, [(b"location", b"Location", value)], 0, False)
    links.on_answer(cast(Exchange, exchange), answer)
    (item,) = answer.items
    return item[2]


@pytest.mark.parametrize("trusted", [False, True])
def test_the_backend_is_told_once_how_it_was_reached(trusted: bool) -> None:
    plan, _ = wrapped()
    exchange = FakeExchange(
        trusted=trusted,
        X__Forwarded__Host="front.example",
        X__Forwarded__Proto="https",
        X__Forwarded__Uri="/anything",
        X_Forwarded_Host="smuggled.example",
    )
    fields = sent(exchange, plan)
    assert values(fields, "x-forwarded-host") == ["front.example" if trusted else "gw.example"]
    assert values(fields, "x-forwarded-proto") == ["https" if trusted else "http"]
    assert values(fields, "x-forwarded-uri") == ["/x"]
    assert not values(fields, "x_forwarded_host")


def test_nothing_is_left_of_a_host_that_is_none() -> None:
    plan, _ = wrapped()
    fields = sent(FakeExchange(trusted=True, X__Forwarded__Host="front example"), plan)
    assert values(fields, "x-forwarded-host") == []


def test_rules_do_not_write_what_the_transport_writes() -> None:
    plan, _ = wrapped(b"", "X-Forwarded-Host rule.example", "X-Forwarded-Prefix /rule")
    fields = sent(FakeExchange(), plan)
    assert values(fields, "x-forwarded-host") == ["gw.example"]
    assert values(fields, "x-forwarded-prefix") == ["/rule"]


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        (b"/x?a=/b", "/x"),
        (b"/v2/x", "/v2/x"),
        (b"/dir/", "/dir/"),
        (b"/a//b/./c/../d%2Fe", "/a/b/d%2Fe"),
        (b"/?q", "/"),
    ],
)
def test_the_uri_is_the_one_that_is_sent(target: bytes, uri: str) -> None:
    plan, _ = wrapped()
    assert values(sent(FakeExchange(), plan, target), "x-forwarded-uri") == [uri]


def test_upgrades_are_not_told_of_a_page() -> None:
    plan, _ = wrapped()
    exchange = FakeExchange(X__Forwarded__Uri="/anything")
    exchange.upgrade = b"websocket"
    fields = sent(exchange, plan)
    assert values(fields, "x-forwarded-uri") == []
    assert values(fields, "x-forwarded-host") == ["gw.example"]


def recorded() -> Iterator[Any]:
    path = GOLDEN / "ks-apiserver.jsonl"
    if not path.exists():
        yield pytest.param("", "", marks=pytest.mark.skip(reason=f"{path} is not there"))
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for request in record.get("backend") or ():
            uri = dict(map(tuple, request["headers"])).get("X-Forwarded-Uri")
            if uri is not None:
                yield pytest.param(request["target"], uri, id=record["id"])


@pytest.mark.parametrize(("target", "uri"), list(recorded()))
def test_the_uri_is_as_recorded(target: str, uri: str) -> None:
    plan, _ = wrapped()
    assert values(sent(FakeExchange(), plan, target.encode()), "x-forwarded-uri") == [uri]


@pytest.mark.parametrize(
    ("accepted", "asked"),
    [
        (None, []),
        ("br", ["identity"]),
        ("gzip, deflate, br, zstd", ["gzip, deflate"]),
        ("br;q=1, gzip;q=0.5", ["gzip;q=0.5"]),
    ],
)
def test_codings_that_cannot_be_undone_are_not_asked_for(accepted: str | None, asked: list[str]) -> None:
    plan, _ = wrapped()
    exchange = FakeExchange(Accept__Encoding=accepted) if accepted is not None else FakeExchange()
    assert values(sent(exchange, plan), "accept-encoding") == asked


@pytest.mark.parametrize(
    ("rule", "asked"),
    [("-Accept-Encoding", []), ("Accept-Encoding identity", ["identity"]), ("Accept-Encoding br, gzip", ["gzip"])],
)
def test_rules_for_codings_come_first(rule: str, asked: list[str]) -> None:
    plan, _ = wrapped(b"", rule)
    assert values(sent(FakeExchange(Accept__Encoding="gzip, br"), plan), "accept-encoding") == asked


def test_other_plans_pass_codings_on() -> None:
    plan = Plan("test", cast(Pool, SimpleNamespace(target=TARGET)))
    assert values(sent(FakeExchange(Accept__Encoding="br"), plan), "accept-encoding") == ["br"]


@pytest.mark.parametrize(
    ("target", "prefix", "expected"),
    [
        (b"/proxy/ex/x", b"/proxy/ex", b"/proxy/ex/login"),
        (b"/proxy/ex/x", b"", b"/login"),
        # Served here, by whichever name of this cluster: the next request is to come back by the same.
        (b"/clusters/host/proxy/ex/x", b"/proxy/ex", b"/clusters/host/proxy/ex/login"),
        (b"/clusters/here/proxy/ex/x", b"", b"/clusters/here/login"),
        # A member cluster's own plan has no other prefix.
        (b"/clusters/member/kapis/a.b/v1/x", b"", b"/clusters/member/login"),
        (b"/kapis/clusters/member/a.b/v1/x", b"", b"/clusters/member/login"),
    ],
)
def test_links_lead_back_the_way_the_request_came(target: bytes, prefix: bytes, expected: bytes) -> None:
    _, links = wrapped(prefix)
    exchange = FakeExchange(target)
    assert location(exchange, links, b"/login") == expected
    assert location(exchange, links, b"http://b.test:8080/login") == expected
    assert location(exchange, links, b"http://gw.example/login") == expected
    assert location(exchange, links, expected) == expected
    assert location(exchange, links, b"http://elsewhere.example/") == b"http://elsewhere.example/"

"""Which origins may use the gateway from a browser."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.chain.cors import Cors
from ksproxyd.model.message import Fields, Pairs, Response
from ksproxyd.model.status import StatusError


@dataclass
class Rules:
    allowed_origins: tuple[str, ...] = ("https://console.example.org", "https://*.apps.example.org", "http://localhost:3000")
    allowed_methods: tuple[str, ...] = ("GET", "PUT")
    allowed_headers: tuple[str, ...] = ("Authorization", "X-Thing")
    exposed_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: float = 600.0


class FakeExchange:
    def __init__(self, method: str = "GET", **fields: str) -> None:
        self.method = method
        pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
        self.fields = Fields(pairs)
        self.extra_headers: Pairs | None = None


def preflight(cors: Cors, **fields: str) -> Response:
    fields.setdefault("Origin", "https://console.example.org")
    fields.setdefault("Access_Control_Request_Method", "PUT")
    response = cors(FakeExchange("OPTIONS", **fields))
    assert response is not None
    return response


def refused(cors: Cors, **fields: str) -> str:
    with pytest.raises(StatusError) as caught:
        preflight(cors, **fields)
    assert caught.value.code == 403
    return caught.value.message


ALLOWED = [
    "https://console.example.org",
    "https://a.apps.example.org",
    "https://a.b.apps.example.org",
    "http://localhost:3000",
]
STRANGERS = [
    "null",
    "",
    "*",
    "https://",
    "http://console.example.org",
    "https://console.example.org:8443",
    "https://console.example.org.evil.test",
    "https://evil-console.example.org",
    "https://apps.example.org",
    "https://.apps.example.org",
    "https://a..apps.example.org",
    "https://evilapps.example.org",
    "https://a.apps.example.org.evil.test",
    "https://a.apps.example.org:444",
    "http://a.apps.example.org",
    "https://evil.test/.apps.example.org",
    "https://evil.test#.apps.example.org",
    "https://evil.test@a.apps.example.org",
    "https://evil.test\\.apps.example.org",
    "https://evil.test .apps.example.org",
    "https://evil.test%2f.apps.example.org",
    "https://*.apps.example.org",
    "https://console.example.org/",
    "https://console.example.org, https://evil.test",
    "HTTPS://CONSOLE.EXAMPLE.ORG",
    "https://conſole.example.org",
    "file://console.example.org",
    "http://localhost",
    "http://localhost:30000",
]


@pytest.mark.parametrize("origin", ALLOWED)
def test_an_allowed_origin_may_read_the_answer(origin: str) -> None:
    exchange = FakeExchange(Origin=origin)
    assert Cors(Rules())(exchange) is None
    assert exchange.extra_headers == [(b"Vary", b"Origin"), (b"Access-Control-Allow-Origin", origin.encode())]


@pytest.mark.parametrize("origin", STRANGERS)
@pytest.mark.parametrize("credentials", [False, True])
def test_others_are_served_without_permission(origin: str, credentials: bool) -> None:
    if not origin.isascii():
        origin = origin.encode().decode("latin-1")
    cors = Cors(Rules(allow_credentials=credentials))
    exchange = FakeExchange(Origin=origin)
    assert cors(exchange) is None
    assert exchange.extra_headers == [(b"Vary", b"Origin")]
    assert "may not use this gateway" in refused(cors, Origin=origin)


def test_requests_without_an_origin_vary_too() -> None:
    exchange = FakeExchange()
    assert Cors(Rules())(exchange) is None
    assert exchange.extra_headers == [(b"Vary", b"Origin")]


def test_credentials_and_exposed_headers() -> None:
    exchange = FakeExchange(Origin=ALLOWED[0])
    Cors(Rules(allow_credentials=True, exposed_headers=("X-One", "X-Two")))(exchange)
    assert exchange.extra_headers == [
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Origin", ALLOWED[0].encode()),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Expose-Headers", b"X-One, X-Two"),
    ]


def test_a_preflight_is_answered() -> None:
    response = preflight(Cors(Rules(allow_credentials=True)), Access_Control_Request_Headers="authorization,x-thing")
    assert (response.status, response.body) == (204, b"")
    assert response.headers == [
        (b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"Access-Control-Allow-Origin", b"https://console.example.org"),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Allow-Methods", b"GET, PUT"),
        (b"Access-Control-Allow-Headers", b"Authorization, X-Thing"),
        (b"Access-Control-Max-Age", b"600"),
    ]


def test_a_preflight_for_more_is_refused_and_says_what() -> None:
    cors = Cors(Rules())
    assert "the method 'DELETE'" in refused(cors, Access_Control_Request_Method="DELETE")
    assert "the method 'put'" in refused(cors, Access_Control_Request_Method="put")
    assert "the request header 'x-other'" in refused(cors, Access_Control_Request_Headers="x-thing, x-other")
    assert "the request header" in refused(cors, Access_Control_Request_Headers=",".join(["x-thing"] * 100) + ", x y")


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": ALLOWED[0]},
        {"Access_Control_Request_Method": "PUT"},
        {},
    ],
)
def test_other_options_requests_go_on(fields: dict[str, str]) -> None:
    assert Cors(Rules())(FakeExchange("OPTIONS", **fields)) is None
    assert Cors(Rules())(FakeExchange("GET", **fields)) is None


def test_anything_that_is_asked_for() -> None:
    cors = Cors(Rules(allowed_methods=("*",), allowed_headers=("*",)))
    headers = dict(
        preflight(cors, Access_Control_Request_Method="PURGE", Access_Control_Request_Headers="a, b").headers
    )
    assert headers[b"Access-Control-Allow-Methods"] == b"PURGE"
    assert headers[b"Access-Control-Allow-Headers"] == b"a, b"
    refused(cors, Access_Control_Request_Headers="a b")
    refused(cors, Access_Control_Request_Method="A\r\nB")


def test_any_origin_is_the_star_and_null_is_not_in_it() -> None:
    cors = Cors(Rules(allowed_origins=("*",)))
    assert cors.headers(b"https://evil.test") == [(b"Vary", b"Origin"), (b"Access-Control-Allow-Origin", b"*")]
    assert cors.headers(b"null") == [(b"Vary", b"Origin")]


def test_any_origin_with_credentials_is_not_accepted() -> None:
    with pytest.raises(ValueError, match="name the origins"):
        Cors(Rules(allowed_origins=("https://a.test", "*"), allow_credentials=True))


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", "example.org", "https://", "https://*", "https://*.org", "https://*example.org",
        "https://a.*.example.org", "https://*.*.example.org", "https://example.org/", "https://Example.org",
        "https://example.org:0", "*.example.org", "https://a b", "ftp://a.test", "https://.example.org",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_not_accepted(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        Cors(Rules(allowed_origins=(origin,)))


def test_the_schemes_own_port_is_no_port() -> None:
    cors = Cors(Rules(allowed_origins=("https://a.test:443", "http://*.b.test:80", "http://[::1]:80")))
    assert all(map(cors.allows, [b"https://a.test", b"http://x.b.test", b"http://[::1]"]))


def test_what_is_remembered_is_bounded() -> None:
    cors = Cors(Rules())
    for n in range(3000):
        cors.headers(b"https://%d.apps.example.org" % n)
    cors.headers(b"https://" + b"a" * 5000)
    assert len(cors._known) <= 1024
    assert all(len(origin) <= 300 for origin in cors._known)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=30).map(lambda t: f"https://{t}.apps.example.org".encode())))
def test_whatever_an_origin_is_only_those_below_the_domain_are_allowed(origin: bytes) -> None:
    cors = Cors(Rules(allow_credentials=True))
    if cors.allows(origin):
        assert origin in {o.encode() for o in ALLOWED} or origin.endswith(b".apps.example.org")
        assert not set(origin) & set(b" /@#?\\%,\r\n\0\t") - set(b"/") and origin.count(b"/") == 2
        assert origin.isascii()

"""Where redirects lead, and that requests cannot choose it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.model.message import Fields
from ksproxyd.model.status import StatusError
from ksproxyd.tree.redirect import Redirect, RedirectRule, refuse_redirect


class FakeExchange:
    def __init__(self, target: bytes, host: bytes | None = b"gw.example:9090", secure: bool = False) -> None:
        self.path, mark, self.query = target.partition(b"?")
        self.has_query = bool(mark)
        self.fields = Fields([] if host is None else [(b"Host", host)])
        self.peer = self.client = "10.0.0.1"
        self.trusted = False
        self.secure = secure


def location(target: bytes, prefix: str = "/proxy/ex/", host: bytes | None = b"gw.example:9090", **rule: Any) -> bytes:
    secure = rule.pop("secure", False)
    response = Redirect(RedirectRule(**rule), prefix).answer(FakeExchange(target, host, secure))
    assert response is not None
    found = dict(response.headers)[b"Location"]
    assert isinstance(found, bytes)
    return found


@pytest.mark.parametrize(
    ("prefix", "replacement", "target", "expected"),
    [
        ("/proxy/ex/", "/v2", b"/proxy/ex/a/b", b"/v2/a/b"),
        ("/proxy/ex/", "/v2/", b"/proxy/ex/a/b", b"/v2/a/b"),
        ("/proxy/ex/", "/v2", b"/proxy/ex/", b"/v2/"),
        ("/proxy/ex", "/v2", b"/proxy/ex", b"/v2"),
        ("/proxy/ex", "/v2/", b"/proxy/ex", b"/v2/"),
        ("/proxy/ex", "/v2", b"/proxy/exile", b"/v2ile"),
        ("/proxy/ex", "", b"/proxy/ex/a", b"/a"),
        ("/proxy/ex", "/", b"/proxy/ex", b"/"),
        ("/proxy/ex", "", b"/proxy/ex", b"/"),
        ("/proxy/ex/", "/v2", b"/proxy/ex/a?x=1&y=/z", b"/v2/a?x=1&y=/z"),
        ("/proxy/ex/", "/v2", b"/proxy/ex/a?", b"/v2/a?"),
        ("/proxy/ex/", "/v2", b"/proxy/ex/a%2Fb%20c", b"/v2/a%2Fb%20c"),
        ("/proxy/ex/", "/v2", b"/proxy/e%78/a%2Fb", b"/v2/a/b"),
        ("/proxy/ex/", "/é b", b"/proxy/ex/a", b"/%C3%A9%20b/a"),
        ("/kapis/g.io/v1", "/kapis/g.io/v2", b"/kapis/g.io/v1/namespaces/n/x", b"/kapis/g.io/v2/namespaces/n/x"),
    ],
)
def test_the_prefix_is_replaced(prefix: str, replacement: str, target: bytes, expected: bytes) -> None:
    assert location(target, prefix, prefix_path=replacement) == expected


def test_the_whole_path_is_replaced_and_the_query_kept() -> None:
    assert location(b"/proxy/ex/a?x=1", full_path="/new/place") == b"/new/place?x=1"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"scheme": "https"}, b"https://gw.example/proxy/ex/a?b"),
        ({"scheme": "https", "port": 8443}, b"https://gw.example:8443/proxy/ex/a?b"),
        ({"scheme": "https", "port": 443}, b"https://gw.example/proxy/ex/a?b"),
        ({"hostname": "docs.example"}, b"http://docs.example/proxy/ex/a?b"),
        ({"hostname": "docs.example", "secure": True}, b"https://docs.example/proxy/ex/a?b"),
        ({"port": 8080}, b"http://gw.example:8080/proxy/ex/a?b"),
        ({"scheme": "https", "hostname": "docs.example", "full_path": "/"}, b"https://docs.example/?b"),
        ({"https_only": True}, b"https://gw.example/proxy/ex/a?b"),
        ({"https_only": True, "port": 8443}, b"https://gw.example:8443/proxy/ex/a?b"),
    ],
)
def test_scheme_host_and_port(rule: dict[str, Any], expected: bytes) -> None:
    assert location(b"/proxy/ex/a?b", **rule) == expected


def test_ipv6_hosts() -> None:
    assert location(b"/x", host=b"[2001:db8::1]:9090", scheme="https") == b"https://[2001:db8::1]/x"
    assert location(b"/x", host=b"[2001:db8::1]", scheme="https", port=8443) == b"https://[2001:db8::1]:8443/x"


def test_https_only_leaves_requests_over_tls_to_the_upstream() -> None:
    redirect = Redirect(RedirectRule(https_only=True), "/proxy/ex/")
    assert redirect.answer(FakeExchange(b"/proxy/ex/a", secure=True)) is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_answer_says_where_to_go(status: int) -> None:
    response = Redirect(RedirectRule(full_path="/new", status=status), "/p").answer(FakeExchange(b"/p"))
    assert response is not None and response.status == status
    assert response.body.endswith(b": /new\n") and dict(response.headers)[b"Content-Type"].startswith(b"text/plain")


@pytest.mark.parametrize("host", [None, b"", b"a b", b"evil.example/x", b"a@b", b"a\r\nLocation: x"])
def test_without_a_usable_host_there_is_no_absolute_address(host: bytes | None) -> None:
    with pytest.raises(StatusError) as caught:
        location(b"/proxy/ex/a", host=host, scheme="https")
    assert caught.value.code == 400
    assert location(b"/proxy/ex/a", host=host, full_path="/new") == b"/new"
    assert location(b"/proxy/ex/a", host=host, scheme="https", hostname="docs.example") == b"https://docs.example/proxy/ex/a"


@pytest.mark.parametrize(
    "rest",
    [b"/evil.example/x", b"//evil.example", b"\\evil.example", b"/\\evil.example", b"%2Fevil.example", b"%5Cevil"],
)
@pytest.mark.parametrize("replacement", ["", "/", "/v2"])
def test_a_path_never_becomes_a_host(rest: bytes, replacement: str) -> None:
    found = location(b"/proxy/ex/" + rest, prefix_path=replacement)
    assert not found.startswith((b"//", b"/\\")) and b"\\" not in found
    assert urlsplit(urljoin("https://gw.example/", found.decode())).netloc == "gw.example"


PARTS = rb"/ \ evil.example .. %2F %5C %0d%0a @ : ? # %".split()
PIECES = st.lists(st.sampled_from([*PARTS, b"\r\n", b" ", b"\xe9"]), max_size=10).map(b"".join)


@given(PIECES, st.sampled_from(["", "/", "/v2", None]), st.booleans())
def test_no_request_chooses_the_host_or_adds_a_line(rest: bytes, replacement: str | None, absolute: bool) -> None:
    rule: dict[str, Any] = {"prefix_path": replacement}
    if absolute:
        rule["scheme"] = "https"
    found = location(b"/proxy/ex/" + rest, **rule)
    assert found.isascii() and not set(found) & set(b"\r\n\0 \\")
    if absolute:
        assert found.startswith(b"https://gw.example/")
    else:
        assert found.startswith(b"/") and not found.startswith(b"//")


@pytest.mark.parametrize(
    ("status", "location_field", "refused"),
    [
        (301, b"/x", True),
        (302, b"http://a/b", True),
        (308, b"", True),
        (300, b"/x", True),
        (304, b"/x", False),
        (302, None, False),
        (201, b"/x", False),
        (401, b"/x", False),
    ],
)
def test_redirects_of_a_backend_that_may_not(status: int, location_field: bytes | None, refused: bool) -> None:
    error = refuse_redirect("ex", status, location_field)
    assert (error is not None) is refused
    if error is not None:
        assert (error.code, error.reason) == (502, "Bad Gateway")
        assert "upstream ex answered with a redirect" in error.message

"""Requests to providers: what they do not do, and where they do not go (spec 02, D-40)."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from provider_parts import error_of
from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from ksproxyd.authn.providers.dialing import GuardedDialer, is_public
from ksproxyd.authn.providers.provider import ProviderError
from ksproxyd.authn.providers.trust import Trust
from ksproxyd.authn.providers.web import LARGEST, TreqWeb
from ksproxyd.testing import Authority, Backend, MemoryDialer, MemoryReactor
from ksproxyd.testing.backend import answer
from ksproxyd.upstream.target import Target


class Pages(Resource):
    """Answers what a test puts here."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes, dict[bytes, Any], bytes]] = []
        self.status = 200
        self.fields: dict[str, str] = {"Content-Type": "application/json"}
        self.body: bytes | None = b"{}"

    def render(self, request: Any) -> Any:
        headers = dict(request.requestHeaders.getAllRawHeaders())
        self.asked.append((request.method, request.uri, headers, request.content.read()))
        request.setResponseCode(self.status)
        for name, value in self.fields.items():
            request.setHeader(name, value)
        return NOT_DONE_YET if self.body is None else self.body


class Site:
    def __init__(self, http: bool = False) -> None:
        self.pages = Pages()
        self.clock = Clock()
        self.agent = RequestTraversalAgent(self.pages)
        self.web = TreqWeb(self.clock, None, timeout=10.0, http=http, agent=self.agent)  # type: ignore[arg-type]

    def run(self, coroutine: Any, wait: float = 0.0) -> Any:
        found: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(found.append)
        self.agent.flush()
        if wait:
            assert found == []
            self.clock.advance(wait)
        assert found, "it waits"
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]

    def get(self, url: str = "https://idp.test/x?y=z", **more: Any) -> Any:
        return self.run(self.web.get(url, Trust()), **more)

    def failed(self, **more: Any) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            self.get(**more)
        return caught.value


def test_a_get_and_a_post() -> None:
    site = Site()
    site.pages.body = b'{"a": 1}'
    site.pages.fields["Content-Type"] = "Application/JSON; charset=utf-8"
    found = site.get()
    assert (found.status, found.media, found.json("it")) == (200, "application/json", {"a": 1})
    assert "{" not in repr(found)
    site.run(site.web.post("https://idp.test/t", Trust(), {"code": "a b&c"}, {"Authorization": "Basic x"}))
    method, uri, headers, body = site.pages.asked[1]
    assert (method, uri, body) == (b"POST", b"/t", b"code=a+b%26c")
    assert headers[b"Authorization"] == [b"Basic x"]
    assert headers[b"Content-Type"] == [b"application/x-www-form-urlencoded"]
    assert headers[b"User-Agent"][0].startswith(b"ksproxyd/")
    assert b"Accept-Encoding" not in headers


def test_redirects_are_answers() -> None:
    site = Site()
    site.pages.status = 302
    site.pages.fields["Location"] = "http://169.254.169.254/"
    assert site.get().status == 302
    assert len(site.pages.asked) == 1


def test_cookies_are_not_kept() -> None:
    site = Site()
    site.pages.fields["Set-Cookie"] = "a=b"
    site.get()
    site.get()
    assert b"Cookie" not in site.pages.asked[1][2]


def test_a_long_answer_is_cut() -> None:
    site = Site()
    site.pages.body = b"x" * (LARGEST + 1)
    assert site.failed().kind == "answer"
    site.pages.body = b"x" * LARGEST
    assert len(site.get().body) == LARGEST


def test_a_compressed_answer_is_none() -> None:
    site = Site()
    site.pages.body = gzip.compress(b"{}")
    site.pages.fields["Content-Encoding"] = "gzip"
    assert "compressed" in site.failed().message


def test_an_answer_that_does_not_come() -> None:
    site = Site()
    site.pages.body = None
    found = site.failed(wait=10.1)
    assert (found.kind, found.message) == ("unavailable", "https://idp.test/x: no complete answer within 10 s")
    assert site.clock.getDelayedCalls() == []


def test_one_that_is_given_up_is_no_failure_of_the_provider() -> None:
    site = Site()
    site.pages.body = None
    found: list[Any] = []
    waiting = Deferred.fromCoroutine(site.web.get("https://idp.test/", Trust()))
    waiting.addErrback(lambda failure: found.append(failure.type))
    site.agent.flush()
    waiting.cancel()
    assert found == [CancelledError]
    assert site.clock.getDelayedCalls() == []


@pytest.mark.parametrize("url", ["http://idp.test/", "file:///etc/passwd", "https://u:p@idp.test/", "gopher://x/"])
def test_addresses_that_are_not_asked(url: str) -> None:
    site = Site()
    assert site.failed(url=url).kind == "answer"
    assert site.pages.asked == []


def test_http_where_it_is_allowed() -> None:
    assert Site(http=True).get("http://idp.test/").status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object(body: bytes) -> None:
    site = Site()
    site.pages.body = body
    found = site.get()
    with pytest.raises(ProviderError, match="the thing answered 200"):
        found.json("the thing")


# -- over real connections, in memory --------------------------------------------------------------------------------


AUTHORITY = Authority()


class Wire:
    def __init__(self, name: str = "idp.test") -> None:
        self.reactor = MemoryReactor()
        self.dialer = MemoryDialer(self.reactor)
        self.backend = Backend(lambda conversation, request: answer(200, b'{"ok": true}'))
        context = AUTHORITY.issue(name).server_context()
        self.dialer.serve("https://idp.test", self.backend, context)
        self.web = TreqWeb(self.reactor, self.dialer, timeout=10.0)

    def get(self, trust: Trust, url: str = "https://idp.test/x", wait: float = 0.0) -> Any:
        found: list[Any] = []
        Deferred.fromCoroutine(self.web.get(url, trust)).addBoth(found.append)
        self.reactor.settle()
        self.reactor.wait(wait)
        assert found, "it waits"
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        self.reactor.settle()
        return found[0]

    def failed(self, *more: Any, **named: Any) -> str:
        with pytest.raises(ProviderError) as caught:
            self.get(*more, **named)
        assert caught.value.kind == "unavailable"
        assert self.reactor.getDelayedCalls() == []
        return caught.value.message


def test_the_certificate_must_be_of_a_trusted_authority() -> None:
    assert Wire().get(Trust(AUTHORITY.pem)).json("x") == {"ok": True}
    assert "not issued by an authority that is trusted" in Wire().failed(Trust())
    assert "not issued by an authority" in Wire().failed(Trust(Authority().pem))


def test_the_certificate_must_be_for_the_name() -> None:
    assert "for another name" in Wire("other.test").failed(Trust(AUTHORITY.pem))


def test_unless_nothing_is_verified() -> None:
    assert Wire("other.test").get(Trust(insecure=True)).status == 200


def test_the_connection_is_closed_afterwards() -> None:
    wire = Wire()
    wire.get(Trust(AUTHORITY.pem))
    wire.reactor.settle()
    assert wire.backend.open == 0
    assert wire.reactor.getDelayedCalls() == []


def test_servers_that_are_not_there() -> None:
    wire = Wire()
    wire.dialer.refusing.add(("idp.test", 443))
    assert wire.failed(Trust()) == "https://idp.test/x: connection refused"
    assert wire.failed(Trust(), "https://nowhere.test/x") == "https://nowhere.test/x: the host name does not resolve"
    wire = Wire()
    wire.dialer.silent.add(("idp.test", 443))
    assert wire.failed(Trust(), wait=10.5).startswith("https://idp.test/x: ")


# -- where connections may go --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
     "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:0:1::", "::7f00:1",
     "2001:db8::1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@implementer(IHostnameResolver)
class Names:
    def __init__(self, found: list[Any]) -> None:
        self.found = found

    def resolveHostName(self, receiver: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        class Resolution:
            def cancel(self) -> None:
                pass

        resolution = Resolution()
        resolution.name = name  # type: ignore[attr-defined]
        receiver.resolutionBegan(resolution)
        for address in self.found:
            receiver.addressResolved(address)
        receiver.resolutionComplete()
        return resolution


def dial(host: str, found: list[Any], allow: bool = False) -> tuple[MemoryReactorClock, list[Any]]:
    reactor = MemoryReactorClock()
    reactor.nameResolver = Names(found)
    results: list[Any] = []
    factory = Factory.forProtocol(Protocol)
    GuardedDialer(reactor, allow).dial(Target("http", host, 443), factory, 5.0).addBoth(results.append)
    reactor.advance(1)
    return reactor, results


def test_names_that_lead_inside_are_not_connected_to() -> None:
    for found in ([IPv4Address("TCP", "10.0.0.1", 443)], [IPv6Address("TCP", "::1", 443)]):
        reactor, results = dial("evil.test", found)
        assert reactor.tcpClients == []
        assert "at a private address" in results[0].value.message
    for host in ("127.0.0.1", "::1", "169.254.169.254"):
        reactor, results = dial(host, [])
        assert reactor.tcpClients == []
        assert "at a private address" in results[0].value.message


def test_of_several_addresses_only_the_public_ones_are_tried() -> None:
    found = [IPv4Address("TCP", "10.0.0.1", 443), IPv4Address("TCP", "8.8.8.8", 443)]
    reactor, _ = dial("mixed.test", found)
    reactor.advance(5)
    assert [client[0] for client in reactor.tcpClients] == ["8.8.8.8"]


def test_names_that_do_not_resolve_are_just_that() -> None:
    _, results = dial("nowhere.test", [])
    assert results[0].check(error.DNSLookupError)


def test_everything_where_it_is_allowed() -> None:
    reactor, _ = dial("inside.test", [IPv4Address("TCP", "10.0.0.1", 443)], allow=True)
    assert [client[0] for client in reactor.tcpClients] == ["10.0.0.1"]
    reactor, _ = dial("::1", [], allow=True)
    assert [client[0] for client in reactor.tcpClients] == ["::1"]


def test_an_unknown_address_fails_the_same_way_for_a_provider() -> None:
    web = TreqWeb(MemoryReactorClock(), GuardedDialer(MemoryReactorClock(), False), timeout=5.0)
    assert "allowPrivate does not allow" in error_of(web.get("https://127.0.0.1/x", Trust()), "unavailable").message

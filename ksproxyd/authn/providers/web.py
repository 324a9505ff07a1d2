"""Requests to identity providers over HTTP.

A request is one connection, at most ``timeout`` seconds and :data:`LARGEST` bytes of answer. Redirects are not
followed, cookies are not kept, and nothing is asked for without TLS unless the settings allow it: what is sent here are
codes and secrets.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec
from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from ksproxyd import __version__
from ksproxyd.authn.providers.options import problem_of_url
from ksproxyd.authn.providers.provider import ProviderError
from ksproxyd.authn.providers.trust import Trust
from ksproxyd.upstream.errors import UpstreamError
from ksproxyd.upstream.pool import Dialer
from ksproxyd.upstream.target import Target

#: Largest answer, in bytes.
LARGEST = 1024 * 1024

_AGENT = f"ksproxyd/{__version__}"


class WebAnswer(msgspec.Struct, frozen=True):
    """A complete answer. ``media`` is its media type in lower case, without parameters."""

    status: int
    media: str
    body: bytes

    def __repr__(self) -> str:
        # Tokens are in bodies.
        return f"<WebAnswer {self.status} {len(self.body)} bytes>"

    def json(self, what: str) -> dict[str, Any]:
        """The JSON object in it. Raises :class:`ProviderError`; ``what`` is who has answered."""
        try:
            found = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProviderError("answer", f"{what} answered {self.status} with something that is not JSON") from None
        if not isinstance(found, dict):
            raise ProviderError("answer", f"{what} answered {self.status} with JSON that is not an object")
        return found


class Web(Protocol):
    """What providers need of HTTP. Raises :class:`ProviderError` where no complete answer comes."""

    async def get(self, url: str, trust: Trust, headers: Mapping[str, str] | None = None) -> WebAnswer: ...

    async def post(
        self, url: str, trust: Trust, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> WebAnswer: ...


class TreqWeb:
    """Over connections of ``dialer``. ``http``: addresses need not be https. ``agent`` is for tests: it makes none."""

    def __init__(
        self, reactor: Any, dialer: Dialer, *, timeout: float, http: bool = False, agent: IAgent | None = None
    ) -> None:
        self._reactor = reactor
        self._dialer = dialer
        self._timeout = timeout
        self._http = http
        self._agent = agent

    async def get(self, url: str, trust: Trust, headers: Mapping[str, str] | None = None) -> WebAnswer:
        """GET ``url``."""
        return await self._request("GET", url, trust, headers or {}, None)

    async def post(
        self, url: str, trust: Trust, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> WebAnswer:
        """POST a form to ``url``."""
        return await self._request("POST", url, trust, headers or {}, form)

    async def _request(
        self, method: str, url: str, trust: Trust, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> WebAnswer:
        problem = problem_of_url(url, http=self._http)
        if problem:
            raise ProviderError("answer", f"the provider's address {_place(url)} {problem}")
        begun = self._reactor.seconds()
        working = Deferred.fromCoroutine(self._carry_out(method, url, trust, headers, form))
        try:
            return await working.addTimeout(self._timeout, self._reactor)
        except ProviderError:
            raise
        except Exception as reason:
            why = explain(reason)
            if isinstance(reason, TookTooLong) or is_cancelled(reason):
                # Being cancelled is told in many ways, whoever has done it.
                if not isinstance(reason, TookTooLong) and self._reactor.seconds() - begun < self._timeout:
                    raise CancelledError from None
                why = f"no complete answer within {self._timeout:g} s"
            raise ProviderError("unavailable", f"{_place(url)}: {why}") from None

    async def _carry_out(
        self, method: str, url: str, trust: Trust, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> WebAnswer:
        agent = self._agent or Agent.usingEndpointFactory(
            self._reactor, _Endpoints(self._reactor, self._dialer, trust, self._timeout)
        )
        wanted = Headers()
        for name, value in {"User-Agent": _AGENT, "Accept": "application/json", **headers}.items():
            wanted.addRawHeader(name, value)
        data = None
        if form is not None:
            wanted.addRawHeader("Content-Type", "application/x-www-form-urlencoded")
            data = urlencode(form).encode()
        # A client of its own for every request: it would keep cookies. Its own bodies go through the global reactor.
        response = await HTTPClient(_Uncompressed(agent), data_to_body_producer=_Form).request(
            method,
            url,
            headers=wanted,
            data=data,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        media = (response.headers.getRawHeaders("content-type") or [""])[0].partition(";")[0].strip().lower()
        return WebAnswer(response.code, media, await _body(response.original))


@implementer(IBodyProducer)
class _Form:
    """A body that is written in one piece."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(self._body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is written already."""

    def resumeProducing(self) -> None:
        """It is written already."""

    def stopProducing(self) -> None:
        """It is written already."""


@implementer(IAgent)
class _Uncompressed:
    """Asks for answers as they are: a small compressed one can be an enormous one."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """As in :class:`~twisted.web.iweb.IAgent`."""
        wanted = Headers() if headers is None else headers.copy()
        wanted.removeHeader(b"accept-encoding")
        return self._agent.request(method, uri, wanted, bodyProducer).addCallback(self._plain)

    def _plain(self, response: IResponse) -> IResponse:
        encoding = (response.headers.getRawHeaders(b"content-encoding") or [b"identity"])[0]
        if encoding.strip().lower() not in (b"", b"identity"):
            raise ProviderError("answer", "the provider's answer is compressed, which was not asked for")
        return response


def _place(url: str) -> str:
    """A URL as it may be logged: codes and tokens are in queries."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]


def explain(reason: BaseException) -> str:
    """Why a connection or a request failed, in words for an administrator."""
    reasons = getattr(reason, "reasons", None)
    if isinstance(reasons, list) and reasons:
        # ResponseNeverReceived, ResponseFailed and the like: the first cause counts.
        first = reasons[0].value if isinstance(reasons[0], Failure) else reasons[0]
        return explain(first) if isinstance(first, BaseException) else str(first)[:200]
    if isinstance(reason, UpstreamError):
        return reason.message
    if isinstance(reason, VerificationError):
        return "its certificate is for another name"
    if isinstance(reason, (SSL.Error, ssl.SSLError)):
        return f"TLS failed: {_tls_words(reason)}"
    if isinstance(reason, error.ConnectionRefusedError):
        return "connection refused"
    if isinstance(reason, error.DNSLookupError):
        return "the host name does not resolve"
    if isinstance(reason, (error.TimeoutError, error.TCPTimedOutError)):
        return "connecting took too long"
    if isinstance(reason, (error.ConnectionDone, error.ConnectionLost, error.ConnectionAborted)):
        return "the connection was closed before an answer came"
    return f"{type(reason).__name__}: {reason}"[:200]


def is_cancelled(reason: BaseException) -> bool:
    """Whether a request ended because it was given up."""
    reasons = getattr(reason, "reasons", None)
    if isinstance(reasons, list):
        return any(isinstance(each, Failure) and each.value and is_cancelled(each.value) for each in reasons)
    return isinstance(reason, (CancelledError, error.ConnectingCancelledError))


def _tls_words(reason: Exception) -> str:
    details = reason.args[0] if reason.args else None
    if isinstance(details, list) and details:
        words = [str(part) for detail in details for part in detail if part]
        text = words[-1] if words else ""
        if "certificate verify failed" in words or "provider signature failure" in words:
            return "its certificate is not issued by an authority that is trusted (see rootCAData)"
        return text or "no reason given"
    return str(reason)[:120] or "no reason given"


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any, dialer: Dialer, trust: Trust, timeout: float) -> None:
        self._reactor = reactor
        self._dialer = dialer
        self._trust = trust
        self._timeout = timeout

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Where to connect for ``uri``."""
        host = uri.host.decode("ascii")
        plain = DialerEndpoint(self._dialer, Target("http", host, uri.port), self._timeout)
        if uri.scheme == b"http":
            return plain
        endpoint: IStreamClientEndpoint = wrapClientTLS(self._trust.creator(host), plain, clock=self._reactor)
        return endpoint


@implementer(IStreamClientEndpoint)
class DialerEndpoint:
    """A dialer's connections as an endpoint of Twisted's."""

    def __init__(self, dialer: Dialer, target: Target, timeout: float) -> None:
        self._dialer = dialer
        self._target = target
        self._timeout = timeout

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Connect a protocol of ``protocolFactory``."""
        made = _Made(protocolFactory)
        return self._dialer.dial(self._target, made, self._timeout).addCallback(lambda _: made.protocol)


class _Made(Factory):
    """Passes a factory on and remembers the protocol it has made, whatever the transport says it is."""

    noisy = False

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self.protocol: Any = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        self.protocol = self._factory.buildProtocol(addr)
        return self.protocol


class _Body(TwistedProtocol):
    """Collects an answer up to a limit, and cuts the connection there."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > LARGEST:
            self._parts.clear()
            if not self.done.called:
                self.done.errback(ProviderError("answer", f"the provider's answer is longer than {LARGEST} bytes"))
            self._abort()
        else:
            self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        # PotentialDataLoss (an answer that ends with its connection) is not complete for certain.
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(reason)

    def _abort(self) -> None:
        transport = self.transport
        stop = getattr(transport, "abortConnection", None) or getattr(transport, "loseConnection", None)
        if stop is not None:
            stop()


def _body(response: IResponse) -> Deferred[bytes]:
    body = _Body()
    response.deliverBody(body)
    return body.done

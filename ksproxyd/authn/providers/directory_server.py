"""A connection to an LDAP server (RFC 4511), as far as a sign-in needs one.

Names and filters are made as structures, never as text with something of a user's put into it, so that nothing needs
to be escaped. Every answer is waited for with a timeout; what is no LDAP, or more than a sign-in can be about, ends the
connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ldaptor import ldapfilter
from ldaptor.protocols import pureldap
from ldaptor.protocols.ldap import ldaperrors
from ldaptor.protocols.ldap.ldapclient import LDAPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ksproxyd.authn.providers.provider import ProviderError
from ksproxyd.authn.providers.web import DialerEndpoint, explain
from ksproxyd.upstream.pool import Dialer
from ksproxyd.upstream.target import Target

#: Largest message of a server, in bytes: an entry with a few attributes.
LARGEST = 1024 * 1024
#: As many entries as are needed to know that there is more than one.
_ENTRIES = 2
_SIZE_LIMIT_EXCEEDED = 4


class Entry(NamedTuple):
    """What a search has found. Attribute names are the same in any case."""

    dn: str
    attributes: dict[str, tuple[bytes, ...]]

    def values(self, attribute: str) -> tuple[bytes, ...]:
        """The values of an attribute; options behind its name (``;binary``, ``;lang-en``) make it another one."""
        return self.attributes.get(attribute.lower(), ())


class Refused(Exception):
    """The server has answered with an error: ``code`` is its result code (RFC 4511, A.2)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class DirectoryServer:
    """An open connection. Methods raise :class:`Refused` for an error the server answers, else ``ProviderError``."""

    def __init__(self, reactor: Any, client: _Client, read_timeout: float) -> None:
        self._reactor = reactor
        self._client = client
        self._read_timeout = read_timeout

    @classmethod
    async def connect(
        cls,
        reactor: Any,
        dialer: Dialer,
        target: Target,
        creator: Callable[[str], Any] | None,
        *,
        connect_timeout: float,
        read_timeout: float,
    ) -> DirectoryServer:
        """Connect to ``target``, with TLS from the beginning by ``creator(host)``. Times are in seconds."""
        endpoint: Any = DialerEndpoint(dialer, target, connect_timeout)
        if creator is not None:
            endpoint = wrapClientTLS(creator(target.host), endpoint, clock=reactor)
        working = Deferred.fromCoroutine(_connected(endpoint, creator is not None))
        try:
            client = await working.addTimeout(connect_timeout, reactor)
        except (ProviderError, CancelledError):
            raise
        except TookTooLong:
            raise ProviderError("unavailable", f"no connection within {connect_timeout:g} s") from None
        except Exception as error:
            raise ProviderError("unavailable", explain(error)) from None
        return cls(reactor, client, read_timeout)

    async def start_tls(self, creator: Any) -> None:
        """Go on with TLS (RFC 4511, 4.14)."""
        answer = await self._ask(pureldap.LDAPStartTLSRequest())
        try:
            _check(answer)
        except Refused as error:
            raise ProviderError("unavailable", f"the server does not do StartTLS: {error}") from None
        if self._client.buffer:
            # Somebody on the way may have put it there, to be taken for the server's under TLS.
            self._client.cut()
            raise ProviderError("answer", "the server sent something in clear behind its answer to StartTLS")
        await self._wait(self._client.secure(creator))

    async def bind(self, dn: str, password: str) -> None:
        """Prove to be ``dn`` (a simple bind). The password must not be empty."""
        if not password:
            raise ValueError("a bind without a password proves nothing")
        _check(await self._ask(pureldap.LDAPBindRequest(dn=dn, auth=password)))

    async def search(self, base: str, attribute: str, value: str, filter_text: str, wanted: list[str]) -> list[Entry]:
        """The entries below ``base`` whose ``attribute`` is ``value``, at most two; ``filter_text`` restricts them."""
        match: Any = pureldap.LDAPFilter_equalityMatch(
            attributeDesc=pureldap.LDAPAttributeDescription(attribute),
            assertionValue=pureldap.LDAPAssertionValue(value),
        )
        if filter_text:
            match = pureldap.LDAPFilter_and([match, ldapfilter.parseFilter(filter_text)])
        request = pureldap.LDAPSearchRequest(
            baseObject=base,
            scope=pureldap.LDAP_SCOPE_wholeSubtree,
            derefAliases=pureldap.LDAP_DEREF_neverDerefAliases,
            sizeLimit=_ENTRIES,
            timeLimit=max(1, int(self._read_timeout)),
            filter=match,
            attributes=wanted,
        )
        found: list[Entry] = []
        done: Deferred[Any] = Deferred()

        def heard(message: Any) -> bool:
            if isinstance(message, pureldap.LDAPSearchResultEntry):
                # A server need not keep to the size limit.
                if len(found) < _ENTRIES:
                    found.append(_entry(message))
                return False
            if isinstance(message, pureldap.LDAPSearchResultDone):
                done.callback(message)
                return True
            # References lead elsewhere, where nobody said that we may go.
            return False

        answer = await self._wait(self._client.request_many(request, heard, done))
        try:
            _check(answer)
        except Refused as error:
            if error.code != _SIZE_LIMIT_EXCEEDED or len(found) < _ENTRIES:
                raise
        return found

    def close(self) -> None:
        """Say goodbye and close, whatever state the connection is in."""
        self._client.leave()

    async def _ask(self, request: Any) -> Any:
        return await self._wait(self._client.request(request))

    async def _wait(self, answer: Deferred[Any]) -> Any:
        try:
            return await answer.addTimeout(self._read_timeout, self._reactor)
        except (ProviderError, CancelledError):
            self._client.cut()
            raise
        except TookTooLong:
            self._client.cut()
            raise ProviderError("unavailable", f"the server did not answer within {self._read_timeout:g} s") from None
        except Exception as error:
            self._client.cut()
            raise ProviderError("unavailable", explain(error)) from None


def filter_problem(text: str) -> str:
    """Why ``text`` is no search filter (RFC 4515); empty if it is one, or is empty."""
    if not text:
        return ""
    try:
        ldapfilter.parseFilter(text)
    except (ldapfilter.InvalidLDAPFilter, ValueError, RecursionError):
        return "is not an LDAP filter, such as (objectClass=person)"
    return ""


async def _connected(endpoint: Any, tls: bool) -> _Client:
    factory = _Clients(tls)
    made: Deferred[Any] = endpoint.connect(factory)
    await made
    client = factory.client
    assert client is not None
    try:
        if client.secured is not None:
            await client.secured
    except BaseException:
        client.cut()
        raise
    return client


def _check(message: Any) -> None:
    """Raises :class:`Refused` unless the result is a success."""
    code = getattr(message, "resultCode", None)
    if not isinstance(code, int):
        raise ProviderError("answer", "the server's answer is of another kind than the question")
    if code == ldaperrors.Success.resultCode:
        return
    known = ldaperrors.LDAPExceptionCollection.collection.get(code)
    name = known.name.decode("ascii") if known is not None and known.name else "unknown"
    said = _readable(getattr(message, "errorMessage", b"") or b"")
    raise Refused(code, f"{name} ({code})" + (f": {said}" if said else ""))


def _readable(raw: Any) -> str:
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    return "".join(c if c.isprintable() else " " for c in text).strip()[:200]


def _entry(message: Any) -> Entry:
    attributes: dict[str, tuple[bytes, ...]] = {}
    for name, values in message.attributes:
        key = bytes(name).decode("ascii", "replace").lower()
        attributes[key] = attributes.get(key, ()) + tuple(bytes(value) for value in values)
    return Entry(bytes(message.objectName).decode("utf-8", "replace"), attributes)


class _Clients(Factory):
    noisy = False

    def __init__(self, tls: bool) -> None:
        self.client: _Client | None = None
        self._tls = tls

    def buildProtocol(self, addr: Any) -> _Client:
        self.client = _Client(self._tls)
        return self.client


@implementer(IHandshakeListener)
class _Client(LDAPClient):
    """ldaptor's client, made safe against servers that are none. ``tls``: it begins with a handshake."""

    connected: int | None
    buffer: bytes
    onwire: dict[int, Any]

    def __init__(self, tls: bool) -> None:
        super().__init__()
        #: Fires when TLS is established, fails with what ended the connection before.
        self.secured: Deferred[None] | None = Deferred() if tls else None

    def request(self, operation: Any) -> Deferred[Any]:
        """Send an operation that has one answer."""
        if not self.connected:
            return _lost()
        return _owned(self.send(operation))

    def request_many(self, operation: Any, heard: Callable[[Any], bool], done: Deferred[Any]) -> Deferred[Any]:
        """Send an operation whose answers go to ``heard`` until that returns true; ``done`` is fired by it."""
        if not self.connected:
            return _lost()
        self.send_multiResponse(operation, heard).addErrback(_pass_on, done)
        return done

    def secure(self, creator: Any) -> Deferred[None]:
        """Begin TLS; fires when it is established."""
        self.secured = secured = Deferred[None]()
        self.transport.startTLS(creator)
        return secured

    def handshakeCompleted(self) -> None:
        """TLS is established, the certificate is good."""
        if self.secured is not None and not self.secured.called:
            self.secured.callback(None)

    def dataReceived(self, recd: bytes) -> None:
        if len(self.buffer) + len(recd) > LARGEST:
            self._break_off("the server's answer is too long")
            return
        try:
            super().dataReceived(recd)
        except Exception as error:
            # Whatever a parser says of bytes that are no LDAP.
            self._break_off(f"the server does not speak LDAP ({type(error).__name__})")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.secured is not None and not self.secured.called:
            self.secured.errback(reason)

    def unsolicitedNotification(self, msg: Any) -> None:
        """RFC 4511, 4.4.1: the server is about to close the connection."""

    def leave(self) -> None:
        """Unbind and close."""
        if self.connected:
            self.connected = 0
            self.transport.write(pureldap.LDAPMessage(pureldap.LDAPUnbindRequest()).toWire())
            self.transport.loseConnection()

    def cut(self) -> None:
        """Close at once."""
        self.connected = 0
        if self.transport is not None:
            self.transport.abortConnection()

    def _break_off(self, why: str) -> None:
        self.buffer = b""
        waiting, self.onwire = self.onwire, {}
        self.cut()
        for deferred, *_ in waiting.values():
            if not deferred.called:
                deferred.errback(ProviderError("answer", why))


def _lost() -> Deferred[Any]:
    failed: Deferred[Any] = Deferred()
    failed.errback(ProviderError("unavailable", "the server has closed the connection"))
    return failed


def _owned(answer: Deferred[Any]) -> Deferred[Any]:
    """``answer`` as one that may be given up: ldaptor fires its own whether anybody waits or not."""
    done: Deferred[Any] = Deferred()

    def told(result: Any) -> None:
        if done.called:
            return
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(result)

    answer.addBoth(told)
    return done


def _pass_on(failure: Failure, done: Deferred[Any]) -> None:
    if not done.called:
        done.errback(failure)

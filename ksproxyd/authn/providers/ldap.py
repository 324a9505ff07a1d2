"""LDAP and Active Directory: search for whoever signs in, then bind as them (spec 02, 4.3 and D-39).

Needs ``ldaptor`` (the extra ``ldap``), which :mod:`ksproxyd.authn.providers.directory_server` speaks the protocol with.

A sign-in is one connection, from its beginning to its end: connect, TLS, bind as the manager, search, bind as the entry
that was found. A name that nobody has, or more than one entry, is a wrong password to whoever asks.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.directory_server import DirectoryServer, Entry, Refused, filter_problem
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.options import Options
from ksproxyd.authn.providers.provider import External, ProviderError, Step
from ksproxyd.authn.providers.trust import Trust, certificates
from ksproxyd.upstream.target import Target

#: Milliseconds for one answer of the server where ``readTimeout`` says nothing else.
READ_TIMEOUT = 15_000
_PORTS = {"ldap": 389, "ldaps": 636}

#: Longest user name and password, in characters.
_LONGEST = 1024

#: Result codes of a bind by which a server says that it does not let this user in (RFC 4511, A.2): credentials that
#: are wrong or of the wrong kind; an account or a password that its policy does not accept.
_NOT_LET_IN = frozenset({19, 48, 49, 53})


class LDAPProvider:
    """``type: LDAPIdentityProvider``."""

    def __init__(self, configuration: Configuration, options: Options, means: Means) -> None:
        self.configuration = configuration
        self._means = means
        self._scheme, host, port = _address(options)
        self._target = Target("http", host, port)
        self._start_tls = options.flag("startTLS")
        if self._start_tls and self._scheme == "ldaps":
            options.wrong("startTLS", "is for ldap://; ldaps:// is TLS from the beginning")
        roots = options.certificates("rootCA", "rootCAData")
        try:
            if roots is not None:
                certificates(roots)
        except ValueError as error:
            options.wrong("rootCAData" if options.given("rootCAData") else "rootCA", str(error))
        self._trust = Trust(roots, options.flag("insecureSkipVerify"))
        # ks-apiserver takes what is not above 0 for its default.
        milliseconds = options.whole("readTimeout", READ_TIMEOUT, -(2**31), 600_000)
        self._read_timeout = (milliseconds if milliseconds > 0 else READ_TIMEOUT) / 1000
        self._manager = options.text("managerDN")
        self._manager_password = options.text("managerPassword")
        if self._manager and not self._manager_password:
            # RFC 4513, 5.1.2: a bind with a name and no password succeeds, and proves nothing.
            options.wrong("managerPassword", "is required with managerDN")
        self._base = options.text("userSearchBase", required=True)
        self._filter = options.text("userSearchFilter")
        problem = filter_problem(self._filter)
        if problem:
            options.wrong("userSearchFilter", problem)
        self._login = options.attribute("loginAttribute", required=True)
        self._mail = options.attribute("mailAttribute")
        self._uid = options.attribute("uidAttribute")
        options.passed_over("groupSearchBase", "groupSearchFilter", "userMemberAttribute", "groupMemberAttribute")

    def close(self) -> None:
        """Connections last as long as a sign-in."""

    async def check(self, username: str, password: str) -> External:
        if not username or not password or len(username) > _LONGEST or len(password) > _LONGEST:
            # RFC 4513, 5.1.2: servers say yes to an empty password.
            raise ProviderError("credentials", "the user name or the password is empty, or far too long")
        server = await self._connect()
        try:
            await self._secure(server)
            await self._bind_manager(server)
            entry = await self._find(server, username)
            external = self._external(entry)
            await self._bind_user(server, entry, password)
        finally:
            server.close()
        return external

    # -- the steps -------------------------------------------------------------------------------------

    async def _connect(self) -> DirectoryServer:
        means = self._means
        creator: Callable[[str], object] = self._trust.creator
        return await DirectoryServer.connect(
            means.reactor,
            means.dialer,
            self._target,
            creator if self._scheme == "ldaps" else None,
            connect_timeout=means.timeout,
            read_timeout=self._read_timeout,
        )

    async def _secure(self, server: DirectoryServer) -> None:
        if self._start_tls:
            await server.start_tls(self._trust.creator(self._target.host))

    async def _bind_manager(self, server: DirectoryServer) -> None:
        if not self._manager:
            return
        try:
            await server.bind(self._manager, self._manager_password)
        except Refused as error:
            why = f"the server does not let {self._manager!r} (managerDN) in: {error}"
            raise ProviderError("unavailable", why) from None

    async def _find(self, server: DirectoryServer, username: str) -> Entry:
        attributes = [name for name in (self._login, self._mail, self._uid) if name]
        try:
            entries = await server.search(self._base, self._login, username, self._filter, attributes)
        except Refused as error:
            raise ProviderError("unavailable", f"the search below {self._base!r} failed: {error}") from None
        if len(entries) != 1:
            found = "more than one entry" if entries else "no entry"
            raise ProviderError("credentials", f"{found} below {self._base!r} with {self._login}={username!r}")
        return entries[0]

    async def _bind_user(self, server: DirectoryServer, entry: Entry, password: str) -> None:
        if not entry.dn:
            raise ProviderError("answer", "the server found an entry without a name")
        try:
            await server.bind(entry.dn, password)
        except Refused as error:
            kind = "credentials" if error.code in _NOT_LET_IN else "unavailable"
            raise ProviderError(kind, f"the bind as {entry.dn!r} was refused: {error}") from None  # type: ignore[arg-type]

    def _external(self, entry: Entry) -> External:
        login = _text(entry, self._login)
        if not login:
            raise ProviderError("answer", f"the entry {entry.dn!r} has no readable {self._login} (loginAttribute)")
        uid = login
        if self._uid:
            uid = _identifier(entry, self._uid)
            if not uid:
                raise ProviderError("answer", f"the entry {entry.dn!r} has no readable {self._uid} (uidAttribute)")
        email = _text(entry, self._mail) if self._mail else ""
        # What stands in an organisation's directory was written by the organisation.
        return External(uid=uid, username=login, email=email, email_verified=bool(email))

    # -- checking --------------------------------------------------------------------------------------

    async def walk(self, username: str, password: str) -> AsyncIterator[Step]:
        where = f"{self._scheme}://{self._target.host}:{self._target.port}"
        try:
            server = await self._connect()
        except ProviderError as error:
            advice = "Check host and port, the network, and for ldaps:// rootCA or rootCAData."
            yield Step("connect", False, f"{where}: {error.message}", advice)
            return
        try:
            yield Step("connect", True, where)
            async for step in self._walk_on(server, username, password):
                yield step
        finally:
            server.close()

    async def _walk_on(self, server: DirectoryServer, username: str, password: str) -> AsyncIterator[Step]:
        if self._start_tls:
            try:
                await self._secure(server)
            except ProviderError as error:
                advice = "The certificate must be for the name in host, by an authority of the system or of rootCAData."
                yield Step("StartTLS", False, error.message, advice)
                return
            yield Step("StartTLS", True, "the certificate is good" if not self._trust.insecure else "NOT verified")
        elif self._scheme == "ldap":
            yield Step("TLS", True, "none: passwords go over the network in clear (see startTLS)")
        try:
            await self._bind_manager(server)
        except ProviderError as error:
            yield Step("bind", False, error.message, "Check managerDN and managerPassword.")
            return
        yield Step("bind", True, f"as {self._manager}" if self._manager else "anonymous: there is no managerDN")
        if not username:
            return
        try:
            entry = await self._find(server, username)
        except ProviderError as error:
            advice = "Check userSearchBase, userSearchFilter and loginAttribute, and what the manager may read."
            yield Step("search", False, error.message, advice)
            return
        yield Step("search", True, entry.dn)
        try:
            external = self._external(entry)
        except ProviderError as error:
            yield Step("read", False, error.message, "Check loginAttribute and uidAttribute.")
            return
        said = f"uid {external.uid}, name {external.username}, e-mail {external.email or 'none'}"
        yield Step("read", True, said, external=external)
        if not password:
            return
        try:
            await self._bind_user(server, entry, password)
        except ProviderError as error:
            yield Step("password", False, error.message, "The password is wrong, or the account may not sign in.")
            return
        yield Step("password", True, "right")


def _address(options: Options) -> tuple[str, str, int]:
    """Scheme, host and port of ``host``."""
    given = options.text("host", required=True)
    try:
        parts = urlsplit(given if "://" in given else f"ldap://{given}")
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        scheme, host, port = "", "", None
    plain = host.isascii() and host.isprintable() and not any(c in " /\\@?#" for c in host)
    if given and (scheme not in _PORTS or not host or not plain or parts.path.strip("/") or "@" in parts.netloc):
        options.wrong("host", "must be host, host:port, ldap://host[:port] or ldaps://host[:port]")
        return "ldap", "", 389
    return scheme or "ldap", host, port or _PORTS.get(scheme, 389)


def _text(entry: Entry, attribute: str) -> str:
    """The first value of an attribute; empty if there is none, or it is no text."""
    values = entry.values(attribute)
    try:
        return values[0].decode("utf-8").strip() if values else ""
    except UnicodeDecodeError:
        return ""


def _identifier(entry: Entry, attribute: str) -> str:
    """The value of an attribute that may be binary: ``objectGUID`` as everybody writes it, others in hexadecimal."""
    values = entry.values(attribute)
    if not values:
        return ""
    value = values[0]
    if attribute.lower() == "objectguid" and len(value) == 16:
        return str(uuid.UUID(bytes_le=value))
    try:
        text = value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()

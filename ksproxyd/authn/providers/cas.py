"""CAS, the Central Authentication Service (CAS protocol 3.0, 2.1, 2.4 and 2.5; spec 02, 4.4).

CAS has no ``state``: here it is part of the address that browsers come back to (the *service*), which CAS ties its
ticket to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from xml.parsers import expat

from ksproxyd.authn.providers.configuration import Configuration
from ksproxyd.authn.providers.means import Means
from ksproxyd.authn.providers.oauth2 import with_query
from ksproxyd.authn.providers.options import Options
from ksproxyd.authn.providers.provider import External, Flow, ProviderError, Step
from ksproxyd.authn.providers.sign_in_page import checked_redirect
from ksproxyd.authn.providers.trust import Trust

_NAMESPACE = "http://www.yale.edu/tp/cas"
_LONGEST_TICKET = 1024

#: Deepest answer; the protocol needs four levels.
_DEEPEST = 16


class CASProvider:
    """``type: CASIdentityProvider``."""

    def __init__(self, configuration: Configuration, options: Options, means: Means) -> None:
        self.configuration = configuration
        self._web = means.web
        roots = options.certificates("rootCA", "rootCAData")
        self._trust = Trust(roots, options.flag("insecureSkipVerify"))
        self._server = options.url("casServerURL", http=means.http, required=True).rstrip("/")
        self.redirect_uri = options.url("redirectURL", means.callback(configuration.name), http=True)
        if not self.redirect_uri:
            options.wrong("redirectURL", "is required while authentication.issuer.url is empty")

    def close(self) -> None:
        """Nothing goes on here between two sign-ins."""

    async def begin(self, flow: Flow) -> str:
        return with_query(f"{self._server}/login", {"service": self._service(flow)})

    async def finish(self, parameters: Mapping[str, str], flow: Flow) -> External:
        ticket = parameters.get("ticket", "")
        if not ticket or len(ticket) > _LONGEST_TICKET:
            raise ProviderError("credentials", "there is no usable ticket among the callback's parameters")
        query = {"service": self._service(flow), "ticket": ticket}
        answer = await self._web.get(
            with_query(f"{self._server}/serviceValidate", query), self._trust, {"Accept": "application/xml, text/xml"}
        )
        if answer.status == 404:
            # A server that knows CAS 1 only.
            answer = await self._web.get(with_query(f"{self._server}/validate", query), self._trust, {"Accept": "*/*"})
            if answer.status != 200:
                raise ProviderError("unavailable", f"{self._server}/validate answered {answer.status}")
            user = read_plain(answer.body)
        elif answer.status != 200:
            raise ProviderError("unavailable", f"{self._server}/serviceValidate answered {answer.status}")
        else:
            user = read_answer(answer.body)
        return External(uid=user, username=user)

    def _service(self, flow: Flow) -> str:
        address = flow.redirect_uri or self.redirect_uri
        return with_query(address, {"state": flow.state}) if flow.state else address

    async def walk(self, username: str, password: str) -> AsyncIterator[Step]:
        url = with_query(f"{self._server}/serviceValidate", {"service": self.redirect_uri, "ticket": "ST-check-idp"})
        try:
            answer = await self._web.get(url, self._trust)
            if answer.status not in (200, 404):
                raise ProviderError("unavailable", f"{self._server}/serviceValidate answered {answer.status}")
            if answer.status == 200:
                read_answer(answer.body)
        except ProviderError as error:
            # That it refuses a ticket that it never gave is what it should do.
            if error.kind != "credentials":
                advice = "Check casServerURL, the network between here and there, and rootCAData."
                yield Step("connect", False, error.message, advice)
                return
        yield Step("connect", True, f"{self._server} validates tickets")
        yield checked_redirect(self.configuration.name, self.redirect_uri)


def read_plain(body: bytes) -> str:
    """The user in an answer of CAS 1 (2.4.2). Raises :class:`ProviderError`."""
    lines = body.decode("utf-8", "replace").split("\n")
    if lines[0].strip() == "yes" and len(lines) > 1 and lines[1].strip():
        return lines[1].strip()
    if lines[0].strip() == "no":
        raise ProviderError("credentials", "CAS does not accept the ticket")
    raise ProviderError("answer", "the answer of CAS is neither yes nor no")


def read_answer(body: bytes) -> str:
    """The user in an answer of CAS 2 or 3 (2.5.2). Raises :class:`ProviderError`.

    Strict: one success with one user, or one failure, in CAS's namespace; no document type, and with it no entities.
    """
    reader = _Reader()
    try:
        reader.parse(body)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ProviderError("answer", f"the answer of CAS cannot be read: {str(error)[:100]}") from None
    if reader.failure is not None and reader.users == [] and not reader.success:
        code = "".join(c for c in reader.failure if c.isalnum() or c == "_")[:40]
        # 2.5.3: what is wrong with the ticket, or with the server.
        if code == "INTERNAL_ERROR":
            raise ProviderError("unavailable", "CAS has an internal error")
        raise ProviderError("credentials", f"CAS does not accept the ticket: {code or 'no reason given'}")
    if not reader.success or reader.failure is not None or len(reader.users) != 1 or not reader.users[0].strip():
        raise ProviderError("answer", "the answer of CAS names no user, or more than one")
    return reader.users[0].strip()


class _Reader:
    """Finds what is at the few places that count."""

    def __init__(self) -> None:
        self.success = 0
        self.failure: str | None = None
        self.users: list[str] = []
        self._path: list[str] = []
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.UnparsedEntityDeclHandler = self._refuse

    def parse(self, body: bytes) -> None:
        self._parser.Parse(body, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise ValueError("it is nested too deeply")
        path = self._where()
        if path == ["serviceResponse", "authenticationSuccess"]:
            self.success += 1
        elif path == ["serviceResponse", "authenticationFailure"]:
            self.failure = attributes.get("code", "")
        elif path == _USER:
            self.users.append("")

    def _end(self, name: str) -> None:
        self._path.pop()

    def _text(self, text: str) -> None:
        if self._where() == _USER:
            self.users[-1] += text

    def _where(self) -> list[str]:
        prefix = _NAMESPACE + " "
        return [name[len(prefix) :] if name.startswith(prefix) else "" for name in self._path]

    def _refuse(self, *details: Any) -> int:
        raise ValueError("it has a document type, or entities")


_USER = ["serviceResponse", "authenticationSuccess", "user"]

"""What browsers come to below ``/oauth``, alone in memory: real clients, codes, tokens, sessions; logins for a test.

Requests pass a step that knows bearer tokens, as the gateway's own does, and the router. :class:`Browser` keeps cookies
and follows what stays with us, like one.
"""

from __future__ import annotations

import base64
import html
import re
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import yaml
from twisted.internet.defer import Deferred, maybeDeferred

from ksproxyd.authn.clients import Clients
from ksproxyd.authn.codes import Codes
from ksproxyd.authn.directory import Directory
from ksproxyd.authn.login import Attempt, LoginRefused
from ksproxyd.authn.rejection import Rejected
from ksproxyd.authn.shared.memory import MemoryStore
from ksproxyd.authn.tokens.keys import KeyRing
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.chain import Chain
from ksproxyd.kapis.oauth.device import Devices
from ksproxyd.kapis.oauth.front import Front
from ksproxyd.kapis.router import Router
from ksproxyd.model.identity import ANONYMOUS, Identity
from ksproxyd.model.request_info import classify
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings import load_text
from ksproxyd.state.store import Store
from ksproxyd.testing import MemoryServer
from ksproxyd.testing.messages import Answer

ISSUER = "https://ks.test"
PASSWORD = "Passw0rdX"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

SETTINGS = """
authentication:
  multipleLogin: true
  issuer: {url: "https://ks.test", jwtSecret: "0123456789012345678901234567890123456789"}
ksproxyd:
  oauth: {%s}
"""

_RP = {"secret": "s", "grantMethod": "auto", "scopeRestrictions": ["openid", "email", "profile"]}
CLIENTS: list[dict[str, Any]] = [
    {**_RP, "name": "kubesphere", "secret": "kubesphere", "trusted": True},
    {
        **_RP,
        "name": "rp1",
        "redirectURIs": ["https://rp1.test/cb", "https://rp1.test/cb?a=1"],
        "postLogoutRedirectURIs": ["https://rp1.test/bye", "https://rp1.test/bye?x=y"],
    },
    {**_RP, "name": "rp2", "redirectURIs": ["https://rp2.test/cb"]},
    {**_RP, "name": "rp-prompt", "grantMethod": "prompt", "redirectURIs": ["https://prompt.test/cb"]},
    {**_RP, "name": "rp-deny", "grantMethod": "deny", "redirectURIs": ["https://deny.test/cb"]},
    {"name": "app", "public": True, "scopeRestrictions": ["openid"], "redirectURIs": ["com.example.app:/cb"]},
]


class FakeLogins:
    """Whoever has :data:`PASSWORD` is let in, unless ``refuse`` says otherwise."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.refuse: Exception | None = None
        self.result: Any = None
        self.asked: list[tuple[str, str, Attempt, str]] = []

    async def by_password(
        self, username: str, password: str, attempt: Attempt, *, provider: str = "", record_type: str = "Token"
    ) -> Any:
        self.asked.append((username, password, attempt, provider))
        if self.refuse is not None:
            raise self.refuse
        if self.result is not None:
            return self.result
        record = self._directory.find(username)
        if record is None or password != PASSWORD:
            raise LoginRefused("password", "wrong")
        return record


class FakeProviders:
    """The identity providers that are on the page."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.typed: list[tuple[str, str]] = []

    def buttons(self) -> list[tuple[str, str]]:
        return self.shown

    def with_passwords(self) -> list[tuple[str, str]]:
        return self.typed


def user(name: str, uid: str = "", **more: Any) -> dict[str, Any]:
    """A User object; ``state`` goes into its status, the rest into its spec."""
    state = more.pop("state", "Active")
    spec = {"email": f"{name}@ks.test", "password": "$2a$04$" + "x" * 53, **more}
    return {"metadata": {"name": name, "uid": uid or f"uid-{name}"}, "spec": spec, "status": {"state": state}}


class BrowserSite:
    """Everything that runs. A context manager, which fails if something is left over."""

    def __init__(self, oauth: str = "", *, issuer: str = ISSUER) -> None:
        text = (SETTINGS % oauth).replace(ISSUER, issuer)
        self.settings = load_text(text, "settings", {}).settings
        self.server = MemoryServer(self._serve)
        clock = self.clock = self.server.reactor
        self.store = MemoryStore(clock, 7200.0)
        self.users, self._bindings = Store("users", clock), Store("groupbindings", clock)
        self._configs = Store("configs", clock)
        for name in ("alice", "bob", "carol"):
            self.users.put(user(name))
        for client in CLIENTS:
            self.put_client(client)
        self.directory = Directory(self.users, self._bindings)
        self.clients = Clients(self._configs)
        self.codes = Codes(self.store, 60.0)
        self.keys = KeyRing(self.settings, _at_once)
        self.tokens = Tokens(clock, self.settings, self.store, self.keys)
        self.devices = Devices(clock, self.store, 600.0, 5.0)
        self.logins = FakeLogins(self.directory)
        self.providers = FakeProviders()
        self.front = Front(
            clock,
            self.settings,
            self.store,
            self.directory,
            self.clients,
            self.codes,
            self.devices,
            self.tokens,
            self.logins,
            self.providers,
        )
        router = Router("/oauth", "OAuth", self.front.routes())
        steps = [("info", _info), ("authenticate", self._authenticate)]
        self.failures: list[Any] = []
        self._chain = Chain(steps, router.handle, self._failed, clock.seconds, lambda name, seconds: None)

    def put_client(self, client: dict[str, Any]) -> None:
        """Create or change the Secret of an OAuth client."""
        data = base64.b64encode(yaml.safe_dump(client).encode()).decode()
        self._configs.put(
            {
                "metadata": {
                    "name": f"oauthclient-{client['name']}",
                    "namespace": "kubesphere-system",
                    "labels": {"config.kubesphere.io/type": "oauthclient"},
                },
                "type": "config.kubesphere.io/oauthclient",
                "data": {"configuration.yaml": data},
            }
        )

    def _serve(self, exchange: Exchange) -> None:
        self._chain.handle(exchange)

    def _failed(self, exchange: Exchange, failure: Any) -> None:
        self.failures.append(failure)
        exchange.fail(failure)

    async def _bearer(self, exchange: Exchange, token: str) -> None:
        try:
            claims = await self.tokens.verify(token)
        except Rejected as rejected:
            raise rejected.error() from None
        exchange.user = Identity(claims.username, ("system:authenticated",))
        exchange.claims = claims

    def _authenticate(self, exchange: Exchange) -> Any:
        exchange.user = ANONYMOUS
        header = exchange.fields.get(b"authorization") or b""
        if header.startswith(b"Identity "):
            exchange.user = Identity(header[9:].decode())
        elif header.startswith(b"Bearer ") and exchange.info.path != "/oauth/logout":
            return self._bearer(exchange, header[7:].decode())
        return None

    def hint(self, name: str = "alice", client: str = "rp1", session: str = "") -> str:
        """An id token of that client's user."""
        self.run(self.keys.prepare(self.store))
        return self.tokens.id_token(subject=name, client=client, claims={}, session=session)

    def run(self, coroutine: Any) -> Any:
        """The result of a coroutine that needs nothing but the memory."""
        found: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(found.append)
        self.clock.settle()
        if hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]

    def bearer(self, name: str = "alice", client: str = "kubesphere") -> Any:
        """What a login of a program has issued."""
        return self.run(self.tokens.open_session(name, client, auth_time=self.clock.seconds()))

    def ask(
        self,
        method: str,
        target: str,
        fields: dict[str, str] | None = None,
        form: dict[str, Any] | None = None,
        *,
        host: str = "192.0.2.7",
    ) -> Answer:
        """A request from the address ``host``, and its complete answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: ks.test"]
        lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
        body = b""
        if form is not None:
            body = urlencode(form).encode()
            lines += ["Content-Type: application/x-www-form-urlencoded"]
        if method == "POST":
            lines += [f"Content-Length: {len(body)}"]
        client = self.server.connect(host=host)
        client.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = client.answer(method)
        client.close()
        if self.failures:
            self.failures[0].raiseException()
        return answer

    def close(self) -> None:
        self.store.close()
        self.server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            self.close()


def _info(exchange: Exchange) -> None:
    exchange.info = classify(exchange.method, exchange.path, exchange.query)


def _at_once(function: Any) -> Deferred[Any]:
    return maybeDeferred(function)


class Browser:
    """Keeps cookies, sends what browsers send, fills in forms."""

    def __init__(self, site: BrowserSite, **fields: str) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}
        self.fields = {"Accept": "text/html,*/*;q=0.8", "User-Agent": "Mozilla/5.0 test", **fields}
        self.form: dict[str, str] = {}
        self.action = ""

    def get(self, target: str, **fields: str) -> Answer:
        return self._go("GET", target, fields, None)

    def post(self, target: str, form: dict[str, str], site: str = "same-origin", **fields: str) -> Answer:
        named = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", **fields}
        return self._go("POST", target, named, form)

    def submit(self, **values: str) -> Answer:
        """Send the form of the last page."""
        assert self.action, "the last page has no form"
        return self.post(self.action, {**self.form, **values})

    def follow(self, answer: Answer) -> Answer:
        """Go on as long as it stays with us."""
        for _ in range(10):
            if answer.status not in (302, 303):
                return answer
            where = location(answer)
            if not where.startswith("/"):
                return answer
            answer = self.get(where)
        raise AssertionError("it goes round in circles")

    def sign_in(self, name: str = "alice", password: str = PASSWORD) -> Answer:
        """On the page for it."""
        self.get("/oauth/login")
        return self.submit(username=name, password=password)

    def _go(self, method: str, target: str, fields: dict[str, str], form: Any) -> Answer:
        fields = {**self.fields, **fields}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.site.ask(method, target, fields, form)
        for line in answer.all("Set-Cookie"):
            name, _, rest = line.decode().partition("=")
            value = rest.partition(";")[0]
            assert "HttpOnly" in rest and "SameSite=Lax" in rest and "Path=/oauth" in rest, rest
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        text = answer.body.decode()
        found = re.search(r'<form method="(?:post|get)" action="([^"]*)"(.*?)</form>', text, re.S)
        self.action, self.form = "", {}
        if found is not None:
            self.action = html.unescape(found[1])
            for name, value in re.findall(r'<input[^>]*type="hidden" name="([^"]*)" value="([^"]*)"', found[2]):
                self.form[name] = html.unescape(value)
        return answer


def location(answer: Answer) -> str:
    """The address that an answer leads to."""
    value = answer.get("Location")
    assert value is not None, (answer.status, answer.body[:500])
    return value.decode("ascii")


def told(answer: Answer) -> dict[str, str]:
    """The parameters of the query of the address that an answer leads to."""
    return dict(parse_qsl(urlsplit(location(answer)).query, keep_blank_values=True, strict_parsing=True))


def authorize(client: str = "rp1", **more: str | None) -> str:
    """The target of an authorization request; a value of None leaves the parameter out."""
    known: dict[str, str | None] = {
        "client_id": client,
        "redirect_uri": f"https://{client}.test/cb",
        "response_type": "code",
        "scope": "openid",
        "state": "st/ä &1",
        **more,
    }
    return "/oauth/authorize?" + urlencode({key: value for key, value in known.items() if value is not None})

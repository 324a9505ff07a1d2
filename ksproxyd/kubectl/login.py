"""From what is known to a token that is good: the one that is kept, a new one for its refresh token, or a login.

A login is the device flow (RFC 8628): a person opens an address in whatever browser they like, signs in there, and sees
the same code as here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Protocol

from ksproxyd.kubectl.endpoint import Reply, Unusable
from ksproxyd.kubectl.token_cache import Kept, TokenCache

CLIENT_ID = "ksproxyd-cli"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

#: Seconds that a token must be good for at least, to be worth handing out.
SPARE = 30.0

#: Most seconds between two questions whether somebody has signed in.
_SLOWEST = 60.0


class Failed(Exception):
    """There is no token. The text says why, and what to do."""


class Server(Protocol):
    """The part of :class:`ksproxyd.kubectl.endpoint.Endpoint` that is needed here."""

    server: str

    def post(self, path: str, fields: dict[str, str]) -> Reply: ...

    def get(self, path: str, token: str) -> Reply: ...


class Login:
    """Gets tokens for ``user`` (empty: whoever signs in) and keeps them in ``cache``.

    ``now()`` is Unix time, ``sleep`` waits for seconds, ``say`` shows a line to the person. Without ``interactive``
    nobody is there to sign in.
    """

    def __init__(
        self,
        server: Server,
        cache: TokenCache,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], object],
        say: Callable[[str], object],
        client: str = CLIENT_ID,
        user: str = "",
        interactive: bool = True,
    ) -> None:
        self._server = server
        self._cache = cache
        self._now = now
        self._sleep = sleep
        self._say = say
        self._client = client
        self._user = user
        self._interactive = interactive

    def token(self) -> Kept:
        """Tokens that are good now. Raises :class:`Failed`, and what a cache and an endpoint raise."""
        with self._cache.locked():
            kept = self._cache.load()
            if kept is not None and self._usable(kept):
                return kept
            renewed = self._refreshed(kept) if kept is not None and kept.refresh_token else None
            return renewed or self._by_device()

    def again(self) -> Kept:
        """Have somebody sign in, whatever is kept."""
        with self._cache.locked():
            return self._by_device()

    def out(self) -> bool:
        """End the login that is kept, if there is one; whether there was."""
        with self._cache.locked():
            kept = self._cache.load()
            if kept is None:
                return False
            self._cache.drop()
            if self._revoke(kept).status != 200:
                raise Failed(f"the tokens are forgotten here, but {self._server.server} has not ended them")
            return True

    # -- what is kept ------------------------------------------------------------------------------------------

    def _usable(self, kept: Kept) -> bool:
        if kept.expires and kept.expires - self._now() < SPARE:
            return False
        try:
            # kubectl asks us again when a token was refused, and does not say so: it may have been revoked.
            return self._server.get("/oauth/userinfo", kept.access_token).status != 401
        except Unusable:
            return True

    def _refreshed(self, kept: Kept) -> Kept | None:
        reply = self._server.post(
            "/oauth/token",
            {"grant_type": "refresh_token", "refresh_token": kept.refresh_token, "client_id": self._client},
        )
        if reply.status == 200:
            return self._keep(reply)
        if reply.error == "invalid_grant":
            self._cache.drop()
            return None
        raise Failed(self._trouble(reply))

    # -- a login -----------------------------------------------------------------------------------------------

    def _by_device(self) -> Kept:
        if not self._interactive:
            raise Failed(f"nobody is logged in; run: ksproxyd login --server {self._server.server}")
        begun = self._server.post("/oauth/device_authorization", {"client_id": self._client})
        code, page = begun.text("device_code"), begun.text("verification_uri")
        if begun.status != 200 or not code or not page:
            raise Failed(self._trouble(begun))
        shown = plain(begun.text("user_code"))
        self._say(f"To log in to {self._server.server}, open this address in a browser:")
        self._say("")
        self._say(f"    {plain(begun.text('verification_uri_complete') or page)}")
        self._say("")
        self._say(f"and let it in if it shows the code {shown}.")
        reply = self._wait(code, begun.number("interval", 5), begun.number("expires_in", 600))
        return self._keep(reply)

    def _wait(self, code: str, interval: float, lifetime: float) -> Reply:
        end = self._now() + lifetime
        fields = {"grant_type": DEVICE_CODE, "device_code": code, "client_id": self._client}
        while True:
            self._sleep(min(max(1.0, interval), _SLOWEST))
            if self._now() >= end:
                raise Failed("nobody has signed in in time; try again")
            try:
                reply = self._server.post("/oauth/token", fields)
            except Unusable:
                # RFC 8628, 3.5: a network that shakes is no answer. Ask more slowly.
                interval *= 2
                continue
            if reply.status == 200:
                return reply
            if reply.error == "slow_down":
                interval += 5
            elif reply.error == "access_denied":
                raise Failed("the login was not allowed in the browser")
            elif reply.error == "expired_token":
                raise Failed("nobody has signed in in time; try again")
            elif reply.error != "authorization_pending" and reply.status not in (429, 500, 502, 503, 504):
                raise Failed(self._trouble(reply))

    def _keep(self, reply: Reply) -> Kept:
        token = reply.text("access_token")
        if not token or reply.text("token_type").lower() != "bearer":
            raise Failed(f"{self._server.server} has sent no token")
        lifetime = reply.number("expires_in", 0)
        kept = Kept(token, reply.text("refresh_token"), self._now() + lifetime if lifetime else 0.0)
        who = subject(token)
        if self._user and who != self._user:
            self._revoke(kept)
            raise Failed(f"you have signed in as {plain(who)}, but this is for {self._user}")
        self._cache.save(kept)
        return kept

    def _revoke(self, kept: Kept) -> Reply:
        token = kept.refresh_token or kept.access_token
        return self._server.post("/oauth/revoke", {"client_id": self._client, "token": token})

    def _trouble(self, reply: Reply) -> str:
        said = plain(reply.text("error_description") or reply.error or reply.text("message"))
        return f"{self._server.server} answers {reply.status}" + (f": {said}" if said else "")


def subject(token: str) -> str:
    """Whose a token says that it is; empty if that cannot be read. Not verified: it has come from its issuer."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        said = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        name = said["sub"]
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""


def plain(text: str) -> str:
    """``text`` without what a terminal could take for a command."""
    return "".join(c if c.isprintable() else "?" for c in text)[:500]

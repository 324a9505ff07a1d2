"""The page on which somebody lets a device or terminal in that shows a code (RFC 8628, 3.3).

Codes are short, so only who has signed in may enter one, and few wrong ones (:class:`Devices` counts them). Who follows
a link with somebody else's code in it is warned before they let that somebody act for them (RFC 8628, 5.1 to 5.4).
"""

from __future__ import annotations

import math

from ksproxyd.kapis.bodies import read_form
from ksproxyd.kapis.oauth.answers import go_on
from ksproxyd.kapis.oauth.browser import Browsers, BrowserSession
from ksproxyd.kapis.oauth.consent import scope_list
from ksproxyd.kapis.oauth.csrf import Csrf, token
from ksproxyd.kapis.oauth.device import Devices, TooMany
from ksproxyd.kapis.oauth.pages import Html, Language, Pages
from ksproxyd.kapis.oauth.pending import DeviceRequest, Pending
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.message import Response
from ksproxyd.model.query import parameter
from ksproxyd.server.exchange import Exchange

_LONGEST = 64


class DevicePage:
    """``/oauth/device``."""

    def __init__(
        self,
        site: Site,
        devices: Devices,
        browsers: Browsers,
        pending: Pending,
        csrf: Csrf,
        pages: Pages,
    ) -> None:
        self._site = site
        self._devices = devices
        self._browsers = browsers
        self._pending = pending
        self._csrf = csrf
        self._pages = pages

    async def get(self, exchange: Exchange) -> Response:
        """The question for the code or, with ``user_code``, whether that device may be let in."""
        typed = parameter(exchange.query, "user_code")[:_LONGEST]
        session = await self._browsers.find(exchange)
        if session is None:
            handle = await self._pending.keep(DeviceRequest(typed), exchange.client)
            return go_on(exchange, self._site.sign_in(handle))
        words = self._pages.language(exchange)
        if not typed:
            return self._ask(exchange, words)
        return await self._confirm(exchange, words, session, typed)

    async def post(self, exchange: Exchange) -> Response:
        """The decision."""
        form = await read_form(exchange)
        session = await self._browsers.find(exchange)
        typed, decision, given, chosen = (form.get(k, [""])[0] for k in ("user_code", "decision", "csrf", "lang"))
        typed = typed[:_LONGEST]
        if session is None:
            handle = await self._pending.keep(DeviceRequest(typed), exchange.client)
            return go_on(exchange, self._site.sign_in(handle))
        if not self._csrf.accepts(exchange, session.csrf, _purpose(typed), given) or decision not in ("allow", "deny"):
            return self._pages.failure(exchange, "failed_form", status=403)
        words = self._pages.language(exchange, chosen=chosen)
        allowed = decision == "allow"
        try:
            done = await self._devices.decide(typed, session.user, allowed, auth_time=session.auth_time)
        except TooMany as error:
            return self._ask(exchange, words, problem="device_often", wait=error.retry_after)
        if not done:
            return self._ask(exchange, words, problem="device_wrong")
        said = "device_done" if allowed else "device_denied"
        return self._pages.message(exchange, words, words(said), words(f"{said}_text"))

    async def _confirm(self, exchange: Exchange, words: Language, session: BrowserSession, typed: str) -> Response:
        try:
            found = await self._devices.by_user_code(typed, session.user)
        except TooMany as error:
            return self._ask(exchange, words, problem="device_often", wait=error.retry_after)
        if found is None or found.state != "pending":
            return self._ask(exchange, words, problem="device_wrong")
        body = self._pages.body(
            "device_confirm",
            lead=words("device_confirm_text", client=found.client),
            user_code=found.user_code,
            scopes=scope_list(words, found.scopes),
            source=words("device_source", address=found.source) if found.source else "",
            warning=words("device_warning"),
            whom=words("signed_in_as", user=session.user),
            action=self._site.at("/device").decode("ascii"),
            csrf=token(session.csrf, _purpose(found.user_code)),
            language=words.code,
            allow=words("allow"),
            deny=words("deny"),
        )
        return self._pages.page(exchange, words, words("device_confirm"), body)

    def _ask(self, exchange: Exchange, words: Language, problem: str = "", wait: float = 0) -> Response:
        minutes = max(1, math.ceil(wait / 60))
        body = self._pages.body(
            "device_code",
            lead=words("device_text"),
            problem=self._pages.error_text(words, problem, minutes=minutes) if problem else Html(""),
            action=self._site.at("/device").decode("ascii"),
            language=words.code,
            label=words("device_label"),
            invalid=Html(' aria-invalid="true" aria-describedby="problem"') if problem else Html(""),
            submit=words("device_next"),
        )
        status = {"": 200, "device_often": 429}.get(problem, 400)
        headers = [(b"Retry-After", b"%d" % max(1, math.ceil(wait)))] if status == 429 else []
        return self._pages.page(exchange, words, words("device"), body, status=status, headers=headers)


def _purpose(user_code: str) -> str:
    return f"device {user_code}"

"""What people see: pages of plain HTML that work without a script, in the reader's language.

Everything that is put into a page is escaped, unless it is :class:`Html`, which only this module and its neighbours
make, from templates. What browsers are told about a page (:meth:`Pages.page`) leaves nothing to it but our own style:
no script, no frame, no form to elsewhere, no copy in a cache (RFC 9700, 4.16; spec 02, D-08 and D-37).
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping
from string import Template

from ksproxyd import web
from ksproxyd.kapis.bodies import NO_STORE
from ksproxyd.kapis.oauth.site import Site
from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.percent import UNRESERVED, quote
from ksproxyd.model.query import parameter, parameters
from ksproxyd.model.status import not_found
from ksproxyd.server.exchange import Exchange

#: Templates of bodies.
_TEMPLATES = ("consent", "device_code", "device_confirm", "message", "register", "sign_in", "sign_out", "signed_in")

_ASSETS = {"style.css": b"text/css; charset=utf-8", "mark.svg": b"image/svg+xml"}

#: Longest piece of foreign text that is shown, in characters.
_LONGEST = 200


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """``value`` as HTML text, fit for an attribute in quotes too."""
    if isinstance(value, Html):
        return value
    # Control characters have no place in HTML, and would hide what follows them.
    text = "".join(c if c.isprintable() else "\ufffd" for c in str(value))
    return Html(html.escape(text, quote=True))


def fill(template: Template, values: Mapping[str, object]) -> Html:
    """``template`` with ``values`` in their places, escaped. Raises :class:`KeyError` if one is missing."""
    return Html(template.substitute({name: escaped(value) for name, value in values.items()}))


def joined(pieces: Iterable[Html]) -> Html:
    """Pieces of HTML, one behind the other."""
    return Html("".join(pieces))


class Language:
    """The words of one language."""

    def __init__(self, code: str) -> None:
        self.code = code
        self._words = {key: Template(text) for key, text in web.words(code).items()}

    def __call__(self, key: str, **values: object) -> str:
        """What the pages say for ``key``: plain text, not escaped yet; foreign values are cut to a length."""
        return self._words[key].substitute({name: shortened(str(value)) for name, value in values.items()})


def shortened(text: str) -> str:
    """``text``, or its beginning if it is longer than a page should show."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class Pages:
    """Makes pages. Reads its files once."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._layout = Template(web.template("layout"))
        self._bodies = {name: Template(web.template(name)) for name in _TEMPLATES}
        self._languages = {code: Language(code) for code in web.LANGUAGES}
        self._assets: dict[str, tuple[bytes, bytes, bytes]] = {}
        self._named: dict[str, str] = {}
        for name, media in _ASSETS.items():
            content = web.asset(name)
            digest = hashlib.sha256(content).hexdigest()[:16]
            stem, _, ending = name.partition(".")
            self._named[name] = f"{stem}.{digest}.{ending}"
            self._assets[self._named[name]] = media, content, b'"%b"' % digest.encode()

    # -- languages -------------------------------------------------------------------------------------

    def language(self, exchange: Exchange, locales: str = "", chosen: str = "") -> Language:
        """The language for a reader: as chosen on the page, else as the client (``ui_locales``) or browser asks."""
        wanted = [chosen or parameter(exchange.query, "lang"), *locales.split()]
        wanted += accepted_languages(exchange.fields.get(b"accept-language"))
        for tag in wanted:
            found = self._languages.get(tag.replace("_", "-").partition("-")[0].lower())
            if found is not None:
                return found
        return self._languages[web.LANGUAGES[0]]

    # -- pages -----------------------------------------------------------------------------------------

    def body(self, name: str, **values: object) -> Html:
        """The template ``name``, filled in."""
        return fill(self._bodies[name], values)

    def page(
        self,
        exchange: Exchange,
        words: Language,
        title: str,
        body: Html,
        *,
        status: int = 200,
        headers: Iterable[tuple[bytes, bytes]] = (),
        form_sources: Iterable[str] = (),
    ) -> Response:
        """A page. ``form_sources`` are where the answer to its form may redirect to, besides ourselves."""
        text = fill(
            self._layout,
            {
                "language": "zh-CN" if words.code == "zh" else words.code,
                "title": title,
                "body": body,
                "icon": self.asset_path("mark.svg"),
                "style": self.asset_path("style.css"),
                "languages": words("languages"),
                "links": self._language_links(exchange, words),
            },
        )
        return Response(status, [*page_headers(form_sources), *headers], text.encode("utf-8", "replace"))

    def message(
        self,
        exchange: Exchange,
        words: Language,
        title: str,
        text: str,
        *,
        status: int = 200,
        headers: Iterable[tuple[bytes, bytes]] = (),
        more: str = "",
    ) -> Response:
        """A page that only says something; ``more`` is HTML."""
        role = "alert" if status >= 400 else "status"
        body = self.body("message", text=text, role=role, more=Html(more))
        return self.page(exchange, words, title, body, status=status, headers=headers)

    def failure(
        self,
        exchange: Exchange,
        text: str,
        *,
        status: int,
        title: str = "failed",
        detail: str = "",
        headers: Iterable[tuple[bytes, bytes]] = (),
        words: Language | None = None,
    ) -> Response:
        """An error page: ``title`` and ``text`` are keys of words. It names the request, for the log to be searched."""
        words = words or self.language(exchange)
        more = f'<p class="aside">{escaped(words("request_id", id=exchange.id))}</p>'
        said = words(text, detail=detail)
        return self.message(exchange, words, words(title), said, status=status, headers=headers, more=more)

    def error_text(self, words: Language, key: str, **values: object) -> Html:
        """A message that a reader hears at once, above the form whose fields refer to it."""
        return Html(f'<p id="problem" class="error" role="alert">{escaped(words(key, **values))}</p>')

    def _language_links(self, exchange: Exchange, words: Language) -> Html:
        """Links to the same page in the other languages. Only what is ours in the query comes along."""
        path = self._site.root + exchange.info.path.removeprefix("/oauth")
        found = parameters(exchange.query)
        kept = {key: found[key][0] for key in ("resume", "user_code") if key in found}
        links = []
        for code, language in self._languages.items():
            name = escaped(language("name"))
            tag = "zh-CN" if code == "zh" else code
            if language is words:
                links.append(Html(f'<span lang="{tag}" aria-current="true">{name}</span>'))
                continue
            query = "&".join(f"{key}={_quoted(value)}" for key, value in [*kept.items(), ("lang", code)])
            href = escaped(f"{path}?{query}")
            links.append(Html(f'<a lang="{tag}" hreflang="{tag}" href="{href}">{name}</a>'))
        return joined(links)

    # -- what pages load -------------------------------------------------------------------------------

    def asset_path(self, name: str) -> str:
        """The address of a file; it changes with the contents."""
        return f"{self._site.root}/assets/{self._named[name]}"

    def asset(self, exchange: Exchange, name: str) -> Response:
        """GET ``/assets/{name}``."""
        found = self._assets.get(name)
        if found is None:
            raise not_found(f"there is no {name} here")
        media, content, tag = found
        headers: Pairs = [
            (b"Cache-Control", b"public, max-age=31536000, immutable"),
            (b"ETag", tag),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Content-Security-Policy", b"default-src 'none'"),
        ]
        known = exchange.fields.get(b"if-none-match")
        if known is not None and (known == b"*" or tag in [t.strip().removeprefix(b"W/") for t in known.split(b",")]):
            return Response(304, headers)
        return Response(200, [(b"Content-Type", media), *headers], content)


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), UNRESERVED).decode()


def page_headers(form_sources: Iterable[str] = ()) -> Pairs:
    """What browsers are told about every page."""
    forms = " ".join(["'self'", *form_sources])
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        f"form-action {forms}; frame-ancestors 'none'; base-uri 'none'"
    )
    return [
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Content-Security-Policy", policy.encode("ascii")),
        (b"X-Frame-Options", b"DENY"),
        (b"X-Content-Type-Options", b"nosniff"),
        # Our own forms say where they are from; nobody else learns of an address with a handle in it.
        (b"Referrer-Policy", b"same-origin"),
        *NO_STORE,
    ]


def accepted_languages(field: bytes | None) -> list[str]:
    """The tags of an ``Accept-Language`` field, the most wanted first (RFC 9110, 12.5.4)."""
    if not field:
        return []
    found = []
    for position, item in enumerate(field[:512].decode("latin-1").split(",")):
        tag, _, rest = item.partition(";")
        quality = 1.0
        name, _, value = rest.strip().partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
        if tag.strip() and 0.0 < quality <= 1.0:
            found.append((-quality, position, tag.strip()))
    return [tag for _, _, tag in sorted(found)]


def wants_page(exchange: Exchange) -> bool:
    """Whether a person with a browser asks, rather than a program."""
    accept = exchange.fields.get(b"accept")
    return accept is not None and b"text/html" in accept.lower()

"""The page with a terminal, ``/terminal/``, and what it loads (spec 05, 12.4).

It is the same for everybody, and knows nothing: who looks at it, and what they may do, is asked by its scripts
(:mod:`.page_tokens`, :mod:`.tickets`). Files have names that change with what is in them, so that browsers keep them
and never use those of another version.
"""

from __future__ import annotations

import gzip
import hashlib
import html
from string import Template

from twisted.logger import Logger

from ksproxyd.kapis.oauth.answers import guarded
from ksproxyd.kapis.oauth.front import Front
from ksproxyd.kapis.router import Route, Router
from ksproxyd.kapis.terminal.page_tokens import PageTokens
from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.status import not_found
from ksproxyd.server.exchange import Exchange
from ksproxyd.web import terminal

PREFIX = "/terminal"

#: What browsers are told about the page and all of its files. No style is written into the page, and no script.
HEADERS: Pairs = [
    (
        b"Content-Security-Policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
        b"base-uri 'none'; form-action 'none'",
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
]

_KINDS = {
    "js": b"text/javascript; charset=utf-8",
    "mjs": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "txt": b"text/plain; charset=utf-8",
    "html": b"text/html; charset=utf-8",
}

_PAGE = "index.html"

#: May be kept, but is asked about every time.
_ASK = (b"Cache-Control", b"no-cache")

_MISSING = Template(
    "<!DOCTYPE html>\n"
    '<html lang="en"><meta charset="utf-8"><title>Terminal · KubeSphere</title>\n'
    "<h1>The terminal page is not complete</h1>\n"
    "<p>This gateway was installed without $what, which come from npm. Its operator can get them with "
    "<code>make vendor</code> or <code>python -m ksproxyd.web.terminal.vendor</code>, and restart the gateway. "
    "Terminals of other clients work as they are.</p>\n"
    '<h1 lang="zh-CN">终端页面不完整</h1>\n'
    '<p lang="zh-CN">安装网关时缺少 $what（来自 npm）。请管理员执行 <code>make vendor</code> 或 '
    "<code>python -m ksproxyd.web.terminal.vendor</code> 后重启网关。</p></html>\n"
)


class _File:
    """A file as it is sent: ``tag`` is its ETag, ``packed`` its content for who understands gzip."""

    def __init__(self, name: str, content: bytes) -> None:
        self.kind = _KINDS[name.rpartition(".")[2]]
        self.content = content
        self.packed = gzip.compress(content, 6, mtime=0)
        self.tag = b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode()


class TerminalPage:
    """The nodes of the tree that belong to the page. Its files are read once."""

    log = Logger()

    def __init__(self, front: Front, tokens: PageTokens) -> None:
        self._front = front
        self._tokens = tokens
        #: Packages that are not there; then there is no page.
        self.missing = terminal.missing()
        self._files: dict[str, _File] = {}
        self._version = ""
        if self.missing:
            self.log.warn(
                "the terminal page is not complete: get {missing} with 'python -m ksproxyd.web.terminal.vendor'",
                missing=", ".join(self.missing),
            )
            return
        contents = terminal.contents()
        digest = hashlib.sha256()
        for name in sorted(contents):
            digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(contents[name]).digest())
        self._version = digest.hexdigest()[:16]
        text = contents.pop(_PAGE).decode("utf-8")
        page = Template(text).substitute(assets=f"assets/{self._version}")
        self._files = {name: _File(name, content) for name, content in contents.items()}
        self._page = _File(_PAGE, page.encode("utf-8"))

    def routers(self) -> list[Router]:
        """What to mount, each as a subtree at its ``prefix``."""
        page = [
            Route("GET", "", self._show, "The page with a terminal"),
            Route("GET", "/assets/{version}/{name}", self._asset, "What the page loads"),
        ]
        visit = Route("GET", "", guarded(self._front.pages, self._tokens.visit), "Sign in and go to the terminal page")
        trade = Route("POST", "", self._tokens.trade, "Trade a sign-in for a token for the terminal page")
        return [
            Router(PREFIX, "page with a terminal", page),
            Router("/oauth/terminal", "way to the terminal page", [visit]),
            Router("/oauth/terminal_token", "tokens for the terminal page", [trade]),
        ]

    def _show(self, exchange: Exchange) -> Response:
        if not exchange.info.path.endswith("/"):
            # What the page loads is relative to it; so is this, for gateways below a path of another host.
            query = b"?" + exchange.query if exchange.query else b""
            return Response(308, [(b"Location", b"terminal/" + query), _ASK])
        if self.missing:
            what = html.escape(", ".join(self.missing))
            kind = (b"Content-Type", _KINDS["html"])
            return Response(503, [kind, *HEADERS, _ASK], _MISSING.substitute(what=what).encode())
        return _answer(exchange, self._page, _ASK)

    def _asset(self, exchange: Exchange, version: str, name: str) -> Response:
        found = self._files.get(name)
        if found is None:
            raise not_found(f"there is no {name} here")
        # While replicas of two versions run, a page may ask one of them for files of the other.
        keep = (b"Cache-Control", b"public, max-age=31536000, immutable") if version == self._version else _ASK
        return _answer(exchange, found, keep)


def _answer(exchange: Exchange, file: _File, keep: tuple[bytes, bytes]) -> Response:
    headers = [*HEADERS, keep, (b"ETag", file.tag), (b"Vary", b"Accept-Encoding")]
    known = exchange.fields.get(b"if-none-match")
    if known is not None and (known.strip() == b"*" or file.tag in _tags(known)):
        return Response(304, headers)
    headers.insert(0, (b"Content-Type", file.kind))
    if _takes_gzip(exchange.fields.get(b"accept-encoding") or b""):
        headers.append((b"Content-Encoding", b"gzip"))
        return Response(200, headers, file.packed)
    return Response(200, headers, file.content)


def _tags(field: bytes) -> list[bytes]:
    return [tag.strip().removeprefix(b"W/") for tag in field.split(b",")]


def _takes_gzip(field: bytes) -> bool:
    """Whether ``Accept-Encoding`` names gzip and does not refuse it (RFC 9110, 12.5.3)."""
    for item in field.lower().split(b","):
        name, _, parameter = item.partition(b";")
        if name.strip() == b"gzip":
            return parameter.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False

"""From a parsed head to one that can be served: what HTTP demands and llhttp does not check, or leaves to its user.

A gateway hands requests on, so whatever two readers could understand differently is refused here
(RFC 9112, 3 and 6; RFC 9110, 7.2): a missing or doubtful Host, framing that is not plain, a target in a form that
does not fit the method, a request line that is not spelt exactly.
"""

from __future__ import annotations

import re
from typing import Any

import httptools

from ksproxyd.model.message import Item, index_of
from ksproxyd.model.request_info import RequestInfo
from ksproxyd.model.status import StatusError, bad_request
from ksproxyd.server.limits import Limits

#: The fields that say where a body ends.
FRAMING = frozenset([b"content-length", b"transfer-encoding"])

#: Methods by their wire form; the rest of what llhttp knows is translated on the way.
_METHODS = {m.encode(): m for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}

#: Methods that this server does not perform: a tunnel to anywhere, an HTTP/2 preface. (What TRACE would echo is not
#: asked for, either, but that is answered with what the path has instead: see the proxy.)
_UNSERVED = frozenset([b"CONNECT", b"PRI", b"SOURCE", b"M-SEARCH"])

# RFC 3986, 3.2.2: a name, an IPv4 address or a bracketed IPv6 one, and a port. Escapes and the delimiters that a
# registered name may have are in nobody's name, and read differently by different servers.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\])(?::[0-9]{0,5})?")

# RFC 9110, 9.1: a token; it may have been refused before its end came.
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: |\Z)")

#: Protocols that are HTTP again, or hide it: what passed in such a tunnel would have passed no check.
_NO_UPGRADE = frozenset([b"h2c", b"h2", b"h3", b"http", b"tls"])

# RFC 3986, 3.3 and 3.4, and what browsers leave unencoded beyond it; not "#", "\\", quotes or angle brackets.
_TARGET = re.compile(rb"/[A-Za-z0-9._~!$&'()*+,;=:@/%?\[\]|{}^`-]*")

#: Hosts found valid lately; a gateway sees few.
_known_hosts: set[bytes] = set()
_KNOWN_HOSTS = 1024


class Refused(Exception):
    """Stops the parser: the request has been refused, and nothing behind it will be read."""


class RequestHead:
    """What the head of a request says, checked.

    The same bytes say the same each time, so one of these may serve many requests: it is not to be changed. Whatever a
    step makes of a request it makes of the :class:`~ksproxyd.server.exchange.Exchange`.
    """

    __slots__ = (
        "counted",
        "has_query",
        "index",
        "info",
        "items",
        "keep_alive",
        "length",
        "method",
        "minor",
        "passed",
        "path",
        "query",
        "rerouted",
        "target",
        "upgrade",
        "wants_continue",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        minor: int,
        items: tuple[Item, ...],
        index: dict[bytes, bytes] | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.path, mark, self.query = target.partition(b"?")
        self.has_query = mark == b"?"
        self.minor = minor
        self.items = items
        self.index = index_of(items) if index is None else index
        self.keep_alive = minor == 1
        #: The body's: 0 for none, -1 for chunked.
        self.length = 0
        #: The protocol asked for, if the request may switch.
        self.upgrade: bytes | None = None
        self.wants_continue = False
        #: What the request is about, as far as the head alone says; None: nobody has asked.
        self.info: RequestInfo | None = None
        #: For the metrics: the info and status of the last request with this head, and where it was counted.
        self.counted: tuple[object, int, Any] = (None, 0, None)
        #: For whoever passes the request on: for what and whom the fields were last made ready, and what came of it.
        self.passed: tuple[object, object, bytes, bytes] = (None, None, b"", b"")
        #: For what the target was last made ready, and what came of it.
        self.rerouted: tuple[object, bytes] = (None, b"")


def read_head(
    parser: httptools.HttpRequestParser,
    target: bytes,
    items: tuple[Item, ...],
    raw: bytes | bytearray,
    at: int,
    limits: Limits,
) -> RequestHead:
    """A head that is complete.

    ``raw`` holds the bytes the head came in; it begins at ``at``, or somewhere if that is negative. Raises
    :class:`StatusError` when the request must be refused.
    """
    name = parser.get_method()
    # llhttp also takes other spacing and other protocols' names; exactly one spelling goes on. The version is read
    # from it, too, which spares the parser making a string of it.
    line = b"%b %b HTTP/1.1\r\n" % (name, target)
    if raw.startswith(line, at) if at >= 0 else line in raw:
        minor = 1
    else:
        line = b"%b %b HTTP/1.0\r\n" % (name, target)
        minor = 0
        if not (raw.startswith(line, at) if at >= 0 else line in raw):
            raise _odd_line(parser.get_http_version())
    if name in _UNSERVED:
        raise StatusError(501, "NotImplemented", f"the method {name.decode('latin-1')} is not served here")
    method = _METHODS.get(name) or name.decode("ascii")

    index = index_of(items)
    get = index.get
    host = get(b"host")
    if target[:1] != b"/":
        target = _other_form(method, target, host)
    elif _TARGET.fullmatch(target) is None:
        raise bad_request("the request target has a character that must be percent-encoded")
    if host is None:
        if minor:
            raise bad_request("a Host field is required")
    elif host not in _known_hosts:
        _check_host(host, items)

    head = RequestHead(method, target, minor, items, index)
    options = get(b"connection")
    if options is not None:
        _connection_options(head, options.lower())
    size = get(b"content-length")
    coding = get(b"transfer-encoding")
    if size is not None or coding is not None:
        _frame(head, size, coding, limits)
    expectation = get(b"expect")
    if expectation is not None and minor:
        if expectation.lower() != b"100-continue":
            raise StatusError(417, "ExpectationFailed", "the only expectation known here is 100-continue")
        head.wants_continue = head.length != 0
    return head


def _odd_line(version: str) -> StatusError:
    """The answer to a request line that llhttp takes and we do not."""
    if version not in ("1.1", "1.0"):
        return StatusError(505, "HTTPVersionNotSupported", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return bad_request("the request line is not METHOD SP target SP HTTP-version")


def _check_host(host: bytes, items: tuple[Item, ...]) -> None:
    if sum(key == b"host" for key, _, _ in items) != 1:
        raise bad_request("exactly one Host field is required")
    if _HOST.fullmatch(host) is None:
        raise bad_request("the Host field is not host[:port]")
    _, _, port = host.rpartition(b":")
    if port.isdigit() and not host.endswith(b"]") and int(port) > 65535:
        raise bad_request("the Host field names a port above 65535")
    if len(host) <= 255:
        if len(_known_hosts) >= _KNOWN_HOSTS:
            _known_hosts.clear()
        _known_hosts.add(host)


def _other_form(method: str, target: bytes, host: bytes | None) -> bytes:
    """The origin form of a target in another form (RFC 9112, 3.2), if it is one that can be served."""
    if target == b"*":
        if method != "OPTIONS":
            raise bad_request("the target * goes with OPTIONS only")
        return target
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        raise bad_request("the request target must be a path that begins with /")
    authority, slash, path = rest.partition(b"/")
    if b"?" in authority:
        authority, _, query = authority.partition(b"?")
        slash, path = b"/?", query
    # RFC 9112, 3.2.2 lets the authority overrule Host; two names for one request are refused instead.
    if host is None or authority.lower() != host.lower():
        raise bad_request("the authority of the request target is not the Host field's")
    origin = (slash or b"/") + path
    if _TARGET.fullmatch(origin) is None:
        raise bad_request("the request target has a character that must be percent-encoded")
    return origin


def _connection_options(head: RequestHead, options: bytes) -> None:
    """Persistence and upgrade, from the Connection field (RFC 9110, 7.6.1 and 7.8)."""
    if options in (b"keep-alive", b"close"):
        head.keep_alive = options == b"keep-alive"
        return
    tokens = [token.strip() for token in options.split(b",")]
    if b"close" in tokens:
        head.keep_alive = False
    elif b"keep-alive" in tokens:
        head.keep_alive = True
    if b"upgrade" in tokens and head.minor:
        offer = head.index.get(b"upgrade")
        # RFC 9110, 7.8 lets a server ignore the offer.
        if offer and not any(
            protocol.partition(b"/")[0].strip() in _NO_UPGRADE for protocol in offer.lower().split(b",")
        ):
            head.upgrade = offer


def _frame(head: RequestHead, size: bytes | None, coding: bytes | None, limits: Limits) -> None:
    """Where the body ends. llhttp has refused both fields together and malformed or repeated lengths."""
    if coding is not None:
        if not head.minor:
            raise bad_request("HTTP/1.0 has no Transfer-Encoding")
        if coding.lower() != b"chunked":
            raise StatusError(501, "NotImplemented", "the only transfer coding known here is chunked")
        head.length = -1
    else:
        assert size is not None
        head.length = int(size)
        limit = limits.body_bytes
        if limit and head.length > limit:
            raise StatusError(
                413, "RequestEntityTooLarge", f"the request body has {head.length} bytes, {limit} are allowed"
            )
    if head.length and head.upgrade is not None:
        # Where such a body would end and the other protocol begin is anybody's guess: serve it as HTTP.
        head.upgrade = None


def malformed(error: httptools.HttpParserError, head: bytes) -> StatusError:
    """The answer to what llhttp refuses; ``head`` is the beginning of the head, if it is in there."""
    text = str(error)
    head = head.lstrip(b"\r\n")
    if head[:1] == b"\x16":
        return bad_request("this port speaks plain HTTP, and what came looks like TLS")
    if isinstance(error, httptools.HttpParserInvalidMethodError) or "Invalid method" in text:
        if _METHOD.match(head) is None:
            return bad_request("malformed request: it does not begin with a method and a space")
        return StatusError(501, "NotImplemented", "the request's method is not known here")
    if text == "Invalid HTTP version" or text == "Pause on PRI/Upgrade":
        return StatusError(505, "HTTPVersionNotSupported", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return bad_request(f"malformed request: {text[:1].lower()}{text[1:]}")

"""Request lines and targets that are not exactly right."""

from __future__ import annotations

from support_strictness import NO_METHOD as METHOD
from support_strictness import UNKNOWN_METHOD as UNKNOWN
from support_strictness import Case, Site, check_behind, check_bytewise, check_whole, site, table

__all__ = ["site"]

BAD = "malformed request"
LINE = "METHOD SP target SP HTTP-version"
CHAR = "must be percent-encoded"
FORM = "must be a path that begins with /"
ONLY = "only HTTP/1.1 and HTTP/1.0"


def line(name: str, raw: bytes, status: int, says: str, stays: bool = False) -> Case:
    return Case(name, raw + b"\r\nHost: g.example\r\n\r\n", status, says, stays)


SPACING = [
    line("two spaces behind the method", b"GET  /proxy/b/x HTTP/1.1", 400, LINE),
    line("many spaces behind the method", b"GET        /proxy/b/x HTTP/1.1", 400, LINE),
    line("two spaces behind the target", b"GET /proxy/b/x  HTTP/1.1", 400, LINE),
    line("a tab behind the method", b"GET\t/proxy/b/x HTTP/1.1", 400, METHOD),
    line("a tab behind the target", b"GET /proxy/b/x\tHTTP/1.1", 400, BAD),
    line("a tab and a space behind the target", b"GET /proxy/b/x\t HTTP/1.1", 400, BAD),
    line("a space and a tab behind the method", b"GET \t/proxy/b/x HTTP/1.1", 400, BAD),
    line("a space at the end", b"GET /proxy/b/x HTTP/1.1 ", 400, BAD),
    line("a tab at the end", b"GET /proxy/b/x HTTP/1.1\t", 400, BAD),
    line("a space at the beginning", b" GET /proxy/b/x HTTP/1.1", 400, METHOD),
    line("a tab at the beginning", b"\tGET /proxy/b/x HTTP/1.1", 400, METHOD),
    line("a vertical tab behind the method", b"GET\x0b/proxy/b/x HTTP/1.1", 400, METHOD),
    line("a form feed behind the target", b"GET /proxy/b/x\x0cHTTP/1.1", 400, BAD),
    line("a form feed in the target", b"GET /proxy/b/x\x0c HTTP/1.1", 400, BAD),
    line("a no-break space behind the method", b"GET\xa0/proxy/b/x HTTP/1.1", 400, METHOD),
    line("a space in the target", b"GET /proxy/b/x y HTTP/1.1", 400, BAD),
    line("an encoded and a plain space", b"GET /proxy/b/x%20 y HTTP/1.1", 400, BAD),
    line("a line break in the target", b"GET /proxy/b/\nx HTTP/1.1", 400, BAD),
    line("a CR in the target", b"GET /proxy/b/\rx HTTP/1.1", 400, BAD),
    line("a folded line", b"GET /proxy/b/x\r\n HTTP/1.1", 400, BAD),
    line("a spelling in a field does not help", b"GET  / HTTP/1.1\r\nX: GET / HTTP/1.1", 400, LINE),
]

PARTS = [
    line("the method alone", b"GET", 400, METHOD),
    line("the method and a space", b"GET ", 400, BAD),
    line("the target alone", b"/proxy/b/x", 400, METHOD),
    line("the version alone", b"HTTP/1.1", 400, METHOD),
    line("no target", b"GET HTTP/1.1", 400, BAD),
    line("no target but its spaces", b"GET  HTTP/1.1", 400, BAD),
    line("no version, as HTTP 0.9 had it", b"GET /proxy/b/x", 505, ONLY),
    line("no version but its space", b"GET /proxy/b/x ", 400, BAD),
    line("no method", b" /proxy/b/x HTTP/1.1", 400, METHOD),
    line("an answer", b"HTTP/1.1 200 OK", 400, METHOD),
    line("four parts", b"GET /proxy/b/x HTTP/1.1 HTTP/1.1", 400, BAD),
    Case("only HTTP 0.9", b"GET /proxy/b/x\r\n\r\n", 505, ONLY),
]

VERSIONS = [
    line("version 0.9", b"GET /proxy/b/x HTTP/0.9", 505, ONLY),
    line("version 1.2", b"GET /proxy/b/x HTTP/1.2", 505, ONLY),
    line("version 2.0", b"GET /proxy/b/x HTTP/2.0", 505, ONLY),
    line("version 3.0", b"GET /proxy/b/x HTTP/3.0", 505, ONLY),
    line("version 9.9", b"GET /proxy/b/x HTTP/9.9", 505, ONLY),
    line("version 2", b"GET /proxy/b/x HTTP/2", 400, BAD),
    line("version 1", b"GET /proxy/b/x HTTP/1", 400, BAD),
    line("version 1.", b"GET /proxy/b/x HTTP/1.", 400, BAD),
    line("version .1", b"GET /proxy/b/x HTTP/.1", 400, BAD),
    line("version 1.10", b"GET /proxy/b/x HTTP/1.10", 400, BAD),
    line("version 1.1.1", b"GET /proxy/b/x HTTP/1.1.1", 400, BAD),
    line("version 01.1", b"GET /proxy/b/x HTTP/01.1", 400, BAD),
    line("version 11", b"GET /proxy/b/x HTTP/11", 400, BAD),
    line("version 1,1", b"GET /proxy/b/x HTTP/1,1", 400, BAD),
    line("version -1.1", b"GET /proxy/b/x HTTP/-1.1", 400, BAD),
    line("version +1.1", b"GET /proxy/b/x HTTP/+1.1", 400, BAD),
    line("version x.y", b"GET /proxy/b/x HTTP/x.y", 400, BAD),
    line("version 1.1 and a letter", b"GET /proxy/b/x HTTP/1.1a", 400, BAD),
    line("version without a slash", b"GET /proxy/b/x HTTP1.1", 400, BAD),
    line("version with a space", b"GET /proxy/b/x HTTP 1.1", 400, BAD),
    line("version with spaces around the slash", b"GET /proxy/b/x HTTP / 1.1", 400, BAD),
    line("version in lower case", b"GET /proxy/b/x http/1.1", 400, BAD),
    line("version in mixed case", b"GET /proxy/b/x Http/1.1", 400, BAD),
    line("another name", b"GET /proxy/b/x HTTPS/1.1", 400, BAD),
    line("ICE", b"GET /proxy/b/x ICE/1.1", 400, BAD),
    line("RTSP", b"GET /proxy/b/x RTSP/1.1", 400, LINE),
    line("RTSP 1.0", b"GET /proxy/b/x RTSP/1.0", 400, LINE),
    line("SIP", b"OPTIONS /proxy/b/x SIP/2.0", 400, BAD),
    line("full-width digits", "GET /proxy/b/x HTTP/\uff11.\uff11".encode(), 400, BAD),
]

METHODS = [
    line("an unknown method", b"BREW /proxy/b/x HTTP/1.1", 501, UNKNOWN),
    line("lower case", b"get /proxy/b/x HTTP/1.1", 501, UNKNOWN),
    line("mixed case", b"Get /proxy/b/x HTTP/1.1", 501, UNKNOWN),
    line("a known method and more", b"GETS /proxy/b/x HTTP/1.1", 501, UNKNOWN),
    line("a long method", b"A" * 300 + b" /proxy/b/x HTTP/1.1", 501, UNKNOWN),
    line("a method with a colon", b"GET: /proxy/b/x HTTP/1.1", 400, METHOD),
    line("a method in quotes", b'"GET" /proxy/b/x HTTP/1.1', 400, METHOD),
    line("a method with a slash", b"GET/ /proxy/b/x HTTP/1.1", 400, METHOD),
    line("a method with NUL", b"GET\x00 /proxy/b/x HTTP/1.1", 400, METHOD),
    line("NUL before the method", b"\x00GET /proxy/b/x HTTP/1.1", 400, METHOD),
    line("a byte order mark", b"\xef\xbb\xbfGET /proxy/b/x HTTP/1.1", 400, METHOD),
    line("a method with obs-text", b"G\xc9T /proxy/b/x HTTP/1.1", 400, METHOD),
    line("CONNECT to an authority", b"CONNECT backend.example:80 HTTP/1.1", 501, "CONNECT is not served"),
    line("CONNECT to a path", b"CONNECT /proxy/b/x HTTP/1.1", 501, "CONNECT is not served"),
    line("TRACE", b"TRACE /proxy/b/x HTTP/1.1", 405, "the method is not allowed here", stays=True),
    line("M-SEARCH", b"M-SEARCH * HTTP/1.1", 501, "M-SEARCH is not served"),
    line("SOURCE", b"SOURCE /proxy/b/x HTTP/1.1", 501, "SOURCE is not served"),
    line("an RTSP method", b"DESCRIBE /proxy/b/x HTTP/1.1", 501, UNKNOWN),
    line("another RTSP method", b"SETUP /proxy/b/x HTTP/1.1", 501, UNKNOWN),
    Case("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, ONLY),
    Case("the preface of HTTP/2 in version 1.1", b"PRI * HTTP/1.1\r\nHost: g.example\r\n\r\n", 400, BAD),
]

TARGETS = [
    line("no slash", b"GET proxy/b/x HTTP/1.1", 400, BAD),
    line("a name", b"GET x HTTP/1.1", 400, BAD),
    line("an authority", b"GET g.example:80 HTTP/1.1", 400, BAD),
    line("a query alone", b"GET ?a=b HTTP/1.1", 400, BAD),
    line("a fragment alone", b"GET #x HTTP/1.1", 400, BAD),
    line("a dot", b"GET . HTTP/1.1", 400, BAD),
    line("a backslash first", b"GET \\proxy\\b\\x HTTP/1.1", 400, BAD),
    line("an encoded slash first", b"GET %2Fproxy/b/x HTTP/1.1", 400, BAD),
    line("the asterisk for GET", b"GET * HTTP/1.1", 400, "OPTIONS only"),
    line("the asterisk for POST", b"POST * HTTP/1.1", 400, "OPTIONS only"),
    line("the asterisk and more", b"OPTIONS *x HTTP/1.1", 400, FORM),
    line("the asterisk and a path", b"OPTIONS */proxy/b/x HTTP/1.1", 400, FORM),
    line("the asterisk and a query", b"OPTIONS *?a HTTP/1.1", 400, FORM),
    line("a fragment", b"GET /proxy/b/x#y HTTP/1.1", 400, CHAR),
    line("an empty fragment", b"GET /proxy/b/x# HTTP/1.1", 400, CHAR),
    line("a fragment behind the query", b"GET /proxy/b/x?a=b#c HTTP/1.1", 400, CHAR),
    line("NUL", b"GET /proxy/b/x\x00 HTTP/1.1", 400, BAD),
    line("NUL in the query", b"GET /proxy/b/x?\x00 HTTP/1.1", 400, BAD),
    line("a control character", b"GET /proxy/b/x\x01 HTTP/1.1", 400, BAD),
    line("an escape character", b"GET /proxy/b/x\x1b[2J HTTP/1.1", 400, BAD),
    line("DEL", b"GET /proxy/b/x\x7f HTTP/1.1", 400, BAD),
    line("UTF-8", "GET /proxy/b/é HTTP/1.1".encode(), 400, BAD),
    line("Latin-1", "GET /proxy/b/é HTTP/1.1".encode("latin-1"), 400, BAD),
    line("UTF-8 in the query", "GET /proxy/b/x?é HTTP/1.1".encode(), 400, BAD),
    line("a quotation mark", b'GET /proxy/b/"x" HTTP/1.1', 400, CHAR),
    line("angle brackets", b"GET /proxy/b/<x> HTTP/1.1", 400, CHAR),
    line("angle brackets in the query", b"GET /proxy/b/x?a=<script> HTTP/1.1", 400, CHAR),
    line("a backslash", b"GET /proxy/b\\x HTTP/1.1", 400, CHAR),
    line("a backslash in the query", b"GET /proxy/b/x?a\\b HTTP/1.1", 400, CHAR),
]

ABSOLUTE = [
    line("another host", b"GET http://other.example/proxy/b/x HTTP/1.1", 400, "not the Host field's"),
    line("another port", b"GET http://g.example:81/proxy/b/x HTTP/1.1", 400, "not the Host field's"),
    line("the port spelt out", b"GET http://g.example:80/proxy/b/x HTTP/1.1", 400, "not the Host field's"),
    line("a user", b"GET http://user@g.example/proxy/b/x HTTP/1.1", 400, "not the Host field's"),
    line("a user and a password", b"GET http://user:pw@g.example/proxy/b/x HTTP/1.1", 400, "not the Host field's"),
    line("the host as a user", b"GET http://g.example@other.example/ HTTP/1.1", 400, "not the Host field's"),
    line("no authority", b"GET http:///proxy/b/x HTTP/1.1", 400, "not the Host field's"),
    line("nothing behind the scheme", b"GET http:// HTTP/1.1", 400, "not the Host field's"),
    line("one slash", b"GET http:/proxy/b/x HTTP/1.1", 400, BAD),
    line("no slash at all", b"GET http:proxy HTTP/1.1", 400, BAD),
    line("another scheme", b"GET ftp://g.example/proxy/b/x HTTP/1.1", 400, FORM),
    line("a web socket's scheme", b"GET ws://g.example/proxy/b/x HTTP/1.1", 400, FORM),
    line("a scheme with a digit", b"GET h2://g.example/ HTTP/1.1", 400, BAD),
    line("no scheme", b"GET ://g.example/proxy/b/x HTTP/1.1", 400, BAD),
    line("a fragment of it", b"GET http://g.example/proxy/b/x#y HTTP/1.1", 400, CHAR),
    line("a space in the authority", b"GET http://g .example/proxy/b/x HTTP/1.1", 400, BAD),
    line("a file", b"GET file:///etc/passwd HTTP/1.1", 400, FORM),
    Case("without Host", b"GET http://g.example/proxy/b/x HTTP/1.1\r\n\r\n", 400, "not the Host field's"),
    Case("without Host in 1.0", b"GET http://g.example/proxy/b/x HTTP/1.0\r\n\r\n", 400, "not the Host field's"),
]

CASES = [*SPACING, *PARTS, *VERSIONS, *METHODS, *TARGETS, *ABSOLUTE]


@table(CASES)
def test_whole(site: Site, case: Case) -> None:
    check_whole(site, case)


@table(CASES)
def test_byte_by_byte(site: Site, case: Case) -> None:
    check_bytewise(site, case)


@table(CASES)
def test_behind_others(site: Site, case: Case) -> None:
    check_behind(site, case)

"""Header fields that are not exactly right: syntax, Host, expectations, limits."""

from __future__ import annotations

from support_strictness import NO_METHOD, Case, Site, check_behind, check_bytewise, check_whole, site, table

__all__ = ["site"]

BAD = "malformed request"
EXACTLY = "exactly one Host"
HOST = "not host[:port]"
NEEDED = "Host field is required"
PORT = "port above 65535"
EXPECT = "only expectation known here is 100-continue"


def field(name: str, raw: bytes, status: int = 400, says: str = BAD) -> Case:
    """A request with the line ``raw`` behind Host."""
    return Case(name, b"GET /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n" + raw + b"\r\n\r\n", status, says)


def host(name: str, raw: bytes, says: str = HOST, version: bytes = b"1.1") -> Case:
    """A request whose only fields are ``raw``."""
    return Case(name, b"GET /proxy/b/x HTTP/%b\r\n%b\r\n" % (version, raw), 400, says)


SYNTAX = [
    field("a space before the colon", b"X : y"),
    field("a tab before the colon", b"X\t: y"),
    field("a space in the name", b"X Y: z"),
    field("a space before the name", b" X: y"),
    field("a tab before the name", b"\tX: y"),
    field("no colon", b"X"),
    field("no colon but a value", b"X y"),
    field("an empty name", b": y"),
    field("a space for a name", b" : y"),
    field("a name in quotes", b'"X": y'),
    field("a name in parentheses", b"(X): y"),
    field("a name with a comma", b"X,Y: z"),
    field("a name with a semicolon", b"X;Y: z"),
    field("a name with a slash", b"X/Y: z"),
    field("a name with a backslash", b"X\\Y: z"),
    field("a name with an at sign", b"X@Y: z"),
    field("a name with brackets", b"X[0]: z"),
    field("a name with braces", b"X{}: z"),
    field("a name with an equals sign", b"X=Y: z"),
    field("a name with a question mark", b"X?: z"),
    field("a name with angle brackets", b"<X>: z"),
    field("a name with NUL", b"X\x00: y"),
    field("a name with a control character", b"X\x1f: y"),
    field("a name with DEL", b"X\x7f: y"),
    field("a name with obs-text", b"X\xff: y"),
    field("a name in UTF-8", "Xé: y".encode()),
    field("a full-width colon", "X\uff1a y".encode()),
    field("a folded value", b"X: a\r\n b"),
    field("a value folded with a tab", b"X: a\r\n\tb"),
    field("an empty value folded", b"X:\r\n b"),
    field("a folded empty line", b"X: a\r\n \r\nY: b"),
    field("NUL in the value", b"X: a\x00b"),
    field("NUL at the end of the value", b"X: a\x00"),
    field("a control character in the value", b"X: a\x01b"),
    field("a bell", b"X: \x07"),
    field("a backspace", b"X: a\x08b"),
    field("a vertical tab in the value", b"X: a\x0bb"),
    field("a form feed in the value", b"X: a\x0cb"),
    field("an escape sequence in the value", b"X: \x1b[31m"),
    field("DEL in the value", b"X: a\x7f"),
    field("a bare CR in the value", b"X: a\rb"),
    field("a bare CR at the end of the value", b"X: a\r\r\nY: b"),
    field("a bare LF in the value", b"X: a\nY: b"),
    field("a bare LF in an empty value", b"X:\nY: b"),
    field("a bare CR that hides a field", b"X: a\rContent-Length: 5"),
    field("a bare LF that hides a field", b"X: a\nContent-Length: 5"),
    field("a bare CR in the name", b"X\rY: z"),
    field("a bare LF in the name", b"X\nY: z"),
    field("LF CR for CR LF", b"X: a\n\rY: b"),
    Case("lines that end in LF", b"GET /proxy/b/x HTTP/1.1\nHost: g.example\n\n", 400, BAD),
    Case("lines that end in CR", b"GET /proxy/b/x HTTP/1.1\rHost: g.example\r\r", 400, BAD),
    Case("the last line ends in LF", b"GET /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\n", 400, BAD),
    Case("the last line is a bare CR", b"GET /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\rX: y\r\n\r\n", 400, BAD),
    Case("a field before the request line", b"X: y\r\nGET /proxy/b/x HTTP/1.1\r\nHost: g\r\n\r\n", 400, NO_METHOD),
    Case(
        "a folded line right behind the request line", b"GET /proxy/b/x HTTP/1.1\r\n X: y\r\nHost: g\r\n\r\n", 400, BAD
    ),
]

HOSTS = [
    host("no Host", b"", NEEDED),
    host("no Host but its look-alike", b"X-Host: g.example\r\n", NEEDED),
    host("two", b"Host: g.example\r\nHost: other.example\r\n", EXACTLY),
    host("the same twice", b"Host: g.example\r\nHost: g.example\r\n", EXACTLY),
    host("twice in two spellings", b"Host: g.example\r\nhost: g.example\r\n", EXACTLY),
    host("two with others between", b"Host: g.example\r\nX: y\r\nHost: other.example\r\n", EXACTLY),
    host("two and the first is empty", b"Host:\r\nHost: g.example\r\n", EXACTLY),
    host("two and the second is empty", b"Host: g.example\r\nHost:\r\n", EXACTLY),
    host("two that are empty", b"Host:\r\nHost:\r\n", EXACTLY),
    host("an empty one", b"Host:\r\n"),
    host("a list", b"Host: g.example, other.example\r\n"),
    host("a list without spaces", b"Host: g.example,other.example\r\n"),
    host("two words", b"Host: g.example other.example\r\n"),
    host("a tab", b"Host: g.example\tother.example\r\n"),
    host("a user", b"Host: user@g.example\r\n"),
    host("a user and a password", b"Host: user:pw@g.example\r\n"),
    host("a path", b"Host: g.example/proxy/b\r\n"),
    host("a query", b"Host: g.example?x\r\n"),
    host("a fragment", b"Host: g.example#x\r\n"),
    host("a backslash", b"Host: g.example\\x\r\n"),
    host("a scheme", b"Host: http://g.example\r\n"),
    host("a port that is a word", b"Host: g.example:http\r\n"),
    host("a port with a sign", b"Host: g.example:+80\r\n"),
    host("a negative port", b"Host: g.example:-80\r\n"),
    host("a port with a space", b"Host: g.example: 80\r\n"),
    host("a port with a decimal point", b"Host: g.example:8.0\r\n"),
    host("a port in hexadecimal", b"Host: g.example:0x50\r\n"),
    host("two ports", b"Host: g.example:80:80\r\n"),
    host("a port above 65535", b"Host: g.example:65536\r\n", PORT),
    host("a port far above", b"Host: g.example:99999\r\n", PORT),
    host("a port of six digits", b"Host: g.example:100000\r\n"),
    host("a port alone", b"Host: :80\r\n"),
    host("a bare IPv6 address", b"Host: ::1\r\n"),
    host("an IPv6 address without its end", b"Host: [::1\r\n"),
    host("an IPv6 address without its beginning", b"Host: ::1]\r\n"),
    host("an IPv6 address and more", b"Host: [::1]x\r\n"),
    host("an empty literal", b"Host: []\r\n"),
    host("a literal that is no address", b"Host: [g.example]\r\n"),
    host("an address of the future", b"Host: [v1.x]\r\n"),
    host("angle brackets", b"Host: <script>\r\n"),
    host("a quotation mark", b'Host: "g.example"\r\n'),
    host("an asterisk", b"Host: *\r\n"),
    host("an escape", b"Host: g%2eexample\r\n"),
    host("an exclamation mark", b"Host: g!.example\r\n"),
    host("UTF-8", "Host: gé.example\r\n".encode()),
    host("obs-text", b"Host: g\xff.example\r\n"),
    host("NUL", b"Host: g\x00.example\r\n", BAD),
    host("a bad one in 1.0", b"Host: a/b\r\n", HOST, b"1.0"),
    host("two in 1.0", b"Host: a\r\nHost: b\r\n", EXACTLY, b"1.0"),
]

EXPECTATIONS = [
    field("an unknown expectation", b"Expect: a miracle", 417, EXPECT),
    field("two expectations", b"Expect: 100-continue, x", 417, EXPECT),
    field("the same expectation twice", b"Expect: 100-continue\r\nExpect: 100-continue", 417, EXPECT),
    field("an empty expectation", b"Expect:", 417, EXPECT),
    field("a number too far", b"Expect: 101-continue", 417, EXPECT),
    field("a parameter", b"Expect: 100-continue;q=1", 417, EXPECT),
    field("an expectation in quotes", b'Expect: "100-continue"', 417, EXPECT),
    field("an expectation with a body", b"Expect: x\r\nContent-Length: 5", 417, EXPECT),
]

LIMITS = [
    field("a large field", b"X: " + b"x" * 140_000, 431, "head is longer than 131072 bytes"),
    field("a large name", b"X" * 140_000 + b": y", 431, "head is longer than 131072 bytes"),
    field("many large fields", b"\r\n".join([b"X: " + b"x" * 9000] * 15), 431, "head is longer than 131072 bytes"),
    field("one field too many", b"\r\n".join([b"X: y"] * 200), 431, "more than 200 header fields"),
    field("thousands of fields", b"\r\n".join([b"X: y"] * 5000), 431, "more than 200 header fields"),
    Case(
        "a long target",
        b"GET /proxy/b/" + b"x" * 16_400 + b" HTTP/1.1\r\nHost: g.example\r\n\r\n",
        414,
        "longer than 16384 bytes",
    ),
    Case(
        "a long query",
        b"GET /proxy/b/x?" + b"x" * 16_400 + b" HTTP/1.1\r\nHost: g.example\r\n\r\n",
        414,
        "longer than 16384 bytes",
    ),
    Case(
        "a target without end",
        b"GET /proxy/b/" + b"x" * 100_000,
        414,
        "longer than 16384 bytes",
    ),
    Case(
        "a long target in another form",
        b"GET http://g.example/proxy/b/" + b"x" * 16_400 + b" HTTP/1.1\r\nHost: g.example\r\n\r\n",
        414,
        "longer than 16384 bytes",
    ),
    Case(
        "a field without end",
        b"GET /proxy/b/x HTTP/1.1\r\nHost: g.example\r\nX: " + b"x" * 140_000,
        431,
        "head is longer than 131072 bytes",
    ),
]

SMALL = [*SYNTAX, *HOSTS, *EXPECTATIONS]


@table([*SMALL, *LIMITS])
def test_whole(site: Site, case: Case) -> None:
    check_whole(site, case)


@table(SMALL)
def test_byte_by_byte(site: Site, case: Case) -> None:
    check_bytewise(site, case)


@table(SMALL)
def test_behind_others(site: Site, case: Case) -> None:
    check_behind(site, case)


@table(LIMITS)
def test_limits_in_pieces(site: Site, case: Case) -> None:
    before = site.reached()
    client = site.gateway.connect()
    for begin in range(0, len(case.raw), 999):
        if client.open:
            client.send(case.raw[begin : begin + 999])
    assert client.answer().status == case.status
    assert not client.open
    client.close()
    assert site.reached() == before

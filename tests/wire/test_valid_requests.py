"""Requests that are odd and in order: forwarded unchanged in meaning, however they are cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ksproxyd.testing import Backend, Client, MemoryGateway, Request, api_service, reverse_proxy

#: Added by the gateway, to be left out of comparisons.
OURS = {b"host", b"x-forwarded-for", b"x-remote-user", b"x-remote-group"}


class Case(NamedTuple):
    """``raw`` is sent; the backend gets ``method``, ``target``, ``fields`` (besides ours) and ``body``."""

    name: str
    raw: bytes
    target: bytes = b"/proxy/b/x"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    method: bytes = b"GET"
    kept: bool = True
    #: What the client may do only in one go (an answer comes in between).
    whole: bool = False


def target(name: str, path: bytes) -> Case:
    return Case(name, b"GET " + path + b" HTTP/1.1\r\nHost: g.example\r\n\r\n", path)


def fields(name: str, lines: bytes, *expected: tuple[bytes, bytes], kept: bool = True, version: bytes = b"1.1") -> Case:
    raw = b"GET /proxy/b/x HTTP/%b\r\nHost: g.example\r\n%b\r\n\r\n" % (version, lines)
    return Case(name, raw, fields=expected, kept=kept)


def host(name: str, line: bytes, version: bytes = b"1.1") -> Case:
    raw = b"GET /proxy/b/x HTTP/%b\r\n%b\r\n\r\n" % (version, line)
    return Case(name, raw, kept=version == b"1.1")


def body(name: str, lines: bytes, sent: bytes, meant: bytes, method: bytes = b"POST") -> Case:
    raw = method + b" /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n" + lines + b"\r\n\r\n" + sent
    framing = (
        (b"Transfer-Encoding", b"chunked")
        if b"chunked" in lines.lower()
        else (b"Content-Length", lines.split(b":")[1].strip())
    )
    return Case(name, raw, fields=(framing,), body=meant, method=method)


def chunked(name: str, sent: bytes, meant: bytes) -> Case:
    return body(name, b"Transfer-Encoding: chunked", sent, meant)


def method(name: bytes) -> Case:
    raw = name + b" /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\r\n"
    # RFC 9110, 8.6: where a body is expected, an empty one is said to be so.
    empty = ((b"Content-Length", b"0"),) if name in (b"PUT", b"PATCH") else ()
    return Case(f"method {name.decode()}", raw, method=name, fields=empty)


TARGETS = [
    target("two slashes", b"/proxy/b//x"),
    target("many slashes", b"/proxy/b/////"),
    target("an encoded slash", b"/proxy/b/a%2Fb"),
    target("an encoded slash in lower case", b"/proxy/b/a%2fb"),
    target("an encoded backslash", b"/proxy/b/a%5Cb"),
    target("escapes of what needs none", b"/proxy/b/%41%7e%2d"),
    target("escapes of escapes", b"/proxy/b/%252e%252e/%2525"),
    target("UTF-8 in escapes", b"/proxy/b/%C3%A9%e2%82%ac"),
    target("no UTF-8 in escapes", b"/proxy/b/%ff%fe"),
    target("a control character in escapes", b"/proxy/b/%01%0d%0a%7f"),
    target("sub-delimiters", b"/proxy/b/!$&'()*+,;=:@"),
    target("what browsers leave as it is", b"/proxy/b/x|y^z`{}[]"),
    target("a tilde", b"/proxy/b/~user/-_."),
    target("three dots", b"/proxy/b/.../x"),
    target("a name with dots", b"/proxy/b/..x/.y/z.."),
    target("parameters of segments", b"/proxy/b/x;a=b;c/y"),
    target("a slash at the end", b"/proxy/b/x/"),
    target("a question mark", b"/proxy/b/x?"),
    target("three question marks", b"/proxy/b/x???"),
    target("a question mark in the query", b"/proxy/b/x?b?c"),
    target("a query of slashes", b"/proxy/b/x?//..//%2e%2e/"),
    target("semicolons in the query", b"/proxy/b/x?a;b=c;d"),
    target("ampersands in the query", b"/proxy/b/x?&&a&&=b&c="),
    target("the order of the query", b"/proxy/b/x?z=1&a=2&z=0&A=3"),
    target("a bad escape in the query", b"/proxy/b/x?a=%zz&b=%"),
    target("NUL in the query", b"/proxy/b/x?a=%00"),
    target("a plus and an escaped space", b"/proxy/b/x?a=b+c%20d"),
    target("a URL in the query", b"/proxy/b/x?u=http://h:80/p?q=1"),
    target("brackets in the query", b"/proxy/b/x?a[]=1&a[0]={}|^`"),
    target("a long path", b"/proxy/b/" + b"0123456789" * 160),
    target("the longest target", b"/proxy/b/" + b"x" * (16384 - 9)),
    Case("the absolute form", b"GET http://g.example/proxy/b/x?q HTTP/1.1\r\nHost: g.example\r\n\r\n", b"/proxy/b/x?q"),
    Case("the absolute form with TLS", b"GET https://g.example/proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\r\n"),
    Case("the absolute form in upper case", b"GET HTTP://G.EXAMPLE/proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\r\n"),
    Case("the absolute form with a port", b"GET http://g.example:90/proxy/b/x HTTP/1.1\r\nHost: g.example:90\r\n\r\n"),
]

FIELDS = [
    fields("names in lower case", b"x-lower: y", (b"x-lower", b"y")),
    fields("names in upper case", b"X-UPPER: y", (b"X-UPPER", b"y")),
    fields("names in mixed case", b"x-MiXeD: y", (b"x-MiXeD", b"y")),
    fields("every character of a token", b"!#$%&'*+-.^_`|~09azAZ: y", (b"!#$%&'*+-.^_`|~09azAZ", b"y")),
    fields("a name of one letter", b"a: b", (b"a", b"b")),
    fields("a long name", b"X" * 2000 + b": y", (b"X" * 2000, b"y")),
    fields("an empty value", b"X:", (b"X", b"")),
    fields("a value of spaces", b"X:    ", (b"X", b"")),
    fields("no space behind the colon", b"X:y", (b"X", b"y")),
    fields("white space around the value", b"X: \t y \t ", (b"X", b"y")),
    fields("white space in the value", b"X: a \t b", (b"X", b"a \t b")),
    fields("obs-text", b"X: \x80\xff\xa0", (b"X", b"\x80\xff\xa0")),
    fields("UTF-8", "X: é€".encode(), (b"X", "é€".encode())),
    fields("a value with colons", b"X: a:b: c", (b"X", b"a:b: c")),
    fields("a value that looks like a field", b"X: Content-Length: 5", (b"X", b"Content-Length: 5")),
    fields("a long value", b"X: " + b"y" * 60_000, (b"X", b"y" * 60_000)),
    fields("the same field twice", b"X: 1\r\nX: 2", (b"X", b"1"), (b"X", b"2")),
    fields("the same field in two spellings", b"X: 1\r\nY: 2\r\nx: 3", (b"X", b"1"), (b"Y", b"2"), (b"x", b"3")),
    fields(
        "many fields",
        b"\r\n".join(b"X-%d: %d" % (n, n) for n in range(199)),
        *((b"X-%d" % n, b"%d" % n) for n in range(199)),
    ),
    fields("two cookies", b"Cookie: a=1\r\nCookie: b=2", (b"Cookie", b"a=1"), (b"Cookie", b"b=2")),
    fields("a field that Connection names", b"Connection: X\r\nX: y\r\nZ: z", (b"Z", b"z")),
    fields(
        "Connection with many tokens", b"Connection: a, B ,c,,keep-alive\r\na: 1\r\nb: 2\r\nC: 3\r\nd: 4", (b"d", b"4")
    ),
    fields("two Connection fields", b"Connection: a\r\nA: 1\r\nConnection: b\r\nB: 2\r\nC: 3", (b"C", b"3")),
    fields(
        "hop-by-hop fields",
        b"TE: trailers, gzip\r\nTrailer: X\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\nX: y",
        (b"TE", b"trailers"),
        (b"X", b"y"),
    ),
    fields("Connection that names the framing", b"Connection: content-length, host\r\nX: y", (b"X", b"y")),
    fields("Connection: close", b"Connection: close\r\nX: y", (b"X", b"y"), kept=False),
    fields("Expect without a body", b"Expect: 100-continue\r\nX: y", (b"X", b"y")),
    fields("version 1.0", b"X: y", (b"X", b"y"), kept=False, version=b"1.0"),
    fields("version 1.0, kept", b"Connection: Keep-Alive\r\nX: y", (b"X", b"y"), version=b"1.0"),
]

HOSTS = [
    host("a port", b"Host: g.example:8080"),
    host("an empty port", b"Host: g.example:"),
    host("port 65535", b"Host: g.example:65535"),
    host("port 0", b"Host: g.example:0"),
    host("a port with zeros", b"Host: g.example:00080"),
    host("an IPv4 address", b"Host: 192.0.2.1:80"),
    host("an IPv6 address", b"Host: [2001:db8::1]"),
    host("an IPv6 address and a port", b"Host: [2001:db8::1]:80"),
    host("an IPv6 address with a zone", b"Host: [fe80::1%25eth0]"),
    host("upper case", b"HOST: G.EXAMPLE"),
    host("a dot at the end", b"Host: g.example."),
    host("an underscore", b"Host: a_b.example"),
    host("one label", b"host:localhost"),
    host("white space around it", b"Host: \t g.example \t"),
    host("not the first field", b"X-Request: 1\r\nHost: g.example")._replace(fields=((b"X-Request", b"1"),)),
    host("none in 1.0", b"X: y", b"1.0")._replace(fields=((b"X", b"y"),)),
]

BODIES = [
    body("a length", b"Content-Length: 5", b"hello", b"hello"),
    body("a length of zero", b"Content-Length: 0", b"", b""),
    body("a length with zeros", b"Content-Length: 0005", b"hello", b"hello"),
    body("a length with white space", b"Content-Length: \t 5 \t ", b"hello", b"hello"),
    body("a length in lower case", b"content-length:5", b"hello", b"hello")._replace(
        fields=((b"content-length", b"5"),)
    ),
    body("every byte", b"Content-Length: 256", bytes(range(256)), bytes(range(256))),
    body("GET with a body", b"Content-Length: 5", b"hello", b"hello", b"GET"),
    body("DELETE with a body", b"Content-Length: 5", b"hello", b"hello", b"DELETE"),
    body("OPTIONS with a body", b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"OPTIONS"),
    chunked("one chunk", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    chunked("no chunk", b"0\r\n\r\n", b""),
    chunked("many tiny chunks", b"".join(b"1\r\n%c\r\n" % c for c in b"hello, world") + b"0\r\n\r\n", b"hello, world"),
    chunked("sizes with zeros", b"0005\r\nhello\r\n00000\r\n\r\n", b"hello"),
    chunked("sizes in both cases", b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    chunked("an extension", b"5;a\r\nhello\r\n0\r\n\r\n", b"hello"),
    chunked("extensions with values", b'5;a=b;c="d;\\"e"\r\nhello\r\n0;f=g\r\n\r\n', b"hello"),
    chunked("trailers", b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\nY: z\r\n\r\n", b"hello"),
    chunked("a trailer that would be a field", b"5\r\nhello\r\n0\r\nAuthorization: x\r\nHost: y\r\n\r\n", b"hello"),
    chunked("framing in the data", b"d\r\n0\r\n\r\nGET / HT\r\n0\r\n\r\n", b"0\r\n\r\nGET / HT"),
    body("the coding in upper case", b"TRANSFER-ENCODING: CHUNKED", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    body("the coding with spaces", b"Transfer-Encoding:   chunked  ", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    Case(
        "an upgrade with a body is a request",
        b"POST /proxy/b/x HTTP/1.1\r\nHost: g\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nhello",
        method=b"POST",
        fields=((b"Content-Length", b"5"),),
        body=b"hello",
    ),
]

METHODS = [
    method(name)
    for name in (
        b"PUT",
        b"PATCH",
        b"DELETE",
        b"OPTIONS",
        b"PROPFIND",
        b"REPORT",
        b"MKCOL",
        b"SEARCH",
        b"PURGE",
        b"QUERY",
        b"LINK",
    )
]

OTHERS = [
    Case("an empty line first", b"\r\nGET /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\r\n"),
    Case("empty lines first", b"\r\n\r\n\r\nGET /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\r\n"),
    Case("no fields at all in 1.0", b"GET /proxy/b/x HTTP/1.0\r\n\r\n", kept=False),
    Case("empty lines behind it", b"GET /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\r\n\r\n\r\n"),
]

CASES = [*TARGETS, *FIELDS, *HOSTS, *BODIES, *METHODS, *OTHERS]
NAMES = [case.name for case in CASES]


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[MemoryGateway, Backend]]:
    gateway = MemoryGateway()
    backend = gateway.serve("http://backend.example", Backend())
    gateway.apply(
        reverse_proxy("b", "/proxy/b/*", "http://backend.example"),
        api_service("v1.g.example", url="http://backend.example"),
    )
    yield gateway, backend
    gateway.close()


def meant(case: Case, request: Request) -> None:
    """The backend has got what was meant, and a connection of the gateway's own."""
    assert request.complete
    assert (request.method, request.target, request.body) == (case.method, case.target, case.body)
    assert tuple(pair for pair in request.headers if pair[0].lower() not in OURS) == case.fields
    assert request.all("host") == [b"backend.example"]


def delivered(site: tuple[MemoryGateway, Backend], case: Case, pieces: list[bytes]) -> None:
    gateway, backend = site
    client = gateway.connect()
    before = len(backend.requests)
    for piece in pieces:
        client.send(piece)
    answer = client.answer()
    assert answer.status == 200, answer
    assert len(backend.requests) == before + 1
    meant(case, backend.requests[-1])
    assert client.open is case.kept
    if case.kept:
        follow_up(client)
    client.close()


def follow_up(client: Client) -> None:
    """Nothing of the request before is left on the connection."""
    client.send(b"GET /proxy/b/next HTTP/1.1\r\nHost: g.example\r\n\r\n")
    answer = client.answer()
    assert answer.json()["target"] == "/proxy/b/next"
    assert client.nothing_more()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_at_once(site: tuple[MemoryGateway, Backend], case: Case) -> None:
    # The second time its head may be known.
    for _ in range(2):
        delivered(site, case, [case.raw])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_byte_by_byte(site: tuple[MemoryGateway, Backend], case: Case) -> None:
    if len(case.raw) > 10_000:
        delivered(site, case, [case.raw[begin : begin + 997] for begin in range(0, len(case.raw), 997)])
    else:
        delivered(site, case, [bytes((byte,)) for byte in case.raw])


@pytest.mark.parametrize("case", [case for case in CASES if len(case.raw) < 300], ids=lambda case: case.name)
def test_in_two_pieces_cut_anywhere(site: tuple[MemoryGateway, Backend], case: Case) -> None:
    for cut in range(1, len(case.raw)):
        delivered(site, case, [case.raw[:cut], case.raw[cut:]])


def test_all_pipelined(site: tuple[MemoryGateway, Backend]) -> None:
    gateway, backend = site
    cases = [case for case in CASES if case.kept]
    for begin in range(0, len(cases), 5):
        part = cases[begin : begin + 5]
        client = gateway.connect()
        before = len(backend.requests)
        client.send(b"".join(case.raw for case in part))
        for number, case in enumerate(part):
            assert client.answer().status == 200, case.name
            meant(case, backend.requests[before + number])
        follow_up(client)
        client.close()


def test_there_are_enough() -> None:
    assert len(CASES) >= 60
    assert len(set(NAMES)) == len(NAMES)


def test_head_gets_the_head_only(site: tuple[MemoryGateway, Backend]) -> None:
    gateway, backend = site
    client = gateway.connect()
    client.send(b"HEAD /proxy/b/x HTTP/1.1\r\nHost: g.example\r\n\r\n")
    answer = client.answer("HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.get("content-length") or b"0") > 0
    assert backend.requests[-1].method == b"HEAD"
    follow_up(client)
    client.close()


def test_expectations_are_met(site: tuple[MemoryGateway, Backend]) -> None:
    gateway, backend = site
    client = gateway.connect()
    client.send(b"POST /proxy/b/x HTTP/1.1\r\nHost: g\r\nExpect: 100-CONTINUE\r\nContent-Length: 5\r\n\r\n")
    gateway.wait(1.5)
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"hello")
    assert client.answer().status == 200
    assert backend.requests[-1].body == b"hello"
    assert backend.requests[-1].get("expect") == b"100-continue"
    follow_up(client)
    client.close()


def test_the_api_and_its_tails(site: tuple[MemoryGateway, Backend]) -> None:
    gateway, backend = site
    for path in (b"/kapis/g.example/v1/x/?a=b", b"/kapis/g.example/v1/namespaces/n/x/y/z?labelSelector=a%3Db"):
        assert gateway.get(path.decode()).status == 200
        assert backend.requests[-1].target == path
    # Behind a proxy subresource everything is the service's own.
    for path in (b"/api/v1/namespaces/n/services/s/proxy/a%2Fb//c?d", b"/api/v1/nodes/n/proxy/x%5Cy/"):
        assert gateway.get(path.decode()).status == 200
        assert gateway.kube.requests[-1].target == path

"""Where a body ends: what two readers could understand differently."""

from __future__ import annotations

from support_strictness import Case, Site, check_behind, check_bytewise, check_whole, site, table

from ksproxyd.testing.gateway import SETTINGS

__all__ = ["site"]

BAD = "malformed request"
IN_10 = "HTTP/1.0 has no Transfer-Encoding"
CODING = "only transfer coding known here is chunked"
SMUGGLED = b"GET /proxy/b/smuggled HTTP/1.1\r\nHost: g.example\r\n\r\n"


def framed(name: str, fields: bytes, body: bytes, status: int = 400, says: str = BAD, version: bytes = b"1.1") -> Case:
    head = b"POST /proxy/b/x HTTP/%b\r\nHost: g.example\r\n%b\r\n\r\n" % (version, fields)
    return Case(name, head + body, status, says)


def length(name: str, value: bytes, body: bytes = b"hello") -> Case:
    return framed(name, b"Content-Length: " + value, body)


def coding(name: str, value: bytes, status: int = 400, says: str = BAD) -> Case:
    return framed(name, b"Transfer-Encoding: " + value, b"5\r\nhello\r\n0\r\n\r\n", status, says)


def lines(name: str, first: bytes, second: bytes, status: int = 400, says: str = BAD) -> Case:
    fields = b"Transfer-Encoding: %b\r\nTransfer-Encoding: %b" % (first, second)
    return framed(name, fields, b"0\r\n\r\n", status, says)


def chunks(name: str, body: bytes, status: int = 400, says: str = BAD) -> Case:
    return framed(name, b"Transfer-Encoding: chunked", body, status, says)


LENGTHS = [
    length("a plus sign", b"+5"),
    length("a minus sign", b"-5"),
    length("minus zero", b"-0"),
    length("hexadecimal", b"0x5"),
    length("hexadecimal digits", b"a"),
    length("octal", b"0o5"),
    length("a decimal point", b"5.0"),
    length("an exponent", b"5e0"),
    length("an underscore", b"1_0"),
    length("a word", b"five"),
    length("a space inside", b"5 5"),
    length("a tab inside", b"5\t5"),
    length("quotes", b'"5"'),
    length("a semicolon", b"5;"),
    length("a comma", b"5,"),
    length("a leading comma", b",5"),
    length("a list of the same", b"5, 5"),
    length("a list of the same without spaces", b"5,5"),
    length("a list of two", b"5, 6"),
    length("nothing", b""),
    length("spaces", b"   "),
    length("2 to the 64th", b"18446744073709551616"),
    length("five more than 2 to the 64th", b"18446744073709551621"),
    length("a thousand digits", b"9" * 1000),
    length("Arabic digits", "٥".encode()),
    length("full-width digits", "５".encode()),
    length("superscript digits", "⁵".encode()),
    length("obs-text", b"5\xa0"),
    length("NUL", b"5\x00"),
    length("a vertical tab", b"\x0b5"),
    length("a form feed", b"5\x0c"),
    framed("twice the same", b"Content-Length: 5\r\nContent-Length: 5", b"hello"),
    framed("two lengths", b"Content-Length: 5\r\nContent-Length: 6", b"hello"),
    framed("two lengths, zero first", b"Content-Length: 0\r\nContent-Length: 50", SMUGGLED),
    framed("two lengths, zero last", b"Content-Length: 50\r\nContent-Length: 0", SMUGGLED),
    framed("two lengths in two spellings", b"Content-Length: 5\r\ncontent-length: 6", b"hello"),
    framed("two lengths with a field between", b"Content-Length: 5\r\nX: y\r\nContent-Length: 6", b"hello"),
    framed("an empty length and another", b"Content-Length:\r\nContent-Length: 5", b"hello"),
    framed("a length behind a folded line", b"X: y\r\n Content-Length: 5", b"hello"),
    framed("a space before the length's colon", b"Content-Length : 5", b"hello"),
    framed("a folded length", b"Content-Length:\r\n 5", b"hello"),
]

CODINGS = [
    coding("an unknown coding", b"xchunked", 501, CODING),
    coding("a coding that begins with chunked", b"chunkedx", 501, CODING),
    coding("identity", b"identity", 501, CODING),
    coding("gzip", b"gzip", 501, CODING),
    coding("deflate", b"deflate", 501, CODING),
    coding("gzip, then chunked", b"gzip, chunked", 501, CODING),
    coding("identity, then chunked", b"identity, chunked", 501, CODING),
    coding("chunked, then gzip", b"chunked, gzip"),
    coding("chunked, then identity", b"chunked, identity"),
    coding("chunked twice", b"chunked, chunked"),
    coding("chunked twice without a space", b"chunked,chunked"),
    coding("a leading comma", b", chunked", 501, CODING),
    coding("a trailing comma", b"chunked,"),
    coding("a trailing comma and a space", b"chunked, "),
    coding("a semicolon", b"chunked;", 501, CODING),
    coding("a parameter", b"chunked;q=1", 501, CODING),
    coding("quotes", b'"chunked"', 501, CODING),
    coding("single quotes", b"'chunked'", 501, CODING),
    coding("a vertical tab", b"\x0bchunked"),
    coding("a vertical tab behind", b"chunked\x0b"),
    coding("a form feed", b"\x0cchunked"),
    coding("NUL", b"chunked\x00"),
    coding("a no-break space", b"\xa0chunked", 501, CODING),
    coding("a tab behind", b"chunked\t"),
    coding("a zero-width space", "\u200bchunked".encode(), 501, CODING),
    coding("a dotless look-alike", "chun\u212aed".encode(), 501, CODING),
    coding("nothing", b""),
    coding("a space inside", b"chu nked", 501, CODING),
    framed("chunked on two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    framed(
        "gzip, then chunked, on two lines",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"0\r\n\r\n",
        501,
        CODING,
    ),
    framed("chunked, then gzip, on two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", b"0\r\n\r\n"),
    framed("chunked and an empty line", b"Transfer-Encoding: chunked\r\nTransfer-Encoding:", b"0\r\n\r\n"),
    framed("an empty line and chunked", b"Transfer-Encoding:\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    framed(
        "identity and chunked", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", 501, CODING
    ),
    framed("a folded coding", b"Transfer-Encoding:\r\n chunked", b"0\r\n\r\n"),
    framed("a space before the colon", b"Transfer-Encoding : chunked", b"0\r\n\r\n"),
    framed("a tab before the colon", b"Transfer-Encoding\t: chunked", b"0\r\n\r\n"),
    framed("chunked in 1.0", b"Transfer-Encoding: chunked", b"0\r\n\r\n", 400, IN_10, b"1.0"),
    framed(
        "chunked in 1.0 that is kept",
        b"Connection: keep-alive\r\nTransfer-Encoding: chunked",
        b"0\r\n\r\n",
        400,
        "HTTP/1.0 has no Transfer-Encoding",
        b"1.0",
    ),
    framed("gzip in 1.0", b"Transfer-Encoding: gzip", b"x", 400, IN_10, b"1.0"),
]

BOTH = [
    framed("length, then coding", b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + SMUGGLED),
    framed("coding, then length", b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n" + SMUGGLED),
    framed("length zero and coding", b"Content-Length: 0\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    framed("coding and length zero", b"Transfer-Encoding: chunked\r\nContent-Length: 0", b"0\r\n\r\n"),
    framed("both and they agree", b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    framed("length and identity", b"Content-Length: 5\r\nTransfer-Encoding: identity", b"hello"),
    framed("identity and length", b"Transfer-Encoding: identity\r\nContent-Length: 5", b"hello"),
    framed("length and an unknown coding", b"Content-Length: 5\r\nTransfer-Encoding: xchunked", b"hello"),
    framed("length and an empty coding", b"Content-Length: 5\r\nTransfer-Encoding:", b"hello"),
    framed("both with fields between", b"Content-Length: 5\r\nX: y\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    framed("both in 1.0", b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", version=b"1.0"),
    framed(
        "both and an offer to upgrade",
        b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"0\r\n\r\n",
    ),
]

CHUNKS = [
    chunks("hexadecimal as in C", b"0x5\r\nhello\r\n0\r\n\r\n"),
    chunks("a plus sign", b"+5\r\nhello\r\n0\r\n\r\n"),
    chunks("a minus sign", b"-5\r\nhello\r\n0\r\n\r\n"),
    chunks("a space before the size", b" 5\r\nhello\r\n0\r\n\r\n"),
    chunks("a tab before the size", b"\t5\r\nhello\r\n0\r\n\r\n"),
    chunks("a space behind the size", b"5 \r\nhello\r\n0\r\n\r\n"),
    chunks("a tab behind the size", b"5\t\r\nhello\r\n0\r\n\r\n"),
    chunks("a space before the extension", b"5 ;a\r\nhello\r\n0\r\n\r\n"),
    chunks("a vertical tab behind the size", b"5\x0b\r\nhello\r\n0\r\n\r\n"),
    chunks("an underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
    chunks("a letter that is no digit", b"g\r\nhello\r\n0\r\n\r\n"),
    chunks("a decimal point", b"5.0\r\nhello\r\n0\r\n\r\n"),
    chunks("quotes", b'"5"\r\nhello\r\n0\r\n\r\n'),
    chunks("no size", b"\r\nhello\r\n0\r\n\r\n"),
    chunks("only an extension", b";a=b\r\nhello\r\n0\r\n\r\n"),
    chunks("a size above 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    chunks("a size far above", b"f" * 100 + b"\r\nhello\r\n0\r\n\r\n"),
    chunks("full-width digits", "５\r\nhello\r\n0\r\n\r\n".encode()),
    chunks("NUL behind the size", b"5\x00\r\nhello\r\n0\r\n\r\n"),
    chunks("a bare LF behind the size", b"5\nhello\r\n0\r\n\r\n"),
    chunks("a bare CR behind the size", b"5\rhello\r\n0\r\n\r\n"),
    chunks("CR CR LF behind the size", b"5\r\r\nhello\r\n0\r\n\r\n"),
    chunks("LF CR behind the size", b"5\n\rhello\r\n0\r\n\r\n"),
    chunks("nothing behind the data", b"5\r\nhello0\r\n\r\n"),
    chunks("a bare LF behind the data", b"5\r\nhello\n0\r\n\r\n"),
    chunks("a bare CR behind the data", b"5\r\nhello\r0\r\n\r\n"),
    chunks("CR CR LF behind the data", b"5\r\nhello\r\r\n0\r\n\r\n"),
    chunks("a space behind the data", b"5\r\nhello \r\n0\r\n\r\n"),
    chunks("more data than it says", b"4\r\nhello\r\n0\r\n\r\n"),
    chunks("less data than it says", b"6\r\nhello\r\n0\r\n\r\n"),
    chunks("a request for data", b"5\r\n" + SMUGGLED),
    chunks("a bare LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    chunks("a bare LF behind an extension", b"5;a=b\nhello\r\n0\r\n\r\n"),
    chunks("a bare CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    chunks("a bare LF in a quoted extension", b'5;a="\n"\r\nhello\r\n0\r\n\r\n'),
    chunks("an extension without a name", b"5;\r\nhello\r\n0\r\n\r\n"),
    chunks("an extension with a control character", b"5;a\x01\r\nhello\r\n0\r\n\r\n"),
    chunks("an extension with NUL", b"5;a\x00b\r\nhello\r\n0\r\n\r\n"),
    chunks("an extension that is never unquoted", b'5;a="b\r\nhello\r\n0\r\n\r\n'),
    chunks("an extension that hides a request", b"5;a\n" + SMUGGLED),
    chunks("a bare LF behind the last chunk", b"5\r\nhello\r\n0\n\r\n"),
    chunks("bare LFs at the end", b"5\r\nhello\r\n0\n\n"),
    chunks("a last chunk with a sign", b"5\r\nhello\r\n-0\r\n\r\n"),
    chunks("a last chunk in hexadecimal", b"5\r\nhello\r\n0x0\r\n\r\n"),
    chunks("a trailer with a space before the colon", b"0\r\nX : y\r\n\r\n"),
    chunks("a trailer without a colon", b"0\r\nX\r\n\r\n"),
    chunks("a folded trailer", b"0\r\nX: a\r\n b\r\n\r\n"),
    chunks("a trailer that begins with a space", b"0\r\n X: y\r\n\r\n"),
    chunks("a trailer with a bare LF", b"0\r\nX: a\nY: b\r\n\r\n"),
    chunks("a trailer with NUL", b"0\r\nX: a\x00\r\n\r\n"),
    chunks("a trailer that ends in LF", b"0\r\nX: a\r\n\n"),
    chunks("a length for a trailer", b"0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED),
    chunks("a coding for a trailer", b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED),
    chunks("a trailer of which there is too much", b"0\r\n" + b"X: y\r\n" * 60_000, 431, "longer than 131072 bytes"),
    chunks("an extension of which there is too much", b"5;" + b"a" * 200_000, 431, "longer than 131072 bytes"),
]

CASES = [*LENGTHS, *(Case("coding: " + c.name, *c[1:]) for c in CODINGS), *BOTH]
BODIES = [Case("chunks: " + c.name, *c[1:]) for c in CHUNKS]


@table(CASES)
def test_whole(site: Site, case: Case) -> None:
    check_whole(site, case)


@table([case for case in BODIES if len(case.raw) < 50_000])
def test_bodies_whole(site: Site, case: Case) -> None:
    check_whole(site, case)


@table([case for case in BODIES if len(case.raw) >= 50_000])
def test_long_bodies(site: Site, case: Case) -> None:
    before = site.complete()
    client = site.gateway.connect()
    client.send(case.raw)
    answer = client.answer()
    assert answer.status == case.status
    assert case.says in answer.message()
    client.close()
    assert site.complete() == before


@table([*CASES, *(case for case in BODIES if len(case.raw) < 50_000)])
def test_byte_by_byte(site: Site, case: Case) -> None:
    check_bytewise(site, case)


@table([*CASES, *(case for case in BODIES if len(case.raw) < 50_000)])
def test_behind_others(site: Site, case: Case) -> None:
    check_behind(site, case)


def test_a_body_above_the_limit_is_refused_before_it_comes() -> None:
    from support_strictness import Site

    site = Site(SETTINGS + "  limits: {bodyBytes: 1000}\n")
    head = b"POST /proxy/b/x HTTP/1.1\r\nHost: g\r\n"
    declared = Case("declared", head + b"Content-Length: 1001\r\n\r\n", 413, "1001 bytes, 1000 are")
    pieces = b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501 + b"\r\n0\r\n\r\n"
    streamed = Case("streamed", head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces, 413, "more than 1000 bytes")
    for case in (declared, streamed):
        check_whole(site, case)
        check_bytewise(site, case)
    site.gateway.close()

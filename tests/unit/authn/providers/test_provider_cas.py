"""CAS: its answers, and the way to it and back (spec 02, 4.4)."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_parts import CannedWeb, error_of, provider, result_of

from ksproxyd.authn.providers.cas import read_answer, read_plain
from ksproxyd.authn.providers.provider import External, Flow, ProviderError

NS = 'xmlns:cas="http://www.yale.edu/tp/cas"'
GOOD = f"""<cas:serviceResponse {NS}>
 <cas:authenticationSuccess>
  <cas:user> alice </cas:user>
  <cas:attributes><cas:user>admin</cas:user><cas:email>a@b</cas:email></cas:attributes>
 </cas:authenticationSuccess>
</cas:serviceResponse>"""


def test_a_success() -> None:
    assert read_answer(GOOD.encode()) == "alice"
    plain = GOOD.replace("cas:", "").replace("xmlns:cas", "xmlns").replace('xmlns="', 'xmlns="')
    assert read_answer(plain.replace("<serviceResponse xmlns", "<serviceResponse xmlns").encode()) == "alice"
    assert read_answer(b'<?xml version="1.0" encoding="UTF-8"?>' + GOOD.encode()) == "alice"
    assert read_answer(GOOD.replace(" alice ", "<![CDATA[al]]>ice&#x21;").encode()) == "alice!"


def failure(code: str) -> bytes:
    text = f'<cas:serviceResponse {NS}><cas:authenticationFailure code="{code}">no</cas:authenticationFailure>'
    return (text + "</cas:serviceResponse>").encode()


def test_failures() -> None:
    for code, kind in (("INVALID_TICKET", "credentials"), ("", "credentials"), ("INTERNAL_ERROR", "unavailable")):
        with pytest.raises(ProviderError) as caught:
            read_answer(failure(code))
        assert caught.value.kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes\nalice\n",
        "<a/>",
        GOOD.replace("http://www.yale.edu/tp/cas", "http://evil.test"),
        GOOD.replace("<cas:user> alice </cas:user>", ""),
        GOOD.replace(" alice ", ""),
        GOOD.replace("<cas:user> alice </cas:user>", "<cas:user>alice</cas:user><cas:user>bob</cas:user>"),
        GOOD.replace("</cas:serviceResponse>", "<cas:authenticationFailure code='X'/></cas:serviceResponse>"),
        GOOD.replace("</cas:serviceResponse>", ""),
        GOOD + GOOD,
        f"<x>{GOOD}</x>",
        "<!DOCTYPE x>" + GOOD,
        '<!DOCTYPE x [<!ENTITY a "alice">]>' + GOOD.replace(" alice ", "&a;"),
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + GOOD.replace(" alice ", "&a;"),
        '<!DOCTYPE x SYSTEM "http://evil.test/x.dtd">' + GOOD,
        GOOD.replace(" alice ", "&a;"),
        "<a>" * 100 + "</a>" * 100,
        '<?xml version="1.0" encoding="utf-7"?>' + GOOD,
        f"<cas:serviceResponse {NS}><cas:authenticationFailure code='X'/><cas:authenticationSuccess>"
        "<cas:user>a</cas:user></cas:authenticationSuccess></cas:serviceResponse>",
    ],
)
def test_answers_that_name_nobody(text: str) -> None:
    with pytest.raises(ProviderError):
        read_answer(text.encode())


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_told_to_be_none(body: bytes) -> None:
    for read in (read_answer, read_plain):
        with suppress(ProviderError):
            assert read(body)


def test_a_billion_laughs_are_not_laughed() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    with pytest.raises(ProviderError, match="document type"):
        read_answer(f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><x>&l9;</x>'.encode())


def test_there_and_back() -> None:
    web = CannedWeb({"https://cas.test/cas/serviceValidate": GOOD.encode()})
    cas = provider("CASIdentityProvider", {"casServerURL": "https://cas.test/cas/"}, web)
    flow = Flow("the-state", "n", "v", cas.redirect_uri)
    there = urlsplit(result_of(cas.begin(flow)))
    assert there.geturl().startswith("https://cas.test/cas/login?")
    service = parse_qs(there.query)["service"][0]
    assert service == "https://ks.test/oauth/callback/corp?state=the-state"
    assert result_of(cas.finish({"ticket": "ST-1", "state": "the-state"}, flow)) == External("alice", "alice")
    asked = parse_qs(urlsplit(web.asked[0][1]).query)
    assert asked == {"service": [service], "ticket": ["ST-1"]}


def test_a_server_that_knows_the_first_version_only() -> None:
    web = CannedWeb({"https://cas.test/serviceValidate": (404, b""), "https://cas.test/validate": b"yes\nalice\n"})
    cas = provider("CASIdentityProvider", {"casServerURL": "https://cas.test"}, web)
    assert result_of(cas.finish({"ticket": "ST-1"}, Flow())).uid == "alice"
    web.answers["https://cas.test/validate"] = b"no\n\n"
    error_of(cas.finish({"ticket": "ST-1"}, Flow()), "credentials")
    web.answers["https://cas.test/validate"] = b"<html>"
    error_of(cas.finish({"ticket": "ST-1"}, Flow()), "answer")


def test_without_a_ticket_nobody_is_asked() -> None:
    web = CannedWeb()
    cas = provider("CASIdentityProvider", {"casServerURL": "https://cas.test"}, web)
    for given_ in ({}, {"ticket": ""}, {"ticket": "x" * 2000}):
        error_of(cas.finish(given_, Flow()), "credentials")
    assert web.asked == []
    web.answers["https://cas.test/"] = (500, b"")
    error_of(cas.finish({"ticket": "x"}, Flow()), "unavailable")

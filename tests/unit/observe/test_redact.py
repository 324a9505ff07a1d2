from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.observe.redact import is_secret_name, redact_target, redact_text, redact_value

#: The parameters that spec 01, D43 names, and some more.
NAMES = [
    *("access_token", "token", "code", "id_token_hint", "client_secret", "password", "refresh_token"),
    *("id_token", "client_assertion", "code_verifier", "X-Amz-Signature", "X-Amz-Security-Token", "SAMLResponse"),
    *("apiKey", "jwt", "Access_Token", "PASSWORD", "form[password]", "oauth.code"),
]

# A secret is recognised in the output by its letters, which nothing else here uses.
secrets = st.text("QZXWVK0123456789", min_size=6, max_size=24).filter(lambda s: any(c in "QZXWVK" for c in s))
words = st.text("abcdefghi-._~", max_size=8)
names = st.sampled_from(NAMES)


def shows(secret: str, output: bytes | str) -> bool:
    return secret in (output if isinstance(output, str) else output.decode("latin-1"))


@st.composite
def written(draw: st.DrawFn, name: str) -> str:
    """``name`` with some of its characters percent-encoded."""
    return "".join(f"%{ord(c):02x}" if draw(st.integers(0, 4)) == 0 else c for c in quote(name, safe="[]"))


@st.composite
def parameters(draw: st.DrawFn, secret: str) -> str:
    """A query in which ``secret`` is the value of a secret parameter, somewhere among others."""
    pairs = draw(st.lists(st.tuples(words, words).map("=".join), max_size=4))
    position = draw(st.integers(0, len(pairs)))
    pairs.insert(position, f"{draw(written(draw(names)))}={secret}")
    separators = draw(st.lists(st.sampled_from("&;?#"), min_size=len(pairs), max_size=len(pairs)))
    return "".join(a + b for a, b in zip(pairs, separators, strict=True))


class TestTarget:
    @given(st.data(), secrets)
    def test_in_a_query(self, data: st.DataObject, secret: str) -> None:
        target = f"/a/{data.draw(words)}?{data.draw(parameters(secret))}"
        assert not shows(secret, redact_target(target.encode()))

    @given(st.data(), secrets, st.sampled_from([quote_plus, quote, lambda s: quote(s, safe="")]), st.integers(1, 3))
    def test_encoded_inside_another_parameter(
        self, data: st.DataObject, secret: str, encode: Callable[[str], str], times: int
    ) -> None:
        inner = f"https://h.example/{data.draw(words)}?{data.draw(parameters(secret))}"
        for _ in range(times):
            inner = encode(inner)
        target = f"/login?a=b&redirect_uri={inner}&state=x"
        assert not shows(secret, redact_target(target.encode()))

    @given(st.data(), secrets)
    def test_in_a_path(self, data: st.DataObject, secret: str) -> None:
        parameter = f"{data.draw(names)}={secret}"
        for target in (
            f"/a/{parameter}/b",
            f"/a;{parameter}",
            f"/a{quote('?' + parameter)}",
            f"/a?{quote('x=1&' + parameter)}",
            f"/a?x=1?{parameter}",
            f"/a?x={parameter}",
        ):
            assert not shows(secret, redact_target(target.encode())), target

    @given(secrets, words)
    def test_in_an_authority(self, secret: str, word: str) -> None:
        for target in (
            f"http://user:{secret}@h.example/{word}",
            f"http://{secret}@h.example?a={word}",
            f"/x?next={quote_plus(f'http://user:{secret}@h/')}",
        ):
            assert not shows(secret, redact_target(target.encode()))

    def test_a_token_is_known_by_its_looks(self) -> None:
        token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
        assert redact_target(f"/x/{token}?y={token}".encode()) == b"/x/[redacted]?y=[redacted]"

    @pytest.mark.parametrize(
        "target",
        [
            b"/",
            b"/api/v1/namespaces/n/secrets/s",
            b"/api/v1/secrets?limit=500&continue=abc",
            b"/api/v1/pods?labelSelector=app%3Dweb&fieldSelector=metadata.name%3Dp",
            b"/apis/x?q=100%&a=b+c",
            b"/encoding?encode=1&barcode=2",
            b"/v?state=abc&nonce=def",
            b"*",
        ],
    )
    def test_everything_else_stays(self, target: bytes) -> None:
        assert redact_target(target) == target

    def test_only_the_value_goes(self) -> None:
        target = b"/oauth/token?grant_type=code&code=abc&state=x"
        assert redact_target(target) == b"/oauth/token?grant_type=code&code=[redacted]&state=x"

    @given(st.binary(max_size=200))
    def test_any_bytes(self, target: bytes) -> None:
        once = redact_target(target)
        assert redact_target(once) == once


class TestText:
    @given(st.data(), secrets)
    def test_a_url_in_a_message(self, data: st.DataObject, secret: str) -> None:
        text = f"GET https://h.example/x?{data.draw(parameters(secret))} failed: timeout"
        assert not shows(secret, redact_text(text))
        assert redact_text(text).startswith("GET https://h.example/x?")

    @given(secrets, st.sampled_from(["Bearer", "bearer", "Basic", "BASIC", "Digest", "Negotiate"]))
    def test_credentials(self, secret: str, scheme: str) -> None:
        for text in (
            f"Authorization: {scheme} {secret}",
            f"sent {scheme} {secret} to the upstream",
            f"[(b'Authorization', b'{scheme} {secret}')]",
            f'{{"X-KubeSphere-Authorization": "{scheme} {secret}"}}',
            f"Proxy-Authorization={secret}",
        ):
            assert not shows(secret, redact_text(text)), text

    @given(secrets, words)
    def test_cookies(self, secret: str, name: str) -> None:
        for text in (
            f"Cookie: a=b; {name}={secret}; c=d",
            f"Set-Cookie: {name}={secret}; HttpOnly",
            f"(b'cookie', b'{name}={secret}')",
        ):
            assert not shows(secret, redact_text(text)), text

    @given(secrets, st.sampled_from(["password", "jwtSecret", "client_secret", "token", "signKeyData", "id_token"]))
    def test_named_values(self, secret: str, name: str) -> None:
        for text in (
            f"{name}={secret}",
            f"{name} = '{secret} {secret}'",
            f'{{"{name}": "{secret}\\"{secret}", "a": 1}}',
            f"{name}: {secret}",
            f"{{'{name}': b'{secret}'}}",
            f"Connection(host='h', {name}='{secret}')",
        ):
            assert not shows(secret, redact_text(text)), text

    @given(secrets)
    def test_a_connection_string(self, secret: str) -> None:
        assert not shows(secret, redact_text(f"cannot reach redis://:{secret}@cache.example:6379/0"))

    def test_several_lines(self) -> None:
        text = "Traceback:\n  File x\nValueError: Cookie: a=QQQQ\nnext line"
        assert redact_text(text) == "Traceback:\n  File x\nValueError: Cookie: [redacted]\nnext line"

    @pytest.mark.parametrize(
        "text",
        [
            "listening on 0.0.0.0:9090",
            "status code: 503",
            "the upstream's certificate was not accepted: expired",
            "apiservice v1.g.io: host=h port=443 path=/x",
            "users: 12 objects, last heard 3 s ago",
        ],
    )
    def test_everything_else_stays(self, text: str) -> None:
        assert redact_text(text) == text

    @given(st.text(max_size=200))
    def test_any_text(self, text: str) -> None:
        assert isinstance(redact_text(text), str)

    @pytest.mark.parametrize(
        "unit", ["=", "a=", "'", '"', "token:", "eyJ", "eyJaaaa", "%25", "/", "//", "a://", "basic ", "\\", "a.", "["]
    )
    def test_time_grows_with_length_only(self, unit: str) -> None:
        """No input makes the patterns backtrack: ten times the text is at most about ten times the steps.

        Measured in the regular expressions' own work, by CPU time with a wide margin: quadratic would be 100 times.
        """

        def spent(text: str) -> float:
            best = 1.0
            for _ in range(3):
                began = time.thread_time()
                redact_text(text)
                redact_target(text.encode())
                best = min(best, time.thread_time() - began)
            return best

        small, large = unit * (1600 // len(unit)), unit * (16000 // len(unit))
        assert spent(large) < 40 * spent(small) + 0.005


class TestNames:
    @pytest.mark.parametrize("name", NAMES)
    def test_secret(self, name: str) -> None:
        assert is_secret_name(name)
        assert is_secret_name(name.upper())

    @pytest.mark.parametrize("name", ["", "state", "continue", "encoding", "barcode", "limit", "name", "passed"])
    def test_not_secret(self, name: str) -> None:
        assert not is_secret_name(name)

    def test_fields(self) -> None:
        assert redact_value("token", "abc") == "[redacted]"
        assert redact_value("Authorization", b"abc") == "[redacted]"
        assert redact_value("code", 404) == 404
        assert redact_value("name", "abc") == "abc"


def test_a_form_as_it_is_sent() -> None:
    form = urlencode({"grant_type": "password", "username": "a b", "password": "p&w=d"})
    assert redact_text(form) == "grant_type=password&username=a+b&password=[redacted]"

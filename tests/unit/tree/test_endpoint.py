"""Endpoints: what every form resolves to, what is refused and how, and that no object shape escapes."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ksproxyd.tree.endpoint import Endpoint, EndpointError, ca_pem, decode_base64, resolve
from ksproxyd.upstream.target import Target, TrustPolicy


def make_certificate(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), secret


CA, CA_KEY = make_certificate("one")
OTHER_CA, _ = make_certificate("two")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


SYSTEM = TrustPolicy()


@pytest.mark.parametrize(
    ("spec", "target", "path"),
    [
        ({"url": "http://b.test"}, Target("http", "b.test", 80), b""),
        ({"url": "HTTP://B.Test:8080/Base/"}, Target("http", "b.test", 8080), b"/Base/"),
        ({"url": "https://b.test"}, Target("https", "b.test", 443, SYSTEM), b""),
        ({"url": "https://b.test:/x?y=1#z"}, Target("https", "b.test", 443, SYSTEM), b"/x"),
        ({"url": "http://b.test?y=1"}, Target("http", "b.test", 80), b""),
        ({"url": "http://10.0.0.9:65535/a%20b"}, Target("http", "10.0.0.9", 65535), b"/a%20b"),
        ({"url": "http://[2001:DB8::0:1]:81/"}, Target("http", "2001:db8::1", 81), b"/"),
        ({"url": "https://[::1]"}, Target("https", "::1", 443, SYSTEM), b""),
        ({"url": "https://b.test."}, Target("https", "b.test.", 443, TrustPolicy(server_name="b.test")), b""),
        ({"url": "http://a_b.test"}, Target("http", "a_b.test", 80), b""),
        (
            {"service": {"name": "s", "namespace": "n"}},
            Target("https", "s.n.svc", 443, SYSTEM),
            b"",
        ),
        (
            {"service": {"name": "s", "namespace": "n", "port": 80, "path": "/p"}},
            Target("https", "s.n.svc", 80, SYSTEM),
            b"/p",
        ),
        (
            {"service": {"name": "s", "namespace": "n", "port": None}},
            Target("https", "s.n.svc", 443, SYSTEM),
            b"",
        ),
        ({"url": "http://u.test", "service": {"name": "s"}}, Target("http", "u.test", 80), b""),
        (
            {"url": None, "service": {"name": "s", "namespace": "n"}},
            Target("https", "s.n.svc", 443, SYSTEM),
            b"",
        ),
        (
            {"url": "https://b.test", "insecureSkipVerify": True, "caBundle": "not looked at"},
            Target("https", "b.test", 443, TrustPolicy(insecure=True)),
            b"",
        ),
        (
            {"url": "https://b.test", "caBundle": b64(CA)},
            Target("https", "b.test", 443, TrustPolicy(ca_pem=CA)),
            b"",
        ),
        (
            {"url": "https://b.test", "caBundle": b64(b64(CA).encode())},
            Target("https", "b.test", 443, TrustPolicy(ca_pem=CA)),
            b"",
        ),
    ],
)
def test_what_resolves(spec: dict[str, Any], target: Target, path: bytes) -> None:
    assert resolve(spec, join_path=True) == Endpoint(target, path)
    assert resolve(spec) == Endpoint(target, b"")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (None, "write an object with url or service"),
        ([], "a list: write an object"),
        ({}, "neither url nor service"),
        ({"url": ""}, "url is empty: write https://host:port"),
        ({"url": "", "service": {"name": "s", "namespace": "n"}}, "url is empty"),
        ({"url": 7}, "url is a number"),
        ({"url": "b.test:8080"}, "no scheme and host: write http://host:port"),
        ({"url": "10.0.0.9:8080"}, "no scheme and host"),
        ({"url": "//b.test"}, "no scheme and host"),
        ({"url": "/path"}, "no scheme and host"),
        ({"url": "ftp://b.test"}, 'the scheme "ftp": write http or https'),
        ({"url": "http://"}, "has no host"),
        ({"url": "http:///x"}, "has no host"),
        ({"url": "http://:80"}, "has no host"),
        ({"url": "http://u:secret@b.test"}, "a user name or password"),
        ({"url": "http://b.test:0"}, "write a number from 1 to 65535"),
        ({"url": "http://b.test:65536"}, "write a number from 1 to 65535"),
        ({"url": "http://b.test:+80"}, "write a number from 1 to 65535"),
        ({"url": "http://b.test:8_0"}, "write a number from 1 to 65535"),
        ({"url": "http://b.test:80:80"}, "more than one colon"),
        ({"url": "http://::1/"}, "more than one colon"),
        ({"url": "http://[::1"}, "unfinished IPv6"),
        ({"url": "http://[::1]80"}, "unfinished IPv6"),
        ({"url": "http://[fe80::1%25eth0]"}, "no IPv6 address"),
        ({"url": "http://[b.test]"}, "no IPv6 address"),
        ({"url": "http://[10.0.0.9]"}, "no IPv6 address"),
        ({"url": "http://1.2.3.999"}, "no IPv4 address"),
        ({"url": "http://2130706433"}, "no IPv4 address"),
        ({"url": "http://a..b"}, "a DNS name or an address"),
        ({"url": "http://-a.b"}, "a DNS name or an address"),
        ({"url": "http://a%41"}, "a DNS name or an address"),
        ({"url": "http://" + "a" * 64}, "a DNS name or an address"),
        ({"url": "http://" + "a.b" * 90}, "a DNS name or an address"),
        ({"url": "http://."}, "a DNS name or an address"),
        ({"url": "http://b.test\\@evil"}, "a user name or password"),
        ({"url": " http://b.test"}, "white space"),
        ({"url": "http://b.test/a b"}, "white space"),
        ({"url": "http://b.test/\r\nX: y"}, "white space"),
        ({"url": "http://b\N{LATIN SMALL LETTER U WITH DIAERESIS}.test"}, "xn-- form"),
        ({"url": "http://b.test/%zz"}, "write %25"),
        ({"url": "https://b.test", "insecureSkipVerify": "true"}, "insecureSkipVerify is a string"),
        ({"url": "https://b.test", "insecureSkipVerify": 1}, "insecureSkipVerify is a number"),
        ({"service": []}, "service is a list"),
        ({"service": {}}, "service.name is missing"),
        ({"service": {"name": "s"}}, "service.namespace is missing"),
        ({"service": {"name": "s.evil.test/", "namespace": "n"}}, "service.name is"),
        ({"service": {"name": "s", "namespace": "n", "port": 0}}, "service.port is 0"),
        ({"service": {"name": "s", "namespace": "n", "port": True}}, "service.port is"),
        ({"service": {"name": "s", "namespace": "n", "port": "80"}}, "service.port is"),
        ({"service": {"name": "s", "namespace": "n", "port": 10**5000}}, "service.port is a number"),
        ({"service": {"name": "s", "namespace": "n", "path": "p"}}, "leading /"),
        ({"service": {"name": "s", "namespace": "n", "path": 3}}, "path is a number"),
        ({"url": "https://b.test", "caBundle": 3}, "caBundle is a number"),
        ({"url": "https://b.test", "caBundle": CA.decode()}, "caBundle holds PEM text: write base64 of it"),
        ({"url": "https://b.test", "caBundle": "%%%"}, "not base64 of PEM"),
        ({"url": "https://b.test", "caBundle": "\N{SNOWMAN}"}, "not base64 of PEM"),
        ({"url": "https://b.test", "caBundle": b64(b"garbage!")}, "not base64 of PEM"),
        ({"url": "https://b.test", "caBundle": b64(b"abcd")}, "holds no certificate"),
        ({"url": "https://b.test", "caBundle": b64(CA_KEY)}, "holds no certificate"),
        ({"url": "https://b.test", "caBundle": b64(b64(b64(CA).encode()).encode())}, "holds no certificate"),
        (
            {"url": "https://b.test", "caBundle": b64(CA.replace(b"MII", b"AAA", 1))},
            "does not parse",
        ),
        ({"url": "http://b.test", "caBundle": "%%%"}, "not base64 of PEM"),
    ],
)
def test_what_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(EndpointError) as caught:
        resolve(spec)
    assert message in str(caught.value)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(EndpointError) as caught:
        resolve({"url": "https://u:hunter2@b.test"})
    assert "hunter2" not in str(caught.value)


def test_a_bundle_keeps_its_certificates_and_nothing_else() -> None:
    bundle = b"# our CA\n" + CA + CA_KEY + b"\r\n" + OTHER_CA.replace(b"\n", b"\r\n") + b"end"
    assert ca_pem(b64(bundle)) == CA + OTHER_CA


def test_a_bundle_may_be_folded() -> None:
    folded = base64.encodebytes(CA).decode()
    assert "\n" in folded.strip()
    assert ca_pem(folded) == CA


@pytest.mark.parametrize("absent", [None, ""])
def test_no_bundle(absent: str | None) -> None:
    assert ca_pem(absent) is None


def test_equal_trust_is_an_equal_target() -> None:
    one = resolve({"url": "https://b.test", "caBundle": b64(CA)})
    other = resolve({"url": "https://b.test:443", "caBundle": b64(b64(b"\n" + CA).encode())})
    assert one == other and len({one, other, resolve({"url": "https://b.test"})}) == 2


@pytest.mark.parametrize(
    ("own", "path", "joined"),
    [
        (b"", b"/kapis/x", b"/kapis/x"),
        (b"/", b"/x", b"/x"),
        (b"/a/b/", b"/x", b"/a/b/x"),
        (b"/a", b"/", b"/a/"),
    ],
)
def test_join(own: bytes, path: bytes, joined: bytes) -> None:
    assert Endpoint(Target("http", "b.test", 80), own).join(path) == joined


@pytest.mark.parametrize("text", ["YQ", "YQ=", "Y Q==", "=YQ=", "YQ==YQ==", "Y-_="])
def test_base64_is_strict(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_base64(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
url_characters = "htps:/[]@%.-_?#0189afxyz \t\n\x00\N{SNOWMAN}"
odd_urls = st.text(alphabet=url_characters, max_size=30).map(lambda t: "http://" + t)
odd_services = st.fixed_dictionaries(
    {},
    optional={
        "name": json_values | st.just("s"),
        "namespace": json_values | st.just("n"),
        "port": json_values | st.integers(-1, 70000),
        "path": json_values | st.text(max_size=10).map(lambda t: "/" + t),
    },
)
odd_specs = st.fixed_dictionaries(
    {},
    optional={
        "url": json_values | odd_urls,
        "service": json_values | odd_services,
        "caBundle": json_values | st.binary(max_size=40).map(b64) | st.just(b64(CA)),
        "insecureSkipVerify": json_values,
    },
)


@given(st.one_of(json_values, odd_specs), st.booleans())
def test_any_shape_resolves_or_is_an_endpoint_error(spec: Any, join_path: bool) -> None:
    try:
        endpoint = resolve(spec, join_path=join_path)
    except EndpointError as error:
        assert str(error)
        return
    target, path = endpoint
    assert target.scheme in ("http", "https") and (target.trust is not None) == (target.scheme == "https")
    assert 0 < target.port < 65536
    # Nothing that could end a request line or a Host field early gets through.
    assert target.host and not set(target.host) & set(" \t\r\n/@?#%\x00")
    assert all(0x21 <= byte <= 0x7E for byte in path)
    assert path == b"" or (join_path and path.startswith(b"/"))

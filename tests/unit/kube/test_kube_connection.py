"""From a configured connection to what a request is made with."""

from __future__ import annotations

from pathlib import Path

import pytest
from pem import key_pair

from ksproxyd.kube.address import ServerAddress
from ksproxyd.kube.connection import MAX_FILE, Connection, Source, present, service_account
from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.exec_plugin import ExecCredential
from ksproxyd.upstream.target import Target, TrustPolicy

HTTPS = ServerAddress("https", "10.0.0.1", 6443, b"/k8s")
CERT, KEY = key_pair("client")
OTHER_CERT, OTHER_KEY = key_pair("other")
CA = key_pair("ca")[0]


def connection(
    *,
    address: ServerAddress = HTTPS,
    ca: Source | None = None,
    insecure: bool = False,
    server_name: str | None = None,
    client_cert: Source | None = None,
    client_key: Source | None = None,
    token: Source | None = None,
    basic: tuple[str, str] | None = None,
    impersonate: tuple[tuple[bytes, bytes], ...] = (),
) -> Connection:
    return Connection(
        origin="test",
        address=address,
        ca=ca,
        insecure=insecure,
        server_name=server_name,
        client_cert=client_cert,
        client_key=client_key,
        token=token,
        basic=basic,
        impersonate=impersonate,
    )


def test_values_in_place() -> None:
    shown = present(connection(ca=CA, server_name="kube", client_cert=CERT, client_key=KEY, token=b"t\n"), None)
    assert shown.target == Target("https", "10.0.0.1", 6443, TrustPolicy(CA, False, "kube", CERT, KEY))
    assert shown.headers == ((b"Authorization", b"Bearer t"),)


def test_values_in_files(tmp_path: Path) -> None:
    for name, content in [("ca", CA), ("cert", CERT), ("key", KEY), ("token", b" tok \n")]:
        (tmp_path / name).write_bytes(content)
    shown = present(
        connection(
            ca=tmp_path / "ca", client_cert=tmp_path / "cert", client_key=tmp_path / "key", token=tmp_path / "token"
        ),
        None,
    )
    assert shown.target.trust == TrustPolicy(CA, False, None, CERT, KEY)
    assert shown.headers == ((b"Authorization", b"Bearer tok"),)


def test_password_and_impersonation() -> None:
    shown = present(connection(basic=("admin", "pä"), impersonate=((b"Impersonate-User", b"u"),)), None)
    assert shown.headers == ((b"Impersonate-User", b"u"), (b"Authorization", b"Basic YWRtaW46cMOk"))


def test_plain_http_has_no_trust() -> None:
    shown = present(connection(address=ServerAddress("http", "h", 80), ca=Path("/nonexistent"), token=b"t"), None)
    assert shown.target == Target("http", "h", 80, None)
    assert shown.headers == ((b"Authorization", b"Bearer t"),)


def test_a_plugin_gives_a_token_or_a_certificate() -> None:
    bare = connection(ca=CA, client_cert=CERT, client_key=KEY)
    assert present(bare, ExecCredential(token="t")).headers == ((b"Authorization", b"Bearer t"),)
    shown = present(bare, ExecCredential(client_cert=OTHER_CERT, client_key=OTHER_KEY))
    assert shown.target.trust == TrustPolicy(CA, False, None, OTHER_CERT, OTHER_KEY)
    assert shown.headers == ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (connection(ca=Path("/nonexistent/ca")), "certificate authority /nonexistent/ca: No such file"),
        (connection(ca=b"not PEM"), "no PEM certificate"),
        (connection(ca=b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), "cannot be used"),
        (connection(ca="-----BEGIN CERTIFICATE-----\né".encode()), "cannot be used"),
        (connection(client_cert=CERT), "belong together"),
        (connection(client_key=KEY), "belong together"),
        (connection(client_cert=CERT, client_key=OTHER_KEY), "cannot be used"),
        (connection(client_cert=CERT, client_key=b"no key"), "cannot be used"),
        (connection(token=b""), "token is empty"),
        (connection(token=b"a b"), "cannot have"),
        (connection(token=b"a\r\nX-Evil: 1"), "cannot have"),
        (connection(token=Path("/nonexistent/token")), "token /nonexistent/token"),
    ],
)
def test_every_problem_is_one_line(wrong: Connection, said: str) -> None:
    with pytest.raises(AccessError, match=said) as caught:
        present(wrong, None)
    text = str(caught.value)
    assert text.startswith("test: ")
    assert "\n" not in text
    assert "PRIVATE" not in text


def test_files_that_cannot_be_meant(tmp_path: Path) -> None:
    empty, huge = tmp_path / "empty", tmp_path / "huge"
    empty.write_bytes(b"\n")
    huge.write_bytes(b"x" * (MAX_FILE + 1))
    with pytest.raises(AccessError, match="is empty"):
        present(connection(token=empty), None)
    with pytest.raises(AccessError, match="larger than"):
        present(connection(token=huge), None)


def test_nothing_secret_is_shown() -> None:
    bare = connection(ca=CA, client_cert=CERT, client_key=KEY, token=b"hunter2")
    assert "hunter2" not in repr(bare) + repr(present(bare, None))
    assert "PRIVATE" not in repr(bare) + repr(present(bare, None))


@pytest.mark.parametrize(
    ("host", "address"),
    [("10.96.0.1", ServerAddress("https", "10.96.0.1", 443)), ("fd00::1", ServerAddress("https", "fd00::1", 443))],
)
def test_the_service_account_of_a_pod(tmp_path: Path, host: str, address: ServerAddress) -> None:
    found = service_account({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)
    assert (found.address, found.ca, found.token) == (address, tmp_path / "ca.crt", tmp_path / "token")
    assert found.has_files


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"KUBERNETES_SERVICE_HOST": "10.96.0.1"},
        {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": ""},
        {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "tcp://10.96.0.1:443"},
    ],
)
def test_not_a_pod(environ: dict[str, str]) -> None:
    with pytest.raises(AccessError, match="KUBERNETES_SERVICE_HOST"):
        service_account(environ)

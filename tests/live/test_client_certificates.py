"""Client certificates at a TLS listener of the whole program: who one is by them, and whose are not taken."""

from __future__ import annotations

import http.client
import json
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ksproxyd.testing import Authority
from ksproxyd.testing.certificates import Issued

from .process import Program, free_port, ksproxyd, until

pytestmark = pytest.mark.timeout(180)

SERVERS, PEOPLE, OTHERS = Authority("servers"), Authority("people"), Authority("others")
PASSWORD = "Passw0rdX"


class Site:
    """The program, and what is asked of it."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder

    def ask(self, shown: Issued | None, path: str = "/oauth/userinfo", **headers: str) -> tuple[int, Any]:
        """Status and JSON. Raises :class:`ssl.SSLError` or :class:`OSError` where the handshake fails."""
        context = ssl.create_default_context(cadata=SERVERS.pem.decode())
        if shown is not None:
            context.load_cert_chain(*shown.write(self._folder, "shown"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if body.startswith(b"{") else body
        finally:
            connection.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("certificates")
    certificate, key = SERVERS.issue("127.0.0.1").write(folder, "server")
    authority, password = folder / "people.pem", folder / "password"
    authority.write_bytes(PEOPLE.pem)
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    port = free_port()
    tls = {"certFile": certificate, "keyFile": key, "clientCAFile": str(authority)}
    settings = {
        "authentication": {"issuer": {"url": "https://ks.test", "jwtSecret": "0123456789" * 4}},
        "authorization": {"mode": "AlwaysAllow"},
        "multicluster": {"clusterRole": "host"},
        "ksproxyd": {
            "stateDir": str(folder / "state"),
            "listeners": [{"address": "127.0.0.1", "port": port, "tls": tls}],
            "standalone": {
                "enabled": True,
                "listen": f"tcp:{free_port()}:interface=127.0.0.1",
                "adminPasswordFile": str(password),
            },
        },
    }
    file = folder / "settings.yaml"
    file.write_text(json.dumps(settings))
    found = Site(port, folder)
    with Program(ksproxyd("run", "--config", str(file)), folder) as program:

        def ready() -> bool:
            assert program.process.poll() is None, program.output()
            try:
                return found.ask(None, "/readyz")[0] == 200
            except OSError:
                return False

        until(ready, "ready")
        basic = "Basic " + b64encode(f"admin:{PASSWORD}".encode()).decode()
        until(lambda: found.ask(None, Authorization=basic)[0] == 200, "the first user")
        yield found


def test_a_certificate_is_its_user(site: Site) -> None:
    status, said = site.ask(PEOPLE.issue("admin", client=True))
    assert (status, said["sub"]) == (200, "admin")


def test_one_who_is_no_user_is_somebody_all_the_same(site: Site) -> None:
    status, said = site.ask(PEOPLE.issue("ghost", client=True))
    assert (status, said["error"]) == (403, "access_denied")


def test_none_is_asked_for_but_not_needed(site: Site) -> None:
    status, said = site.ask(None)
    assert (status, said["error"]) == (401, "login_required")


def test_what_the_request_shows_comes_first(site: Site) -> None:
    """A certificate is the connection's; a credential is the request's own, and when it is bad nobody is let in."""
    ghost = PEOPLE.issue("ghost", client=True)
    basic = "Basic " + b64encode(f"admin:{PASSWORD}".encode()).decode()
    assert site.ask(ghost, Authorization=basic)[1]["sub"] == "admin"
    status, said = site.ask(PEOPLE.issue("admin", client=True), Authorization="Bearer junk")
    assert (status, said["kind"]) == (401, "Status")


@pytest.mark.parametrize(
    "shown",
    [
        OTHERS.issue("admin", client=True),
        SERVERS.issue("admin", client=True),
        PEOPLE.issue("admin", client=True, expired=True),
        PEOPLE.issue("admin"),
    ],
    ids=["another authority", "the servers' authority", "expired", "a server's"],
)
def test_whose_are_not_taken(site: Site, shown: Issued) -> None:
    """In TLS 1.3 the client learns of it when it reads."""
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        site.ask(shown)
    assert site.ask(None, "/healthz")[0] == 200

"""``ksproxyd check-idp`` as an administrator runs it, against a cluster (the embedded one) and a real LDAP server."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from live.ldap_server import MANAGER, MANAGER_PASSWORD, PEOPLE, LDAPServer
from live.process import PATIENCE, Program, free_port, get, ksproxyd, until
from live.test_oidc_provider import SETTINGS, Kube


class Site:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        port, kube = free_port(), free_port()
        (folder / "ldap").mkdir()
        self.server = LDAPServer(folder / "ldap")
        self.server.start()
        stack.callback(self.server.stop)
        self.settings = folder / "kubesphere.yaml"
        self.settings.write_text(SETTINGS.format(port=port, kube=kube, state=folder / "state"))
        stack.enter_context(Program(ksproxyd("run", "--config", str(self.settings)), folder))
        until(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, "the gateway")
        self.kube = Kube(folder / "state/admin.kubeconfig")
        good = {
            "host": f"localhost:{self.server.plain}",
            "startTLS": True,
            "managerDN": MANAGER,
            "managerPassword": MANAGER_PASSWORD,
            "userSearchBase": PEOPLE,
            "loginAttribute": "uid",
            "mailAttribute": "mail",
            "rootCAData": base64.b64encode(self.server.authority.pem).decode(),
        }
        self.put("good", good)
        self.put("lookup", good, "lookup")
        self.put("down", {**good, "host": f"localhost:{free_port()}"})
        self.put("untrusted", {**good, "rootCAData": ""})
        self.put("manager", {**good, "managerPassword": "no"})
        self.put("broken", {**good, "readTimeout": "15000"})
        self.put("page", {"clientID": "x", "endpoint": {"userInfoURL": "https://localhost:1/user"}}, kind="GitHub")

    def put(self, name: str, options: dict[str, Any], mapping: str = "auto", kind: str = "LDAP") -> None:
        self.kube.put_provider(name, options, mapping, f"{kind}IdentityProvider")

    def check(self, *words: str, password: str = "") -> tuple[int, str]:
        found = subprocess.run(
            ksproxyd("check-idp", "--config", str(self.settings), *words),
            input=password + "\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert MANAGER_PASSWORD not in found.stdout + found.stderr
        return found.returncode, found.stdout + found.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("check"), stack)


def test_everything_is_fine(site: Site) -> None:
    code, said = site.check("good", "--username", "alice", password="right")
    assert code == 0, said
    assert [line.split(":")[0] for line in said.splitlines()] == [
        "ok      configuration",
        "ok      connect",
        "ok      StartTLS",
        "ok      bind",
        "ok      search",
        "ok      read",
        "ok      password",
        "ok      map",
    ]
    assert "alice would become the new user alice (mappingMethod: auto)" in said
    assert "right" not in said.replace("ok      password: right", "")
    # Nothing was made of it.
    assert site.kube.user("alice") is None


def test_without_a_name_nobody_is_looked_up(site: Site) -> None:
    code, said = site.check("good")
    assert code == 0
    assert "name somebody with --username" in said
    # A name without a password: everything but the password.
    code, said = site.check("good", "--username=alice")
    assert code == 0
    assert "search: cn=alice," in said
    assert "password" not in said


@pytest.mark.parametrize(
    ("words", "password", "failed", "advice"),
    [
        (("down",), "", "connect: ldap://localhost:", "Check host and port"),
        (("untrusted",), "", "StartTLS: TLS failed: its certificate is not issued by an authority", "rootCAData"),
        (("manager",), "", "bind: the server does not let", "Check managerDN and managerPassword."),
        (("good", "--username", "mallory"), "x", "search: no entry below", "Check userSearchBase"),
        (("good", "--username", "twin"), "x", "search: more than one entry below", "Check userSearchBase"),
        (("good", "--username", "alice"), "wrong", "password: the bind as", "The password is wrong"),
        (("lookup", "--username", "alice"), "right", "map: no user is linked with 'alice' at lookup", "Link or create"),
        (("broken",), "", "found '15000', expected a whole number", "Usable ones: down, good,"),
        (("nope",), "", "there is no identity provider 'nope'", "Usable ones: down, good,"),
        (("page",), "", "connect: https://localhost:1/user: connection refused", "Check endpoint.userInfoURL"),
    ],
)
def test_it_says_where_it_ends_and_what_to_do(
    site: Site, words: tuple[str, ...], password: str, failed: str, advice: str
) -> None:
    code, said = site.check(*words, password=password)
    assert code == 1, said
    assert failed in said, said
    assert advice in said, said
    assert "Traceback" not in said


def test_who_is_linked_is_that_user(site: Site) -> None:
    site.kube.ask(
        "POST",
        "/apis/iam.kubesphere.io/v1beta1/users",
        {
            "apiVersion": "iam.kubesphere.io/v1beta1",
            "kind": "User",
            "metadata": {"name": "al", "annotations": {"iam.kubesphere.io/identity-provider.lookup": "alice"}},
            "spec": {"email": ""},
        },
    )
    code, said = site.check("lookup", "--username", "alice", password="right")
    assert (code, said.splitlines()[-1]) == (0, "ok      map: alice is user al")


def test_how_it_is_called(site: Site, tmp_path: Path) -> None:
    for words in ((), ("a", "b"), ("--nope", "a"), ("a", "--username")):
        code, said = site.check(*words)
        assert code == 2, said
    nothing = tmp_path / "kubeconfig"
    nothing.write_text("apiVersion: v1\nkind: Config\n")
    code, said = site.check("good", "--kubeconfig", str(nothing))
    assert code == 1
    assert said.startswith("ksproxyd check-idp: ")
    assert "Traceback" not in said

"""A real OpenID provider signs people in at a real gateway: new keys, clocks that differ, and what must not work."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from live.openid_provider import OpenIDProvider, Visitor
from live.process import Program, free_port, get, ksproxyd, until

SETTINGS = """
authentication:
  multipleLogin: true
  issuer: {{url: "http://127.0.0.1:{port}", jwtSecret: "0123456789012345678901234567890123456789"}}
authorization: {{mode: AlwaysAllow}}
multicluster: {{clusterRole: host}}
ksproxyd:
  listeners: ["tcp:{port}:interface=127.0.0.1"]
  stateDir: {state}
  standalone: {{enabled: true, listen: "tcp:{kube}:interface=127.0.0.1"}}
"""


class Kube:
    """The embedded API, as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        known = yaml.safe_load(kubeconfig.read_text())
        cluster, user = known["clusters"][0]["cluster"], known["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._server, self._token = cluster["server"], user["token"]
        self._context = ssl.create_default_context(cadata=authority)

    def ask(self, method: str, path: str, value: Any = None) -> Any:
        request = urllib.request.Request(
            self._server + path,
            method=method,
            data=None if value is None else json.dumps(value).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._context) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise AssertionError(f"{method} {path}: {error.read().decode()[:500]}") from error

    def user(self, name: str) -> Any:
        return self.ask("GET", f"/apis/iam.kubesphere.io/v1beta1/users/{name}")

    def put_provider(
        self, name: str, provider: dict[str, Any], mapping: str = "auto", kind: str = "OIDCIdentityProvider"
    ) -> None:
        document = {"name": name, "type": kind, "mappingMethod": mapping, "provider": provider}
        self.ask(
            "POST",
            "/api/v1/namespaces/kubesphere-system/secrets",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"idp-{name}", "labels": {"config.kubesphere.io/type": "identityprovider"}},
                "type": "config.kubesphere.io/identityprovider",
                "data": {"configuration.yaml": base64.b64encode(yaml.safe_dump(document).encode()).decode()},
            },
        )


class Site:
    """A gateway with the provider ``corp``."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.port, kube = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        (folder / "idp").mkdir()
        callback = f"{self.base}/oauth/callback/corp"
        self.provider = stack.enter_context(OpenIDProvider(folder / "idp", callback))
        self.settings = folder / "kubesphere.yaml"
        self.settings.write_text(SETTINGS.format(port=self.port, kube=kube, state=folder / "state"))
        self.program = stack.enter_context(Program(ksproxyd("run", "--config", str(self.settings)), folder))
        until(lambda: get(f"{self.base}/readyz")[0] == 200, "the gateway")
        self.kubeconfig = folder / "state/admin.kubeconfig"
        self.kube = Kube(self.kubeconfig)
        self.kube.put_provider(
            "corp",
            {
                "issuer": self.provider.issuer,
                "clientID": "ksproxyd",
                "clientSecret": "the secret/of ksproxyd",
                "scopes": ["profile", "email"],
                "getUserInfo": True,
                "rootCAData": base64.b64encode(self.provider.authority.pem).decode(),
            },
        )
        until(lambda: b"/oauth/login/corp" in get(f"{self.base}/oauth/login")[1], "the button")

    def sign_in(self, name: str) -> Visitor:
        visitor = Visitor(self.provider.context)
        visitor.sign_in(f"{self.base}/oauth/login/corp", name)
        return visitor


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("oidc"), stack)


def signed_in(visitor: Visitor, name: str) -> bool:
    return visitor.status == 200 and f"You are signed in as {name}." in visitor.page


def test_somebody_signs_in_and_becomes_a_user(site: Site) -> None:
    visitor = site.sign_in("u-zoe")
    assert signed_in(visitor, "zoe"), (visitor.url, visitor.page, site.program.output()[-3000:])
    user = site.kube.user("zoe")
    assert user["metadata"]["annotations"]["iam.kubesphere.io/identity-provider.corp"] == "u-zoe"
    assert user["spec"]["email"] == "u-zoe@corp.test"
    assert user["spec"].get("password") is None
    # The second time, from another browser, they are the same.
    assert signed_in(site.sign_in("u-zoe"), "zoe")
    records = until(lambda: _records(site, "zoe"), "the records of logins")
    assert {record["spec"]["provider"] for record in records} == {"corp"}


def _records(site: Site, name: str) -> list[Any]:
    listed = site.kube.ask("GET", "/apis/iam.kubesphere.io/v1beta1/loginrecords")["items"]
    found = [record for record in listed if record["metadata"]["labels"].get("iam.kubesphere.io/user-ref") == name]
    return found if len(found) >= 2 else []


def test_nobody_becomes_the_administrator(site: Site) -> None:
    before = site.kube.user("admin")
    assert before is not None
    visitor = site.sign_in("u-admin")
    assert visitor.status == 403
    assert "does not belong to a user here" in visitor.page
    after = site.kube.user("admin")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]


def test_keys_are_changed(site: Site) -> None:
    assert signed_in(site.sign_in("u-yan"), "yan")
    for number in (1, 2):
        site.provider.control(keys=number)
        # Keys are not looked at again at any rate; the first look here is long past the last.
        time.sleep(10.5)
        assert signed_in(site.sign_in("u-yan"), "yan"), site.program.output()[-3000:]
    site.provider.control(keys=1)
    assert signed_in(site.sign_in("u-yan"), "yan")


def test_clocks_differ_by_five_minutes_and_not_by_more(site: Site) -> None:
    # Its id_tokens live for a minute: without latitude they would be expired, or not begun, by our clock.
    try:
        for ahead in (300, -300):
            site.provider.control(clock=ahead)
            assert signed_in(site.sign_in("u-xue"), "xue"), (ahead, site.program.output()[-3000:])
        for ahead in (330, -400):
            site.provider.control(clock=ahead)
            visitor = site.sign_in("u-xue")
            assert visitor.status == 400, (ahead, visitor.page)
            assert "Signing in there did not work" in visitor.page
        assert "s ahead of our clock, which is more than clockSkew (300 s)" in site.program.output()
    finally:
        site.provider.control(clock=0)


def test_a_response_is_for_one_browser_and_once(site: Site) -> None:
    visitor = Visitor(site.provider.context)
    seen: list[str] = []
    plain = visitor.go

    def go(url: str, form: dict[str, str] | None = None) -> None:
        plain(url, form)
        seen.append(visitor.url)

    visitor.go = go  # type: ignore[method-assign]
    visitor.sign_in(f"{site.base}/oauth/login/corp", "u-zoe")
    assert signed_in(visitor, "zoe")
    callback = f"{site.base}/oauth/callback/corp?code=x&state={'A' * 43}"
    visitor.go(callback)
    assert visitor.status == 400
    assert "This sign-in has expired" in visitor.page


def test_the_provider_is_away(tmp_path: Path) -> None:
    with ExitStack() as stack:
        site = Site(tmp_path, stack)
        site.provider.kill()
        visitor = site.sign_in("u-zoe")
        assert visitor.status == 502
        assert "cannot be reached at the moment" in visitor.page

"""Programs that others have written log people in with a real gateway: openid-client, and kubectl's plugin.

A person is a browser without scripts: cookies and forms.
"""

from __future__ import annotations

import hashlib
import html
import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest
from browser.place import PASSWORD, Place, running_place

from live.process import PATIENCE, ksproxyd

HERE = Path(__file__).resolve().parent / "relying_party"
_FORM = re.compile(r'<form method="post" action="([^"]*)">(.*?)</form>', re.DOTALL)
_INPUT = re.compile(r'<input[^>]*?name="([^"]*)"[^>]*?value="([^"]*)"')


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_place(tmp_path_factory.mktemp("place")) as running:
        back = {"redirectURIs": [f"{running.client.base}/cb"], "postLogoutRedirectURIs": [f"{running.client.base}/bye"]}
        # What a secret may hold, form-encoded in the header (RFC 6749, 2.3.1).
        running.add_client("confidential", secret="a b%+:é", **back)
        running.add_client("spa", secret="", public=True, **back)
        yield running


class Person:
    """Goes where a program sends them, signs in when asked, agrees to everything, and says where that has led to."""

    def __init__(self, name: str, outside: str) -> None:
        self._name = name
        self._outside = outside
        self._opener = urllib.request.build_opener(
            _NoRedirects, urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )

    def visit(self, address: str) -> str:
        body: bytes | None = None
        for _ in range(15):
            if address.startswith(self._outside):
                return address
            status, location, page = self._open(address, body)
            if location:
                address, body = urljoin(address, location), None
                continue
            assert status == 200, (address, status, page)
            form = _FORM.search(page)
            if form is None:
                return address
            fields = {name: html.unescape(value) for name, value in _INPUT.findall(form[2])}
            if 'name="password"' in form[2]:
                fields |= {"username": self._name, "password": PASSWORD}
            if 'name="decision"' in form[2]:
                fields["decision"] = "allow"
            address, body = urljoin(address, html.unescape(form[1])), urlencode(fields).encode()
        raise AssertionError(f"{address} leads nowhere")

    def _open(self, address: str, body: bytes | None) -> tuple[int, str, str]:
        headers = {"Accept": "text/html"}
        if body is not None:
            headers["Origin"] = "/".join(address.split("/")[:3])
        request = urllib.request.Request(address, body, headers)
        try:
            answer = self._opener.open(request, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.headers.get("Location", ""), answer.read().decode()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def packages() -> Path:
    """A folder with openid-client, as pinned in ``package-lock.json``. Skips the test where it cannot be had."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ksproxyd" / "npm" / digest
    if not (cache / "complete").exists():
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, cache)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        found = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=120, check=False)
        if found.returncode:
            pytest.skip(f"npm cannot get openid-client: {found.stderr.strip().splitlines()[:1]}")
        (cache / "complete").touch()
    return cache


def run_client(folder: Path, place: Place, client: str, secret: str, person: Person) -> list[dict[str, Any]]:
    """The steps that ``client.mjs`` has taken."""
    # Modules are looked for beside the script.
    script = folder / "client.mjs"
    shutil.copy(HERE / "client.mjs", script)
    (folder / "node_modules").symlink_to(packages() / "node_modules")
    argv = ["node", str(script), place.base, client, secret, f"{place.client.base}/cb", f"{place.client.base}/bye"]
    errors = (folder / "errors").open("w+")
    steps = []
    with (
        errors,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as node,
    ):
        assert node.stdin is not None and node.stdout is not None
        watchdog = threading.Timer(PATIENCE * 2, node.kill)
        watchdog.start()
        try:
            for line in node.stdout:
                said = json.loads(line)
                if "visit" in said:
                    node.stdin.write(person.visit(said["visit"]) + "\n")
                    node.stdin.flush()
                else:
                    steps.append(said)
        finally:
            watchdog.cancel()
            node.kill()
    assert steps and steps[-1] == {"step": "done"}, (steps, (folder / "errors").read_text())
    return steps[:-1]


@pytest.mark.parametrize(("client", "secret", "times"), [("confidential", "a b%+:é", 2), ("spa", "", 1)])
def test_openid_client(tmp_path: Path, place: Place, client: str, secret: str, times: int) -> None:
    """Discovery, code flow with PKCE, userinfo, refresh, introspection, revocation, replay, logout, device flow."""
    person = Person("alice", place.client.base)
    steps = run_client(tmp_path, place, client, secret, person)
    alice = {"sub": "alice", "name": "alice", "email": "alice@example.org"}
    expected: list[dict[str, Any]] = [
        {"step": "discovery", "pkce": True, "algorithm": ["RS256"]},
        {"step": "code", **alice, "at_hash": True},
        {"step": "userinfo", **alice, "preferred_username": "alice", "url": "alice"},
        {"step": "refresh", "changed": True},
        {"step": "introspection", "active": True, "sub": "alice", "scope": "openid email profile"},
        {"step": "revocation", "refresh": "invalid_grant", "userinfo": 401},
        {"step": "replay", "error": "invalid_grant"},
        {"step": "logout", "at": f"{place.client.base}/bye", "state": True},
        {"step": "device", "sub": "alice"},
    ]
    if not secret:
        expected = [step for step in expected if step["step"] != "introspection"]
    assert steps == expected * times


def test_kubectls_plugin(tmp_path: Path, place: Place) -> None:
    """Somebody logs in with a terminal and a browser, kubectl gets tokens, they log out."""
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "KUBERNETES_EXEC_INFO": ""}
    options = ["--server", place.base, "--user", "bob"]

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ksproxyd(*words, *options), env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    nobody = command("credential")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert f"ksproxyd login --server {place.base}" in nobody.stderr

    with subprocess.Popen(ksproxyd("login", *options), env=environ, stderr=subprocess.PIPE, text=True) as login:
        assert login.stderr is not None
        watchdog = threading.Timer(PATIENCE, login.kill)
        watchdog.start()
        said = ""
        for line in login.stderr:
            said += line
            if line.strip().startswith("http"):
                Person("bob", place.client.base).visit(line.strip())
        watchdog.cancel()
    assert login.returncode == 0, said
    assert said.endswith("Logged in as bob.\n")

    found = command("credential")
    assert found.returncode == 0, found.stderr
    credential = json.loads(found.stdout)
    assert credential["kind"] == "ExecCredential"
    token = credential["status"]["token"]
    assert userinfo(place, token) == 200
    assert json.loads(command("credential").stdout)["status"]["token"] == token

    # Not until it is about to end, or was revoked, is it another one.
    revoke(place, token)
    assert userinfo(place, token) == 401
    other = json.loads(command("credential").stdout)["status"]["token"]
    assert other != token and userinfo(place, other) == 200

    # Many at once: each of them gets a token, and none ends the others' login.
    revoke(place, other)
    many = [
        subprocess.Popen(ksproxyd("credential", *options), env=environ, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in many]
    assert len({json.loads(output)["status"]["token"] for output in outputs}) == 1

    out = command("logout")
    assert (out.returncode, out.stderr) == (0, "Logged out.\n")
    assert userinfo(place, json.loads(outputs[0])["status"]["token"]) == 401
    assert command("credential").returncode == 1


def revoke(place: Place, token: str) -> None:
    form = urlencode({"client_id": "ksproxyd-cli", "token": token}).encode()
    with urllib.request.urlopen(f"{place.base}/oauth/revoke", form, timeout=20) as answer:
        assert answer.status == 200


def userinfo(place: Place, token: str) -> int:
    request = urllib.request.Request(f"{place.base}/oauth/userinfo", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code

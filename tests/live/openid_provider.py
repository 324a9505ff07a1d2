"""``oidc-provider``, which others have written and had certified, on loopback, and a browser that signs in there.

It comes from the npm registry, as pinned in ``node/package-lock.json``, once, into a cache folder.
"""

from __future__ import annotations

import hashlib
import html
import http.cookiejar
import os
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest

from ksproxyd.testing import Authority
from live.process import Program, free_port, until

NODE = Path(__file__).resolve().parent / "node"


def packages() -> Path:
    """A folder with the provider and what it needs. Skips the test where it cannot be had."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    digest = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ksproxyd" / "npm"
    folder = cache / digest
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
        if found.returncode:
            pytest.skip(f"npm cannot get oidc-provider: {found.stderr.strip().splitlines()[:1]}")
        (folder / "complete").touch()
    return folder


class OpenIDProvider:
    """The provider, which sends people back to ``redirect_uri``. Leaving the ``with`` ends it."""

    def __init__(self, folder: Path, redirect_uri: str) -> None:
        self.authority = Authority()
        self.port = free_port()
        self.issuer = f"https://localhost:{self.port}"
        found = packages()
        # Modules are looked for beside the script.
        script = folder / "provider.mjs"
        shutil.copy(NODE / "provider.mjs", script)
        (folder / "node_modules").symlink_to(found / "node_modules")
        certificate, key = self.authority.issue("localhost").write(folder)
        self._program = Program(
            ["node", str(script), str(self.port), certificate, key, redirect_uri], folder, {"NODE_ENV": "test"}
        )
        self.context = ssl.create_default_context(cadata=self.authority.pem.decode())

    def __enter__(self) -> OpenIDProvider:
        self._program.__enter__()
        until(lambda: "listening" in self._program.output() or self._program.process.poll() is not None, "the provider")
        assert self._program.process.poll() is None, self._program.output()
        return self

    def __exit__(self, *error: Any) -> None:
        self._program.__exit__(*error)

    def kill(self) -> None:
        """End it as a crash would."""
        self._program.process.kill()
        self._program.process.wait()

    def control(self, **what: int) -> None:
        """Move its clock (``clock``, in seconds), or change its key (``keys``, a number)."""
        request = urllib.request.Request(f"{self.issuer}/control?{urlencode(what)}", method="POST", data=b"")
        urllib.request.urlopen(request, timeout=20, context=self.context).close()


class Visitor:
    """A browser without anything but cookies and forms."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )
        self.url = ""
        self.status = 0
        self.page = ""

    def go(self, url: str, form: dict[str, str] | None = None) -> None:
        """Go there, and on to where one is sent."""
        data = None if form is None else urlencode(form).encode()
        request = urllib.request.Request(url, data, {"Accept": "text/html,*/*;q=0.8"})
        try:
            answer: Any = self._opener.open(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.url, self.status, self.page = answer.geturl(), answer.status, answer.read().decode()

    def submit(self, **values: str) -> None:
        """Send the form of the page."""
        found = re.search(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', self.page, re.S)
        assert found is not None, (self.url, self.status, self.page[:2000])
        hidden = re.findall(r'<input[^>]*type="hidden" name="([^"]*)" value="([^"]*)"', found[2])
        form = {name: html.unescape(value) for name, value in hidden}
        self.go(urljoin(self.url, html.unescape(found[1])), {**form, **values})

    def sign_in(self, start: str, name: str) -> None:
        """From ``start`` through the provider's pages and back."""
        self.go(start)
        if "/interaction/" in self.url:
            self.submit(login=name, password="whatever")
            self.submit()

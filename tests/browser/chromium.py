"""A real browser: headless Chromium, driven through chromedriver by the W3C WebDriver protocol.

Each command is one HTTP request with a JSON body (https://www.w3.org/TR/webdriver2/), so a client is a few lines. The
browser speaks to addresses of this machine only, and keeps nothing: its profile is in the test's folder.
"""

from __future__ import annotations

import base64
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from live.process import Program, free_port, until

#: The key of an element's name in answers (WebDriver, 12.1).
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

_ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-default-apps"),
    *("--disable-client-side-phishing-detection", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--force-device-scale-factor=1", "--window-size=900,960"),
    # No name is looked up, and nothing but this machine is spoken to.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def missing() -> str:
    """What of the browser is not installed; empty if all is there."""
    return ", ".join(name for name in ("chromium", "chromedriver") if shutil.which(name) is None)


class Refused(AssertionError):
    """The driver cannot do what it was told: there is no such element, say."""


class Chromium:
    """One browser with one window. A context manager; ``language`` is what it asks pages for."""

    def __init__(self, folder: Path, language: str = "en-US,en", *, scripts: bool = True) -> None:
        self._folder = folder
        self._language = language
        self._scripts = scripts
        self._port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._driver = Program(["chromedriver", f"--port={self._port}", "--allowed-ips=127.0.0.1"], folder)
        self._session = ""

    def __enter__(self) -> Chromium:
        self._driver.__enter__()
        try:
            until(self._ready, "chromedriver's start")
            preferences: dict[str, Any] = {"intl.accept_languages": self._language}
            if not self._scripts:
                preferences["profile.managed_default_content_settings.javascript"] = 2
            options = {
                "args": [*_ARGUMENTS, f"--user-data-dir={self._folder / 'profile'}"],
                "prefs": preferences,
            }
            asked = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
            self._session = self._send("POST", "/session", {"capabilities": asked})["sessionId"]
        except BaseException:
            self._driver.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._session:
                self._send("DELETE", f"/session/{self._session}")
        finally:
            self._driver.__exit__(kind, error, traceback)

    # -- what a person does ----------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Go to ``url`` and wait for the page."""
        self._command("POST", "/url", {"url": url})

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        element = self._element(selector)
        self._command("POST", f"/element/{element}/clear", {})
        self._command("POST", f"/element/{element}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Click something and wait for the page that comes."""
        with self.leaving():
            self._command("POST", f"/element/{self._element(selector)}/click", {})

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """What is done within leads to another page; wait for that."""
        page = self._element("html")
        yield
        # The driver waits for a page that is on its way, but not for one that has yet to be asked for.
        until(lambda: self._gone(page), "another page")

    def _gone(self, element: str) -> bool:
        try:
            self._command("GET", f"/element/{element}/name")
        except Refused:
            return True
        return False

    def press(self, key: str) -> None:
        """Press a key, wherever the focus is."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._command("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def write(self, text: str) -> None:
        """Press the keys of ``text`` one after the other, wherever the focus is; a line break is Enter."""
        keys = []
        for letter in text.replace("\n", "\ue007"):
            keys += [{"type": "keyDown", "value": letter}, {"type": "keyUp", "value": letter}]
        self._command("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def chord(self, *keys: str) -> None:
        """Press keys together, modifiers first."""
        down = [{"type": "keyDown", "value": key} for key in keys]
        up = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._command("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": [*down, *up]}]})

    def push(self, selector: str) -> None:
        """Click something that leads to no other page."""
        self._command("POST", f"/element/{self._element(selector)}/click", {})

    def choose_files(self, selector: str, *paths: Path) -> None:
        """Choose files in a field."""
        text = "\n".join(str(path) for path in paths)
        self._command("POST", f"/element/{self._element(selector)}/value", {"text": text})

    def hover_and_click(self, selector: str, right: int) -> None:
        """Move the mouse over an element, ``right`` pixels from its left edge, and click there."""
        place = self._command("GET", f"/element/{self._element(selector)}/rect")
        at = {"x": int(place["x"]) + right, "y": int(place["y"] + place["height"] / 2)}
        moves = [{"type": "pointerMove", "duration": 50, **at, "x": at["x"] + each} for each in (1, 0)]
        steps = [*moves, {"type": "pause", "duration": 200}, {"type": "pointerDown", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "actions": [*steps, {"type": "pointerUp", "button": 0}]}
        self._command("POST", "/actions", {"actions": [mouse]})

    def permit(self, name: str) -> None:
        """Let pages have what they would have to ask for (W3C Permissions, 10)."""
        self._command("POST", "/permissions", {"descriptor": {"name": name}, "state": "granted"})

    def script(self, code: str, *arguments: Any) -> Any:
        """What ``code``, the body of a function, returns; a promise is waited for."""
        return self._command("POST", "/execute/sync", {"script": code, "args": list(arguments)})

    # -- what a person sees ----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return str(self._command("GET", "/url"))

    @property
    def title(self) -> str:
        return str(self._command("GET", "/title"))

    def text(self, selector: str = "body") -> str:
        """The visible text of an element."""
        return str(self._command("GET", f"/element/{self._element(selector)}/text"))

    def has(self, selector: str) -> bool:
        """Whether there is such an element."""
        return bool(self._command("POST", "/elements", {"using": "css selector", "value": selector}))

    def role(self, selector: str) -> tuple[str, str]:
        """What a screen reader makes of an element: its role and its name."""
        element = self._element(selector)
        role = self._command("GET", f"/element/{element}/computedrole")
        return str(role), str(self._command("GET", f"/element/{element}/computedlabel"))

    def attribute(self, selector: str, name: str) -> str | None:
        found = self._command("GET", f"/element/{self._element(selector)}/attribute/{name}")
        return None if found is None else str(found)

    def style(self, selector: str, name: str) -> str:
        """A CSS property as it is applied."""
        return str(self._command("GET", f"/element/{self._element(selector)}/css/{name}"))

    def focused(self) -> str:
        """The ``id`` or ``value`` of the element that has the focus."""
        element = self._command("GET", "/element/active")[_ELEMENT]
        for name in ("id", "value"):
            found = self._command("GET", f"/element/{element}/attribute/{name}")
            if found:
                return str(found)
        return ""

    def cookies(self) -> dict[str, dict[str, Any]]:
        return {cookie["name"]: cookie for cookie in self._command("GET", "/cookie")}

    def console(self) -> list[str]:
        """What the browser complains of since the last call: broken policies, missing files."""
        entries = self._command("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def size(self, width: int, height: int) -> None:
        """Make the window that large."""
        self._command("POST", "/window/rect", {"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        """What the window shows, as a PNG."""
        path.write_bytes(base64.b64decode(self._command("GET", "/screenshot")))

    # -- the protocol ----------------------------------------------------------------------------------

    def _ready(self) -> bool:
        try:
            return bool(self._send("GET", "/status")["ready"])
        except OSError:
            return False

    def _element(self, selector: str) -> str:
        found = self._command("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _command(self, method: str, path: str, body: Any = None) -> Any:
        return self._send(method, f"/session/{self._session}{path}", body)

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise Refused(f"{method} {path}: {value['error']}: {value['message']}") from None

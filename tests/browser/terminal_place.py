"""A real cluster with a Pod, a gateway, and a wire to it that can be cut, for browsers that open terminals."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kube.binaries import BuildError, Unavailable, find_or_build
from kube.conftest import start_cluster
from kube.people import PASSWORD
from kube.terminal_site import NAMESPACE, POD, SETTINGS, TerminalSite
from kube.terminal_site import PROMPT as _PROMPT

from browser.chromium import Chromium

__all__ = ["NAMESPACE", "POD", "PROMPT", "TerminalPlace", "lines", "running_terminals", "sign_in", "terminal_text"]

PATIENCE = 30.0

#: As it is seen: rows are without the blanks at their ends.
PROMPT = _PROMPT.strip()

#: A name that Kubernetes knows, and whose terminal the page opens at once.
QUERY = f"?namespace={NAMESPACE}&pod={POD}&shell=bash"


class Wire:
    """Passes connections on to ``port``, until they are cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._open: list[socket.socket] = []
        self._down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections, as a network does, and let nobody through."""
        self._down = True
        found, self._open = self._open, []
        for each in found:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def mend(self) -> None:
        """Let new connections through."""
        self._down = False

    def close(self) -> None:
        self.cut()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            if self._down:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            each.close()


class TerminalPlace:
    """The addresses: ``base`` is the gateway's, ``wired`` the same behind a wire."""

    def __init__(self, site: TerminalSite) -> None:
        self.site = site
        self.base = site.gateway.url
        self.wire = Wire(int(self.base.rpartition(":")[2]))
        self.wired = f"http://127.0.0.1:{self.wire.port}"

    def page(self, query: str = QUERY, base: str = "") -> str:
        """The address of the page."""
        return f"{base or self.base}/terminal/{query}"


def no_cluster() -> str:
    """Why there can be no cluster here; empty if there can."""
    try:
        found = find_or_build(os.environ, lambda line: print(line, file=sys.stderr))
    except (Unavailable, BuildError) as error:
        return str(error)
    return "" if found.node is not None else found.without_node


@contextmanager
def running_terminals(folder: Path, **terminal: Any) -> Iterator[TerminalPlace]:
    """A place with the Pod, and the operator olga. ``terminal`` are settings of terminals."""
    found = find_or_build(os.environ, lambda line: None)
    cluster = start_cluster(found, folder / "cluster")
    try:
        settings = {**SETTINGS, "terminal": {**SETTINGS["terminal"], **terminal}}
        with TerminalSite(cluster, folder / "gateway", settings) as site:
            site.furnish()
            site.user("olga")
            place = TerminalPlace(site)
            try:
                yield place
            finally:
                place.wire.close()
    finally:
        cluster.stop()


# -- what a person does and sees ---------------------------------------------------------------------------------------


def sign_in(browser: Chromium, name: str = "olga") -> None:
    """On the sign-in page, which leads back."""
    until(lambda: browser.has("#username"), browser)
    browser.type("#username", name)
    browser.type("#password", PASSWORD)
    browser.click("main form button")


def lines(browser: Chromium) -> list[str]:
    """The rows of the terminal, without the blanks at their ends."""
    found: list[str] = browser.script(
        "return [...document.querySelectorAll('.xterm-rows > div')]"
        ".map(row => row.textContent.replaceAll('\\u00a0', ' ').trimEnd())"
    )
    return found


def terminal_text(browser: Chromium) -> str:
    return "\n".join(lines(browser)).rstrip()


def until(condition: Any, browser: Chromium, what: str = "what was waited for") -> Any:
    """Wait until ``condition`` gives something true, and return that."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {PATIENCE:.0f} s\n{terminal_text(browser)}\n{browser.console()}")


def expect(browser: Chromium, text: str) -> None:
    """Wait until the terminal shows ``text``."""
    until(lambda: text in terminal_text(browser), browser, repr(text))


def paste(browser: Chromium, text: str) -> None:
    """Paste into the terminal, as the browser does with what is in its clipboard."""
    browser.script(
        "const data = new DataTransfer(); data.setData('text/plain', arguments[0]);"
        "document.querySelector('.xterm-helper-textarea').dispatchEvent("
        "new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}));",
        text,
    )

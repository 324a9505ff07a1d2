"""Much of everything, every request in the audit log: memory stays where it was, and not a byte is lost.

``KSPROXYD_TERMINAL_BYTES`` is how much a file has that goes in and out of a container; 256 MiB, if nothing is said.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from .binaries import Binaries
from .conftest import Measured, start_cluster
from .terminal_site import PROMPT, SETTINGS, TerminalSite

pytestmark = [pytest.mark.usefixtures("needs_node"), pytest.mark.slow]

SHOWN = 200_000_000
"""Bytes that a process prints while its browser is slow."""

FILE = int(os.environ.get("KSPROXYD_TERMINAL_BYTES", 1 << 28))
PIECE = 1 << 20

AUDIT = "terminal-load-audit.log"

GROWTH = 10 << 20
"""Bytes that the gateway may have more while it works than before."""

DOWNLOAD_GROWTH = 5_000_000
"""The same while a file comes out (spec 05, fact 52)."""


@pytest.fixture(scope="module")
def site(binaries: Binaries, folder: Path, needs_node: None) -> Iterator[TerminalSite]:
    cluster = start_cluster(binaries, folder / "terminal-load")
    # At this level bodies are recorded as well, if they are small.
    auditing = {"enable": True, "auditLevel": "RequestResponse", "logOptions": {"path": str(folder / AUDIT)}}
    try:
        with TerminalSite(cluster, folder / "terminal-load-gateway", {**SETTINGS, "auditing": auditing}) as site:
            site.furnish()
            yield site
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def token(site: TerminalSite) -> str:
    return site.user("olga")


class Memory:
    """Looks at the gateway's memory again and again, within ``with``; ``growth`` are bytes above the beginning."""

    def __init__(self, site: TerminalSite) -> None:
        self._site = site
        self.before = site.resident()
        self.most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            self.most = max(self.most, self._site.resident())

    @property
    def growth(self) -> int:
        return max(0, self.most - self.before)


def warm(site: TerminalSite, token: str) -> None:
    """A session with some output, so that what is needed only once is there."""
    with site.shell(token) as terminal:
        terminal.expect(PROMPT)
        terminal.type("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo do''ne\r")
        terminal.expect("done")


def test_a_browser_that_is_slow(site: TerminalSite, token: str, measured: Measured) -> None:
    warm(site, token)
    with site.shell(token, window=1 << 16) as terminal:
        terminal.expect(PROMPT)
        with Memory(site) as memory:
            began = time.monotonic()
            terminal.type(f"stty -echo; PS1=; yes 0123456789abcde | head -c {SHOWN}; echo be''hind\r")
            # Nothing at all is read for a while: the process has to wait.
            time.sleep(5)
            count, carry, ended = 0, "", False
            while not ended:
                found = terminal.next()
                assert found is not None, terminal.closed
                message = json.loads(found.payload)
                assert message["Op"] == "stdout"
                text = carry + message["Data"]
                # A terminal makes \n into \r\n.
                lines = text.split("\r\n")
                carry = lines.pop()
                count += sum(1 for line in lines if line.endswith("0123456789abcde"))
                ended = "behind" in lines
            seconds = time.monotonic() - began
    measured(
        f"{SHOWN / 1e6:.0f} MB of output in {seconds:.0f} s, the browser asleep for 5 of them: "
        f"the gateway's memory grew by {memory.growth / 2**20:.1f} MiB"
    )
    assert count == SHOWN // 16
    assert memory.growth <= GROWTH


def content() -> Iterator[bytes]:
    """Always the same bytes, :data:`FILE` of them."""
    source = random.Random(5)
    blocks = [source.randbytes(PIECE) for _ in range(16)]
    for number in range(0, FILE, PIECE):
        yield number.to_bytes(8, "big") + blocks[number // PIECE % 16][8 : min(PIECE, FILE - number)]


@pytest.fixture(scope="module")
def digest() -> str:
    whole = hashlib.sha256()
    for piece in content():
        whole.update(piece)
    return whole.hexdigest()


def test_a_file_goes_in(site: TerminalSite, token: str, digest: str, measured: Measured) -> None:
    folder = container_folder(site, token)
    upload(site, token, folder, "warm", [bytes(PIECE)] * 8, 8 * PIECE)
    with Memory(site) as memory:
        began = time.monotonic()
        status, answer = upload(site, token, folder, "big", content(), FILE)
        seconds = time.monotonic() - began
    assert (status, answer) == (200, {"files": [{"name": "big", "size": FILE}]})
    with site.shell(token) as terminal:
        terminal.expect(PROMPT)
        terminal.type("sha256sum big; stat -c '%a %s' big\r")
        terminal.expect(digest, 60)
        terminal.expect(f"600 {FILE}")
    measured(
        f"upload of {FILE / 2**20:.0f} MiB: {FILE / 2**20 / seconds:.0f} MiB/s, "
        f"the gateway's memory grew by {memory.growth / 2**20:.1f} MiB"
    )
    assert memory.growth <= GROWTH


def test_a_file_comes_out(site: TerminalSite, token: str, digest: str, measured: Measured, folder: Path) -> None:
    place = container_folder(site, token)
    before = len(recorded(folder, "get"))
    for _ in download(site, token, f"{place}/warm"):
        pass
    whole, size = hashlib.sha256(), 0
    with Memory(site) as memory:
        began = time.monotonic()
        for piece in download(site, token, f"{place}/big"):
            whole.update(piece)
            size += len(piece)
        seconds = time.monotonic() - began
    measured(
        f"download of {FILE / 2**20:.0f} MiB: {FILE / 2**20 / seconds:.0f} MiB/s, "
        f"the gateway's memory grew by {memory.growth / 2**20:.1f} MiB"
    )
    assert size == FILE
    assert whole.hexdigest() == digest
    assert memory.growth < DOWNLOAD_GROWTH
    warm, event = wait_for(lambda: recorded(folder, "get")[before:], 2)
    assert (event["User"]["username"], event["ResponseStatus"]["code"]) == ("olga", 200)
    # What it was is not kept, but how much.
    assert event["ResponseObject"] is None
    assert event["Annotations"]["ksproxyd.io/response-bytes"] == str(FILE)
    assert warm["AuditID"] != event["AuditID"]


def test_a_download_that_broke_off_goes_on(site: TerminalSite, token: str, digest: str) -> None:
    folder = container_folder(site, token)
    whole, size = hashlib.sha256(), 0
    for piece in download(site, token, f"{folder}/big"):
        whole.update(piece)
        size += len(piece)
        if size > FILE // 3:
            break
    for piece in download(site, token, f"{folder}/big", size):
        whole.update(piece)
        size += len(piece)
    assert size == FILE
    assert whole.hexdigest() == digest


def test_an_archive_comes_out_as_tar_has_packed_it(site: TerminalSite, token: str, digest: str) -> None:
    folder = container_folder(site, token)
    whole, size = hashlib.sha256(), 0
    for piece in download(site, token, f"{folder}/big", form="tar"):
        body = piece[max(0, 512 - size) :]
        body = body[: max(0, FILE + 512 - max(size, 512))]
        whole.update(body)
        size += len(piece)
    assert whole.hexdigest() == digest
    assert size % 512 == 0 and size >= FILE + 1024


def test_nothing_is_left(site: TerminalSite) -> None:
    deadline = time.monotonic() + 10
    while deleted := [each for each in site.descriptors() if each.endswith("(deleted)")]:
        assert time.monotonic() < deadline, deleted
        time.sleep(0.1)


def recorded(folder: Path, verb: str) -> list[dict[str, Any]]:
    """What the audit log has of files of the Pod."""
    lines = (folder / AUDIT).read_bytes().splitlines(keepends=True) if (folder / AUDIT).exists() else []
    events = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [each for each in events if each["Verb"] == verb and each["ObjectRef"]["Subresource"] == "file"]


def wait_for(read: Callable[[], list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
    """So many events: they come in batches."""
    deadline = time.monotonic() + 15
    while len(found := read()) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def container_folder(site: TerminalSite, token: str) -> str:
    """Where the container's shells begin: the machine's file system is every container's."""
    with site.shell(token) as terminal:
        terminal.expect(PROMPT)
        terminal.type('echo "<$PWD>"\r')
        seen = terminal.expect(">\r\n") if "<$PWD>" not in terminal.shown else ""
        seen = seen if "</" in seen else seen + terminal.expect(">\r\n")
        return seen.rpartition("<")[2].partition(">")[0]


def upload(
    site: TerminalSite, token: str, folder: str, name: str, pieces: Iterator[bytes] | list[bytes], size: int
) -> tuple[int, object]:
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
    tail = b"\r\n--xyz--\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", site.gateway.port, timeout=200)
    try:
        connection.putrequest("POST", site.file(folder))
        connection.putheader("Authorization", f"Bearer {token}")
        connection.putheader("Content-Type", "multipart/form-data; boundary=xyz")
        connection.putheader("Content-Length", str(len(head) + size + len(tail)))
        connection.endheaders(head)
        for piece in pieces:
            connection.send(piece)
        connection.send(tail)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def download(site: TerminalSite, token: str, path: str, begin: int = 0, form: str = "raw") -> Iterator[bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", site.gateway.port, timeout=200)
    try:
        fields = {"Authorization": f"Bearer {token}"}
        if begin:
            fields["Range"] = f"bytes={begin}-"
        connection.request("GET", site.file(path, format=form), headers=fields)
        answer = connection.getresponse()
        assert answer.status == (206 if begin else 200), answer.read()
        if form == "raw":
            assert int(answer.headers["Content-Length"]) == FILE - begin or path.endswith("warm")
        while piece := answer.read(PIECE):
            yield piece
    finally:
        connection.close()

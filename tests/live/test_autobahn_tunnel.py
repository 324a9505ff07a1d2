"""The conformance suite of Autobahn through a tunnel: what it says of a backend, it says of it behind a gateway.

Every case has the same verdict directly and through the gateway (spec 05, fact 63), also those in which the suite
breaks the rules on purpose, or ends in the middle of a frame.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .process import Program, free_port, get, standalone, until
from .routes import route
from .test_autobahn import ECHO, RUN

pytest.importorskip("kosoku", reason="kosoku is not installed: nobody runs the cases")


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """The port of a backend that says everything again."""
    process = subprocess.Popen([sys.executable, str(ECHO), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)


def shaken(port: int) -> int:
    """The status with which a handshake is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        connection.request("GET", "/proxy/echo/", headers={"Connection": "Upgrade", "Upgrade": "websocket", **key})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def tunnel(echo: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the same is heard through a gateway."""
    folder: Path = tmp_path_factory.mktemp("tunnel")
    port = free_port()
    with Program(standalone(port, free_port(), folder / "state"), folder) as program:
        until(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, "ready")
        route(port, "echo", echo)
        until(lambda: shaken(port) == 101, "the route")
        yield f"ws://127.0.0.1:{port}/proxy/echo/"
        assert program.process.poll() is None, program.output()


def verdicts(address: str, group: str) -> dict[str, list[str]]:
    """What the suite says of whoever answers at ``address``: of each case, of its messages and of how it is closed."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, address, group],
        env={**os.environ, "AUTOBAHN_USE_NVX": "0"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"])
def test_verdicts_through_a_tunnel(echo: int, tunnel: str, group: str) -> None:
    directly = verdicts(f"ws://127.0.0.1:{echo}/", group)
    assert directly
    assert verdicts(tunnel, group) == directly

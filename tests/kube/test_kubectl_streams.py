"""kubectl's long connections through the gateway: logs, exec, attach, cp and port-forward, over both protocols."""

from __future__ import annotations

import hashlib
import http.client
import os
import pty
import random
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .cluster import Cluster
from .conftest import Measured
from .kubectl import FALLBACK, Kubectl
from .objects import pod

pytestmark = pytest.mark.usefixtures("needs_node")

PROTOCOLS = {
    "websocket": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "true", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "true"},
    "spdy": {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"},
}

# Prints a line every tenth of a second until a file named "stop" appears in its folder.
TICKING = "i=0; while [ ! -e stop ]; do echo tick $i; i=$((i+1)); sleep 0.1; done; echo bye"
ECHOING = 'echo started; while read line; do echo "got $line"; [ "$line" = quit ] && exit 0; done'


@pytest.fixture(params=list(PROTOCOLS))
def protocol(request: pytest.FixtureRequest) -> dict[str, str]:
    """kubectl's environment for one of the protocols."""
    return PROTOCOLS[request.param]


@pytest.fixture(scope="module")
def shell(kubectl: Kubectl, cluster: Cluster, needs_node: None) -> str:
    """A Pod to run commands in."""
    return run_pod(kubectl, cluster, "shell", "sleep 3600")


def run_pod(kubectl: Kubectl, cluster: Cluster, name: str, script: str, *, stdin: bool = False) -> str:
    """Start a Pod and wait until it runs, past the gateway: this is not what is tested."""
    collection = f"/api/v1/namespaces/{kubectl.namespace}/pods"
    cluster.api.create(collection, pod(name, script, stdin=stdin))
    deadline = time.monotonic() + 30
    while cluster.api.get(f"{collection}/{name}")["status"].get("phase") != "Running":
        assert time.monotonic() < deadline, f"pod {name} does not run"
        time.sleep(0.05)
    return name


def run(
    kubectl: Kubectl, protocol: dict[str, str], *arguments: str, input: bytes | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run kubectl and make sure that it used the protocol it was told to."""
    done = kubectl.run("-v=4", *arguments, input=input, environ=protocol, cwd=cwd)
    assert FALLBACK not in done.stderr.decode().lower(), done.stderr.decode()
    return done


def wait_for(pipe: Any, wanted: bytes, seconds: float = 20) -> bytes:
    """Read a pipe until ``wanted`` came."""
    os.set_blocking(pipe.fileno(), False)
    seen = b""
    deadline = time.monotonic() + seconds
    while wanted not in seen:
        assert time.monotonic() < deadline, f"{wanted!r} did not come, but {seen[-500:]!r}"
        data = pipe.read()
        if data == b"":
            raise AssertionError(f"the stream ended without {wanted!r}: {seen[-500:]!r}")
        if data is None:
            time.sleep(0.01)
        else:
            seen += data
    return seen


def test_logs(kubectl: Kubectl, cluster: Cluster) -> None:
    run_pod(kubectl, cluster, "talker", "for i in 1 2 3 4 5; do echo line $i; done; echo oops >&2; sleep 3600")
    deadline = time.monotonic() + 20
    while "oops" not in (text := kubectl("logs", "talker")):
        assert time.monotonic() < deadline, text
    assert sorted(text.splitlines()) == ["line 1", "line 2", "line 3", "line 4", "line 5", "oops"]
    assert len(kubectl("logs", "talker", "--tail=2").splitlines()) == 2
    stamped = kubectl("logs", "talker", "--timestamps").splitlines()
    assert [line for line in stamped if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line 1", line)]


def test_logs_follow(kubectl: Kubectl, cluster: Cluster) -> None:
    run_pod(kubectl, cluster, "ticker", TICKING)
    with kubectl.start("logs", "-f", "ticker") as process:
        assert process.stdout is not None
        wait_for(process.stdout, b"tick 3\n")
        # The lines come while the process runs, not when its output ends.
        assert process.poll() is None
        before = time.monotonic()
        wait_for(process.stdout, b"\n")
        assert time.monotonic() - before < 5
        kubectl("exec", "ticker", "--", "touch", "stop")
        wait_for(process.stdout, b"bye\n")
        assert process.wait(20) == 0


def test_the_first_line_of_a_log(kubectl: Kubectl, cluster: Cluster, measured: Measured) -> None:
    """It is there as soon as without the gateway, within 300 ms (spec 05, fact 59): the median of a few each."""
    run_pod(kubectl, cluster, "speaker", "echo first; sleep 3600")
    directly = Kubectl(kubectl.program, cluster.kubeconfig, kubectl.home, kubectl.namespace)
    took: dict[Kubectl, list[float]] = {directly: [], kubectl: []}
    for number in range(6):
        for each, seconds in took.items():
            begun = time.monotonic()
            with each.start("logs", "-f", "speaker") as process:
                try:
                    assert process.stdout is not None
                    wait_for(process.stdout, b"first\n")
                    # The first time kubectl looks around first.
                    if number:
                        seconds.append(time.monotonic() - begun)
                finally:
                    process.kill()
    alone, through = (statistics.median(seconds) for seconds in took.values())
    measured(f"the first line of kubectl logs -f: {alone * 1e3:.0f} ms directly, {through * 1e3:.0f} ms through")
    assert through - alone < 0.3


def test_a_command_runs_once(kubectl: Kubectl, shell: str, protocol: dict[str, str], request: Any) -> None:
    """An upgrade is sent once: what a program has done is done once (spec 05, fact 62)."""
    name = "ran-" + request.node.callspec.id
    for times in (1, 2):
        assert run(kubectl, protocol, "exec", shell, "--", "sh", "-c", f"echo ran >> {name}").returncode == 0
        assert run(kubectl, protocol, "exec", shell, "--", "cat", name).stdout == b"ran\n" * times


def test_exec_output_and_exit_code(kubectl: Kubectl, shell: str, protocol: dict[str, str]) -> None:
    done = run(kubectl, protocol, "exec", shell, "--", "sh", "-c", "echo to out; echo to err >&2; exit 7")
    assert done.returncode == 7
    assert done.stdout == b"to out\n"
    assert b"to err\n" in done.stderr
    assert run(kubectl, protocol, "exec", shell, "--", "true").returncode == 0


def test_exec_of_a_command_that_is_not_there(kubectl: Kubectl, shell: str, protocol: dict[str, str]) -> None:
    done = run(kubectl, protocol, "exec", shell, "--", "no-such-command")
    assert done.returncode == 1
    assert b"executable file not found" in done.stderr


def test_exec_in_a_pod_that_is_not_there(kubectl: Kubectl, protocol: dict[str, str]) -> None:
    done = run(kubectl, protocol, "exec", "absent", "--", "true")
    assert done.returncode == 1
    assert b'pods "absent" not found' in done.stderr


def test_exec_stdin(kubectl: Kubectl, shell: str, protocol: dict[str, str]) -> None:
    data = random.randbytes(3 << 20)
    done = run(kubectl, protocol, "exec", "-i", shell, "--", "sha256sum", input=data)
    assert done.returncode == 0
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_exec_large_output(kubectl: Kubectl, shell: str, protocol: dict[str, str]) -> None:
    done = run(kubectl, protocol, "exec", shell, "--", "head", "-c", str(16 << 20), "/dev/zero")
    assert done.returncode == 0
    assert done.stdout == bytes(16 << 20)


def test_exec_on_a_terminal(kubectl: Kubectl, shell: str, protocol: dict[str, str]) -> None:
    mine, theirs = pty.openpty()
    command = kubectl.argv("exec", "-it", shell, "--", "sh")
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=kubectl.environ(protocol), start_new_session=True
    )
    os.close(theirs)
    try:
        with open(mine, "r+b", buffering=0) as terminal:
            terminal.write(b"tty; echo is''one; stty size\r")
            seen = wait_for(terminal, b"isone")
            assert b"/dev/pts/" in seen
            terminal.write(b"exit 5\r")
            assert process.wait(20) == 5
    finally:
        process.kill()
        process.wait(20)


def test_attach(kubectl: Kubectl, cluster: Cluster, protocol: dict[str, str], request: Any) -> None:
    name = "echo-" + request.node.callspec.id
    run_pod(kubectl, cluster, name, ECHOING, stdin=True)
    with kubectl.start("-v=4", "attach", "-i", name, environ=protocol) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for word in (b"one", b"two", b"quit"):
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            assert wait_for(process.stdout, b"got " + word + b"\n")
        assert process.wait(20) == 0
        assert FALLBACK not in process.stderr.read().decode().lower()


def test_cp_both_ways(kubectl: Kubectl, shell: str, protocol: dict[str, str], tmp_path: Path) -> None:
    data = random.randbytes(5 << 20)
    (tmp_path / "there").write_bytes(data)
    assert run(kubectl, protocol, "cp", "there", f"{shell}:copy", cwd=tmp_path).returncode == 0
    found = run(kubectl, protocol, "exec", shell, "--", "sha256sum", "copy").stdout.split()[0].decode()
    assert found == hashlib.sha256(data).hexdigest()
    assert run(kubectl, protocol, "cp", f"{shell}:copy", "back", cwd=tmp_path).returncode == 0
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == hashlib.sha256(data).hexdigest()


BODY = random.randbytes(256 << 10)
TOGETHER = 20


class Forwarded(BaseHTTPRequestHandler):
    """What listens in the Pod: a body for a GET, and what was sent back for a POST.

    A GET of ``/together`` is answered when as many have come as are to be in flight at once.
    """

    protocol_version = "HTTP/1.1"
    together = threading.Barrier(TOGETHER)

    def do_GET(self) -> None:
        if self.path == "/together":
            self.together.wait(30)
        self.send(BODY)

    def do_POST(self) -> None:
        self.send(self.rfile.read(int(self.headers["Content-Length"])))

    def send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def forwarded_port() -> Iterator[int]:
    """A port of this machine, which is every Pod's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Forwarded)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def forwarding(kubectl: Kubectl, protocol: dict[str, str], name: str, port: int) -> Iterator[int]:
    """``kubectl port-forward`` to a Pod's port, while it is needed; the port on this side."""
    with kubectl.start("-v=4", "port-forward", f"pod/{name}", f":{port}", environ=protocol) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            said = wait_for(process.stdout, b"\n").decode()
            yield int(re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> ", said)[1])  # type: ignore[index]
            assert process.poll() is None
        finally:
            process.kill()
        assert FALLBACK not in process.stderr.read().decode().lower()


def test_port_forward(kubectl: Kubectl, shell: str, protocol: dict[str, str], forwarded_port: int) -> None:
    with forwarding(kubectl, protocol, shell, forwarded_port) as port:

        def ask(number: int) -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            sent = bytes([number]) * (128 << 10)
            try:
                connection.request("GET", "/")
                got = connection.getresponse().read()
                connection.request("POST", "/", sent)
                return got == BODY and connection.getresponse().read() == sent
            finally:
                connection.close()

        with ThreadPoolExecutor(12) as pool:
            assert list(pool.map(ask, range(48))) == [True] * 48


def test_twenty_at_once(kubectl: Kubectl, shell: str, protocol: dict[str, str], forwarded_port: int) -> None:
    """None is answered before all have arrived (spec 05, fact 59)."""
    with forwarding(kubectl, protocol, shell, forwarded_port) as port:

        def ask(_: int) -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
            try:
                connection.request("GET", "/together")
                return connection.getresponse().read() == BODY
            finally:
                connection.close()

        with ThreadPoolExecutor(TOGETHER) as pool:
            assert list(pool.map(ask, range(TOGETHER))) == [True] * TOGETHER

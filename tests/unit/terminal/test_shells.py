"""Which shells are tried, and that exactly the one we have started is hung up: with real shells."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ksproxyd.terminal.exit_status import EXITED, LOST, NOT_STARTED, REFUSED, Ended
from ksproxyd.terminal.shells import commands, hang_up, is_marked, is_missing

ID = "5e551017" * 4


@pytest.mark.parametrize("shell", ["bash", "sh", "/bin/bash", "/bin/sh", "fish"])
def test_what_is_asked_for_is_run(shell: str) -> None:
    assert commands(shell, ("fish",), ID) == ((shell,),)


@pytest.mark.parametrize("shell", ["", "zsh", "/usr/bin/bash", "sh -c id", "powershell", "BASH"])
def test_anything_else_means_whatever_there_is(shell: str) -> None:
    tried = commands(shell, ("fish", ""), ID)
    assert len(tried) == 3
    assert tried[1:] == (("bash",), ("sh",))
    assert [is_marked(each) for each in tried] == [True, False, False]
    assert not any(shell in command for command in tried if shell)


def internal(code: int = 500, said: str = "executable file not found in $PATH") -> Ended:
    return Ended(NOT_STARTED, code, "InternalError", said)


@pytest.mark.parametrize(
    ("result", "seconds", "printed", "expected"),
    [
        (internal(), 0.1, 0, True),
        (internal(), 5.0, 0, True),
        (internal(), 5.1, 0, False),
        (internal(), 0.1, 1, False),
        (internal(400), 0.1, 0, False),
        (Ended(NOT_STARTED, 500, "Other"), 0.1, 0, False),
        # There is no container; whether there is a shell in it is no question.
        (internal(said="error executing command in container: container is not running"), 0.1, 0, False),
        (internal(said='container not found ("app")'), 0.1, 0, False),
        (internal(said="cannot exec in a stopped state"), 0.1, 0, False),
        (internal(said='unable to upgrade connection: pod "web-0" does not exist'), 0.1, 0, False),
        (internal(said="error dialing backend: dial tcp 10.0.0.7:10250: connect: no route to host"), 0.1, 0, False),
        (Ended(EXITED, 126), 0.1, 0, True),
        (Ended(EXITED, 127), 0.1, 0, True),
        (Ended(EXITED, 128), 0.1, 0, True),
        (Ended(EXITED, 127), 0.1, 9, False),
        (Ended(EXITED, 1), 0.1, 0, False),
        (Ended(EXITED, 0), 0.1, 0, False),
        (Ended(LOST), 0.1, 0, False),
        (Ended(REFUSED, 500, "InternalError"), 0.1, 0, False),
    ],
)
def test_whether_there_was_a_shell(result: Ended, seconds: float, printed: int, expected: bool) -> None:
    assert is_missing(result, seconds, printed) is expected


@pytest.fixture(params=["bash and sh", "sh only"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A PATH as a container's."""
    for name in ("sh", "grep", "sleep", *(["bash"] if request.param == "bash and sh" else [])):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(os.path.realpath(found))
    return str(tmp_path)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def shell(path: str, session: str, started: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        commands("", (), session)[0],
        env={"PATH": path},
        executable=f"{path}/sh",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        # Whoever runs the tests under nohup has it ignored, by whatever is started from there.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    started.append(process)
    return process


def say(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + b"\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_the_best_shell_is_found(path: str, started: list[subprocess.Popen[bytes]]) -> None:
    process = shell(path, ID, started)
    assert say(process, b'echo "${BASH_VERSION:+bash}"') == (b"bash" if (Path(path) / "bash").exists() else b"")
    assert say(process, b"echo $KSPROXYD_SESSION") == f"{ID}.{process.pid}.".encode()


def test_exactly_our_shell_is_hung_up(path: str, started: list[subprocess.Popen[bytes]]) -> None:
    ours, other = shell(path, ID, started), shell(path, "0" * 32, started)
    # A child of it that was meant to stay has the same variable.
    child = int(say(ours, b"sleep 60 >&2 & echo $!"))
    assert say(other, b"echo here") == b"here"
    # A process whose id merely begins like one that is named.
    environment = {"PATH": path, "KSPROXYD_SESSION": f"{ID}.1."}
    bystander = subprocess.Popen(["sleep", "60"], env=environment, executable=f"{path}/sleep")
    started.append(bystander)
    try:
        subprocess.run(hang_up(ID), env={"PATH": path}, executable=f"{path}/sh", check=True, timeout=30)
        assert ours.wait(30) == -signal.SIGHUP
        assert other.poll() is None
        assert bystander.poll() is None
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_hanging_up_what_is_gone_hurts_nobody(path: str, started: list[subprocess.Popen[bytes]]) -> None:
    other = shell(path, ID, started)
    assert say(other, b"echo here") == b"here"
    subprocess.run(hang_up("f" * 32), env={"PATH": path}, executable=f"{path}/sh", check=True, timeout=30)
    assert say(other, b"echo here") == b"here"

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from ksproxyd.observe.notify import InheritedSocket, Notifier, inherited_sockets


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str | bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def manager(path: str) -> Iterator[Manager]:
    manager = Manager(path)
    yield manager
    manager.socket.close()


class TestNotifier:
    def test_states(self, manager: Manager, path: str) -> None:
        notifier = Notifier({"NOTIFY_SOCKET": path}, Clock(), monotonic_usec=lambda: 123456)
        notifier.status("loading")
        notifier.ready("serving on 127.0.0.1:9090")
        notifier.reloading()
        notifier.ready()
        notifier.stopping("draining 3 requests")
        assert manager.heard() == [
            "STATUS=loading",
            "READY=1\nSTATUS=serving on 127.0.0.1:9090",
            "RELOADING=1\nMONOTONIC_USEC=123456",
            "READY=1",
            "STOPPING=1\nSTATUS=draining 3 requests",
        ]

    def test_the_monotonic_clock_is_the_manager_s(self, manager: Manager, path: str) -> None:
        Notifier({"NOTIFY_SOCKET": path}, Clock()).reloading()
        [message] = manager.heard()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        # /proc/uptime also counts the time a machine sleeps; this is about the unit.
        assert 0 < int(message.partition("MONOTONIC_USEC=")[2]) <= (uptime + 1) * 1e6

    def test_a_status_cannot_carry_a_state(self, manager: Manager, path: str) -> None:
        Notifier({"NOTIFY_SOCKET": path}, Clock()).status("a\nSTOPPING=1\r\n b")
        assert manager.heard() == ["STATUS=a STOPPING=1 b"]

    def test_an_abstract_socket(self) -> None:
        name = f"ksproxyd-test-{os.getpid()}"
        manager = Manager(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}, Clock()).ready()
        assert manager.heard() == ["READY=1"]
        manager.socket.close()

    def test_nobody_to_tell(self, log_messages: list[str]) -> None:
        clock = Clock()
        notifier = Notifier({"WATCHDOG_USEC": "1000000"}, clock)
        notifier.ready()
        notifier.start_watchdog()
        assert clock.getDelayedCalls() == []
        assert log_messages == []

    def test_a_manager_that_is_gone_is_a_warning(self, path: str, log_messages: list[str]) -> None:
        Notifier({"NOTIFY_SOCKET": path}, Clock()).ready()
        assert len(log_messages) == 1
        assert log_messages[0].startswith("the service manager could not be told 'READY=1': ")

    def test_a_full_socket_does_not_block(self, manager: Manager, path: str, log_messages: list[str]) -> None:
        notifier = Notifier({"NOTIFY_SOCKET": path}, Clock())
        for _ in range(5000):
            notifier.status("x" * 1000)
            if log_messages:
                break
        assert "could not be told" in log_messages[0]

    @pytest.mark.parametrize("value", ["vsock:2:1234", "relative/path"])
    def test_another_kind_of_socket(self, value: str, log_messages: list[str]) -> None:
        Notifier({"NOTIFY_SOCKET": value}, Clock()).ready()
        assert log_messages == [f"NOTIFY_SOCKET={value!r} is no Unix socket; the service manager is told nothing"]


class TestWatchdog:
    def test_signs_of_life_at_half_the_time(self, manager: Manager, path: str) -> None:
        clock = Clock()
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, clock, pid=77)
        assert notifier.watchdog_interval == 15.0
        notifier.start_watchdog()
        assert manager.heard() == ["WATCHDOG=1"]
        clock.advance(14.9)
        assert manager.heard() == []
        clock.advance(0.1)
        clock.advance(15)
        assert manager.heard() == ["WATCHDOG=1"] * 2
        notifier.stopping()
        clock.advance(15)
        assert manager.heard() == ["STOPPING=1", "WATCHDOG=1"]

    def test_stops(self, manager: Manager, path: str) -> None:
        clock = Clock()
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"}, clock)
        notifier.start_watchdog()
        notifier.stop_watchdog()
        notifier.stop_watchdog()
        assert clock.getDelayedCalls() == []

    @pytest.mark.parametrize(
        "environ",
        [
            {},
            {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "soon"},
        ],
    )
    def test_not_watched(self, manager: Manager, path: str, environ: dict[str, str]) -> None:
        clock = Clock()
        notifier = Notifier({"NOTIFY_SOCKET": path, **environ}, clock, pid=77)
        notifier.start_watchdog()
        assert (notifier.watchdog_interval, clock.getDelayedCalls(), manager.heard()) == (0.0, [], [])


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Descriptors 3 and 4 as the manager would leave them: open, and inherited. What was there comes back."""
    kept = {fd: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in (3, 4) if is_open(fd)}
    source = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 100)
    for fd in (3, 4):
        os.dup2(source, fd, inheritable=True)
    os.close(source)
    yield
    for fd in (3, 4):
        if fd in kept:
            os.dup2(kept[fd], fd, inheritable=False)
            os.close(kept[fd])
        else:
            os.close(fd)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class TestInheritedSockets:
    def test_with_names(self, descriptors: None) -> None:
        environ = {"LISTEN_PID": "9", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:http", "PATH": "/bin"}
        assert inherited_sockets(environ, 9) == [InheritedSocket(3, "http"), InheritedSocket(4, "http")]
        assert environ == {"PATH": "/bin"}
        assert not os.get_inheritable(3) and not os.get_inheritable(4)

    def test_without_names(self, descriptors: None) -> None:
        environ = {"LISTEN_PID": "9", "LISTEN_FDS": "1"}
        assert inherited_sockets(environ, 9) == [InheritedSocket(3, "unknown")]

    @pytest.mark.parametrize(
        "environ",
        [
            {},
            {"LISTEN_PID": "10", "LISTEN_FDS": "2"},
            {"LISTEN_FDS": "2"},
            {"LISTEN_PID": "9", "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""},
        ],
    )
    def test_none_for_us(self, environ: dict[str, str]) -> None:
        assert inherited_sockets(environ, 9) == []
        assert not any(name.startswith("LISTEN_") for name in environ)

    @pytest.mark.parametrize(
        ("environ", "problem"),
        [
            ({"LISTEN_FDS": "two"}, "LISTEN_FDS='two' is not a number"),
            ({"LISTEN_FDS": ""}, "LISTEN_FDS='' is not a number"),
            ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, "LISTEN_FDS says 2 sockets, LISTEN_FDNAMES has 1 names"),
            ({"LISTEN_FDS": "9000"}, "descriptor [0-9]+ is not open"),
        ],
    )
    def test_contradictions(self, environ: dict[str, str], problem: str) -> None:
        with pytest.raises(ValueError, match=problem):
            inherited_sockets({"LISTEN_PID": "9", **environ}, 9)

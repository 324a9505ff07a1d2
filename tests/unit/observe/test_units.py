"""The systemd units say what the program relies on, and systemd understands them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from ksproxyd.server.limits import Limits

UNITS = Path(__file__).parents[3] / "systemd"


def read(name: str) -> dict[str, dict[str, list[str]]]:
    """A unit's settings by section, each with all its values (systemd.syntax(7), without line continuations)."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
            continue
        key, equals, value = line.partition("=")
        assert equals, line
        section.setdefault(key.strip(), []).append(value.strip())
    return sections


@cache
def calls_of(name: str) -> frozenset[str]:
    """The system calls of a set that systemd knows, those of the sets in it included."""
    if not name.startswith("@"):
        return frozenset([name])
    command = ["systemd-analyze", "syscall-filter", "--no-pager", name]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()[1:]
    return frozenset().union(*(calls_of(line.strip()) for line in listed if line.strip()[:1] not in ("", "#")))


@pytest.fixture
def service() -> dict[str, list[str]]:
    return read("ksproxyd.service")["Service"]


class TestService:
    def test_tells_when_it_is_ready_and_alive(self, service: dict[str, list[str]]) -> None:
        assert service["Type"] == ["notify"]
        assert service["NotifyAccess"] == ["main"]
        assert int(service["WatchdogSec"][0]) >= 10

    def test_commands(self, service: dict[str, list[str]]) -> None:
        assert service["ExecStart"] == ["ksproxyd run --config /etc/ksproxyd/ksproxyd.yaml"]
        assert service["ExecReload"] == ["ksproxyd check-config /etc/ksproxyd/ksproxyd.yaml", "kill -HUP $MAINPID"]

    def test_there_is_time_to_drain(self, service: dict[str, list[str]]) -> None:
        drain = 30
        assert int(service["TimeoutStopSec"][0]) > drain
        assert service["KillMode"] == ["mixed"]

    def test_a_crash_and_a_stuck_reactor_are_restarted_but_not_for_ever(self, service: dict[str, list[str]]) -> None:
        # on-failure covers the watchdog's SIGABRT (systemd.service(5), table of Restart=).
        assert service["Restart"] == ["on-failure"]
        unit = read("ksproxyd.service")["Unit"]
        attempts, interval = int(unit["StartLimitBurst"][0]), int(unit["StartLimitIntervalSec"][0])
        assert attempts * int(service["RestartSec"][0]) < interval

    def test_hardening(self, service: dict[str, list[str]]) -> None:
        expected = {
            "User": "ksproxyd",
            "NoNewPrivileges": "yes",
            "CapabilityBoundingSet": "",
            "AmbientCapabilities": "",
            "ProtectSystem": "strict",
            "ProtectHome": "yes",
            "PrivateTmp": "yes",
            "PrivateDevices": "yes",
            "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
            "RestrictNamespaces": "yes",
            "SystemCallArchitectures": "native",
            "StateDirectory": "ksproxyd",
        }
        assert {key: service.get(key, [None])[-1] for key in expected} == expected
        assert service["SystemCallFilter"][0] == "@system-service"

    def test_lowering_ones_own_priority_is_all_that_may_be_done_to_resources(
        self, service: dict[str, list[str]]
    ) -> None:
        if shutil.which("systemd-analyze") is None:
            pytest.skip("systemd-analyze is not installed")
        allowed: set[str] = set()
        for line in service["SystemCallFilter"]:
            # The first line makes it a list of what is allowed; the others add to it or, with ~, take away.
            calls = set().union(*(calls_of(name) for name in line.removeprefix("~").split()))
            allowed = allowed - calls if line.startswith("~") else allowed | calls
        # Password hashes are compared in processes that make way for the one that serves.
        assert allowed & calls_of("@resources") == {"setpriority", "sched_setscheduler"}
        # Which could be used to be served before others, too.
        assert service["RestrictRealtime"] == ["yes"]
        assert not allowed & calls_of("@privileged")
        assert {"read", "execve", "accept4", "getpriority"} <= allowed

    def test_descriptors_for_the_connection_limit(self, service: dict[str, list[str]]) -> None:
        connections = Limits().connections
        assert int(service["LimitNOFILE"][0]) > 2 * connections


class TestSocket:
    def test_the_default_port_on_all_addresses(self) -> None:
        sections = read("ksproxyd.socket")
        assert sections["Socket"]["ListenStream"] == ["9090"]
        assert sections["Socket"]["FileDescriptorName"] == ["http"]
        assert sections["Install"]["WantedBy"] == ["sockets.target"]


def test_the_user_exists() -> None:
    [line] = [line for line in (UNITS / "ksproxyd.sysusers.conf").read_text().splitlines() if line and line[0] != "#"]
    assert line.split()[:2] == ["u", read("ksproxyd.service")["Service"]["User"][0]]


def test_systemd_understands_them(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for name in ("ksproxyd.service", "ksproxyd.socket"):
        # It also looks for the program, which need not be installed here.
        text = (UNITS / name).read_text().replace("=ksproxyd run", "=/bin/true run")
        (tmp_path / name).write_text(text.replace("=ksproxyd check", "=/bin/true check"))
    command = [analyze, "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")

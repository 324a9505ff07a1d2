from __future__ import annotations

import math
import os
import resource
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from ksproxyd import __version__
from ksproxyd.observe.build import UNKNOWN, BuildInfo
from ksproxyd.observe.cells import Upstreams
from ksproxyd.observe.exposition import labels
from ksproxyd.observe.lag import ReactorLag
from ksproxyd.observe.metrics import Registry, Serving
from ksproxyd.observe.process import ProcessCollector
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.server import Server
from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.relay import Proxy

from .conftest import FakeExchange
from .test_exposition import parse


def registry() -> Registry:
    return Registry(lambda *_: True, 100)


class TestRegistry:
    def test_every_metric_has_one_type_and_a_help(self) -> None:
        metrics = registry()
        request = FakeExchange()
        metrics.requests.began(request)
        metrics.requests.finished(request, 0.1)
        text = "".join(metrics.blocks())
        families = list(text_string_to_metric_families(text))
        assert all(family.documentation and family.type != "unknown" for family in families)
        names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(names) == len(set(names))

    def test_own_names_carry_our_prefix(self) -> None:
        metrics = registry()
        metrics.requests.finished(FakeExchange(), 0.1)
        text = "".join(metrics.blocks())
        names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        assert {name.partition("_")[0] for name in names} == {"ks", "ksproxyd", "process", "python"}

    def test_build_info(self) -> None:
        build = BuildInfo("v9.8.7", "9", "8", "abc", "clean", "today", "python3.11.7", "cpython", "linux/amd64")
        found = parse(Registry(lambda *_: True, 100, build).blocks())["ksproxyd_build_info"]
        [(labels, value)] = found.items()
        assert value == 1
        assert dict(labels)["version"] == "v9.8.7"
        assert dict(labels)["revision"] == "abc"
        assert dict(labels)["python"] == "3.11.7"

    def test_servers(self) -> None:
        metrics = registry()
        counters = SimpleNamespace(accepted=9, refused=1, failed=2, tls_failures=3, timeouts=Counter(idle=4))
        servers = [SimpleNamespace(connections=[1, 2], counters=counters)] * 2
        metrics.add_servers(lambda: servers)
        found = parse(metrics.blocks())
        assert found["ksproxyd_connections_open"] == {(): 4}
        assert found["ksproxyd_connections_total"] == {(): 18}
        assert found["ksproxyd_requests_refused_total"] == {(): 2}
        assert found["ksproxyd_internal_errors_total"] == {(): 4}
        assert found["ksproxyd_tls_failures_total"] == {(): 6}
        assert found["ksproxyd_timeouts_total"] == {(("timeout", "idle"),): 8}

    def test_a_real_server_fits(self) -> None:
        server: Serving = Server(Clock(), Wheel(Clock()), print, print, Limits(), Timeouts(), float)
        metrics = registry()
        metrics.add_servers(lambda: [server])
        assert parse(metrics.blocks())["ksproxyd_connections_open"] == {(): 0}

    def test_proxy(self) -> None:
        proxy = Proxy(Clock())
        proxy.tunnels_opened, proxy.retries = 5, 6
        proxy.tunnel_bytes[:] = [7, 8]
        metrics = registry()
        metrics.add_proxy(proxy)
        found = parse(metrics.blocks())
        assert found["ksproxyd_tunnels_open"] == {(): 0}
        assert found["ksproxyd_tunnels_total"] == {(): 5}
        assert found["ksproxyd_upstream_retries_total"] == {(): 6}
        received, sent = (("direction", "received"),), (("direction", "sent"),)
        assert found["ksproxyd_tunnel_bytes_total"] == {received: 7, sent: 8}

    def test_bodies(self) -> None:
        metrics = registry()
        for _ in range(2):
            metrics.requests.finished(FakeExchange(received=10, sent=20), 0.1)
        received, sent = (("direction", "received"),), (("direction", "sent"),)
        assert parse(metrics.blocks())["ksproxyd_body_bytes_total"] == {received: 20, sent: 40}

    def test_pools(self) -> None:
        metrics = registry()
        metrics.add_pools(lambda: SimpleNamespace(idle=3, busy=2, dials=9, dial_failures=1, stale=4))
        found = parse(metrics.blocks())
        assert found["ksproxyd_upstream_connections"] == {(("state", "idle"),): 3, (("state", "busy"),): 2}
        assert found["ksproxyd_upstream_dials_total"] == {(): 9}
        assert found["ksproxyd_upstream_dial_failures_total"] == {(): 1}
        assert found["ksproxyd_upstream_stale_total"] == {(): 4}

    def test_added_metric(self) -> None:
        metrics = registry()
        metrics.add("ksproxyd_circuit_open", "gauge", "Open circuits.", lambda: [(labels(name="a"), 1)])
        assert parse(metrics.blocks())["ksproxyd_circuit_open"] == {(("name", "a"),): 1}

    def test_lost_log_lines(self) -> None:
        metrics = registry()
        metrics.add_log(lambda: 3)
        assert parse(metrics.blocks())["ksproxyd_log_lines_lost_total"] == {(): 3}


class TestUpstreams:
    def test_answers_and_failures(self) -> None:
        metrics = registry()
        cell = metrics.upstreams.cell("apiservice", "v1.g.io")
        cell.answered(200, 0.002)
        cell.answered(204, 0.5)
        cell.answered(503, 0.5)
        cell.answered(777, 0.5)
        cell.failed("connect")
        cell.failed("connect")
        found = parse(metrics.blocks())
        name = (("kind", "apiservice"), ("name", "v1.g.io"))
        assert found["ksproxyd_upstream_requests_total"] == {
            tuple(sorted((*name, ("class", "2xx")))): 2,
            tuple(sorted((*name, ("class", "5xx")))): 1,
            tuple(sorted((*name, ("class", "other")))): 1,
        }
        assert found["ksproxyd_upstream_failures_total"] == {(*name, ("reason", "connect")): 2}
        assert found["ksproxyd_upstream_request_duration_seconds_count"] == {name: 4}

    def test_one_cell_an_upstream(self) -> None:
        upstreams = Upstreams(10)
        assert upstreams.cell("kube", "kube-apiserver") is upstreams.cell("kube", "kube-apiserver")

    def test_forgotten_ones_end_and_may_come_back(self) -> None:
        upstreams = Upstreams(10)
        cell = upstreams.cell("cluster", "m")
        upstreams.forget("cluster", "m")
        upstreams.forget("cluster", "never there")
        cell.answered(200, 0.1)
        assert upstreams.all() == []
        assert upstreams.cell("cluster", "m") is not cell

    def test_at_most_so_many(self) -> None:
        upstreams = Upstreams(3)
        cells = [upstreams.cell("apiservice", f"n{i}") for i in range(10)]
        assert len(upstreams.all()) == 4
        assert len(set(map(id, cells[3:]))) == 1
        assert cells[9].text == 'kind="apiservice",name="other"'


class TestStepTimes:
    def test_by_step(self) -> None:
        metrics = registry()
        metrics.steps.observe("authorize", 3e-6)
        metrics.steps.observe("authorize", 1e-3)
        metrics.steps.observe("audit", 1e-6)
        count = parse(metrics.blocks())["ksproxyd_chain_step_duration_seconds_count"]
        assert count == {(("step", "authorize"),): 2, (("step", "audit"),): 1}


class TestReactorLag:
    def test_measures_how_late_its_timer_is(self) -> None:
        clock = Clock()
        held = [0.0]
        lag = ReactorLag(clock, lambda: clock.seconds() + held[0])
        lag.start()
        clock.advance(0.5)
        assert lag.last == 0.0
        held[0] += 0.03
        clock.advance(0.5)
        assert math.isclose(lag.last, 0.03)
        clock.advance(0.5)
        assert lag.last == 0.0
        assert lag.latency.count == 3

    def test_setting_the_time_is_no_lag(self) -> None:
        clock = Clock()
        lag = ReactorLag(clock, lambda: 1000.0)
        lag.start()
        clock.advance(3600.0)
        assert lag.last == 0.0

    def test_stops(self) -> None:
        clock = Clock()
        lag = ReactorLag(clock, clock.seconds)
        lag.start()
        lag.stop()
        lag.stop()
        assert clock.getDelayedCalls() == []

    def test_is_exposed(self) -> None:
        clock = Clock()
        lag = ReactorLag(clock, clock.seconds)
        metrics = registry()
        metrics.add_lag(lag)
        lag.start()
        clock.advance(0.5)
        found = parse(metrics.blocks())
        assert found["ksproxyd_reactor_lag_seconds_count"] == {(): 1}
        assert found["ksproxyd_reactor_lag_last_seconds"] == {(): 0}

    def test_a_long_one_is_said(self, log_messages: list[str]) -> None:
        clock = Clock()
        held = [0.0]
        lag = ReactorLag(clock, lambda: clock.seconds() + held[0])
        lag.start()
        held[0] = 1.5
        clock.advance(0.5)
        assert log_messages == ["the reactor was held up for 1.50 s"]


class TestProcess:
    def test_says_what_the_kernel_says(self) -> None:
        found = parse(registry().blocks())
        assert found["process_max_fds"] == {(): resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
        assert abs(found["process_open_fds"][()] - len(os.listdir("/proc/self/fd"))) <= 2
        assert found["process_resident_memory_bytes"][()] > 1 << 20
        assert found["process_cpu_seconds_total"][()] > 0
        assert found["python_info"]
        assert found["python_gc_collections_total"]

    @pytest.mark.parametrize(("size", "expected"), [(20_000, 20_000.0), (0, 5.0)])
    def test_descriptors_are_listed_only_if_the_kernel_does_not_count(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, expected: float
    ) -> None:
        proc = self.proc(tmp_path)
        for i in range(5):
            (proc / "self/fd" / str(i)).touch()
        monkeypatch.setattr(Path, "stat", lambda _: SimpleNamespace(st_size=size))
        [fds] = [f for f in ProcessCollector(proc).collect() if f.name == "process_open_fds"]
        assert fds.samples[0].value == expected

    def test_a_command_with_parentheses(self, tmp_path: Path) -> None:
        families = {f.name: f.samples[0].value for f in ProcessCollector(self.proc(tmp_path)).collect()}
        ticks = os.sysconf("SC_CLK_TCK")
        assert families["process_cpu_seconds"] == (14 + 15) / ticks
        assert families["process_start_time_seconds"] == 1_700_000_000 + 22 / ticks
        assert families["process_virtual_memory_bytes"] == 23
        assert families["process_resident_memory_bytes"] == 24 * resource.getpagesize()

    def test_nothing_to_read_is_nothing_to_say(self, tmp_path: Path) -> None:
        assert list(ProcessCollector(tmp_path).collect()) == []

    @staticmethod
    def proc(tmp_path: Path) -> Path:
        fields = " ".join(str(i) for i in range(4, 53))
        (tmp_path / "self/fd").mkdir(parents=True)
        (tmp_path / "self/stat").write_text(f"1 (a) b) c) S {fields}\n")
        (tmp_path / "stat").write_text("cpu  1 2 3\nbtime 1700000000\n")
        return tmp_path


class TestBuildInfo:
    def test_unstamped(self) -> None:
        build = BuildInfo.current({})
        assert build.git_version == f"v{__version__}"
        assert [build.git_commit, build.git_tree_state, build.build_date] == [UNKNOWN] * 3

    def test_stamped(self) -> None:
        build = BuildInfo.current({"KSPROXYD_GIT_COMMIT": "abc", "KSPROXYD_GIT_TREE_STATE": "clean"})
        assert (build.git_commit, build.git_tree_state) == ("abc", "clean")

    @pytest.mark.parametrize("attribute", ["git_major", "git_minor"])
    def test_parts_are_of_the_version(self, attribute: str) -> None:
        build = BuildInfo.current({})
        assert getattr(build, attribute) in build.git_version[1:].split(".")

"""Starting, serving, reloading and ending, as operators see them."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .process import Program, free_port, get, get_json, ksproxyd, standalone, until


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def ready(port: int) -> bool:
    return get(f"http://127.0.0.1:{port}/readyz")[0] == 200


def test_first_run_serves_the_sample_extension_and_prints_how_to_reach_it(tmp_path: Path, state: Path) -> None:
    port = free_port()
    with Program(standalone(port, free_port(), state, "--demo"), tmp_path) as program:
        until(lambda: "log in at" in program.output() and ready(port), program.output)  # type: ignore[arg-type]
        base = f"http://127.0.0.1:{port}"
        printed = [line.split()[1] for line in program.output().splitlines() if line.startswith("  curl ")]
        assert len(printed) == 3
        assert all(url.startswith(base) for url in printed)
        hello = get_json(f"{base}/kapis/demo.ksproxyd.io/v1alpha1/hello")
        assert hello["headers"]["X-Remote-User"] == "system:anonymous"
        assert get_json(f"{base}/proxy/demo.ksproxyd.io/hello?a=1")["path"] == "/hello?a=1"
        assert b"JSBundle" in get(f"{base}/dist/demo/index.js")[1]
        assert (state / "admin.kubeconfig").stat().st_mode & 0o777 == 0o600
        (login,) = [line for line in program.output().splitlines() if line.startswith("log in at")]
        password = login.split()[-1]
        assert login == f"log in at {base}/oauth/login as admin with the password {password}"
        request = urllib.request.Request(f"{base}/oauth/userinfo")
        credentials = base64.b64encode(f"admin:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["sub"] == "admin"
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


def test_embedded_api_without_an_address_is_for_the_gateway_alone(tmp_path: Path, state: Path) -> None:
    port = free_port()
    config = tmp_path / "ksproxyd.yaml"
    config.write_text('ksproxyd:\n  standalone: {listen: "", demo: true}\n')
    (state / "admin.kubeconfig").write_text("of an earlier start")
    command = ksproxyd(
        *("run", "--config", str(config), "--standalone", "--authorization", "AlwaysAllow"),
        *("--listen", f"tcp:{port}:interface=127.0.0.1", "--state-dir", str(state)),
    )
    with Program(command, tmp_path) as program:
        until(lambda: "log in at" in program.output() and ready(port), program.output)  # type: ignore[arg-type]
        assert get_json(f"http://127.0.0.1:{port}/kapis/demo.ksproxyd.io/v1alpha1/hello")["hello"]
        names = {item["metadata"]["name"] for item in get_json(f"http://127.0.0.1:{port}/api/v1/namespaces")["items"]}
        assert "kubesphere-system" in names
        assert "kubectl" not in program.output()
        kept = {path.name for path in state.iterdir()}
        assert not kept & {"admin.kubeconfig", "admin.token"}
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


def test_the_first_user_is_made_once(tmp_path: Path, state: Path) -> None:
    port = free_port()
    given = tmp_path / "password"
    given.write_text("Passw0rdX\n")
    config = tmp_path / "ksproxyd.yaml"
    config.write_text(f"ksproxyd: {{standalone: {{data: {tmp_path / 'data.db'}}}}}")
    more = ["--config", str(config)]
    for attempt, words in enumerate((["--admin-password-file", str(given)], [])):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with Program(standalone(port, free_port(), state, *more, *words), folder) as program:
            until(lambda: "ksproxyd is serving" in program.output(), "a start")
            assert "with the password" not in program.output()
            assert "Passw0rdX" not in program.output()
            credentials = base64.b64encode(b"admin:Passw0rdX").decode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/oauth/userinfo")
            request.add_header("Authorization", f"Basic {credentials}")
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["sub"] == "admin"
            program.signal(signal.SIGTERM)
            assert program.wait() == 0


def test_twistd_runs_it_too(tmp_path: Path, state: Path) -> None:
    port = free_port()
    words = standalone(port, free_port(), state)[4:]
    twistd = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "ksproxyd", *words]
    with Program(twistd, tmp_path) as program:
        until(lambda: ready(port), "ready")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


def test_a_taken_port_is_one_line_and_exit_1(tmp_path: Path, state: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with Program(standalone(port, free_port(), state), tmp_path) as program:
            assert program.wait() == 1
            critical = [line for line in program.output().splitlines() if '"critical"' in line]
            assert len(critical) == 1
            assert f"cannot listen on tcp:{port}:interface=127.0.0.1: Address already in use" in critical[0]
            assert "Traceback" not in program.output()


def test_a_taken_port_of_the_embedded_api_is_one_line_and_exit_1(tmp_path: Path, state: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with Program(standalone(free_port(), int(taken.getsockname()[1]), state), tmp_path) as program:
            assert program.wait() == 1
            assert "the embedded Kubernetes API cannot listen on" in program.output()
            assert "Traceback" not in program.output()


def test_an_unreachable_cluster_is_one_line_and_exit_1(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, users: [], contexts: [{name: c, context: {cluster: c}}], "
        f"clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{free_port()}'}}}}]}}"
    )
    config = tmp_path / "k.yaml"
    config.write_text(f"kubernetes: {{kubeconfig: {kubeconfig}}}\nauthorization: {{mode: AlwaysAllow}}\n")
    argv = ksproxyd("run", "--config", str(config), "--listen", f"tcp:{free_port()}:interface=127.0.0.1")
    with Program(argv, tmp_path) as program:
        assert program.wait() == 1
        critical = [line for line in program.output().splitlines() if '"critical"' in line]
        assert len(critical) == 1
        assert "cannot be used: connection refused" in critical[0]
        assert "Traceback" not in program.output()


def test_roles_decide_who_may_do_what(tmp_path: Path, state: Path) -> None:
    """The mode of every real installation, on the built-in roles, with what keeps roles and workspaces in order."""
    port = free_port()
    given = tmp_path / "password"
    given.write_text("Passw0rdX\n")
    argv = standalone(port, free_port(), state, "--admin-password-file", str(given))
    argv[argv.index("AlwaysAllow")] = "RBAC"
    base = f"http://127.0.0.1:{port}"
    with Program(argv, tmp_path) as program:
        until(lambda: "ksproxyd is serving" in program.output() and ready(port), "a start")
        status, body = get(f"{base}/api/v1/namespaces")
        assert (status, json.loads(body)["reason"]) == (403, "Forbidden")
        admin = "Basic " + base64.b64encode(b"admin:Passw0rdX").decode()

        def ask(path: str, value: object = None) -> Any:
            data = None if value is None else json.dumps(value).encode()
            fields = {"Authorization": admin, "Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(base + path, data, fields), timeout=10) as answer:
                return json.load(answer)

        template = {
            "apiVersion": "tenant.kubesphere.io/v1beta1",
            "kind": "WorkspaceTemplate",
            "metadata": {"name": "team"},
            "spec": {"template": {"spec": {"manager": "admin"}}, "placement": {"clusters": [{"name": "host"}]}},
        }
        ask("/kapis/tenant.kubesphere.io/v1beta1/workspaces", template)
        roles = "/kapis/iam.kubesphere.io/v1beta1/workspaces/team/workspaceroles"
        wanted = {f"team-{name}" for name in ("admin", "viewer", "regular", "self-provisioner")}
        until(lambda: {role["metadata"]["name"] for role in ask(roles)["items"]} == wanted, "the roles of a workspace")
        explained = subprocess.run(
            ksproxyd("explain", "nobody", "get", "/api", "--url", base),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert explained.returncode == 1
        assert "refuses" in explained.stderr


def test_a_bad_configuration_names_every_problem_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "k.yaml"
    config.write_text("authorization:\n  mode: Perhaps\nksproxyd:\n  limits:\n    headBytes: many\n    headByts: 1\n")
    for argv in (ksproxyd("run", "--config", str(config)), ksproxyd("check-config", str(config))):
        with Program(argv, tmp_path) as program:
            assert program.wait() == 1
            said = program.output()
            assert "k.yaml:2" in said and "k.yaml:5" in said and "k.yaml:6" in said
            assert "did you mean" in said
            assert "Traceback" not in said


def test_the_sample_configuration_is_fine(tmp_path: Path) -> None:
    sample = Path(__file__).resolve().parents[2] / "etc" / "ksproxyd.yaml"
    with Program(ksproxyd("check-config", "--print-config", str(sample)), tmp_path) as program:
        assert program.wait() == 0
        assert "ksproxyd:" in program.output()


def test_the_live_tree_is_printed(tmp_path: Path, state: Path) -> None:
    port = free_port()
    with Program(standalone(port, free_port(), state, "--demo"), tmp_path) as program:
        until(lambda: ready(port), "ready")
        (tmp_path / "r").mkdir()
        with Program(ksproxyd("routes", "--url", f"http://127.0.0.1:{port}"), tmp_path / "r") as routes:
            assert routes.wait() == 0
            assert "/kapis/demo.ksproxyd.io/v1alpha1/…" in routes.output()
        assert program.process.poll() is None


def test_the_service_manager_is_told(tmp_path: Path, state: Path) -> None:
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = str(tmp_path / "notify")
        manager.bind(address)
        manager.settimeout(60)
        told: list[str] = []

        def heard(word: str) -> None:
            while not any(word in message for message in told):
                told.append(manager.recv(4096).decode())

        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}
        with Program(standalone(port, free_port(), state), tmp_path, environ) as program:
            heard("READY=1")
            heard("WATCHDOG=1")
            told.clear()
            program.signal(signal.SIGHUP)
            heard("RELOADING=1")
            heard("READY=1")
            program.signal(signal.SIGTERM)
            heard("STOPPING=1")
            assert program.wait() == 0


def test_a_socket_of_the_service_manager_is_used(tmp_path: Path, state: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = int(listening.getsockname()[1])
        fd = listening.fileno()

        # LISTEN_PID has to be the program's own, which only what becomes the program can know.
        become = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); os.execv(sys.argv[2], sys.argv[2:])"
        )
        argv = [sys.executable, "-c", become, str(fd), *standalone(free_port(), free_port(), state)]
        with Program(argv, tmp_path, pass_fds=(fd,)) as program:
            until(lambda: ready(port), "ready")
            program.signal(signal.SIGTERM)
            assert program.wait() == 0


def test_a_reload_takes_over_what_is_good_and_refuses_what_is_not(tmp_path: Path, state: Path) -> None:
    port = free_port()
    config = tmp_path / "k.yaml"
    config.write_text("ksproxyd: {logging: {access: errors}}\n")
    argv = [*standalone(port, free_port(), state), "--config", str(config)]
    with Program(argv, tmp_path) as program:
        until(lambda: ready(port), "ready")
        config.write_text("ksproxyd: {logging: {access: everything}}\n")
        program.signal(signal.SIGHUP)
        until(lambda: "not reloaded" in program.output(), "the refusal")
        assert ready(port)
        config.write_text("ksproxyd: {logging: {access: all}}\n")
        program.signal(signal.SIGHUP)
        until(lambda: "configuration changed: ksproxyd.logging.access" in program.output(), "the reload")
        get(f"http://127.0.0.1:{port}/version")
        until(lambda: "GET /version 200" in program.output(), "the access log")

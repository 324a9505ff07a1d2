"""Terminals, end to end: a WebSocket client, the gateway, kube-apiserver, the kubelet's streaming library, and bash."""

from __future__ import annotations

import base64
import copy
import hashlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .binaries import Binaries
from .client import ApiClient
from .conftest import Measured, start_cluster
from .terminal_site import BINDINGS, GROUP, NAMESPACE, POD, PODS, PROMPT, SETTINGS, TerminalSite
from .test_revocation import disable, log_out
from .websocket_client import Refused, Terminal, WebSocketClient

pytestmark = pytest.mark.usefixtures("needs_node")


@pytest.fixture(scope="module")
def site(binaries: Binaries, folder: Path, needs_node: None) -> Iterator[TerminalSite]:
    cluster = start_cluster(binaries, folder / "terminals")
    try:
        with TerminalSite(cluster, folder / "terminals-gateway") as site:
            site.furnish()
            yield site
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def token(site: TerminalSite) -> str:
    """An operator's."""
    return site.user("olga")


def test_a_session(site: TerminalSite, token: str) -> None:
    with site.shell(token) as terminal:
        terminal.resize(132, 43)
        terminal.expect(PROMPT)
        # Sizes travel beside what is typed, and may be overtaken by it.
        terminal.type("sleep 0.5; stty size; tty\r")
        assert "/dev/pts/" in terminal.expect("43 132") + terminal.expect(PROMPT)
        terminal.resize(97, 31)
        terminal.type("sleep 0.5; stty size\r")
        terminal.expect("31 97")
        terminal.type("exit 3\r")
        assert terminal.end() == (1000, "exited 3")
        assert terminal.toasts == ["\r\n[the shell exited with code 3]\r\n"]
    with site.shell(token, shell="sh") as terminal:
        terminal.type("exit\r")
        assert terminal.end() == (1000, "exited 0")
        assert terminal.toasts == []


def test_the_first_that_is_typed_is_kept(site: TerminalSite, token: str) -> None:
    with site.shell(token, shell="") as terminal:
        # Long before the shell is there.
        terminal.resize(111, 22)
        terminal.type("sleep 0.5; stty size; echo fir''st\r")
        seen = terminal.expect("first")
        assert "22 111" in seen


WORDS = "Grüße, 你好世界, Привет, مرحبا, नमस्ते, 👩🏽‍🚀 🏳️‍🌈 🇺🇦, e\u0301"


def test_every_character_arrives_whole(site: TerminalSite, token: str) -> None:
    with site.shell(token) as terminal:
        terminal.expect(PROMPT)
        terminal.type("stty -echo; PS1=\r")
        terminal.expect("\n")
        terminal.type(f"cat > words <<'end'\r{WORDS}\rend\r")
        terminal.type("sha256sum words; echo; yes \"$(cat words)\" | head -n 5000; echo do''ne\r")
        expected = hashlib.sha256(f"{WORDS}\n".encode()).hexdigest()
        terminal.expect(expected)
        seen = terminal.expect("done", 60)
        # Pieces of output end anywhere, within characters too.
        assert seen.count(WORDS) == 5000
        assert "\ufffd" not in seen


def test_what_is_no_text_is_shown_as_such(site: TerminalSite, token: str) -> None:
    with site.shell(token) as terminal:
        terminal.expect(PROMPT)
        terminal.type("printf 'a\\377\\376b\\342\\202'; sleep 0.5; printf '\\254c\\n'\r")
        terminal.expect("a\ufffd\ufffdb€c")


def test_a_mebibyte_is_pasted_byte_for_byte(site: TerminalSite, token: str) -> None:
    data = base64.b64encode(random.randbytes(3 << 18))
    assert len(data) == 1 << 20
    with site.shell(token) as terminal:
        terminal.expect(PROMPT)
        terminal.type(f"stty raw -echo; echo rea''dy; head -c {len(data)} > pasted; stty sane; sha256sum pasted\r")
        terminal.expect("ready")
        text = data.decode()
        for at in range(0, len(text), 1 << 18):
            terminal.type(text[at : at + (1 << 18)])
        assert hashlib.sha256(data).hexdigest() in terminal.expect(" pasted", 60)


def test_a_full_screen(site: TerminalSite, token: str) -> None:
    with site.shell(token) as terminal:
        terminal.resize(80, 24)
        terminal.expect(PROMPT)
        terminal.type("printf '\\033[?1049h\\033[2J\\033[10;20H\\033[1;38;5;196m<b>&\\033[0m\\033[?1049l'; echo\r")
        terminal.expect("\x1b[?1049h\x1b[2J\x1b[10;20H\x1b[1;38;5;196m<b>&\x1b[0m\x1b[?1049l")


@pytest.mark.parametrize(
    ("pod", "container", "shell", "said"),
    [
        ("absent", "", "bash", f"pod {NAMESPACE}/absent does not exist"),
        (POD, "sidecar", "bash", "there is no container sidecar in the pod; it has main"),
    ],
)
def test_what_is_not_there(site: TerminalSite, token: str, pod: str, container: str, shell: str, said: str) -> None:
    with site.shell(token, pod, container=container, shell=shell) as terminal:
        assert terminal.end() == (4404, "not found")
        assert len(terminal.toasts) == 1
        assert said in terminal.toasts[0]


def test_a_container_without_a_shell(site: TerminalSite, token: str) -> None:
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare"},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": "none",
                    "command": ["/bin/sleep", "3600"],
                    "env": [{"name": "PATH", "value": "/nowhere"}],
                }
            ]
        },
    }
    site.api.create(PODS, made)
    wait_until(lambda: site.api.get(f"{PODS}/bare")["status"].get("phase") == "Running", 20)
    for shell in ("", "bash", "sh"):
        with site.shell(token, "bare", shell=shell) as terminal:
            assert terminal.end() == (4404, "no shell")
            assert "cannot start" in terminal.toasts[0]


def test_a_pod_that_is_deleted(site: TerminalSite, token: str) -> None:
    site.run_pod("short-lived")
    with site.shell(token, "short-lived") as terminal:
        terminal.expect(PROMPT)
        deleted = time.monotonic()
        site.api.delete(f"{PODS}/short-lived")
        assert terminal.end() == (4410, "pod deleted")
        assert time.monotonic() - deleted < 5
        assert "was deleted" in terminal.toasts[-1]


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not become true"
        time.sleep(0.05)


def unbind(site: TerminalSite, name: str, token: str) -> None:
    site.api.delete(f"{BINDINGS}/{name}")


CAUSES = {
    "binding": (unbind, 4403),
    "user": (lambda site, name, token: disable(site.cluster, site.gateway, name, token), 4401),
    "token": (lambda site, name, token: log_out(site.cluster, site.gateway, name, token), 4401),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_who_loses_the_right_loses_the_session(site: TerminalSite, measured: Measured, cause: str) -> None:
    name = f"loses-{cause}"
    take, code = CAUSES[cause]
    token = site.user(name)
    with site.shell(token) as terminal:
        terminal.expect(PROMPT)
        taken = time.monotonic()
        take(site, name, token)
        closed, _ = terminal.end()
        seconds = time.monotonic() - taken
    measured(f"terminal closed {seconds:.1f} s after its {cause} was taken")
    assert closed == code
    assert seconds <= 5
    assert len(terminal.toasts) == 1


ORIGINS = [
    "https://evil.example",
    "http://evil.example",
    "null",
    "",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "http://localhost:{port}",
    "http://127.0.0.1:{port}.evil.example",
    "http://evil.example/127.0.0.1:{port}",
    "http://user@127.0.0.1:{port}",
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@evil.example",
    "file://",
    "//127.0.0.1:{port}",
    "http://127.0.0.1:{port}, http://evil.example",
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_pages_of_other_sites(site: TerminalSite, token: str, origin: str) -> None:
    with pytest.raises(Refused) as refused:
        site.shell(token, fields=[("Origin", origin.format(port=site.gateway.port))])
    assert refused.value.status == 403


def test_pages_of_the_own_site(site: TerminalSite, token: str) -> None:
    with site.shell(token, fields=[("Origin", site.gateway.url)]) as terminal:
        terminal.expect(PROMPT)


def test_who_has_no_terminal(site: TerminalSite, token: str) -> None:
    viewer, stranger = site.user("victor", "reader"), site.user("stella", "")
    for bad, status in ((viewer, 403), (stranger, 403), ("", 403), ("rubbish", 401)):
        with pytest.raises(Refused) as refused:
            site.shell(bad)
        assert refused.value.status == status
        for method in ("GET", "POST"):
            kind = {"Content-Type": "multipart/form-data; boundary=x"} if method == "POST" else {}
            assert site.ask(method, site.file("/etc/hosts"), bad, **kind)[0] == status, (method, bad)
    with pytest.raises(Refused) as refused:
        Terminal(site.gateway.url, f"{GROUP}/users/olga/kubectl", viewer)
    assert refused.value.status == 403
    log_out(site.cluster, site.gateway, "stella", stranger)
    with pytest.raises(Refused) as refused:
        site.shell(stranger)
    assert refused.value.status == 401


def test_the_other_way_to_a_shell_is_no_way_around(site: TerminalSite) -> None:
    viewer = site.user("vera", "reader")
    with pytest.raises(Refused) as refused:
        WebSocketClient(
            site.gateway.url, f"{PODS}/{POD}/exec?command=id&stdout=1", viewer, protocols=["v5.channel.k8s.io"]
        )
    assert refused.value.status == 403


def test_channels_as_kubernetes_has_them(site: TerminalSite, token: str) -> None:
    target = f"{GROUP}/namespaces/{NAMESPACE}/pods/{POD}/exec?shell=sh"
    with WebSocketClient(site.gateway.url, target, token, protocols=["v5.channel.k8s.io"]) as client:
        assert client.protocol == "v5.channel.k8s.io"
        client.send(b"\x00exit 7\r", 2)
        seen = []
        while (found := client.next()) is not None:
            seen.append(found.payload)
    assert client.closed == (1000, "exited 7")
    assert b'"ExitCode", "message": "7"' in seen[-1]


def test_a_login_that_runs_out_ends_the_session(site: TerminalSite, folder: Path) -> None:
    settings = copy.deepcopy(SETTINGS)
    # A token may run out as long as it can be replaced; then that is over, too.
    settings["authentication"]["issuer"] |= {"accessTokenMaxAge": "3s", "accessTokenInactivityTimeout": "5s"}
    with TerminalSite(site.cluster, folder / "terminals-short", settings) as short:
        token = short.user("sharon")
        began = time.monotonic()
        with short.shell(token) as terminal:
            terminal.expect(PROMPT)
            code, _ = terminal.end()
        seconds = time.monotonic() - began
        assert code == 4401
        assert 3 < seconds < 3 + 5 + 5
        assert "login has ended" in terminal.toasts[-1]
        with pytest.raises(Refused) as refused:
            short.shell(token)
        assert refused.value.status == 401


def test_a_gateway_that_is_stopped(site: TerminalSite, folder: Path, measured: Measured) -> None:
    grace = 10.0
    settings = copy.deepcopy(SETTINGS)
    settings["terminal"] |= {"shutdownGrace": f"{grace:.0f}s"}
    with TerminalSite(site.cluster, folder / "terminals-stopped", settings) as other:
        token = other.user("sigrid")
        with other.shell(token) as idle, other.shell(token) as busy, other.shell(token) as silent:
            for terminal in (idle, busy, silent):
                terminal.expect(PROMPT)
            busy.type("trap '' INT; echo bu''sy; while :; do sleep 0.2; done\r")
            busy.expect("busy")
            stopped = time.monotonic()
            other.gateway.process.signal(signal.SIGTERM)
            # The third one says nothing any more, not goodbye either.
            for terminal in (idle, busy):
                assert terminal.end(grace) == (1001, "shutting down")
                assert "is being shut down" in terminal.toasts[0]
            assert other.gateway.process.wait(grace * 3) == 0, other.gateway.process.tail()
            seconds = time.monotonic() - stopped
    measured(f"a gateway with three terminals ended {seconds:.1f} s after SIGTERM, with a grace time of {grace:.0f} s")
    assert seconds <= grace


PATHS = [
    "/etc/hosts;touch {folder}/ran",
    "$(touch {folder}/ran)",
    "/`touch {folder}/ran`",
    "/etc/hosts\ntouch {folder}/ran",
    "/--checkpoint=1/--checkpoint-action=exec=touch {folder}/ran",
    "/etc/hosts' ; touch '{folder}/ran",
    "{folder}/../../../../../../../../../../absent",
    "--to-command=touch {folder}/ran",
]


@pytest.mark.parametrize("form", ["tar", "raw"])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_a_path(site: TerminalSite, token: str, path: str, form: str, tmp_path: Path) -> None:
    # Containers of this node see the machine's files.
    status, _ = site.ask("GET", site.file(path.format(folder=tmp_path), format=form), token)
    assert status in (400, 404)
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_is_a_name(site: TerminalSite, token: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for sent, stored in (
        ("../../out.txt", "out.txt"),
        ("/etc/ran", "ran"),
        ("--checkpoint-action=exec=touch ran", "--checkpoint-action=exec=touch ran"),
        ("a;touch ran2", "a;touch ran2"),
        ("..", ""),
        ("a\x01b", ""),
    ):
        part = f'--x\r\nContent-Disposition: form-data; name="f"; filename="{sent}"\r\n\r\nhello\r\n--x--\r\n'
        status, _, body = ApiClient(site.gateway.url, token=token).exchange(
            "POST",
            site.file(str(tmp_path / "in")),
            part.encode(),
            {"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert status == (200 if stored else 400), body
        if stored:
            assert (tmp_path / "in" / stored).read_bytes() == b"hello"
            (tmp_path / "in" / stored).unlink()
        assert list((tmp_path / "in").iterdir()) == []
        assert [each.name for each in tmp_path.iterdir()] == ["in"]

"""The proxies that are measured, each as a process in front of a :class:`~bench.site.Site`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from bench.nginx import nginx
from bench.processes import Process, free_port, installed
from bench.site import FEW, Site

GO_SOURCE = Path(__file__).parent / "peers" / "reverse_proxy.go"
BUILD_LIMIT = 300.0
"""Seconds that building the Go proxy may take; the first time its standard library is compiled."""


class Running:
    """A proxy that listens, and the process in which it does. Stopped by ``with``."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.process).wait_for_port(self.port)
            self.ready()
            stack.pop_all()
        return self

    def ready(self) -> None:
        """Wait for more than an open port."""

    def __exit__(self, *error: object) -> None:
        self.process.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def url(self, path: str) -> str:
        """The URL of ``path`` at this proxy."""
        return f"http://127.0.0.1:{self.port}{path}"


class Gateway(Running):
    """ksproxyd as it really runs: ``ksproxyd run``, its whole chain, everybody may do everything.

    ``launcher`` are the arguments to the interpreter that make it run; ``more`` are further sections of its settings.
    """

    def __init__(
        self,
        site: Site,
        folder: Path,
        name: str = "ksproxyd",
        installation: str = FEW,
        *,
        tls: bool = False,
        stub: bool = False,
        launcher: tuple[str, ...] = ("-m", "ksproxyd.cli"),
        more: Mapping[str, Any] | None = None,
    ) -> None:
        port = free_port()
        settings = {
            "kubernetes": {"kubeconfig": str(site.kubeconfig(installation, tls=tls, stub=stub))},
            "authentication": {"issuer": {"jwtSecret": secrets.token_hex(16)}},
            "authorization": {"mode": "AlwaysAllow"},
            # The installation's objects have their status, and what stands in for its API takes no writes.
            "ksproxyd": {"extensions": {"manageStatus": False}},
            **(more or {}),
        }
        file = folder / f"{name.replace(' ', '-')}.yaml"
        file.touch(mode=0o600)
        # JSON is YAML.
        file.write_text(json.dumps(settings))
        listen = f"tcp:{port}:interface=127.0.0.1:backlog=4096"
        argv = [sys.executable, *launcher, "run", "--config", str(file), "--listen", listen]
        super().__init__(Process(name, argv, folder), port)
        self._paths = (site.plain_route.api_path, site.plain_route.proxy_path)

    def ready(self) -> None:
        self.process.wait_until(lambda: all(map(self.answers, ("/readyz", *self._paths))), "ready")

    def answers(self, path: str) -> bool:
        """Whether ``path`` is answered with success."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=5):
                return True
        except OSError:
            return False


def nginx_proxy(site: Site, folder: Path, *, tls: bool) -> Running | None:
    """``proxy_pass`` with kept connections; None without nginx."""
    if installed("nginx") is None:
        return None
    port = free_port()
    trust = ""
    if tls:
        trust = f"""
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {site.certificates.authority};
            proxy_ssl_name {site.server_name};"""
    backend = site.url(tls).partition("://")[2]
    servers = f"""\
    upstream backend {{ server {backend}; keepalive 100; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {"https" if tls else "http"}://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;{trust}
        }}
    }}"""
    return Running(nginx("nginx tls" if tls else "nginx", folder, servers), port)


def build_go_proxy(folder: Path) -> Path | None:
    """The program made from :data:`GO_SOURCE`; None without a Go toolchain."""
    go = installed("go")
    if go is None:
        return None
    program = folder / "reverse_proxy"
    environ = {**os.environ, "GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    build = [go, "build", "-p", "2", "-o", str(program), str(GO_SOURCE)]
    subprocess.run(build, check=True, timeout=BUILD_LIMIT, env=environ, cwd=GO_SOURCE.parent)
    return program


def go_proxy(site: Site, folder: Path, program: Path, *, tls: bool) -> Running:
    """Go's ``httputil.ReverseProxy``."""
    port = free_port()
    argv = [str(program), f"127.0.0.1:{port}", site.url(tls)]
    if tls:
        argv.append(str(site.certificates.authority))
    return Running(Process("Go tls" if tls else "Go", argv, folder), port)


def aiohttp_proxy(site: Site, folder: Path, *, tls: bool) -> Running:
    """A proxy on aiohttp."""
    port = free_port()
    argv = [sys.executable, "-m", "bench.peers.aiohttp_proxy", str(port), site.url(tls)]
    if tls:
        argv.append(str(site.certificates.authority))
    return Running(Process("aiohttp tls" if tls else "aiohttp", argv, folder), port)


def twisted_proxy(site: Site, folder: Path) -> Running:
    """twisted.web's ``ReverseProxyResource``."""
    port = free_port()
    argv = [sys.executable, "-m", "bench.peers.twisted_proxy", str(port), str(site.plain_port)]
    return Running(Process("twisted.web", argv, folder), port)

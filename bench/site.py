"""The backends of a run: small documents, big bodies and a Kubernetes API, over plain TCP and TLS.

nginx serves what is static where it is installed, because it is faster than any proxy measured here; the rest is
:mod:`bench.stub`'s.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from bench.certificates import SERVER_NAME, Certificates
from bench.nginx import nginx
from bench.objects import DOCUMENT, MANY, Route, installation
from bench.processes import Process, free_port, installed

GIB = 1 << 30

_STATIC = """\
    upstream stub {{ server 127.0.0.1:{stub}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{plain} backlog=4096;
        listen 127.0.0.1:{tls} ssl backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        root {root};
        sendfile on;
        tcp_nopush on;
        default_type application/json;
        open_file_cache max=100;
        location / {{ try_files /document.json =404; }}
        location /openapi {{ return 404; }}
        location ~ /namespaces/audited/ {{ try_files /document.json =404; add_header Audit-Id $request_id; }}
        location /big/ {{ try_files /big =404; }}
        location ~ ^/(few|many)/(version$|apis|api/v1/(namespaces/kubesphere-system/)?secrets$) {{
            proxy_pass http://stub;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}"""

FEW, MANY_NAME = "few", "many"
"""The two installations: one with the measured extensions only, one with :data:`bench.objects.MANY` of them."""


class Site:
    """Started by ``with``. ``big`` is the size of the big body in bytes."""

    def __init__(self, folder: Path, big: int = GIB) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.big = big
        self.certificates = Certificates(folder)
        self.static = "nginx" if installed("nginx") else "bench.stub"
        self.stub_port, self._stub_tls = free_port(), free_port()
        self.plain_port, self.tls_port = self.stub_port, self._stub_tls
        if self.static == "nginx":
            self.plain_port, self.tls_port = free_port(), free_port()
        plain, tls = self.url(False), self.url(True)
        # The measured routes, over both kinds of upstream, are in both installations.
        self.plain_route = Route(0, plain)
        self.tls_route = Route(1, tls, self.certificates.bundle())
        self.stub_route = Route(2, f"http://127.0.0.1:{self.stub_port}")
        self.other_routes = [Route(number, plain) for number in range(3, MANY)]

    def __enter__(self) -> Site:
        with ExitStack() as stack:
            few = [self.plain_route, self.tls_route, self.stub_route]
            objects = self._folder / "installations.json"
            many = [*self.other_routes[: MANY // 2], *few, *self.other_routes[MANY // 2 :]]
            objects.write_text(json.dumps({FEW: installation(few), MANY_NAME: installation(many)}))
            files = f"privateKey={self.certificates.key}:certKey={self.certificates.certificate}"
            endpoints = [
                f"tcp:{self.stub_port}:interface=127.0.0.1:backlog=4096",
                f"ssl:{self._stub_tls}:interface=127.0.0.1:backlog=4096:{files}",
            ]
            stub = Process("stub", [sys.executable, "-m", "bench.stub", str(objects), *endpoints], self._folder)
            stack.enter_context(stub).wait_for_port(self._stub_tls)
            if self.static == "nginx":
                stack.enter_context(self._nginx()).wait_for_port(self.tls_port)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _nginx(self) -> Process:
        root = self._folder / "root"
        root.mkdir()
        (root / "document.json").write_bytes(DOCUMENT)
        with (root / "big").open("wb") as file:
            # A hole costs no disk and is read faster than any disk.
            file.truncate(self.big)
        servers = _STATIC.format(
            stub=self.stub_port,
            plain=self.plain_port,
            tls=self.tls_port,
            certificate=self.certificates.certificate,
            key=self.certificates.key,
            root=root,
        )
        return nginx("nginx backend", self._folder, servers)

    def url(self, tls: bool) -> str:
        """Where the backend is."""
        return f"https://127.0.0.1:{self.tls_port}" if tls else f"http://127.0.0.1:{self.plain_port}"

    def count(self, what: str) -> int:
        """A number that the stub keeps: of answers that are ``held``, or of those ``watching``."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.stub_port}/{what}", timeout=30) as answer:
            return int(answer.read())

    def release(self) -> None:
        """Let the stub answer whoever it holds."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.stub_port}/release", timeout=30):
            pass

    @property
    def server_name(self) -> str:
        """The name in the backend's certificate."""
        return SERVER_NAME

    @property
    def big_path(self) -> str:
        """The path of the big body at the backend."""
        return f"/big/{self.big}"

    def kubeconfig(self, installation: str, *, tls: bool = False, stub: bool = False) -> Path:
        """A kubeconfig file for an installation's Kubernetes API; of the ``stub`` itself for what only it can do."""
        server = f"http://127.0.0.1:{self.stub_port}" if stub else self.url(tls)
        cluster = {"server": f"{server}/{installation}"}
        if tls:
            cluster["certificate-authority-data"] = self.certificates.bundle()
        path = self._folder / f"{installation}{'-tls' if tls else ''}{'-stub' if stub else ''}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "bench", "cluster": cluster}],
                    "users": [{"name": "bench", "user": {"token": "bench"}}],
                    "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
                    "current-context": "bench",
                }
            )
        )
        return path

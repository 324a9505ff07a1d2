"""nginx as the benchmark uses it: in a folder of its own, with one worker, connections kept, nothing logged."""

from __future__ import annotations

import os
from pathlib import Path

from bench.processes import Process, installed

_CONFIGURATION = """\
{user}daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
{servers}
}}
"""


def nginx(name: str, folder: Path, servers: str) -> Process:
    """A process that serves ``servers`` (blocks of the http context). nginx must be installed."""
    program = installed("nginx")
    if program is None:
        raise FileNotFoundError("nginx is not installed")
    home = folder / name.replace(" ", "-")
    home.mkdir()
    configuration = home / "nginx.conf"
    # Started by root its worker would be another user, to whom the run's folder is closed.
    user = "" if os.geteuid() else "user root root;\n"
    configuration.write_text(
        _CONFIGURATION.format(user=user, folder=home, files=30000, connections=25000, servers=servers)
    )
    return Process(name, [program, "-e", "stderr", "-p", str(home), "-c", str(configuration)], folder)

"""The commands: ``ksproxyd kubeconfig``, ``credential``, ``login`` and ``logout``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import yaml

from ksproxyd.kubectl.endpoint import Endpoint, Unusable, check_server
from ksproxyd.kubectl.kubeconfig import API_VERSION, kubeconfig
from ksproxyd.kubectl.login import CLIENT_ID, Failed, Login, subject
from ksproxyd.kubectl.token_cache import Kept, TokenCache, Unsafe, default_folder

#: Versions of the plugin protocol. They differ in nothing that we say.
_VERSIONS = (API_VERSION, "client.authentication.k8s.io/v1beta1")

USAGE = """\
usage: ksproxyd kubeconfig USER [--server URL] [--ca FILE] [--client-id ID]
       ksproxyd login --server URL [--user USER] [--ca FILE] [--client-id ID]
       ksproxyd logout --server URL [--user USER] [--ca FILE] [--client-id ID]
       ksproxyd credential --server URL [--user USER] [--ca FILE] [--client-id ID]

  --server URL     the gateway, as https://ks.example.org
  --user USER      who is to log in; nobody else's login will do
  --ca FILE        PEM file with the authorities of the gateway's certificate
  --client-id ID   OAuth client to be (ksproxyd-cli)
"""


class _Options(NamedTuple):
    names: list[str]
    server: str
    user: str
    ca: str
    client: str


def print_kubeconfig(words: Sequence[str]) -> int:
    """Print a kubeconfig."""
    options = _parse(words, "http://127.0.0.1:9090")
    if options is None or len(options.names) != 1 or options.user:
        return _usage()
    try:
        server = check_server(options.server)
        ca = Path(options.ca).read_bytes() if options.ca else b""
    except (Unusable, OSError) as error:
        return _fail(str(error))
    if server.startswith("http:"):
        _tell("warning: kubectl sends no tokens over http; give the gateway a certificate")
    client = "" if options.client == CLIENT_ID else options.client
    file = os.path.abspath(options.ca) if options.ca else ""
    found = kubeconfig(options.names[0], server, ca=ca, ca_file=file, client=client)
    sys.stdout.write(yaml.safe_dump(found, sort_keys=False))
    return 0


def credential(words: Sequence[str]) -> int:
    """The plugin: print an ``ExecCredential``."""
    options = _parse(words)
    if options is None or options.names or not options.server:
        return _usage()
    try:
        # Whoever reads standard error can open a browser, wherever standard input comes from.
        kept = _login(options, interactive=sys.stderr.isatty()).token()
    except (Failed, Unusable, Unsafe) as error:
        return _fail(str(error))
    sys.stdout.write(json.dumps(exec_credential(kept, os.environ.get("KUBERNETES_EXEC_INFO", ""))) + "\n")
    return 0


def login(words: Sequence[str]) -> int:
    """Sign in anew, whatever is kept."""
    options = _parse(words)
    if options is None or options.names or not options.server:
        return _usage()
    try:
        kept = _login(options, interactive=True).again()
    except (Failed, Unusable, Unsafe) as error:
        return _fail(str(error))
    _tell(f"Logged in as {subject(kept.access_token)}.")
    return 0


def logout(words: Sequence[str]) -> int:
    """End the login that is kept."""
    options = _parse(words)
    if options is None or options.names or not options.server:
        return _usage()
    try:
        was = _login(options, interactive=False).out()
    except (Failed, Unusable, Unsafe) as error:
        return _fail(str(error))
    _tell("Logged out." if was else "Nobody was logged in.")
    return 0


def exec_credential(kept: Kept, info: str) -> dict[str, object]:
    """What kubectl reads. ``info`` is its ``KUBERNETES_EXEC_INFO``, whose version is answered."""
    try:
        asked = json.loads(info)["apiVersion"] if info else API_VERSION
    except (ValueError, KeyError, TypeError):
        asked = API_VERSION
    status: dict[str, object] = {"token": kept.access_token}
    if kept.expires:
        status["expirationTimestamp"] = datetime.fromtimestamp(kept.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    version = asked if asked in _VERSIONS else API_VERSION
    return {"apiVersion": version, "kind": "ExecCredential", "status": status}


def _login(options: _Options, *, interactive: bool) -> Login:
    endpoint = Endpoint(options.server, options.ca)
    cache = TokenCache(default_folder(os.environ), endpoint.server, options.client, options.user)
    return Login(
        endpoint,
        cache,
        now=time.time,
        sleep=time.sleep,
        say=_tell,
        client=options.client,
        user=options.user,
        interactive=interactive,
    )


def _parse(words: Sequence[str], server: str = "") -> _Options | None:
    """The options; None for what cannot be meant."""
    names: list[str] = []
    found = {"--server": server, "--user": "", "--ca": "", "--client-id": CLIENT_ID}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            names.append(word)
        elif name not in found or (not equals and not rest):
            return None
        else:
            found[name] = value if equals else rest.pop(0)
    return _Options(names, found["--server"], found["--user"], found["--ca"], found["--client-id"])


def _usage() -> int:
    sys.stderr.write(USAGE)
    return 2


def _fail(why: str) -> int:
    _tell(f"ksproxyd: {why}")
    return 1


def _tell(line: str) -> None:
    """Say something to a person: standard output is kubectl's."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()

"""A gateway with users and clients, and a client that people come back to."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import bcrypt
import yaml
from live.process import Program, free_port, get, ksproxyd, until

PASSWORD = "Passw0rdX"

_SETTINGS = """
authentication:
  multipleLogin: true
  authenticateRateLimiterMaxTries: 3
  authenticateRateLimiterDuration: 10m
  issuer: {{url: "http://127.0.0.1:{port}", jwtSecret: "0123456789012345678901234567890123456789"}}
authorization: {{mode: AlwaysAllow}}
multicluster: {{clusterRole: host}}
ksproxyd:
  listeners: ["tcp:{port}:interface=127.0.0.1"]
  stateDir: {state}
  standalone: {{enabled: true, listen: "tcp:{kube}:interface=127.0.0.1"}}
"""


class Client:
    """A relying party: a server whose one page shows what it was called with."""

    def __init__(self) -> None:
        #: The parameters of each call of its callback.
        self.calls: list[dict[str, str]] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path in ("/cb", "/bye"):
                    calls.append(dict(parse_qsl(parts.query)))
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<title>client</title>back at the client" + parts.path.encode())

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Place:
    """Everything that runs, by its addresses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.kube_port = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.client = Client()
        self._kube: tuple[str, str, ssl.SSLContext] | None = None

    def settings(self) -> Path:
        path = self.folder / "kubesphere.yaml"
        path.write_text(_SETTINGS.format(port=self.port, kube=self.kube_port, state=self.folder / "state"))
        return path

    def create(self, path: str, value: dict[str, Any]) -> None:
        """Create an object in the embedded API, unless it is there."""
        if self._kube is None:
            known = yaml.safe_load((self.folder / "state/admin.kubeconfig").read_text())
            cluster, user = known["clusters"][0]["cluster"], known["users"][0]["user"]
            authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
            self._kube = cluster["server"], user["token"], ssl.create_default_context(cadata=authority)
        server, token, context = self._kube
        request = urllib.request.Request(
            server + path,
            method="POST",
            data=json.dumps(value).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=20, context=context).close()
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise AssertionError(f"{path}: {error.read().decode()[:500]}") from error

    def add_user(self, name: str) -> None:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        self.create(
            "/apis/iam.kubesphere.io/v1beta1/users",
            {
                "apiVersion": "iam.kubesphere.io/v1beta1",
                "kind": "User",
                "metadata": {"name": name},
                "spec": {"email": f"{name}@example.org", "password": hashed},
                "status": {"state": "Active"},
            },
        )

    def add_client(self, name: str, **more: Any) -> None:
        config = {"name": name, "secret": f"{name}-secret", "scopeRestrictions": ["openid", "email", "profile"], **more}
        self.create(
            "/api/v1/namespaces/kubesphere-system/secrets",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": f"oauthclient-{name}",
                    "labels": {"config.kubesphere.io/type": "oauthclient"},
                },
                "type": "config.kubesphere.io/oauthclient",
                "data": {"configuration.yaml": base64.b64encode(yaml.safe_dump(config).encode()).decode()},
            },
        )

    def add_provider(self, name: str, title: str) -> None:
        """An identity provider, for its button: nobody is behind it."""
        config = {
            "name": name,
            "type": "GitHubIdentityProvider",
            "displayName": title,
            "mappingMethod": "auto",
            "provider": {"clientID": "id", "clientSecret": "secret"},
        }
        self.create(
            "/api/v1/namespaces/kubesphere-system/secrets",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": f"identityprovider-{name}",
                    "labels": {"config.kubesphere.io/type": "identityprovider"},
                },
                "type": "config.kubesphere.io/identityprovider",
                "data": {"configuration.yaml": base64.b64encode(yaml.safe_dump(config).encode()).decode()},
            },
        )

    def authorize(self, client: str, **more: str) -> str:
        """The address that the client sends people to."""
        query = {
            "client_id": client,
            "redirect_uri": f"{self.client.base}/cb",
            "response_type": "code",
            "scope": "openid email profile",
            "state": "af0ifjsldkj",
            **more,
        }
        return f"{self.base}/oauth/authorize?{urlencode(query)}"

    def ask(self, path: str, **form: str) -> tuple[int, Any]:
        """POST a form, as a program; returns the status and the JSON."""
        request = urllib.request.Request(self.base + path, data=urlencode(form).encode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@contextmanager
def running_place(folder: Path) -> Iterator[Place]:
    """A place that is ready for people."""
    place = Place(folder)
    (folder / "gateway").mkdir()
    with ExitStack() as stack:
        stack.callback(place.client.close)
        program = stack.enter_context(Program(ksproxyd("run", "--config", str(place.settings())), folder / "gateway"))
        until(lambda: program.process.poll() is not None or get(f"{place.base}/readyz")[0] == 200, "a start")
        assert program.process.poll() is None, program.output()
        place.create(
            "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubesphere-system"}}
        )
        for name in ("alice", "bob", "carol"):
            place.add_user(name)
        back = {"redirectURIs": [f"{place.client.base}/cb"], "postLogoutRedirectURIs": [f"{place.client.base}/bye"]}
        place.add_client("portal", grantMethod="auto", **back)
        place.add_client("reports", grantMethod="prompt", **back)
        place.add_client("terminal", grantMethod="prompt")
        place.add_provider("github", "GitHub")
        until(lambda: get(place.authorize("reports", prompt="none"))[0] == 200, "the clients")
        until(lambda: b"GitHub" in get(f"{place.base}/oauth/login")[1], "the provider")
        yield place
        assert "Traceback" not in program.output(), program.output()

"""What people try who may not, each a row of a table, and the cluster that they try it on (spec 03, 2.12).

People are those of the worked examples: ``wa`` and ``wv`` are admin and viewer of workspace ``ws1``, ``pa``, ``op`` and
``pv`` admin, operator and viewer of its namespace ``n1``, ``cv`` sees the cluster, ``joe`` has logged in, nobody is
``""``. Nothing of theirs is in ``ws2`` and ``n2``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from support_oauth import HASH
from support_rights import EVERY_RESOURCE, READING, RightsWorld, binding, fixtures, role, rule
from support_rights import IAM as IAM_VERSION

from ksproxyd.standalone.storage.store import ADDED, DELETED, Event
from ksproxyd.testing import Answer

MERGE, PATCH = "application/merge-patch+json", "application/json-patch+json"
APPLY, STRATEGIC = "application/apply-patch+yaml", "application/strategic-merge-patch+json"
N1, N2, SYSTEM = (f"/api/v1/namespaces/{name}" for name in ("n1", "n2", "kubesphere-system"))
IAM, RAW_IAM = "/kapis/iam.kubesphere.io/v1beta1", "/apis/iam.kubesphere.io/v1beta1"
TENANT, RAW_TENANT = "/kapis/tenant.kubesphere.io/v1beta1", "/apis/tenant.kubesphere.io/v1beta1"
NATIVE = "/apis/rbac.authorization.k8s.io/v1"

WEBSOCKET = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
)
SPDY = (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io"))
_SWITCHED = {
    b"websocket": b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n",
    b"SPDY/3.1": b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n",
}

#: In what nobody of these people may see; a shell says it, too.
SECRET = "canary-7f3a"
_ENCODED = base64.b64encode(SECRET.encode()).decode()
_STREAMS = ("exec", "attach", "portforward", "proxy", "run")

#: What is written because time passes, or because somebody asks.
_UNRELATED = ("coordination.k8s.io/leases", "iam.kubesphere.io/loginrecords", "/events", "events.k8s.io/events")


@dataclass(frozen=True)
class Attack:
    """One row: ``who`` sends this, and it must come to nothing.

    ``by`` may do just the same, which shows that the row could fail (empty: nobody may). ``shows`` is for what is
    answered with a 200 that has nothing of the secret in it, or with an error of the API server's.
    """

    name: str
    who: str
    method: str
    target: str
    body: Any = None
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    by: str = "admin"
    shows: bool = False

    def of(self, who: str) -> Attack:
        """The same by somebody else."""
        return replace(self, who=who)


def secret(namespace: str) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sec", "namespace": namespace, "labels": {"app": "x"}},
        "data": {"password": _ENCODED},
    }


def pod(namespace: str, name: str) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "example/main:1"}]},
    }


def config_map(namespace: str, name: str, value: str = "1") -> Any:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"a": value},
    }


def more() -> list[Any]:
    """Besides the worked examples: something to steal, and some who manage members or users and have little else."""
    members = [rule(["iam.kubesphere.io"], ["namespacemembers", "workspacemembers"], ["*"])]
    found: list[Any] = [
        *map(secret, ("n1", "n2", "kubesphere-system")),
        *(pod(*each) for each in (("n1", "p"), ("n2", "p"))),
        *(pod("kubesphere-system", f"ks-managed-kubectl-{name}") for name in ("joe", "bob")),
        config_map("n1", "app"),
        config_map("n2", "theirs", SECRET),
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "n1"},
            "spec": {"ports": [{"port": 80}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "n1"},
            "spec": {
                "selector": {"matchLabels": {"app": "d"}},
                "template": {
                    "metadata": {"labels": {"app": "d"}},
                    "spec": {"containers": [{"name": "main", "image": "example/main:1"}]},
                },
            },
        },
        {
            "apiVersion": "quota.kubesphere.io/v1alpha2",
            "kind": "ResourceQuota",
            "metadata": {"name": "ws2", "labels": {"kubesphere.io/workspace": "ws2"}},
            "spec": {"quota": {"hard": {"pods": "1"}}, "selector": {"kubesphere.io/workspace": "ws2"}},
        },
        {
            "apiVersion": "cluster.kubesphere.io/v1alpha1",
            "kind": "Cluster",
            "metadata": {"name": "host", "labels": {"cluster-role.kubesphere.io/host": ""}},
            "spec": {"connection": {"type": "direct", "kubeconfig": _ENCODED}},
        },
        {
            "apiVersion": IAM_VERSION,
            "kind": "RoleTemplate",
            "metadata": {"name": "everything", "labels": {"iam.kubesphere.io/scope": "namespace"}},
            "spec": {"rules": EVERY_RESOURCE},
        },
        role("Role", "manages-members", members + READING, namespace="n1"),
        role("WorkspaceRole", "ws1-manages-members", members + READING, workspace="ws1"),
        role(
            "GlobalRole",
            "manages-users",
            [rule(["iam.kubesphere.io"], ["users", "users/password", "users/loginrecords"], ["*"])],
        ),
        role(
            "Role",
            "writes-roles",
            [rule(["iam.kubesphere.io", "rbac.authorization.k8s.io"], ["roles", "rolebindings"], WRITING)],
            namespace="n1",
        ),
        binding("RoleBinding", "mm", ("Role", "manages-members"), "mm", namespace="n1"),
        binding("RoleBinding", "rw", ("Role", "writes-roles"), "rw", namespace="n1"),
        binding("WorkspaceRoleBinding", "wm", ("WorkspaceRole", "ws1-manages-members"), "wm", workspace="ws1"),
        binding("GlobalRoleBinding", "um", ("GlobalRole", "manages-users"), "um"),
    ]
    for name in ("mm", "rw", "wm", "um"):
        found.append(
            {
                "apiVersion": IAM_VERSION,
                "kind": "User",
                "metadata": {"name": name},
                "spec": {"email": f"{name}@ks.test", "password": HASH},
                "status": {"state": "Active"},
            }
        )
    return found


WRITING = ["get", "list", "create", "update", "patch", "delete", "deletecollection"]


class AttackWorld(RightsWorld):
    """The cluster, with a look at what the API server was asked and what was written."""

    def __init__(self) -> None:
        super().__init__(objects=[*fixtures(), *more()], more="  iam: {manageUsers: false}")
        embedded = self.gateway.embedded
        self.written: list[Event] = []
        publish = embedded.store.on_event
        serve: Callable[..., Any] = embedded.handler

        def told(event: Event) -> None:
            if not event.key.topic.endswith(_UNRELATED):
                self.written.append(event)
            publish(event)

        def served(conversation: Any, request: Any) -> Any:
            path = request.target.partition(b"?")[0].decode("latin-1")
            if any(part in _STREAMS for part in path.split("/")):
                return self._stream(request)
            return serve(conversation, request)

        embedded.store.on_event = told
        embedded.handler = served

    @staticmethod
    def _stream(request: Any) -> bytes:
        """What a node, or what is proxied to, would say."""
        wanted = request.get("upgrade")
        if wanted is not None:
            head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n"
            return head % (wanted, _SWITCHED.get(bytes(wanted), b""))
        text = f"{SECRET}: a shell".encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)

    def send(self, attack: Attack, who: str) -> Answer:
        """What ``who`` is answered; of a watch, what has come so far.

        ``{token:admin}`` stands for somebody else's token.
        """

        def filled(text: str) -> bytes:
            return text.replace("{token:admin}", self.token("admin")).encode("latin-1")

        lines = [filled(f"{attack.method} {attack.target} HTTP/1.1"), b"Host: gateway.example"]
        lines += [filled(f"{name}: {value}") for name, value in attack.headers]
        if who and not any(name == "Authorization" for name, _ in attack.headers):
            lines.append(b"Authorization: Bearer " + self.token(who).encode())
        body = attack.body
        content = b"" if body is None else body.encode() if isinstance(body, str) else msgspec.json.encode(body)
        if body is not None:
            lines += [b"Content-Type: " + attack.kind.encode(), b"Content-Length: %d" % len(content)]
        client = self.gateway.connect()
        client.send(b"\r\n".join([*lines, b"", content]))
        answer = client.next_answer(attack.method)
        if answer is None:
            self.gateway.wait(1.0)
            answer = client.next_answer(attack.method) or client.partial
        client.close()
        self.gateway.reactor.settle()
        assert answer is not None, "no answer"
        return answer

    def reached(self, since: int, attack: Attack) -> list[str]:
        """What of the attack itself the API server was asked; what the gateway has it try first is not."""
        requests = self.gateway.embedded.requests[since:]
        path = _plain(attack.target)
        return [
            f"{request.method.decode()} {request.target.decode('latin-1')}"
            for request in requests
            if request.method.decode() == attack.method
            and request.target.partition(b"?")[0].decode("latin-1") == path
            and (b"dryRun=All" not in request.target or "dryRun=All" in attack.target)
        ]

    def restore(self) -> None:
        """Undo everything that was written."""
        store = self.gateway.embedded.store
        for event in reversed(self.written[:]):
            if event.type == ADDED:
                if store.get(event.key) is not None:
                    store.delete(event.key, msgspec.json.decode(event.body))
            elif event.previous_body is not None:
                store.write(event.key, msgspec.json.decode(event.previous_body))
            assert event.type in (ADDED, DELETED, "MODIFIED")
        self.written.clear()
        self.gateway.reactor.settle()


def _plain(target: str) -> str:
    """The path that the API server would see."""
    path = target.partition("?")[0]
    return path.replace("/clusters/host", "", 1)


def holds_secret(answer: Answer) -> str:
    """Which secret is in an answer."""
    text = answer.body.decode("latin-1") + "".join(f"{k!r}{v!r}" for k, v in answer.headers)
    return next((each for each in (SECRET, _ENCODED, HASH) if each in text), "")

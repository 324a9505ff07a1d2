"""A gateway on the embedded API with the built-in roles, and controllers of our own beside it."""

from __future__ import annotations

import random
from typing import Any

from ksproxyd.controllers import Controllers
from ksproxyd.model.status import StatusError
from ksproxyd.settings import load_text
from ksproxyd.state.election import Alone
from ksproxyd.testing import MemoryGateway

TEXT = """
authorization: {mode: AlwaysAllow}
ksproxyd:
  listeners: [{address: 127.0.0.1, port: 9090}]
  extensions: {openapi: false, manageStatus: false}
  iam: {manageUsers: false}
  controllers: {mode: %s}
"""
IAM = "/apis/iam.kubesphere.io/v1beta1"
TENANT = "/apis/tenant.kubesphere.io/v1beta1"
FINALIZER = "kubesphere.io/cascading-deletion"
WORKSPACE = "kubesphere.io/workspace"

Object = dict[str, Any]


class World:
    """``start`` begins with the controllers right away; ``mode`` is theirs."""

    def __init__(self, *, start: bool = True, mode: str = "auto", roles: bool = True) -> None:
        # The gateway's own ones are off.
        self.gateway = MemoryGateway(TEXT % "false", embedded=True)
        self.embedded = self.gateway.embedded
        if roles:
            self.embedded.install_roles()
        inner: Any = self.gateway.gateway
        self.controllers = Controllers(
            self.gateway.reactor,
            load_text(TEXT % mode, "settings", {}).settings,
            inner.state,
            inner.kube_client,
            Alone(),
            random.Random(3).random,
        )
        self.gateway.reactor.settle()
        if start:
            self.start()

    def start(self) -> None:
        self.controllers.start()
        self.wait(10.0)

    def close(self) -> None:
        self.gateway.run(self.controllers.stop())
        self.gateway.close()

    def wait(self, seconds: float = 5.0) -> None:
        self.gateway.wait(seconds)
        self.gateway.reactor.settle()

    def apply(self, *values: Object) -> None:
        self.gateway.apply(*values)
        self.wait()

    def get(self, path: str) -> Object | None:
        try:
            return self.embedded.call("GET", path)
        except StatusError as error:
            if error.code != 404:
                raise
            return None

    def have(self, path: str) -> Object:
        found = self.get(path)
        assert found is not None, path
        return found

    def names(self, path: str) -> list[str]:
        return [each["metadata"]["name"] for each in self.embedded.call("GET", path)["items"]]

    def patch(self, path: str, patch: Object) -> None:
        self.embedded.call("PATCH", path, patch, "application/merge-patch+json")
        self.wait()

    def delete(self, path: str) -> None:
        self.embedded.call("DELETE", path)
        self.wait()

    def quiet(self) -> None:
        """Nothing is written any more."""
        before = self.controllers.writes
        self.wait(400.0)
        assert self.controllers.writes == before

    # -- objects -----------------------------------------------------------------------------------------------

    def user(self, name: str) -> None:
        self.apply(
            {
                "apiVersion": "iam.kubesphere.io/v1beta1",
                "kind": "User",
                "metadata": {"name": name},
                "spec": {"email": ""},
            }
        )

    def workspace(self, name: str, manager: str = "", placement: Any = None, **template: Any) -> None:
        spec = {
            "placement": placement or {"clusters": [{"name": "host"}]},
            "template": {"spec": {"manager": manager}, **template},
        }
        self.apply(
            {
                "apiVersion": "tenant.kubesphere.io/v1beta1",
                "kind": "WorkspaceTemplate",
                "metadata": {"name": name},
                "spec": spec,
            }
        )

    def namespace(self, name: str, workspace: str = "", creator: str = "", **labels: str) -> None:
        labels = {**labels, **({WORKSPACE: workspace} if workspace else {})}
        annotations = {"kubesphere.io/creator": creator} if creator else {}
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": labels, "annotations": annotations},
            }
        )

    def role(
        self, kind: str, name: str, rules: list[Any], *, namespace: str = "", annotations: Any = None, **more: Any
    ) -> None:
        metadata = {"name": name, "annotations": annotations or {}, **({"namespace": namespace} if namespace else {})}
        self.apply(
            {"apiVersion": "iam.kubesphere.io/v1beta1", "kind": kind, "metadata": metadata, "rules": rules, **more}
        )

    def template(self, name: str, rules: list[Any], scope: str = "global", **labels: str) -> None:
        metadata = {"name": name, "labels": {"iam.kubesphere.io/scope": scope, **labels}}
        self.apply(
            {
                "apiVersion": "iam.kubesphere.io/v1beta1",
                "kind": "RoleTemplate",
                "metadata": metadata,
                "spec": {"rules": rules},
            }
        )

"""When the controllers work at all."""

from __future__ import annotations

from typing import Any

import pytest
from support_controllers import IAM, TENANT, World

from ksproxyd.model.status import StatusError

APPS = "/apis/apps/v1/namespaces/kubesphere-system/deployments"


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "x"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "ks-controller-manager", "namespace": "kubesphere-system"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod},
    }


def lease(holder: str, renewed: int) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "ks-controller-manager-leader-election", "namespace": "kubesphere-system"},
        "spec": {
            "holderIdentity": holder,
            "renewTime": f"2026-01-01T00:00:{renewed:02}.000000Z",
            "leaseDurationSeconds": 30,
        },
    }


def untouched(world: World) -> bool:
    return world.controllers.writes == 0 and world.names(f"{TENANT}/workspaces") == []


@pytest.mark.parametrize(("mode", "works"), [("auto", True), ("true", True), ("false", False)])
def test_modes(mode: str, works: bool) -> None:
    world = World(mode=mode)
    try:
        assert world.controllers.working is works
        assert untouched(world) is not works
    finally:
        world.close()


@pytest.mark.parametrize("mode", ["auto", "true"])
def test_beside_ks_controller_manager(mode: str) -> None:
    world = World(start=False, mode=mode)
    try:
        world.apply(deployment(1))
        world.start()
        assert untouched(world) is (mode == "auto")
    finally:
        world.close()


def test_ks_controller_manager_comes_and_goes() -> None:
    world = World(start=False)
    try:
        world.apply(lease("a", 0))
        world.start()
        for second in range(1, 5):
            world.wait(20.0)
            world.apply(lease("a", second))
        assert untouched(world) and not world.controllers.working
        # Nobody renews it any more.
        world.wait(100.0)
        assert world.controllers.working and world.names(f"{TENANT}/workspaces") == ["system-workspace"]
        world.apply(deployment(2))
        world.wait(20.0)
        assert not world.controllers.working
        world.workspace("ws1", "ann")
        assert world.names(f"{TENANT}/workspaces") == ["system-workspace"]
        # One that wants none is switched off.
        world.apply(deployment(0))
        world.wait(20.0)
        assert world.names(f"{TENANT}/workspaces") == ["system-workspace", "ws1"]
    finally:
        world.close()


def test_stopped_in_the_middle() -> None:
    world = World(start=False)
    world.controllers.start()
    world.gateway.reactor.settle()
    world.close()


def test_what_another_gateway_has_done_is_not_done_again() -> None:
    world = World()
    try:
        world.workspace("ws1", "ann")
        world.user("joe")
        world.namespace("n1", "ws1", "joe")
        world.gateway.run(world.controllers.stop())
        before = {path: world.embedded.call("GET", path) for path in (f"{IAM}/workspaceroles", f"{IAM}/globalroles")}
        second = World.__new__(World)
        second.gateway, second.embedded = world.gateway, world.embedded
        second.controllers = another(world)
        second.start()
        assert second.controllers.working and second.controllers.writes == 0
        after = {path: world.embedded.call("GET", path) for path in before}
        assert {k: v["items"] for k, v in after.items()} == {k: v["items"] for k, v in before.items()}
        world.gateway.run(second.controllers.stop())
    finally:
        world.gateway.close()


def another(world: World) -> Any:
    from support_controllers import TEXT

    from ksproxyd.controllers import Controllers
    from ksproxyd.settings import load_text
    from ksproxyd.state.election import Alone

    inner: Any = world.gateway.gateway
    settings = load_text(TEXT % "true", "settings", {}).settings
    return Controllers(world.gateway.reactor, settings, inner.state, inner.kube_client, Alone(), lambda: 0.5)


def test_what_is_refused_is_tried_again_with_patience() -> None:
    world = World()
    try:
        api, asked = world.embedded.api, [0]
        handle = api.handle

        def refusing(request: Any) -> Any:
            if request.method == "POST" and request.path.endswith("/workspaceroles"):
                asked[0] += 1
                raise StatusError(403, "Forbidden", "no")
            return handle(request)

        api.handle = refusing  # type: ignore[method-assign]
        world.workspace("ws1", "ann")
        world.namespace("n1", "ws1")
        # Others do not wait for it.
        assert world.names(f"{IAM}/namespaces/n1/roles") == ["admin", "operator", "viewer"]
        world.wait(600.0)
        assert 3 <= asked[0] <= 15
        assert "finalizers" not in world.have(f"{TENANT}/workspacetemplates/ws1")["metadata"]
        api.handle = handle  # type: ignore[method-assign]
        world.wait(320.0)
        assert world.have(f"{IAM}/workspacerolebindings/ws1-admin")
        world.quiet()
    finally:
        world.close()

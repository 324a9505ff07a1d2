from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contract.in_memory import MemoryClient
from contract.objects import config_map, config_maps, deployment, deployments

from ksproxyd.standalone.storage.store import Store

PATH = config_maps("default")


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


def owner_of(made: Any, **rest: Any) -> dict[str, Any]:
    metadata = made["metadata"]
    return {
        "apiVersion": made["apiVersion"],
        "kind": made["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        **rest,
    }


def owned(name: str, *owners: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    body = config_map(name)
    body["metadata"] |= {"ownerReferences": list(owners), **metadata}
    return body


def there(api: MemoryClient, name: str) -> bool:
    return api.get(f"{PATH}/{name}").status == 200


def test_dependents_go_after_their_owner(api: MemoryClient) -> None:
    made = api.make(deployments("default"), deployment("owner"))
    for number in range(50):
        api.make(PATH, owned(f"d{number}", owner_of(made)))
    api.make(PATH, config_map("other"))
    api.delete(f"{deployments('default')}/owner")
    assert [item["metadata"]["name"] for item in api.get(PATH).json["items"]] == ["other"]


def test_dependents_of_dependents_go_too(api: MemoryClient) -> None:
    first = api.make(PATH, config_map("a"))
    second = api.make(PATH, owned("b", owner_of(first)))
    api.make(PATH, owned("c", owner_of(second)))
    api.delete(f"{PATH}/a")
    assert api.get(PATH).json["items"] == []


def test_object_stays_while_one_owner_does(api: MemoryClient) -> None:
    one, two = api.make(PATH, config_map("one")), api.make(PATH, config_map("two"))
    api.make(PATH, owned("d", owner_of(one), owner_of(two)))
    api.delete(f"{PATH}/one")
    references = api.get(f"{PATH}/d").json["metadata"]["ownerReferences"]
    assert [each["name"] for each in references] == ["two"]
    api.delete(f"{PATH}/two")
    assert not there(api, "d")


def test_object_whose_owner_never_was_goes(api: MemoryClient) -> None:
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "gone"}
    api.make(PATH, owned("d", ghost))
    assert not there(api, "d")


def test_owner_of_the_same_name_is_another(api: MemoryClient) -> None:
    made = api.make(PATH, config_map("owner"))
    reference = owner_of(made)
    api.delete(f"{PATH}/owner")
    api.make(PATH, config_map("owner"))
    api.make(PATH, owned("d", reference))
    assert not there(api, "d")


def test_owner_of_a_kind_nobody_serves_is_given_the_benefit_of_the_doubt(api: MemoryClient) -> None:
    reference = {"apiVersion": "unknown.example.com/v1", "kind": "Thing", "name": "x", "uid": "u"}
    api.make(PATH, owned("d", reference))
    assert there(api, "d")


def test_foreground_deletion_waits_for_dependents(api: MemoryClient) -> None:
    made = api.make(PATH, config_map("owner"))
    reference = owner_of(made, blockOwnerDeletion=True)
    api.make(PATH, owned("held", reference, finalizers=["example.com/hold"]))
    api.make(PATH, owned("free", reference))
    api.delete(f"{PATH}/owner", {"propagationPolicy": "Foreground"})
    assert not there(api, "free")
    assert api.get(f"{PATH}/held").json["metadata"]["deletionTimestamp"]
    assert api.get(f"{PATH}/owner").json["metadata"]["finalizers"] == ["foregroundDeletion"]
    api.patch(f"{PATH}/held", {"metadata": {"finalizers": None}})
    assert not there(api, "owner")


def test_foreground_deletion_does_not_wait_for_dependents_that_do_not_block(api: MemoryClient) -> None:
    made = api.make(PATH, config_map("owner"))
    api.make(PATH, owned("held", owner_of(made), finalizers=["example.com/hold"]))
    api.delete(f"{PATH}/owner", {"propagationPolicy": "Foreground"})
    assert not there(api, "owner")
    assert api.get(f"{PATH}/held").json["metadata"]["deletionTimestamp"]


def test_foreground_deletion_goes_all_the_way_down(api: MemoryClient) -> None:
    first = api.make(PATH, config_map("a"))
    second = api.make(PATH, owned("b", owner_of(first, blockOwnerDeletion=True)))
    api.make(PATH, owned("c", owner_of(second, blockOwnerDeletion=True), finalizers=["example.com/hold"]))
    api.delete(f"{PATH}/a", {"propagationPolicy": "Foreground"})
    assert there(api, "a")
    assert there(api, "b")
    api.patch(f"{PATH}/c", {"metadata": {"finalizers": None}})
    assert api.get(PATH).json["items"] == []


def test_orphaned_dependents_stay(api: MemoryClient) -> None:
    made = api.make(PATH, config_map("owner"))
    for number in range(45):
        api.make(PATH, owned(f"d{number:02}", owner_of(made)))
    api.delete(f"{PATH}/owner", {"propagationPolicy": "Orphan"})
    assert not there(api, "owner")
    items = api.get(PATH).json["items"]
    assert len(items) == 45
    assert all("ownerReferences" not in item["metadata"] for item in items)


def test_jobs_leave_their_pods_by_default(api: MemoryClient) -> None:
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    made = api.make(jobs, {"metadata": {"name": "j"}, "spec": {"template": {"spec": pod}}})
    api.make(PATH, owned("d", owner_of(made)))
    api.delete(f"{jobs}/j")
    assert api.get(f"{jobs}/j").status == 404
    assert there(api, "d")


def test_cluster_scoped_owner(api: MemoryClient) -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    made = api.make(path, {"metadata": {"name": "owner"}, "rules": []})
    api.make(PATH, owned("d", owner_of(made)))
    assert there(api, "d")
    api.delete(f"{path}/owner")
    assert not there(api, "d")


def test_work_is_taken_up_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "objects.db")
    api = MemoryClient(Store(path))
    made = api.make(PATH, config_map("owner"))
    for number in range(30):
        api.make(PATH, owned(f"d{number}", owner_of(made)))
    # The process ends between the answer and the work behind it.
    api.api.stop()
    api.delete(f"{PATH}/owner")
    assert len(api.get(PATH).json["items"]) == 30
    api.store.close()
    again = MemoryClient(Store(path))
    assert again.get(PATH).json["items"] == []
    again.store.close()

"""Users at the Kubernetes API behind the gateway (spec 02, D-32; T-141): no hash comes out, no password goes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support_oauth import HASH, World, user

from ksproxyd.model.identity import Identity
from ksproxyd.testing import Answer
from ksproxyd.tree.user_secrets import OWN_API, UserSecrets

USERS = "/apis/iam.kubesphere.io/v1beta1/users"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SECRET = "Secret1xyz"
JSON = (b"Content-Type", b"application/json")
MERGE = (b"Content-Type", b"application/merge-patch+json")
NOTE = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"
PATCH = (b"Content-Type", b"application/json-patch+json")
APPLY = (b"Content-Type", b"application/apply-patch+yaml")


class Writers:
    """Who may write, as authorization would say."""

    def __init__(self) -> None:
        self.everybody = True

    def __call__(self, user: Identity) -> bool:
        return self.everybody


@pytest.fixture
def writers() -> Writers:
    return Writers()


@pytest.fixture
def world(writers: Writers) -> Iterator[World]:
    world = World()
    gateway: Any = world.gateway.gateway
    gateway._kube_api.users = UserSecrets(writers, gateway.kube_client)
    applied = json.dumps({"spec": {"password": SECRET}})
    world.gateway.apply(user("frank", metadata={"annotations": {APPLIED: applied, "a": "b"}}))
    yield world
    world.gateway.close()


def send(world: World, method: str, path: str, body: Any, kind: tuple[bytes, bytes] = JSON) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return world.gateway.request(method, path, [kind], content)


def stored(world: World, name: str) -> dict[str, Any]:
    return world.gateway.embedded.call("GET", f"{USERS}/{name}")


def clean(answer: Answer) -> Any:
    """The decoded answer, which shows no secret."""
    assert HASH.encode() not in answer.body and SECRET.encode() not in answer.body, answer.body
    assert answer.get("Content-Encoding") is None
    return json.loads(answer.body)


TABLE = b"application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = b"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = b"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
PROTOBUF = b"application/vnd.kubernetes.protobuf"


@pytest.mark.parametrize(
    "accept",
    [
        b"",
        b"*/*",
        b"application/json",
        b"application/yaml",
        PROTOBUF,
        b"application/cbor",
        b"text/html,application/xhtml+xml",
        TABLE + b",application/json",
        PARTIAL_LIST + b",application/json",
        PROTOBUF + b";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io," + PARTIAL_LIST,
    ],
)
@pytest.mark.parametrize(
    "path", [USERS, f"{USERS}?pretty=true", f"{USERS}?limit=2", f"{USERS}?includeObject=Object", f"{USERS}/"]
)
def test_lists(world: World, accept: bytes, path: str) -> None:
    headers = [(b"Accept-Encoding", b"gzip"), *([(b"Accept", accept)] if accept else [])]
    answer = world.gateway.get(path, headers)
    if answer.status == 404:
        # A slash at the end is another resource to some.
        assert path.endswith("/")
        return
    assert answer.status == 200
    found = clean(answer)
    items = found.get("items", found.get("rows"))
    assert len(items) == (2 if "limit" in path else 7)
    if accept.startswith(TABLE):
        assert found["kind"] == "Table" and found["columnDefinitions"]
        names = [row["object"]["metadata"]["name"] for row in items] if "includeObject" in path else []
    else:
        assert found["kind"].endswith("List")
        names = [item["metadata"]["name"] for item in items]
    assert not names or {"admin", "alice"} <= set(names)
    asked = world.gateway.embedded.requests[-1]
    assert asked.get("accept-encoding") is None
    form = asked.get("accept") or b""
    assert form.startswith(b"application/json") and b"protobuf" not in form and b"yaml" not in form


def test_one(world: World) -> None:
    for accept in (b"application/json", TABLE, PARTIAL, b"application/yaml"):
        found = clean(world.gateway.get(f"{USERS}/frank", [(b"Accept", accept)]))
        assert "frank" in json.dumps(found)
    found = clean(world.gateway.get(f"{USERS}/frank"))
    assert found["spec"] == {"email": "frank@ks.test"}
    assert found["metadata"]["annotations"] == {"a": "b"}
    # API servers do not know this method for objects; what they say to it has no body in any case.
    assert world.gateway.request("HEAD", f"{USERS}/frank").body == b""
    missing = world.gateway.get(f"{USERS}/nobody")
    assert missing.status == 404 and clean(missing)["reason"] == "NotFound"


def test_other_spellings_of_the_path(world: World) -> None:
    world.gateway.apply(
        {
            "apiVersion": "cluster.kubesphere.io/v1alpha1",
            "kind": "Cluster",
            "metadata": {"name": "host", "labels": {"cluster-role.kubesphere.io/host": ""}},
        }
    )
    for path in (
        USERS.replace("users", "%75sers"),
        USERS.replace("iam.", "%69am."),
        f"/clusters/host{USERS}",
        f"/apis/clusters/host{USERS.removeprefix('/apis')}",
        f"{USERS}/frank/status",
        USERS.replace("/users", "/watch/users"),
        f"/{USERS}",
        USERS.replace("/users", "//users"),
        USERS.replace("/users", "/./users"),
        USERS.upper(),
    ):
        answer = world.gateway.get(f"{path}?timeoutSeconds=1")
        assert HASH.encode() not in answer.body, path
        assert path.startswith("/clusters/") <= (answer.status == 200)


def test_watches(world: World) -> None:
    client = world.gateway.connect()
    client.send(f"GET {USERS}?watch=true HTTP/1.1\r\nHost: g\r\nAccept-Encoding: gzip\r\n\r\n".encode())
    world.gateway.reactor.settle()
    begun = client.take()
    assert b"200 OK" in begun and HASH.encode() not in begun
    world.gateway.embedded.call("PATCH", f"{USERS}/alice", {"spec": {"lang": "de"}}, "application/merge-patch+json")
    world.gateway.reactor.settle()
    seen = client.take()
    assert b'"MODIFIED"' in seen and b'"lang":"de"' in seen and seen.endswith(b"}\n\r\n")
    assert HASH.encode() not in seen and b'"password"' not in seen
    client.close()


def test_no_way_around_by_another_protocol(world: World) -> None:
    """An API server serves watches over WebSockets, too, and whatever follows an upgrade is not looked at."""
    client = world.gateway.connect()
    client.send(
        f"GET {USERS}?watch=true HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = client.answer()
    assert answer.status == 400 and "Upgrade" in answer.json()["message"]
    client.close()


def test_the_others_go_on_as_they_are(world: World) -> None:
    """Only users are looked at: other objects of the group, and users of other groups, keep what they have."""
    answer = world.gateway.get("/apis/iam.kubesphere.io/v1beta1/groups", [(b"Accept", b"application/yaml")])
    assert answer.status == 200
    assert world.gateway.embedded.requests[-1].get("accept") == b"application/yaml"


# -- writing -------------------------------------------------------------------------------------------------


def test_a_user_without_a_password_is_made(world: World) -> None:
    new = user("gina")
    del new["spec"]["password"]
    assert send(world, "POST", USERS, new).status == 201
    assert stored(world, "gina")["spec"] == {"email": "gina@ks.test"}


@pytest.mark.parametrize("password", [SECRET, HASH, "", None, 7])
def test_none_is_made_with_one(world: World, password: Any) -> None:
    answer = send(world, "POST", USERS, user("gina", spec={"password": password}))
    refused(answer)
    assert "gina" not in world.gateway.get(USERS).body.decode()
    twice = b'{"metadata":{"name":"gina"},"spec":{"email":""},"spec":{"email":"","password":"%b"}}' % SECRET.encode()
    refused(send(world, "POST", USERS, twice))


def refused(answer: Answer) -> None:
    assert answer.status == 422, answer.body
    said = clean(answer)
    assert said["reason"] == "Invalid" and OWN_API in said["message"]


def test_the_last_of_several_members_is_what_counts(world: World) -> None:
    """What is sent on is what was read, not what two readers may read differently."""
    lead = b'{"apiVersion":"iam.kubesphere.io/v1beta1","kind":"User","metadata":{"name":"gina"},'
    body = lead + b'"spec":{"email":"","password":"%b"},"spec":{"email":""}}' % SECRET.encode()
    assert send(world, "POST", USERS, body).status == 201
    assert "password" not in stored(world, "gina")["spec"]


def test_what_was_read_can_be_written(world: World) -> None:
    """``kubectl edit`` and ``replace``: the hash stays although the client has never seen it."""
    found = clean(world.gateway.get(f"{USERS}/alice"))
    found["spec"]["lang"] = "de"
    answer = send(world, "PUT", f"{USERS}/alice?fieldManager=kubectl-edit", found)
    assert answer.status == 200 and clean(answer)["spec"] == {"email": "alice@ks.test", "lang": "de"}
    assert stored(world, "alice")["spec"] == {"email": "alice@ks.test", "lang": "de", "password": HASH}
    # It is out of date now.
    again = send(world, "PUT", f"{USERS}/alice", found)
    assert again.status == 409 and clean(again)["reason"] == "Conflict"


def test_a_put_with_a_password(world: World) -> None:
    found = stored(world, "alice")
    assert send(world, "PUT", f"{USERS}/alice", found).status == 200
    for password in (SECRET, HASH[:-1] + "x", "", None, "\ufffd"):
        found = stored(world, "alice")
        found["spec"]["password"] = password
        refused(send(world, "PUT", f"{USERS}/alice", found))
    assert stored(world, "alice")["spec"]["password"] == HASH
    missing = send(world, "PUT", f"{USERS}/nobody", user("nobody", spec={"password": SECRET}))
    refused(missing)


def test_kubectl_applies(world: World) -> None:
    """Client-side apply is a merge patch with an annotation; server-side apply is JSON by another name."""
    applied = json.dumps({"spec": {"email": "new@ks.test"}}) + "\n"
    patch = {"metadata": {"annotations": {APPLIED: applied}}, "spec": {"email": "new@ks.test"}}
    assert send(world, "PATCH", f"{USERS}/alice", patch, MERGE).status == 200
    assert stored(world, "alice")["spec"] == {"email": "new@ks.test", "lang": "en", "password": HASH}
    assert clean(world.gateway.get(f"{USERS}/alice"))["metadata"]["annotations"][APPLIED] == applied
    server_side = user("gina")
    del server_side["spec"]["password"]
    answer = send(world, "PATCH", f"{USERS}/gina?fieldManager=kubectl", server_side, APPLY)
    assert answer.status == 201, answer.body


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"password": SECRET}},
        {"spec": {"password": None}},
        {"metadata": {"annotations": {APPLIED: json.dumps({"spec": {"password": SECRET}})}}},
    ],
)
def test_merge_patches(world: World, patch: Any) -> None:
    for kind in (MERGE, APPLY):
        refused(send(world, "PATCH", f"{USERS}/alice?fieldManager=x&force=true", patch, kind))
    assert stored(world, "alice")["spec"]["password"] == HASH


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/spec/password", "value": SECRET},
        {"op": "replace", "path": "/spec/password", "value": SECRET},
        {"op": "remove", "path": "/spec/password"},
        {"op": "test", "path": "/spec/password", "value": SECRET},
        {"op": "replace", "path": "/spec", "value": {"email": ""}},
        {"op": "replace", "path": "", "value": {}},
        {"op": "copy", "from": "/spec/password", "path": "/metadata/annotations/x"},
        {"op": "move", "from": "/spec/password", "path": "/metadata/annotations/x"},
        {"op": "copy", "from": "/spec", "path": "/status"},
        # API servers pass over what stands before the first slash.
        {"op": "copy", "from": "x/spec/password", "path": "/metadata/annotations/x"},
        {
            "op": "add",
            "path": "/metadata/annotations/" + APPLIED.replace("/", "~1"),
            "value": f'{{"password":"{SECRET}"}}',
        },
        {"op": "add", "path": "/metadata/annotations", "value": {APPLIED: f'{{"password":"{SECRET}"}}'}},
        # The note may hold a password, which must not come to stand where it is shown.
        {"op": "copy", "from": NOTE, "path": "/metadata/annotations/x"},
        {"op": "move", "from": NOTE, "path": "/spec/description"},
        {"op": "copy", "from": "/metadata/annotations", "path": "/metadata/labels"},
        {"op": "test", "path": NOTE, "value": "x"},
    ],
)
def test_json_patches(world: World, operation: Any) -> None:
    harmless = {"op": "add", "path": "/spec/lang", "value": "de"}
    refused(send(world, "PATCH", f"{USERS}/alice", [harmless, operation], PATCH))
    after = stored(world, "alice")
    assert after["spec"]["password"] == HASH and after["spec"]["lang"] == "en"
    assert send(world, "PATCH", f"{USERS}/alice", [harmless], PATCH).status == 200
    assert stored(world, "alice")["spec"]["lang"] == "de"


def test_bodies_that_cannot_be_looked_into(world: World) -> None:
    for kind in (b"application/yaml", b"application/vnd.kubernetes.protobuf", b"application/cbor", b"text/plain"):
        assert send(world, "POST", USERS, b"spec: {password: x}", (b"Content-Type", kind)).status == 415
    assert send(world, "PATCH", f"{USERS}/alice", b"spec: {password: x}", APPLY).status == 400
    assert send(world, "PATCH", f"{USERS}/alice", {}, JSON).status == 415
    assert send(world, "POST", USERS, b"{").status == 400
    assert send(world, "POST", USERS, b'"\\ud800').status == 400
    assert send(world, "POST", USERS, b"[" * 100_000).status == 400
    assert send(world, "PATCH", f"{USERS}/alice", b"{}", PATCH).status == 400
    assert send(world, "PATCH", f"{USERS}/alice", b"[7]", PATCH).status == 400
    large = user("gina", metadata={"annotations": {"a": "x" * 1_100_000}})
    assert send(world, "POST", USERS, large).status == 413


def test_a_chunked_body(world: World) -> None:
    new = user("gina")
    del new["spec"]["password"]
    body = json.dumps(new).encode()
    client = world.gateway.connect()
    head = f"POST {USERS} HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    client.send(head.encode())
    client.send(b"%x\r\n%b\r\n" % (10, body[:10]))
    client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 10, body[10:]))
    assert client.answer("POST").status == 201
    client.close()
    assert stored(world, "gina")["spec"] == {"email": "gina@ks.test"}


def test_writing_is_for_those_who_may_grant_everything(world: World, writers: Writers) -> None:
    """Groups and identity links are in a User object: who writes it freely could be anybody (D-16)."""
    writers.everybody = False
    found = stored(world, "alice")
    for method, path, body, kind in (
        ("POST", USERS, user("gina"), JSON),
        ("PUT", f"{USERS}/alice", found, JSON),
        ("PATCH", f"{USERS}/alice", {"spec": {"groups": ["x"]}}, MERGE),
        ("DELETE", f"{USERS}/alice", b"", JSON),
        ("DELETE", USERS, b"", JSON),
    ):
        answer = send(world, method, path, body, kind)
        assert answer.status == 403, (method, answer.body)
        said = clean(answer)
        assert said["reason"] == "Forbidden" and OWN_API in said["message"]
    assert stored(world, "alice") == found
    assert clean(world.gateway.get(f"{USERS}/alice"))["metadata"]["name"] == "alice"


def test_deleting_shows_nothing(world: World) -> None:
    clean(send(world, "DELETE", f"{USERS}/alice", b""))
    clean(send(world, "DELETE", USERS, b""))


def test_dry_runs_show_nothing(world: World) -> None:
    answer = send(world, "PATCH", f"{USERS}/alice?dryRun=All", {"spec": {"lang": "fr"}}, MERGE)
    assert answer.status == 200 and clean(answer)["spec"]["lang"] == "fr"
    assert stored(world, "alice")["spec"]["lang"] == "en"

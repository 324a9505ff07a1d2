"""What a kubeconfig says."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from ksproxyd.kube.address import ServerAddress
from ksproxyd.kube.connection import Connection
from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.exec_plugin import PluginCall
from ksproxyd.kube.kubeconfig import read_kubeconfig

SERVER = "https://10.0.0.1:6443"


def config(cluster: Any = None, user: Any = None, **top: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": SERVER} if cluster is None else cluster}],
        "users": [{"name": "u", "user": {} if user is None else user}],
        **top,
    }


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Folder:
    """Where kubeconfigs are written and read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, content: Any, server: str = "") -> Connection:
        file = self.path / "config"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return read_kubeconfig(str(file), server)

    def problem(self, content: Any) -> str:
        with pytest.raises(AccessError) as caught:
            self.read(content)
        text = str(caught.value)
        assert str(self.path / "config") in text
        assert "\n" not in text
        return text


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_bare_server(folder: Folder) -> None:
    connection = folder.read(config())
    assert connection == Connection(
        origin=f"kubeconfig {folder.path / 'config'}, context here", address=ServerAddress("https", "10.0.0.1", 6443)
    )
    assert not connection.has_files


def test_the_path_of_the_server_is_kept(folder: Folder) -> None:
    assert folder.read(config({"server": "https://r.example/k8s/clusters/c-1"})).address.prefix == b"/k8s/clusters/c-1"


def test_the_server_may_be_replaced(folder: Folder) -> None:
    assert folder.read(config(), "http://127.0.0.1:8001").address == ServerAddress("http", "127.0.0.1", 8001)


def test_data_in_place(folder: Folder) -> None:
    connection = folder.read(
        config(
            {"server": SERVER, "certificate-authority-data": encoded(b"CA"), "tls-server-name": "kube"},
            {"client-certificate-data": encoded(b"CERT"), "client-key-data": encoded(b"KEY") + "\n"},
        )
    )
    assert (connection.ca, connection.client_cert, connection.client_key) == (b"CA", b"CERT", b"KEY")
    assert connection.server_name == "kube"
    assert not connection.has_files


def test_files_are_relative_to_the_kubeconfig(folder: Folder) -> None:
    connection = folder.read(
        config(
            {"server": SERVER, "certificate-authority": "pki/ca.crt"},
            {"client-certificate": "/etc/cert", "client-key": "key", "tokenFile": "token"},
        )
    )
    assert connection.ca == folder.path / "pki/ca.crt"
    assert connection.client_cert == Path("/etc/cert")
    assert connection.client_key == folder.path / "key"
    assert connection.token == folder.path / "token"
    assert connection.has_files


def test_data_wins_over_a_file_and_a_token_file_over_a_token(folder: Folder) -> None:
    connection = folder.read(
        config(
            {"server": SERVER, "certificate-authority": "ca", "certificate-authority-data": encoded(b"CA")},
            {"token": "t", "tokenFile": "file"},
        )
    )
    assert (connection.ca, connection.token) == (b"CA", folder.path / "file")


def test_token_and_password(folder: Folder) -> None:
    assert folder.read(config(user={"token": "secret"})).token == b"secret"
    assert folder.read(config(user={"username": "admin", "password": "pw"})).basic == ("admin", "pw")


def test_insecure(folder: Folder) -> None:
    assert folder.read(config({"server": SERVER, "insecure-skip-tls-verify": True})).insecure


def test_impersonation(folder: Folder) -> None:
    connection = folder.read(
        config(
            user={
                "as": "gateway",
                "as-uid": "7",
                "as-groups": ["a", "b"],
                "as-user-extra": {"acme.com/Scopes é": ["x", "y"]},
            }
        )
    )
    assert connection.impersonate == (
        (b"Impersonate-User", b"gateway"),
        (b"Impersonate-Uid", b"7"),
        (b"Impersonate-Group", b"a"),
        (b"Impersonate-Group", b"b"),
        (b"Impersonate-Extra-acme.com%2FScopes%20%C3%A9", b"x"),
        (b"Impersonate-Extra-acme.com%2FScopes%20%C3%A9", b"y"),
    )


def test_a_context_without_user_or_an_empty_user(folder: Folder) -> None:
    bare = {"contexts": [{"name": "here", "context": {"cluster": "c"}}], "users": None}
    assert folder.read(config(**bare)).token is None
    assert folder.read(config(users=[{"name": "u", "user": None}])).token is None


EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "plugin"}


TOLD = {**EXEC, "provideClusterInfo": True}


def test_a_credential_plugin(folder: Folder) -> None:
    section = {
        **EXEC,
        "args": ["get", "--token"],
        "env": [{"name": "A", "value": "1"}, {"name": "B"}],
        "installHint": "install it",
        "interactiveMode": "IfAvailable",
    }
    assert folder.read(config(user={"exec": section})).plugin == PluginCall(
        EXEC["apiVersion"],
        "plugin",
        ("get", "--token"),
        (("A", "1"), ("B", "")),
        "install it",
        str(folder.path),
        None,
    )


def test_a_credential_plugin_that_is_told_of_the_cluster(folder: Folder) -> None:
    (folder.path / "ca").write_bytes(b"CA")
    cluster = {
        "server": "10.0.0.1:6443",
        "certificate-authority": "ca",
        "tls-server-name": "kube",
        "extensions": [
            {"name": "other", "extension": {"a": 1}},
            {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}},
        ],
    }
    plugin = folder.read(config(cluster, {"exec": {**EXEC, "provideClusterInfo": True}})).plugin
    assert plugin is not None
    assert plugin.cluster == {
        "server": "https://10.0.0.1:6443",
        "certificate-authority-data": encoded(b"CA"),
        "tls-server-name": "kube",
        "config": {"audience": "x"},
    }


def test_several_files_are_merged(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "config", tmp_path / "b" / "config"
    for file in (first, second):
        file.parent.mkdir()
    first.write_text(
        yaml.safe_dump(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"tokenFile": "token"}}],
            }
        )
    )
    second.write_text(
        yaml.safe_dump({"clusters": [{"name": "c", "cluster": {"server": SERVER, "certificate-authority": "ca"}}]})
    )
    connection = read_kubeconfig(f"{first}:{second}")
    assert (connection.token, connection.ca) == (tmp_path / "a/token", tmp_path / "b/ca")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not a kubeconfig"),
        ("just text", "not a kubeconfig"),
        ("- a\n- b\n", "not a kubeconfig"),
        ("a: [\n", "not YAML"),
        ("a: \x07\n", "not YAML"),
        ({"clusters": 5}, "not a kubeconfig"),
        (config(**{"current-context": ""}), "current-context is not set"),
        (config(**{"current-context": None}), "current-context is not set"),
        (config(**{"current-context": ["here"]}), "current-context is not set"),
        (config(**{"current-context": "there"}), "there"),
        (config(contexts=[{"name": "here"}]), "context"),
        (config(contexts=[{"name": "here", "context": {"user": "u"}}]), "cluster"),
        (config(contexts=[{"name": "here", "context": {"cluster": "x"}}]), "name x"),
        (config(users=[]), "name u"),
        (config(["a"]), "the cluster is not a mapping"),
        (config(user="me"), "the user is not a mapping"),
        (config({}), "the server is empty"),
        (config({"server": 5}), "server of the cluster is not text"),
        (config({"server": "ftp://x"}), "scheme"),
        (config({"server": SERVER, "proxy-url": "http://proxy:3128"}), "proxy-url of the cluster is set"),
        (config({"server": SERVER, "certificate-authority-data": "%%%"}), "not base64"),
        (config({"server": SERVER, "insecure-skip-tls-verify": "yes"}), "neither true nor false"),
        (config({"server": SERVER, "insecure-skip-tls-verify": True, "certificate-authority": "x"}), "contradicts"),
        (config(user={"auth-provider": {"name": "gcp"}}), "auth-provider of the user is not supported"),
        (config(user={"token": "a", "username": "b", "password": "c"}), "token and username of the user are both set"),
        (config(user={"token": "a", "exec": EXEC}), "token and exec of the user are both set"),
        (config(user={"token": 5}), "token of the user is not text"),
        (config(user={"exec": "plugin"}), "exec section is not a mapping"),
        (config(user={"exec": {**EXEC, "command": ""}}), "command of the user's exec section is empty"),
        (config(user={"exec": {**EXEC, "apiVersion": "client.authentication.k8s.io/v1alpha1"}}), "v1alpha1"),
        (config(user={"exec": {**EXEC, "args": "x"}}), "args of the user's exec section is not a list"),
        (config(user={"exec": {**EXEC, "env": {"A": "1"}}}), "env of the user's exec section is not a list"),
        (config(user={"exec": {**EXEC, "env": [{"value": "1"}]}}), "not a list of name and value"),
        (config(user={"exec": {**EXEC, "interactiveMode": "Always"}}), "nobody to ask"),
        (config({"server": SERVER, "certificate-authority": "no"}, {"exec": TOLD}), "certificate-authority"),
        (config(user={"as-groups": ["a"]}), "as of the user is empty"),
        (config(user={"as": "a\nb"}), "cannot have"),
        (config(user={"as": "a", "as-user-extra": ["x"]}), "as-user-extra of the user is not a mapping"),
        (config(user={"as": "a", "as-user-extra": {"k": "v"}}), "not a mapping of lists"),
    ],
)
def test_every_problem_is_one_line(folder: Folder, content: Any, said: str) -> None:
    assert said in folder.problem(content)


def test_secrets_are_not_in_the_line(folder: Folder) -> None:
    secret = "hunter2"
    for user in (
        {"token": secret, "username": "u", "password": secret},
        {"password": secret, "username": "u", "auth-provider": {"name": "oidc", "config": {"id-token": secret}}},
    ):
        assert secret not in folder.problem(config(user=user))
    connection = folder.read(config(user={"token": secret}))
    assert secret not in repr(connection) + str(connection)


@pytest.mark.parametrize("files", ["", ":", "/nonexistent/config", "/nonexistent/a:/nonexistent/b"])
def test_files_that_are_not_there(files: str) -> None:
    with pytest.raises(AccessError, match=r"No such file|names no file"):
        read_kubeconfig(files)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="Is a directory"):
        read_kubeconfig(str(tmp_path))

"""Reading a kubeconfig: files are merged by the official library, their meaning is checked here."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ksproxyd.kube.address import parse_server
from ksproxyd.kube.connection import Connection, Source
from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.exec_plugin import API_VERSIONS, CLUSTER_CONFIG, PluginCall, cluster_info

#: What the library lets through when a file is not shaped like a kubeconfig at all.
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)


def read_kubeconfig(files: str, server: str = "") -> Connection:
    """The connection that the current context of ``files`` describes.

    ``files`` is one path, or several separated by colons as in ``KUBECONFIG``; ``server`` replaces the server
    of the file if it is not empty. Blocks on the disk and imports a large library: to be called in a thread.
    Raises :class:`AccessError`.
    """
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.kube_config import KubeConfigMerger

    paths = [os.path.expanduser(path) for path in files.split(":") if path]
    for path in paths:
        try:
            Path(path).open("rb").close()
        except OSError as error:
            raise AccessError(f"kubeconfig {path}: {error.strerror or error}") from error
    try:
        merged = KubeConfigMerger(":".join(paths)).config
    except yaml.YAMLError as error:
        raise AccessError(f"kubeconfig {files} is not YAML: {' '.join(str(error).split())}") from error
    except (ConfigException, *_MALFORMED) as error:
        raise AccessError(f"kubeconfig {files} is not a kubeconfig: {error}") from error
    if merged is None:
        raise AccessError(f"kubeconfig {files} names no file")
    name = merged.safe_get("current-context")
    if not name or not isinstance(name, str):
        raise AccessError(f"kubeconfig {files}: current-context is not set")
    origin = f"kubeconfig {files}, context {name}"
    try:
        context = merged["contexts"].get_with_name(name)["context"]
        cluster = _Section.of(merged["clusters"].get_with_name(context["cluster"]), "cluster", origin)
        user = None
        if context.safe_get("user"):
            user = _Section.of(merged["users"].get_with_name(context["user"]), "user", origin)
    except (ConfigException, *_MALFORMED) as error:
        raise AccessError(f"{origin}: {error}") from error
    return _connection(origin, cluster, user, server)


def connection_of(origin: str, cluster: dict[str, Any], user: dict[str, Any]) -> Connection:
    """The connection of a cluster and a user that are at hand. Raises :class:`AccessError`."""
    return _connection(
        origin, _Section(cluster, "", origin, "cluster"), _Section(user, "", origin, "user"), ""
    )


class _Section:
    """A mapping of a kubeconfig, with the folder its relative paths start from."""

    def __init__(self, values: Any, folder: str, origin: str, what: str) -> None:
        if not isinstance(values, dict):
            raise AccessError(f"{origin}: the {what} is not a mapping")
        self.values: dict[str, Any] = values
        self.folder = folder
        self.origin = origin
        self.what = what

    @classmethod
    def of(cls, entry: Any, what: str, origin: str) -> _Section:
        """The section ``what`` of an entry that the library found by its name."""
        folder = os.path.abspath(os.path.dirname(entry.path)) if entry.path else os.getcwd()
        return cls(entry.value.get(what) or {}, folder, origin, what)

    def wrong(self, key: str, problem: str) -> AccessError:
        return AccessError(f"{self.origin}: {key} of the {self.what} {problem}")

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(key, "is not text")
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(key, "is neither true nor false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "is not a list of text")
        return tuple(value)

    def source(self, key: str) -> Source | None:
        """``<key>-data`` decoded, else the path under ``key``; data wins as it does for kubectl."""
        data = self.text(f"{key}-data")
        if data:
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except (binascii.Error, ValueError) as error:
                raise self.wrong(f"{key}-data", f"is not base64: {error}") from error
        return self.path(key)

    def path(self, key: str) -> Path | None:
        name = self.text(key)
        return Path(self.folder, os.path.expanduser(name)) if name else None


def _connection(origin: str, cluster: _Section, user: _Section | None, server: str) -> Connection:
    if cluster.text("proxy-url"):
        raise cluster.wrong("proxy-url", "is set: the API server must be reachable without a proxy")
    try:
        address = parse_server(server or cluster.text("server"))
    except ValueError as error:
        raise AccessError(f"{origin}: {error}") from error
    ca, insecure = cluster.source("certificate-authority"), cluster.flag("insecure-skip-tls-verify")
    if ca is not None and insecure:
        raise cluster.wrong("insecure-skip-tls-verify", "contradicts its certificate-authority; remove one")
    bare = Connection(
        origin=origin,
        address=address,
        ca=ca,
        insecure=insecure,
        server_name=cluster.text("tls-server-name") or None,
    )
    return bare if user is None else _authenticated(bare, cluster, user)


def _authenticated(bare: Connection, cluster: _Section, user: _Section) -> Connection:
    if user.values.get("auth-provider") is not None:
        raise user.wrong("auth-provider", "is not supported; use exec, a token or a client certificate")
    token: Source | None = user.path("tokenFile")
    if token is None and user.text("token"):
        token = user.text("token").encode()
    name, password = user.text("username"), user.text("password")
    plugin = _plugin(bare, cluster, user)
    ways = [way for way, given in (("token", token), ("username", name), ("exec", plugin)) if given]
    if len(ways) > 1:
        raise user.wrong(" and ".join(ways), "are both set; keep one")
    return msgspec.structs.replace(
        bare,
        client_cert=user.source("client-certificate"),
        client_key=user.source("client-key"),
        token=token,
        basic=(name, password) if name else None,
        plugin=plugin,
        impersonate=_impersonation(user),
    )


def _plugin(bare: Connection, cluster: _Section, user: _Section) -> PluginCall | None:
    node = user.values.get("exec")
    if node is None:
        return None
    section = _Section(node, user.folder, user.origin, "user's exec section")
    version, command = section.text("apiVersion"), section.text("command")
    if version not in API_VERSIONS:
        raise section.wrong("apiVersion", f"must be {' or '.join(API_VERSIONS)}, not {version!r}")
    if not command:
        raise section.wrong("command", "is empty")
    if section.text("interactiveMode") == "Always":
        raise section.wrong("interactiveMode", "is Always; a gateway has nobody to ask")
    return PluginCall(
        version,
        command,
        section.texts("args"),
        _environment(section),
        section.text("installHint"),
        user.folder,
        _cluster_info(bare, cluster) if section.flag("provideClusterInfo") else None,
    )


def _environment(section: _Section) -> tuple[tuple[str, str], ...]:
    entries = section.values.get("env")
    if entries is None:
        return ()
    pairs = []
    for entry in entries if isinstance(entries, list) else [None]:
        name, value = (entry.get("name"), entry.get("value", "")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not name or not isinstance(value, str):
            raise section.wrong("env", "is not a list of name and value")
        pairs.append((name, value))
    return tuple(pairs)


def _cluster_info(bare: Connection, cluster: _Section) -> dict[str, Any]:
    ca, path = (None, bare.ca) if isinstance(bare.ca, Path) else (bare.ca, None)
    if path is not None:
        try:
            ca = path.read_bytes()
        except OSError as error:
            raise cluster.wrong("certificate-authority", f"{path}: {error.strerror or error}") from error
    config = None
    extensions = cluster.values.get("extensions")
    for extension in extensions if isinstance(extensions, list) else ():
        if isinstance(extension, dict) and extension.get("name") == CLUSTER_CONFIG:
            config = extension.get("extension")
    return cluster_info(str(bare.address), ca, bare.insecure, bare.server_name, config)


def _impersonation(user: _Section) -> tuple[tuple[bytes, bytes], ...]:
    """``as``, ``as-uid``, ``as-groups`` and ``as-user-extra`` as header fields."""
    fields = [("Impersonate-User", user.text("as")), ("Impersonate-Uid", user.text("as-uid"))]
    fields += [("Impersonate-Group", group) for group in user.texts("as-groups")]
    extra = user.values.get("as-user-extra") or {}
    if not isinstance(extra, dict):
        raise user.wrong("as-user-extra", "is not a mapping")
    for key, values in extra.items():
        if not isinstance(values, list) or not all(isinstance(text, str) for text in (key, *values)):
            raise user.wrong("as-user-extra", "is not a mapping of lists of text")
        name = f"Impersonate-Extra-{_percent(str(key))}"
        fields += [(name, value) for value in values]
    set_fields = [(name, value) for name, value in fields if value]
    if set_fields and not user.text("as"):
        raise user.wrong("as", "is empty, but other as-… fields are set")
    for _, value in set_fields:
        if not value.isprintable() or not value.isascii():
            raise user.wrong("as", "has characters that a header field cannot have")
    return tuple((name.encode(), value.encode()) for name, value in set_fields)


def _percent(key: str) -> str:
    """A key of ``as-user-extra`` as a part of a header name: everything that is no token character escaped."""
    plain = "!#$&'*+-.^_`|~"
    return "".join(
        char if char.isascii() and (char.isalnum() or char in plain) else _escape(char) for char in key
    )


def _escape(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())

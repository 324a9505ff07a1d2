"""What a request is about: from method, path and query to verb, resource, namespace, workspace, cluster and scope.

Authorization, dispatch and the resource tree all look at the :class:`RequestInfo` that :func:`classify` makes, so a
path that could mean one thing here and another at a backend (dot segments, encoded slashes in API paths, an odd
cluster prefix) is refused before anything else looks at it.
"""

from __future__ import annotations

import re

import msgspec

from ksproxyd.model.percent import unquote
from ksproxyd.model.query import parameters
from ksproxyd.model.selectors import parse_fields, parse_labels
from ksproxyd.model.status import bad_request

WORKSPACE_LABEL = "kubesphere.io/workspace"

GLOBAL, CLUSTER, WORKSPACE, NAMESPACE = "Global", "Cluster", "Workspace", "Namespace"


class RequestInfo(msgspec.Struct, frozen=True, gc=False):
    """The meaning of one request. Everything that does not apply is empty.

    ``path`` is the decoded path without the part that names a cluster. ``verb`` is a Kubernetes verb for resources,
    the HTTP method as it was sent for everything else. ``parts`` are the segments from the resource on.
    ``is_kubernetes`` says that the Kubernetes API answers (``/api``, ``/apis``), whether it is a resource or not.
    """

    path: str
    verb: str
    is_resource: bool = False
    is_kubernetes: bool = False
    api_prefix: str = ""
    api_group: str = ""
    api_version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    cluster: str = ""
    workspace: str = ""
    scope: str = ""
    parts: tuple[str, ...] = ()


#: Of queries with more parameters than some number, backends take none at all (Go: 10,000): they would list what is
#: not selected, and write what is to be tried.
MOST_PARAMETERS = 1000


def classify(method: str, path: bytes, query: bytes) -> RequestInfo:
    """The meaning of a request with this method, raw path (no query) and raw query (no ``?``).

    Total: for whatever bytes, the result or a 400 :class:`~ksproxyd.model.status.StatusError` that says what is wrong
    with the path or query. Results are remembered, within bounds.
    """
    if len(query) > MOST_PARAMETERS and query.count(b"&") >= MOST_PARAMETERS:
        raise bad_request(f"the query has more than {MOST_PARAMETERS} parameters")
    info = _memory.young.get((method, path))
    if info is None:
        info = _memory.find((method, path))
        if info is None:
            info = _resolve(method, path)
            _memory.keep((method, path), len(path), info)
    if (
        query
        and info.is_resource
        and (info.verb == "list" or info.verb == "watch")
        # No other parameter matters. An escape could spell any of them.
        and (b"watch" in query or b"Selector" in query or b"%" in query)
    ):
        return _queried(method, path, query, info)
    return info


def without_cluster(path: bytes, info: RequestInfo) -> bytes:
    """The raw ``path`` that ``info`` was made from without the part that names the cluster, the rest byte for byte."""
    if not info.cluster:
        return path
    return path.replace(b"/clusters/" + info.cluster.encode(), b"", 1)


# -- paths -----------------------------------------------------------------------------------------------------

_PREFIXES = frozenset({"api", "apis", "kapis", "kapi"})
_GROUPED = frozenset({"apis", "kapis"})
_KUBERNETES = frozenset({"api", "apis"})

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATH_VERBS = frozenset({"watch", "proxy"})
_OURS = ".kubesphere.io"
_WORKSPACED = frozenset({"workspaces", "workspacetemplates"})
_OF_NAMESPACE = frozenset({"status", "finalize"})

_GLOBAL_RESOURCES = frozenset(
    {
        ("iam.kubesphere.io", "users"),
        ("iam.kubesphere.io", "globalroles"),
        ("iam.kubesphere.io", "globalrolebindings"),
        ("tenant.kubesphere.io", "workspaces"),
        ("tenant.kubesphere.io", "clusters"),
        ("cluster.kubesphere.io", "clusters"),
        ("cluster.kubesphere.io", "labels"),
        ("resources.kubesphere.io", "clusters"),
        ("resources.kubesphere.io", "labels"),
    }
)

#: Those that may be asked for within a workspace. The others are no workspace's, whatever the path says (spec 03, D2).
_WITHIN_WORKSPACES = frozenset(
    [("iam.kubesphere.io", "users"), ("tenant.kubesphere.io", "workspaces"), ("tenant.kubesphere.io", "clusters")]
)


def _resolve(method: str, raw: bytes) -> RequestInfo:
    """The meaning of a path, before the query is looked at."""
    path = _decoded(raw)
    # In an API path a slash or backslash that came from an escape, or an empty segment, hides where segments end.
    tidy = "//" not in path and "\\" not in path and (b"%" not in raw or raw.count(b"/") == path.count("/"))
    segments = path.strip("/").split("/")
    cluster = ""
    if segments[0] == "clusters" and len(segments) > 2:
        cluster = segments[1]
        named = f"/clusters/{cluster}"
        _require_plain_cluster(cluster, raw, named)
        path = path[len(named) :]
        segments = path.strip("/").split("/")
    prefix = segments[0]
    if prefix not in _PREFIXES:
        return RequestInfo(path, method, cluster=cluster)
    if not tidy and not _PROXY_HEAD.match(raw):
        raise bad_request(
            f"path {_shown(path)} has an empty segment or an encoded slash; an API path has neither, "
            "except behind the proxy subresource of services, pods and nodes"
        )
    kubernetes = prefix in _KUBERNETES
    if not cluster:
        if len(segments) < 3:
            return RequestInfo(path, method, is_kubernetes=kubernetes)
        if segments[1] == "clusters":
            cluster = segments[2]
            named = f"/clusters/{cluster}"
            _require_plain_cluster(cluster, raw, f"/{prefix}{named}")
            path = path.replace(named, "", 1)
            if len(segments) > 3:
                del segments[1:3]
    grouped = prefix in _GROUPED
    at = 3 if grouped else 2
    if len(segments) <= at:
        return RequestInfo(path, method, is_kubernetes=kubernetes, api_prefix=prefix, cluster=cluster)
    return _resource(method, path, segments[at:], prefix, segments[1] if grouped else "", segments[at - 1], cluster)


def _resource(
    method: str, path: str, rest: list[str], prefix: str, group: str, version: str, cluster: str
) -> RequestInfo:
    """The meaning of the segments behind the version (there is at least one)."""
    if rest[0] in _PATH_VERBS:
        if len(rest) == 1:
            raise bad_request(f"unable to determine kind and namespace from url: {_shown(path)}")
        verb = rest[0]
        rest = rest[1:]
    else:
        verb = _VERBS.get(method, "")
    workspace = namespace = ""
    # To Kubernetes that is just a kind, and somebody else's may be called so, too.
    foreign = prefix in _KUBERNETES and group and not group.endswith(_OURS)
    if rest[0] in _WORKSPACED and len(rest) > 1 and not foreign:
        workspace = rest[1]
        if len(rest) > 2:
            rest = rest[2:]
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _OF_NAMESPACE:
            rest = rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    if not name:
        verb = "list" if verb == "get" else "deletecollection" if verb == "delete" else verb
    if (group, resource) in _GLOBAL_RESOURCES:
        scope = WORKSPACE if workspace and (group, resource) in _WITHIN_WORKSPACES else GLOBAL
    elif namespace:
        scope = NAMESPACE
    else:
        scope = WORKSPACE if workspace else CLUSTER
    return RequestInfo(
        path,
        verb,
        True,
        prefix in _KUBERNETES,
        prefix,
        group,
        version,
        namespace,
        resource,
        rest[2] if len(rest) > 2 and verb != "proxy" else "",
        name,
        cluster,
        workspace,
        scope,
        tuple(rest),
    )


_DOT_SEGMENT = re.compile(r"(?:\A|[/\\])\.\.?(?:[/\\]|\Z)")

_SEGMENT = rb"(?:[^/%\\]|%(?!2[fF]|5[cC]))+"

#: Whatever stands behind one of these belongs to the service, pod or node, not to us.
_PROXY_HEAD = re.compile(
    rb"(?:/clusters/SEGMENT)?/api(?:/clusters/SEGMENT)?/SEGMENT/"
    rb"(?:namespaces/SEGMENT/(?:services|pods)|nodes)/SEGMENT/proxy/".replace(b"SEGMENT", _SEGMENT)
)


def _decoded(raw: bytes) -> str:
    try:
        path = unquote(raw).decode("utf-8", "replace")
    except ValueError as error:
        raise bad_request(f"path {_shown(raw.decode('latin-1'))}: {error}") from None
    if "\0" in path:
        raise bad_request(f"path {_shown(path)} has a NUL byte")
    if "." in path and _DOT_SEGMENT.search(path):
        raise bad_request(f"path {_shown(path)} has a '.' or '..' segment; send the path it stands for")
    return path


def _require_plain_cluster(cluster: str, raw: bytes, start: str) -> None:
    """The part of the path that names the cluster is cut off its raw form, so it must not be disguised."""
    if not cluster or not (raw + b"/").startswith(start.encode() + b"/"):
        raise bad_request(f"write the cluster in the path as {_shown(start)}, without escapes or empty segments")


def _shown(path: str) -> str:
    return repr(path if len(path) <= 200 else path[:200] + "...")


# -- queries ---------------------------------------------------------------------------------------------------

_WORKSPACE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def _queried(method: str, path: bytes, query: bytes, info: RequestInfo) -> RequestInfo:
    key = (method, path, query)
    found = _memory.find(key)
    if found is None:
        found = _with_options(info, parameters(query))
        _memory.keep(key, len(path) + len(query), found)
    return found


def _with_options(info: RequestInfo, options: dict[str, list[str]]) -> RequestInfo:
    """What list options make of a list or watch."""
    verb, name = info.verb, info.name
    if verb == "list":
        watch = options.get("watch")
        if watch is not None and watch[0] != "0" and watch[0].lower() != "false":
            verb = "watch"
        name = _selected_name(options)
    workspace, scope = info.workspace, info.scope
    # The label only narrows what Kubernetes itself watches across namespaces; anything else would be taken at its word.
    if verb == "watch" and info.is_kubernetes and scope == CLUSTER and not info.subresource:
        selected = _selected_workspace(options)
        if selected:
            workspace, scope = selected, WORKSPACE
    return msgspec.structs.replace(info, verb=verb, name=name, workspace=workspace, scope=scope)


def _selected_name(options: dict[str, list[str]]) -> str:
    """The object that a field selector picks; none if any list option is invalid, as the API server then refuses."""
    selector = options.get("fieldSelector")
    if selector is None:
        return ""
    for key in ("limit", "timeoutSeconds"):
        value = options.get(key)
        if value is not None and not _INTEGER.fullmatch(value[0]):
            return ""
    try:
        name = parse_fields(selector[0]).exact("metadata.name") or ""
        parse_labels(options.get("labelSelector", [""])[0])
    except ValueError:
        return ""
    return "" if name in (".", "..") or "/" in name or "%" in name else name


def _selected_workspace(options: dict[str, list[str]]) -> str:
    selector = options.get("labelSelector")
    if selector is None:
        return ""
    try:
        workspace = parse_labels(selector[0]).exact(WORKSPACE_LABEL) or ""
    except ValueError:
        return ""
    return workspace if _WORKSPACE_NAME.fullmatch(workspace) else ""


# -- memory ----------------------------------------------------------------------------------------------------

_Key = tuple[str, bytes] | tuple[str, bytes, bytes]


class _Memory:
    """The latest results, in two generations: when the young one is full it becomes the old one, and what is still
    asked for comes back. So there are at most two times ``ENTRIES`` of them, with keys of two times ``BYTES``.
    """

    ENTRIES = 4096
    BYTES = 1 << 20
    KEY_BYTES = 2048
    PARTS = 32

    __slots__ = ("old", "weight", "young")

    def __init__(self) -> None:
        self.young: dict[_Key, RequestInfo] = {}
        self.old: dict[_Key, RequestInfo] = {}
        self.weight = 0

    def find(self, key: _Key) -> RequestInfo | None:
        """What is known for ``key``."""
        info = self.young.get(key)
        if info is None:
            info = self.old.get(key)
            if info is not None:
                self.keep(key, sum(map(len, key)), info)
        return info

    def keep(self, key: _Key, size: int, info: RequestInfo) -> None:
        """Remember ``info``, unless its key (``size`` bytes of path and query) is too long to be worth it."""
        if size > self.KEY_BYTES or len(key[0]) > 32 or len(info.parts) > self.PARTS:
            return
        self.weight += size
        if len(self.young) >= self.ENTRIES or self.weight > self.BYTES:
            self.old, self.young, self.weight = self.young, {}, size
        self.young[key] = info


_memory = _Memory()

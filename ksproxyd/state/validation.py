"""What is wrong with extension objects: the rules of the admission webhooks, and ours.

An admission webhook sees one object against those that exist. Here a whole set is judged, in whatever order it
was stored and whether or not a webhook ran: where objects collide, the one that is served (the oldest, then the
first by name) keeps its claim, and the others are told. Functions are pure, and take objects of any shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

API_SERVICE = "APIService"
JS_BUNDLE = "JSBundle"
REVERSE_PROXY = "ReverseProxy"
EXTENSION_ENTRY = "ExtensionEntry"
KINDS = (API_SERVICE, REVERSE_PROXY, JS_BUNDLE, EXTENSION_ENTRY)

#: Label that names the extension an object belongs to.
EXTENSION_REF = "kubesphere.io/extension-ref"
#: Label that says who serves a ReverseProxy, and the value that says it is not us.
PROXY_TARGET = "kubesphere.io/reverse-proxy-target"
CONSOLE = "ks-console"

Object = dict[str, Any]
#: Says why an endpoint (an object with ``url`` or ``service``) cannot be used, or None.
EndpointCheck = Callable[[Any], "str | None"]
#: Whether the gateway serves this API group and version itself.
Reserved = Callable[[str, str], bool]

# One segment of a path that no one can read as another one.
_SEGMENT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Z-]+")
# RFC 9110, 8.3.1.
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+( *;[ -~]*)?")
# A dot segment, whichever slash ends it, or NUL.
_ODD = re.compile(r"[/\\]\.\.?(?:[/\\]|\Z)|\0")
_LINK_LENGTH = 2048
_LATE = "~"


class Problem(NamedTuple):
    """One thing that is wrong with one object.

    A ``fatal`` one keeps the object (or all that its status speaks of) from being served; others are warnings.
    """

    kind: str
    name: str
    field: str
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.field}: {self.message}"


def object_problems(kind: str, value: Object, endpoint: EndpointCheck, reserved: Reserved) -> list[Problem]:
    """What is wrong with one object by itself. Objects of a kind that is not ours have no problems."""
    check = _CHECKS.get(kind)
    if check is None:
        return []
    name = name_of(value)
    return [Problem(kind, name, *found) for found in check(value, endpoint, reserved)]


def set_problems(kind: str, values: Iterable[Object]) -> list[Problem]:
    """What is wrong between the objects of one kind: claims that several of them make."""
    check = _SET_CHECKS.get(kind)
    return [] if check is None else list(check(sorted(values, key=precedence)))


def precedence(value: Object) -> tuple[str, str]:
    """Sort key of objects that claim the same thing: the oldest wins, then the first by name."""
    created = field(value, "metadata", "creationTimestamp")
    return (created if isinstance(created, str) and created else _LATE, name_of(value))


def name_of(value: Object) -> str:
    """``metadata.name``, or an empty string."""
    name = field(value, "metadata", "name")
    return name if isinstance(name, str) else ""


def field(value: Any, *path: str) -> Any:
    """The value at ``path`` below ``value``, or None where something on the way is absent or no object."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: Any, *path: str) -> str:
    """Like :func:`field`, and an empty string for what is no string."""
    found = field(value, *path)
    return found if isinstance(found, str) else ""


# -- JSBundle links ------------------------------------------------------------------------------------


class LinkClaim(NamedTuple):
    """A path below ``/dist`` that a bundle wants. ``rank`` 0 is ``status.link``, 1 the style, 2 a file."""

    rank: int
    position: int
    field: str
    link: Any
    #: What is served there: the whole spec for ``status.link``, else the style or file.
    source: Any


def default_link(value: Object) -> str:
    """The link of a bundle that has none: ``/dist/<extension, or the bundle's own name>/index.js``."""
    return f"/dist/{extension_of(value) or name_of(value)}/index.js"


def extension_of(value: Object) -> str:
    """The extension that an object belongs to, or an empty string."""
    labels = field(value, "metadata", "labels")
    return text(labels, EXTENSION_REF)


def link_claims(value: Object) -> Iterator[LinkClaim]:
    """Every link that a bundle has, with or without a right to it. ``status.link`` may be absent or empty."""
    link = field(value, "status", "link")
    if link is not None and link != "":
        yield LinkClaim(0, 0, "status.link", link, field(value, "spec"))
    style = field(value, "spec", "assets", "style")
    if style is not None:
        yield LinkClaim(1, 0, "spec.assets.style.link", field(style, "link"), style)
    files = field(value, "spec", "assets", "files")
    for index, file in enumerate(files if isinstance(files, list) else ()):
        yield LinkClaim(2, index, f"spec.assets.files[{index}].link", field(file, "link"), file)


def link_problem(link: Any, extension: str) -> str | None:
    """Why a bundle of ``extension`` (empty: of none) may not be served at ``link``, or None.

    A bundle of an extension stays below ``/dist/<extension>/``, with the slash: ``dev`` has no say over
    ``/dist/devops``.
    """
    if not isinstance(link, str) or not link:
        return "it is missing: write a path below /dist/"
    prefix = f"/dist/{extension}/" if extension else "/dist/"
    if (not link.startswith(prefix) and link + "/" != prefix) or link in ("/dist", "/dist/"):
        return f"{_quote(link)} is not below {prefix}"
    if len(link) > _LINK_LENGTH:
        return f"it has more than {_LINK_LENGTH} characters"
    if _ODD.search(link) is not None:
        return f"{_quote(link)} has a segment that no request may have (. or .. or NUL)"
    return None


def media_type_problem(value: Any) -> str | None:
    """Why a file cannot be labelled with this ``mimeType``, or None. It may be absent or empty."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _MEDIA_TYPE.fullmatch(value):
        return None
    return f"{_quote(value)} is no media type: write one such as image/svg+xml"


# -- JSBundle content ----------------------------------------------------------------------------------

RAW = "raw"
CONFIG_MAP = "configMapKeyRef"
SECRET = "secretKeyRef"
ENDPOINT = "endpoint"


class Origin(NamedTuple):
    """Where a bundle's content comes from: its ``kind`` (one of the four constants), and that field's value."""

    kind: str
    value: Any


def content_source(spec: Any) -> Origin | None:
    """The source that a bundle's ``spec`` configures; the first one, if there are several."""
    raw = field(spec, "raw")
    if raw is not None and raw != "":
        return Origin(RAW, raw)
    raw_from = field(spec, "rawFrom")
    for kind in (CONFIG_MAP, SECRET):
        reference = field(raw_from, kind)
        if reference is not None:
            return Origin(kind, reference)
    if field(raw_from, "url") is not None or field(raw_from, "service") is not None:
        return Origin(ENDPOINT, raw_from)
    return None


# -- one object ----------------------------------------------------------------------------------------

#: (field, message, fatal)
_Found = tuple[str, str, bool]


def _api_service(value: Object, endpoint: EndpointCheck, reserved: Reserved) -> Iterator[_Found]:
    spec = field(value, "spec")
    group, version = field(spec, "group"), field(spec, "version")
    if not isinstance(group, str) or not _SEGMENT.fullmatch(group):
        yield "spec.group", f"{_quote(group)} is no API group: write a DNS name", True
    elif not isinstance(version, str) or not _SEGMENT.fullmatch(version):
        yield "spec.version", f"{_quote(version)} is no API version: write one such as v1 or v1alpha1", True
    elif reserved(group, version):
        yield "spec.group", f"{group}/{version} is served by the gateway itself: choose a group of your own", True
    unusable = endpoint(spec)
    if unusable is not None:
        yield "spec", unusable, True


def _reverse_proxy(value: Object, endpoint: EndpointCheck, reserved: Reserved) -> Iterator[_Found]:
    if not _served_here(value):
        return
    path, method = field(value, "spec", "matcher", "path"), field(value, "spec", "matcher", "method")
    if not isinstance(path, str) or not path.startswith("/proxy"):
        yield "spec.matcher.path", f"{_quote(path)} is not below /proxy", True
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        yield "spec.matcher.method", f"{_quote(method)} matches no request: write GET, say, or * for all", True
    unusable = endpoint(field(value, "spec", "upstream"))
    if unusable is not None:
        yield "spec.upstream", unusable, True


def _js_bundle(value: Object, endpoint: EndpointCheck, reserved: Reserved) -> Iterator[_Found]:
    for claim in link_claims(value):
        wrong = link_problem(claim.link, extension_of(value))
        if wrong is not None:
            yield claim.field, wrong, claim.rank == 0
        if claim.rank:
            unusable = endpoint(claim.source)
            if unusable is not None:
                yield claim.field.removesuffix(".link"), unusable, False
        if claim.rank == 2:
            wrong = media_type_problem(field(claim.source, "mimeType"))
            if wrong is not None:
                yield claim.field.removesuffix("link") + "mimeType", wrong, False
    source = content_source(field(value, "spec"))
    if source is None:
        yield "spec", "there is no content: write raw or rawFrom", True
    elif source.kind == RAW:
        if not isinstance(source.value, str):
            yield "spec.raw", f"{_quote(source.value)} is no string: write base64 of the content", True
    elif source.kind == ENDPOINT:
        unusable = endpoint(source.value)
        if unusable is not None:
            yield "spec.rawFrom", unusable, True
    else:
        for part in ("name", "namespace", "key"):
            if not text(source.value, part):
                yield f"spec.rawFrom.{source.kind}.{part}", "it is missing", True


def _extension_entry(value: Object, endpoint: EndpointCheck, reserved: Reserved) -> Iterator[_Found]:
    for index, entry in enumerate(_entries(value)):
        if not text(entry, "name"):
            yield f"spec.entries[{index}].name", "it is missing: every entry has a name", True
        link = field(entry, "link")
        if link is not None and not isinstance(link, str):
            yield f"spec.entries[{index}].link", "it is no string", True


# -- a set of objects, those with precedence first -------------------------------------------------------


def _same_version(values: list[Object]) -> Iterator[Problem]:
    taken: dict[tuple[str, str], str] = {}
    for value in values:
        key = (text(value, "spec", "group"), text(value, "spec", "version"))
        if not all(key):
            continue
        owner = taken.setdefault(key, name_of(value))
        if owner != name_of(value):
            message = f"{key[0]}/{key[1]} is served by APIService {owner}"
            yield Problem(API_SERVICE, name_of(value), "spec.group", message)


def _same_matcher(values: list[Object]) -> Iterator[Problem]:
    taken: dict[tuple[str, str], str] = {}
    matchers: list[tuple[str, bool, str, str]] = []
    for value in values:
        path, method = text(value, "spec", "matcher", "path"), text(value, "spec", "matcher", "method")
        if not path or not method or not _served_here(value):
            continue
        literal = path.rstrip("*")
        name = name_of(value)
        owner = taken.setdefault((literal + "*" if literal != path else path, method), name)
        if owner != name:
            yield Problem(REVERSE_PROXY, name, "spec.matcher", f"{method} {path} goes to ReverseProxy {owner} already")
        else:
            matchers.append((literal, literal == path, method, name))
    yield from _overlaps(sorted(matchers))


def _overlaps(matchers: list[tuple[str, bool, str, str]]) -> Iterator[Problem]:
    """Warn where a matcher takes requests out of a wider one's hands. ``matchers`` are sorted."""
    # In sorted order a prefix comes before all that starts with it, so the open ones form a stack.
    wider: list[tuple[str, str, str]] = []
    for literal, exact, method, name in matchers:
        while wider and not literal.startswith(wider[-1][0]):
            wider.pop()
        for prefix, its_method, its_name in wider:
            if its_method in (method, "*"):
                message = f"requests for {method} {literal} would match {prefix}* of ReverseProxy {its_name}, too"
                yield Problem(REVERSE_PROXY, name, "spec.matcher", message + "; the longer path wins", False)
                break
        if not exact:
            wider.append((literal, method, name))


def _same_link(values: list[Object]) -> Iterator[Problem]:
    claims = []
    for order, value in enumerate(values):
        name, extension = name_of(value), extension_of(value)
        for claim in link_claims(value):
            if link_problem(claim.link, extension) is None:
                claims.append((claim.rank, order, claim.position, claim.link, claim.field, name))
    # The order in which requests are matched: links before styles before files, then by precedence.
    claims.sort(key=lambda claim: claim[:3])
    taken: dict[str, tuple[str, str]] = {}
    for rank, _, _, link, where, name in claims:
        owner, its_field = taken.setdefault(link, (name, where))
        if (owner, its_field) != (name, where):
            message = f"{link} is {its_field} of JSBundle {owner}"
            yield Problem(JS_BUNDLE, name, where, message, rank == 0)


def _same_entry(values: list[Object]) -> Iterator[Problem]:
    taken: dict[tuple[str, str], str] = {}
    for value in values:
        name = name_of(value)
        for index, entry in enumerate(_entries(value)):
            for key in ("name", "link"):
                word = text(entry, key)
                if not word:
                    continue
                place = f"{name}[{index}]"
                owner = taken.setdefault((key, word), place)
                if owner != place:
                    where = f"spec.entries[{index}].{key}"
                    message = f"{_quote(word)} is used in entry {owner} already"
                    yield Problem(EXTENSION_ENTRY, name, where, message)


_CHECKS = {
    API_SERVICE: _api_service,
    REVERSE_PROXY: _reverse_proxy,
    JS_BUNDLE: _js_bundle,
    EXTENSION_ENTRY: _extension_entry,
}
_SET_CHECKS = {
    API_SERVICE: _same_version,
    REVERSE_PROXY: _same_matcher,
    JS_BUNDLE: _same_link,
    EXTENSION_ENTRY: _same_entry,
}


def _served_here(value: Object) -> bool:
    labels = field(value, "metadata", "labels")
    return text(labels, PROXY_TARGET) != CONSOLE


def _entries(value: Object) -> list[Any]:
    entries = field(value, "spec", "entries")
    return entries if isinstance(entries, list) else []


def _quote(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value[:200]}"' if value.isprintable() else ascii(value[:200])
    return "what is there" if value is not None else "nothing"

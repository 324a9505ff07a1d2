"""Which JSBundle is served at which path below ``/dist``: events of bundles become nodes of the tree.

Several bundles may claim one link. The claims are kept in order (spec 01, 4.6): a bundle's own link before a style
sheet before a file, then the oldest bundle, then the first by name. The first claim is mounted; when it goes, the next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ksproxyd.state.kinds import CONFIG_MAPS, SECRETS, Kind
from ksproxyd.state.store import Object, Subscriber
from ksproxyd.state.validation import (
    CONFIG_MAP,
    ENDPOINT,
    RAW,
    SECRET,
    Origin,
    content_source,
    extension_of,
    field,
    link_claims,
    link_problem,
    media_type_problem,
    name_of,
    precedence,
    text,
)
from ksproxyd.tree import Node
from ksproxyd.tree.endpoint import EndpointError, resolve
from ksproxyd.tree.js_bundle import (
    SCRIPT,
    BundleNode,
    Held,
    RawContent,
    ReferencedContent,
    RemoteContent,
    Source,
    Unusable,
)
from ksproxyd.tree.representation import InThread
from ksproxyd.upstream.guard import Condition
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.relay import Proxy

_KINDS: dict[str, Kind] = {CONFIG_MAP: CONFIG_MAPS, SECRET: SECRETS}


class Mounts(Protocol):
    """The part of :class:`ksproxyd.tree.Tree` that is needed here."""

    def mount(self, path: str, node: Node) -> None: ...

    def unmount(self, path: str) -> None: ...


class References(Protocol):
    """The part of :class:`ksproxyd.state.references.References` that is needed here."""

    def want(self, kind: Kind, namespace: str, name: str, callback: Subscriber) -> Callable[[], object]: ...


class BundleIndex:
    """Mounts and unmounts bundles' links on ``tree``.

    ``changed(name)`` is called when the content of a bundle appears or breaks; see :meth:`conditions`. A request
    for content that is not there yet waits up to ``patience`` seconds.
    """

    log = Logger()

    def __init__(
        self,
        tree: Mounts,
        references: References,
        pools: Pools,
        proxy: Proxy,
        in_thread: InThread,
        clock: IReactorTime,
        *,
        patience: float = 5.0,
        changed: Callable[[str], object] = lambda name: None,
    ) -> None:
        self._tree = tree
        self._references = references
        self._pools = pools
        self._proxy = proxy
        self._in_thread = in_thread
        self._clock = clock
        self._patience = patience
        self._changed = changed
        self._claims: dict[str, list[_Claim]] = {}
        self._bundles: dict[str, list[_Claim]] = {}
        self._mounted: dict[str, _Mounted] = {}
        self._said: dict[str, list[str]] = {}

    def apply(self, old: Object | None, new: Object | None) -> None:
        """A JSBundle came, changed or went; the callback of its store."""
        value = new if new is not None else old
        if value is None:
            return
        name = name_of(value)
        before = self._bundles.pop(name, [])
        after, problems = ([], []) if new is None else _claims_of(new)
        # A claim that stays the same keeps its node, and with it its content and what it waits for.
        after = [next((claim for claim in before if claim == wanted), wanted) for wanted in after]
        if after:
            self._bundles[name] = after
        links = dict.fromkeys(claim.link for claim in (*before, *after))
        for claim in before:
            if not any(claim is kept for kept in after):
                self._claims[claim.link].remove(claim)
        for claim in after:
            if not any(claim is known for known in before):
                self._claims.setdefault(claim.link, []).append(claim)
        for link in links:
            self._settle(link)
        for claim in after:
            mounted = self._mounted.get(claim.link)
            if mounted is not None and mounted.claim is not claim:
                problems.append(f"{claim.link} is served for {mounted.claim.where}")
        self._say(name, problems)

    def problem(self, name: str) -> str:
        """Why the script of the bundle ``name`` cannot be served; empty if it can, or if that is not known yet."""
        mounted = self._script(name)
        return mounted.problem() if mounted is not None else ""

    def conditions(self, name: str) -> list[Condition]:
        """The condition ``ContentReady`` of the bundle ``name``, if its script is mounted."""
        mounted = self._script(name)
        if mounted is None:
            return []
        problem = mounted.problem()
        if problem:
            return [Condition("ContentReady", "False", "NotServed", problem)]
        return [Condition("ContentReady", "True", "Served", "")]

    def _script(self, name: str) -> _Mounted | None:
        for claim in self._bundles.get(name, ()):
            mounted = self._mounted.get(claim.link)
            if claim.rank == 0 and mounted is not None and mounted.claim is claim:
                return mounted
        return None

    def close(self) -> None:
        """Unmount everything."""
        for link, mounted in self._mounted.items():
            self._tree.unmount(link)
            mounted.node.close()
        self._mounted.clear()
        self._claims.clear()
        self._bundles.clear()

    def _settle(self, link: str) -> None:
        """Mount the first claim on ``link``."""
        claims = self._claims[link]
        if not claims:
            del self._claims[link]
        best = min(claims, key=lambda claim: claim.order, default=None)
        current = self._mounted.get(link)
        if current is not None and current.claim is best:
            return
        # The new node first: what both refer to is then never let go of in between.
        following = self._open(best) if best is not None else None
        if current is not None:
            self._tree.unmount(link)
            del self._mounted[link]
            current.node.close()
        if following is not None:
            self._mount(link, following)

    def _mount(self, link: str, following: _Mounted) -> None:
        try:
            self._tree.mount(link, following.node)
        except ValueError:
            self.log.warn("{where} is taken by the gateway itself", where=following.claim.where)
            following.node.close()
            return
        self._mounted[link] = following
        self._changed(following.claim.bundle)

    def _open(self, claim: _Claim) -> _Mounted:
        value = claim.source.value
        why = "failed to decode raw content: it is no string"
        try:
            if claim.source.kind == ENDPOINT:
                why = "failed to fetch content: the endpoint cannot be used"
                return _Mounted(claim, BundleNode(claim.bundle, self._remote(claim)), _well)
            held = Held(self._clock, self._in_thread, self._patience, partial(self._changed, claim.bundle))
            if claim.source.kind != RAW:
                why = f"failed to fetch content: {claim.source.kind} is incomplete"
                content: Source = self._referenced(claim, held)
                return _Mounted(claim, BundleNode(claim.bundle, content), lambda: held.problem)
            if isinstance(value, str):
                return _Mounted(claim, BundleNode(claim.bundle, RawContent(value, held)), lambda: held.problem)
        except (EndpointError, ValueError) as error:
            # The client is not told: the message may name inner addresses.
            self.log.warn("JSBundle {name}: {link}: {error}", name=claim.bundle, link=claim.link, error=str(error))
        return _Mounted(claim, BundleNode(claim.bundle, Unusable(why)), lambda: why)

    def _referenced(self, claim: _Claim, held: Held) -> ReferencedContent:
        reference, kind = claim.source.value, _KINDS[claim.source.kind]
        namespace, name = text(reference, "namespace"), text(reference, "name")
        for part in ("namespace", "name", "key"):
            if not text(reference, part):
                raise ValueError(f"{claim.source.kind}.{part} is missing")
        follow = partial(self._references.want, kind, namespace, name)
        return ReferencedContent(claim.source.kind, reference, held, follow)

    def _remote(self, claim: _Claim) -> RemoteContent:
        spec = claim.source.value
        if field(spec, "caBundle") and field(spec, "insecureSkipVerify") is True:
            raise EndpointError("caBundle and insecureSkipVerify contradict each other: remove one of them")
        endpoint = resolve(spec, join_path=True)
        return RemoteContent(f"JSBundle {claim.bundle}", endpoint, claim.media_type, self._pools, self._proxy)

    def _say(self, name: str, problems: list[str]) -> None:
        if problems != self._said.get(name, []):
            for problem in problems:
                self.log.warn("JSBundle {name}: {problem}", name=name, problem=problem)
        if problems:
            self._said[name] = problems
        else:
            self._said.pop(name, None)


class _Claim:
    """One bundle's wish for one link. Equal claims are served alike."""

    __slots__ = ("bundle", "link", "media_type", "order", "rank", "source", "where")

    def __init__(
        self,
        bundle: str,
        link: str,
        order: tuple[Any, ...],
        source: Origin,
        media_type: bytes | None,
        where: str,
    ) -> None:
        self.bundle = bundle
        self.link = link
        self.order = order
        self.rank: int = order[0]
        self.source = source
        self.media_type = media_type
        self.where = where

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Claim):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]


class _Mounted:
    """The claim that a link is served for, its node, and what tells why it is not served."""

    __slots__ = ("claim", "node", "problem")

    def __init__(self, claim: _Claim, node: BundleNode, problem: Callable[[], str]) -> None:
        self.claim = claim
        self.node = node
        self.problem = problem


def _well() -> str:
    """Whether a backend answers is not known before it is asked."""
    return ""


def _claims_of(value: Object) -> tuple[list[_Claim], list[str]]:
    """The claims of a bundle, none unless it is Available; and what is wrong with those that it does not get."""
    if field(value, "status", "state") != "Available":
        return [], []
    name, extension, order = name_of(value), extension_of(value), precedence(value)
    claims: list[_Claim] = []
    problems: list[str] = []
    for claim in link_claims(value):
        wrong = link_problem(claim.link, extension)
        source: Origin | None
        media_type: bytes | None = None
        if claim.rank == 0:
            source = content_source(claim.source)
            if source is None:
                wrong = wrong or "there is no content: write raw or rawFrom"
            elif source.kind == ENDPOINT:
                media_type = SCRIPT
        else:
            source = Origin(ENDPOINT, claim.source)
            wanted = field(claim.source, "mimeType") if claim.rank == 2 else None
            wrong = wrong or media_type_problem(wanted)
            if wanted and wrong is None:
                media_type = wanted.encode("ascii")
        if wrong is not None or source is None:
            problems.append(f"{claim.field}: {wrong}")
            continue
        where = f"{claim.field} of JSBundle {name}"
        claims.append(_Claim(name, claim.link, (claim.rank, order, claim.position), source, media_type, where))
    return claims, problems

"""Keeps the tree true to the extension objects: each watch event mounts, replaces or unmounts a node.

Where several objects claim the same thing, the order of spec 01, 4.6 decides, whatever order they came in. An object
that cannot be used is logged once and answers 503; it never stands in another's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.logger import Logger

from ksproxyd.observe.cells import Upstreams
from ksproxyd.observe.known import KnownResources
from ksproxyd.state.kinds import API_SERVICES, JS_BUNDLES, REVERSE_PROXIES
from ksproxyd.state.state import State
from ksproxyd.state.store import Object
from ksproxyd.state.validation import CONSOLE, PROXY_TARGET, Problem, field, name_of, object_problems, precedence
from ksproxyd.tree import Tree
from ksproxyd.tree.api_service import APIServiceNode
from ksproxyd.tree.bundle_index import BundleIndex
from ksproxyd.tree.directives import compile_directives
from ksproxyd.tree.endpoint import Endpoint, EndpointError, resolve
from ksproxyd.tree.links import narrow_accept_encoding
from ksproxyd.tree.policy import Policy, parse_policy
from ksproxyd.tree.redirect import Redirect
from ksproxyd.tree.representation import InThread
from ksproxyd.tree.reserved import reserved
from ksproxyd.tree.reverse_proxy import RedirectRefusal, ReverseProxies, ReverseProxyNode
from ksproxyd.tree.wrapped import OWN_FIELDS, WrappedTransport
from ksproxyd.upstream.guard import Condition, Guard
from ksproxyd.upstream.health import ProbeClient
from ksproxyd.upstream.plan import Plan
from ksproxyd.upstream.pools import Pools
from ksproxyd.upstream.relay import Proxy
from ksproxyd.upstream.target import Target

AVAILABLE = "Available"

_AUTHORIZATION = frozenset([b"authorization"])


class Workshop:
    """What nodes are made with: pools, the relay, probes, counters."""

    def __init__(
        self,
        proxy: Proxy,
        pools: Pools,
        client: ProbeClient,
        upstreams: Upstreams,
        clock: Any,
        random: Callable[[], float],
        in_thread: InThread,
        join_path: bool,
        env_placeholders: frozenset[str],
        probe_interval: float,
        probe_timeout: float,
    ) -> None:
        self.proxy = proxy
        self.pools = pools
        self.client = client
        self.upstreams = upstreams
        self.clock = clock
        self.random = random
        self.in_thread = in_thread
        self.join_path = join_path
        self.env_placeholders = env_placeholders
        self.probe_interval = probe_interval
        self.probe_timeout = probe_timeout

    def policy(self, value: Object) -> tuple[Policy, list[str]]:
        """What the object configures beyond the original, and what is wrong with that."""
        policy = parse_policy(
            field(value, "spec"),
            field(value, "metadata", "annotations"),
            interval=self.probe_interval,
            timeout=self.probe_timeout,
        )
        return policy, list(policy.problems)

    def guard(
        self, name: str, policy: Policy, target: Target, old: Guard | None, changed: Callable[[], object]
    ) -> Guard | None:
        """The guard that ``policy`` asks for, started; None if it asks for none.

        ``old`` goes on where it fits: what it has learnt of the upstream must not be lost by an edit elsewhere.
        """
        if not policy.protection:
            return None
        if old is not None and old.fits(name, policy.protection, target):
            return old
        guard = Guard(name, policy.protection, target, self.client, self.clock, self.random, changed)
        guard.start()
        return guard


class Mounted:
    """What one object holds while it is in use. :meth:`close` gives it back."""

    def __init__(self, workshop: Workshop, target: Target | None, guard: Guard | None) -> None:
        self._workshop = workshop
        self._target = target
        self.guard = guard
        self.policy: Policy | None = None

    def conditions(self) -> list[Condition]:
        """The guard's, and whether what was configured beyond the original is accepted."""
        found = [] if self.guard is None else self.guard.conditions()
        accepted = None if self.policy is None else self.policy.condition()
        return found if accepted is None else [*found, accepted]

    def close(self, heir: Mounted | None = None) -> None:
        """The object is gone, or ``heir`` serves it now: idle connections are closed, streams live to their end."""
        if self.guard is not None and (heir is None or heir.guard is not self.guard):
            self.guard.stop()
        if self._target is not None:
            self._workshop.pools.release(self._target)


class APIServices:
    """``/kapis/<group>/<version>`` for every APIService."""

    log = Logger()

    def __init__(self, tree: Tree, workshop: Workshop, known: KnownResources, changed: Callable[[str], object]) -> None:
        self._tree = tree
        self._workshop = workshop
        self._known = known
        self._changed = changed
        self._claims: dict[tuple[str, str], dict[str, Object]] = {}
        self._serving: dict[tuple[str, str], tuple[Object, Mounted]] = {}
        self._claim_of: dict[str, tuple[str, str]] = {}

    def apply(self, old: Object | None, new: Object | None) -> None:
        """An APIService came, changed or went."""
        before = _claim(old)
        after = _claim(new)
        if old is not None:
            self._claim_of.pop(name_of(old), None)
        if new is not None and after is not None:
            self._claim_of[name_of(new)] = after
        if before is not None and before == after and _same(old, new) and new is not None:
            self._claims.get(before, {})[name_of(new)] = new
            serving = self._serving.get(before)
            if serving is not None and serving[0] is old:
                self._serving[before] = (new, serving[1])
            return
        if old is not None and before is not None:
            claims = self._claims.get(before, {})
            claims.pop(name_of(old), None)
            if not claims:
                self._claims.pop(before, None)
        if new is not None and after is not None:
            if reserved(*after):
                self.log.warn(
                    "APIService {name} claims {group}/{version}, which the gateway serves itself; it is ignored",
                    name=name_of(new),
                    group=after[0],
                    version=after[1],
                )
                after = None
            else:
                self._claims.setdefault(after, {})[name_of(new)] = new
        for claim in {before, after} - {None}:
            assert claim is not None
            self._settle(claim)

    def find(self, name: str) -> Mounted | None:
        """What the APIService ``name`` holds, if it is the one that is served."""
        claim = self._claim_of.get(name)
        serving = None if claim is None else self._serving.get(claim)
        return serving[1] if serving is not None and name_of(serving[0]) == name else None

    def _settle(self, claim: tuple[str, str]) -> None:
        """Serve ``claim`` by whoever has the best right to it now."""
        candidates = self._claims.get(claim)
        winner = min(candidates.values(), key=precedence) if candidates else None
        serving = self._serving.get(claim)
        if serving is not None:
            if serving[0] is winner:
                return
            if winner is None or name_of(winner) != name_of(serving[0]):
                self._workshop.upstreams.forget("apiservice", name_of(serving[0]))
        if winner is None:
            if serving is not None:
                self._tree.unmount(_path(claim), subtree=True)
                del self._serving[claim]
                self._known.remove(*claim)
                serving[1].close()
            return
        try:
            node, mounted = self._build(winner, serving[1].guard if serving is not None else None)
        except Exception:
            # Objects may have any shape. Whatever was not thought of, it stays this one's trouble.
            self.log.failure("APIService {name} cannot be served", name=name_of(winner))
            mounted = Mounted(self._workshop, None, None)
            node = APIServiceNode(name_of(winner), self._workshop.proxy, None, None, None)
        if serving is not None:
            self._tree.unmount(_path(claim), subtree=True)
        self._tree.mount(_path(claim), node, subtree=True)
        self._known.add(*claim)
        self._serving[claim] = (winner, mounted)
        # The new one holds the pool before the old one lets go of it: the same target keeps its connections.
        if serving is not None:
            serving[1].close(mounted)

    def _build(self, value: Object, old: Guard | None) -> tuple[APIServiceNode, Mounted]:
        name = name_of(value)
        workshop = self._workshop
        spec = field(value, "spec")
        policy, problems = workshop.policy(value)
        redirect = Redirect(policy.redirect, _path(_claim(value) or ("", ""))) if policy.redirect else None
        endpoint, problem = _endpoint(spec, workshop.join_path)
        if problem:
            problems.append(problem)
        for text in problems:
            self.log.warn("APIService {name}: {problem}", name=name, problem=text)
        if endpoint is None or field(value, "status", "state") != AVAILABLE:
            mounted = Mounted(workshop, None, None)
            mounted.policy = policy
            return APIServiceNode(name, workshop.proxy, None, None, None), mounted
        guard = workshop.guard(name, policy, endpoint.target, old, lambda: self._changed(name))
        plan = Plan(
            f"APIService {name}",
            workshop.pools.hold(endpoint.target),
            identity=True,
            drop=frozenset() if policy.forward_authorization else _AUTHORIZATION,
            policy=guard,
            cell=workshop.upstreams.cell("apiservice", name),
        )
        mounted = Mounted(workshop, endpoint.target, guard)
        mounted.policy = policy
        return APIServiceNode(name, workshop.proxy, plan, endpoint, redirect), mounted

    def mounted(self) -> Iterator[Mounted]:
        """What every served object holds."""
        return (mounted for _, mounted in self._serving.values())

    def stop(self) -> None:
        """Stop probing."""
        for _, mounted in self._serving.values():
            if mounted.guard is not None:
                mounted.guard.stop()


class ReverseProxyObjects:
    """``/proxy…`` for every ReverseProxy."""

    log = Logger()

    def __init__(self, workshop: Workshop, changed: Callable[[str], object]) -> None:
        self._workshop = workshop
        self._changed = changed
        self.node = ReverseProxies()
        self._mounted: dict[str, Mounted] = {}

    def apply(self, old: Object | None, new: Object | None) -> None:
        """A ReverseProxy came, changed or went."""
        if old is not None and new is not None and _same(old, new):
            return
        name = name_of(new or old or {})
        gone = self._mounted.pop(name, None)
        if gone is not None:
            self.node.table.remove(name)
        try:
            if new is not None:
                self._mount(name, new, gone.guard if gone is not None else None)
        except Exception:
            # As above. There may be another one for its paths.
            self.log.failure("ReverseProxy {name} cannot be served", name=name)
        if gone is not None:
            if name not in self._mounted:
                self._workshop.upstreams.forget("reverseproxy", name)
            gone.close(self._mounted.get(name))

    def find(self, name: str) -> Mounted | None:
        """What the ReverseProxy ``name`` holds, if it is served."""
        return self._mounted.get(name)

    def _mount(self, name: str, value: Object, old: Guard | None) -> None:
        if field(value, "metadata", "labels", PROXY_TARGET) == CONSOLE:
            return
        method = field(value, "spec", "matcher", "method")
        path = field(value, "spec", "matcher", "path")
        if not isinstance(method, str) or not isinstance(path, str) or not path.startswith("/proxy"):
            self.log.warn(
                "ReverseProxy {name} is ignored: spec.matcher needs a method and a path that begins with /proxy",
                name=name,
            )
            return
        node, mounted = self._build(name, value, path, old)
        created = field(value, "metadata", "creationTimestamp")
        try:
            self.node.table.add(name, method, path, node, created if isinstance(created, str) else "", name)
        except ValueError as error:
            self.log.warn("ReverseProxy {name} is ignored: {error}", name=name, error=error)
            mounted.close()
        else:
            self._mounted[name] = mounted

    def _build(
        self, name: str, value: Object, path: str, old: Guard | None
    ) -> tuple[ReverseProxyNode, Mounted]:
        workshop = self._workshop
        policy, problems = workshop.policy(value)
        directives = compile_directives(field(value, "spec", "directives"), workshop.env_placeholders)
        problems += directives.problems
        endpoint, problem = _endpoint(field(value, "spec", "upstream"), workshop.join_path)
        if problem:
            problems.append(problem)
        for text in problems:
            self.log.warn("ReverseProxy {name}: {problem}", name=name, problem=text)
        redirect = Redirect(policy.redirect, path.rstrip("*")) if policy.redirect else None
        if endpoint is None or field(value, "status", "state") != AVAILABLE:
            mounted = Mounted(workshop, None, None)
            mounted.policy = policy
            return ReverseProxyNode(name, workshop.proxy, None, None, directives, redirect), mounted
        guard = workshop.guard(name, policy, endpoint.target, old, lambda: self._changed(name))
        links = WrappedTransport(directives.strip_prefix, endpoint.target) if directives.wrap_transport else None
        on_answer = links.on_answer if links is not None else None
        if directives.reject_forwarding_redirects:
            on_answer = RedirectRefusal(name, links).on_answer
        plan = Plan(
            f"ReverseProxy {name}",
            workshop.pools.hold(endpoint.target),
            identity=directives.auth_proxy,
            drop=(OWN_FIELDS if links is not None else frozenset())
            | (frozenset() if policy.forward_authorization else _AUTHORIZATION),
            codings=narrow_accept_encoding if links is not None else None,
            up=directives.request_headers or None,
            down=directives.response_headers or None,
            more=links.request_lines if links is not None else None,
            on_answer=on_answer,
            policy=guard,
            cell=workshop.upstreams.cell("reverseproxy", name),
        )
        mounted = Mounted(workshop, endpoint.target, guard)
        mounted.policy = policy
        return ReverseProxyNode(name, workshop.proxy, plan, endpoint, directives, redirect), mounted

    def mounted(self) -> Iterator[Mounted]:
        """What every served object holds."""
        return iter(self._mounted.values())

    def stop(self) -> None:
        """Stop probing."""
        for mounted in self._mounted.values():
            if mounted.guard is not None:
                mounted.guard.stop()


class Extensions:
    """All extension objects of the cluster in the tree."""

    def __init__(
        self, tree: Tree, state: State, workshop: Workshop, known: KnownResources, changed: Callable[[str, str], object]
    ) -> None:
        self.api_services = APIServices(tree, workshop, known, lambda name: changed("APIService", name))
        self.reverse_proxies = ReverseProxyObjects(workshop, lambda name: changed("ReverseProxy", name))
        self.bundles = BundleIndex(
            tree,
            state.references,
            workshop.pools,
            workshop.proxy,
            workshop.in_thread,
            workshop.clock,
            changed=lambda name: changed("JSBundle", name),
        )
        tree.mount_prefix("/proxy", self.reverse_proxies.node)
        self._unsubscribe = [
            state.store(API_SERVICES).subscribe(self.api_services.apply, replay=True),
            state.store(REVERSE_PROXIES).subscribe(self.reverse_proxies.apply, replay=True),
            state.store(JS_BUNDLES).subscribe(self.bundles.apply, replay=True),
        ]

    def conditions(self, kind: str, name: str) -> list[Condition]:
        """What is known of the object ``name`` beside what is wrong with it by itself."""
        if kind == JS_BUNDLES.name:
            return self.bundles.conditions(name)
        mounted = (
            self.api_services.find(name) if kind == API_SERVICES.name else self.reverse_proxies.find(name)
        )
        return mounted.conditions() if mounted is not None else []

    def guards(self) -> Iterator[tuple[str, Guard]]:
        """Every guard with the kind of its object."""
        for mounted in self.api_services.mounted():
            if mounted.guard is not None:
                yield "apiservice", mounted.guard
        for mounted in self.reverse_proxies.mounted():
            if mounted.guard is not None:
                yield "reverseproxy", mounted.guard

    def stop(self) -> None:
        """Follow no longer; what is mounted stays and goes on serving what is in flight."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self.api_services.stop()
        self.reverse_proxies.stop()


def _same(old: Object | None, new: Object | None) -> bool:
    """Whether nothing that serving depends on has changed; conditions are written by ourselves, and often."""
    paths = (("spec",), ("status", "state"), ("metadata", "labels"), ("metadata", "annotations"))
    return all(field(old, *path) == field(new, *path) for path in paths)


def _claim(value: Object | None) -> tuple[str, str] | None:
    """The group and version an APIService claims, if it names them."""
    if value is None:
        return None
    group, version = field(value, "spec", "group"), field(value, "spec", "version")
    if not isinstance(group, str) or not isinstance(version, str) or not version or "/" in group + version:
        return None
    return group, version


def _path(claim: tuple[str, str]) -> str:
    group, version = claim
    return f"/kapis/{group}/{version}" if group else f"/kapi/{version}"


def problems_of(kind: str, value: Object) -> list[Problem]:
    """What is wrong with an extension object by itself, for its status."""
    return object_problems(kind, value, lambda spec: _endpoint(spec, False)[1] or None, reserved)


def _endpoint(spec: Any, join_path: bool) -> tuple[Endpoint | None, str]:
    try:
        return resolve(spec, join_path=join_path), ""
    except EndpointError as error:
        return None, str(error)

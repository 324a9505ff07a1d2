"""``ksproxyd check-idp``: the whole way of a sign-in, up to where it ends, with what to do about it.

It reads what the gateway reads, from the cluster, connects as the gateway connects, and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.providers.configuration import LABEL, LABEL_VALUE, MAPPINGS
from ksproxyd.authn.providers.mapper import Mapper, MappingRefused
from ksproxyd.authn.providers.provider import External, PasswordProvider, Provider, ProviderError
from ksproxyd.authn.providers.registry import Providers
from ksproxyd.kube.access import load_access
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.errors import KubeError
from ksproxyd.settings import Settings
from ksproxyd.state.kinds import GROUP_BINDINGS, LOGIN_CONFIGS, USERS, Kind
from ksproxyd.state.store import Store
from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.pool import Dialer, TCPDialer, UpstreamTimeouts
from ksproxyd.upstream.pools import Pools

Say = Callable[[str], object]


async def check_idp(
    reactor: Any,
    settings: Settings,
    kubeconfig: str,
    environ: Mapping[str, str],
    name: str,
    username: str,
    password: str,
    say: Say,
) -> int:
    """Check the provider ``name``; returns 0 if everything that could be tried works.

    ``kubeconfig`` is how the cluster is reached, in place of what the settings say. Raises
    :class:`~ksproxyd.kube.errors.AccessError` where it cannot be reached at all.
    """
    options = settings.kubernetes
    if kubeconfig:
        options = options.model_copy(update={"kubeconfig": kubeconfig})
    elif settings.ksproxyd.standalone.enabled and settings.ksproxyd.state_dir and not options.kubeconfig:
        own = os.path.join(settings.ksproxyd.state_dir, "admin.kubeconfig")
        options = options.model_copy(update={"kubeconfig": own})
    wheel = Wheel(reactor)
    timeouts = UpstreamTimeouts(connect=settings.ksproxyd.timeouts.connect)
    pools = Pools(TCPDialer(reactor), wheel, timeouts, 1, 0)
    access = await load_access(options, reactor, environ=environ)
    wheel.start()
    try:
        client = KubeClient(Client(pools, reactor), access, reactor, timeout=settings.ksproxyd.timeouts.kube_request)
        return await Check(reactor, settings, client, say).run(name, username, password)
    finally:
        access.stop()
        pools.close()
        wheel.stop()


class Check:
    """One check. ``dialer`` is for tests."""

    def __init__(
        self, reactor: Any, settings: Settings, client: KubeClient, say: Say, dialer: Dialer | None = None
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._client = client
        self._say = say
        self._dialer = dialer

    async def run(self, name: str, username: str = "", password: str = "") -> int:
        """Everything, in order, until something fails."""
        configs = await self._read(LOGIN_CONFIGS, f"{LABEL}={LABEL_VALUE}")
        if configs is None:
            return 1
        providers = Providers(self._reactor, self._settings, configs, dialer=self._dialer)
        try:
            return await self._check(providers, name, username, password)
        finally:
            providers.stop()

    async def _check(self, providers: Providers, name: str, username: str, password: str) -> int:
        told = [problem for problem in providers.problems() if problem.name in ("", name)]
        for problem in told:
            if problem.name or problem.fatal:
                where = f"Secret {problem.secret}"
                self._tell("configuration", not problem.fatal, f"{where}: {problem.text}", mark="note")
        try:
            provider = providers.usable(name)
        except ProviderError as error:
            known = ", ".join(sorted(each["name"] for each in providers.published())) or "none"
            advice = f"Usable ones: {known}. A provider is a Secret in kubesphere-system with the label {LABEL}."
            self._tell("configuration", False, error.message, advice)
            return 1
        configuration = provider.configuration
        self._tell("configuration", True, f"{configuration.type}, mappingMethod {configuration.mapping or '(none)'}")
        external: External | None = None
        proved = False
        good = True
        async for step in provider.walk(username, password):
            self._tell(step.title, step.ok, step.text, step.advice)
            good = good and step.ok
            external = step.external or external
            proved = proved or (step.ok and step.title == "password")
        if not good:
            return 1
        if external is None:
            return self._without_anybody(provider, username)
        return 0 if await self._map(provider, external) else 1

    def _without_anybody(self, provider: Provider, username: str) -> int:
        if username and not isinstance(provider, PasswordProvider):
            self._say("     people sign in on the provider's own page: that can only be tried in a browser")
        elif not username:
            self._say("     nobody was looked up; name somebody with --username")
        if provider.configuration.mapping not in MAPPINGS:
            self._tell("map", False, "there is no mappingMethod", f"Set it to one of {', '.join(MAPPINGS)}.")
            return 1
        return 0

    async def _map(self, provider: Provider, external: External) -> bool:
        users, bindings = await self._read(USERS), await self._read(GROUP_BINDINGS)
        if users is None or bindings is None:
            return False
        directory = Directory(users, bindings)
        try:
            said = Mapper(self._reactor, directory, self._client).foresee(provider, external)
        except MappingRefused as error:
            self._tell("map", False, error.message, "Link or create the user, or change mappingMethod.")
            return False
        finally:
            directory.stop()
        self._tell("map", True, f"{external.username} {said}")
        return True

    async def _read(self, kind: Kind, selector: str = "") -> Store | None:
        """Everything of a kind as it is now; None if it cannot be read, which was told then."""
        store = Store(kind.name, self._reactor)
        try:
            listing = await self._client.list(
                kind.resource, kind.namespace, label_selector=selector or kind.label_selector
            )
        except KubeError as error:
            if error.code == 404 and kind.optional:
                store.mark_synced()
                return store
            advice = "Check the kubeconfig, and what its user may read."
            self._tell("cluster", False, f"{kind.name} objects cannot be read: {error}", advice)
            return None
        for item in listing.items:
            store.put(item)
        store.mark_synced()
        return store

    def _tell(self, title: str, ok: bool, text: str, advice: str = "", mark: str = "") -> None:
        word = mark if mark and ok else "ok" if ok else "FAILED"
        self._say(f"{word:<7} {title}: {text}")
        if advice and not ok:
            self._say(f"        {advice}")

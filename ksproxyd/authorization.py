"""Joins what decides who may do what (spec 03): from the watched roles and bindings to the authorizer of the chain."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.logger import Logger

from ksproxyd.authz.bindings import Bindings
from ksproxyd.authz.decision import Authorizer, always_allow, always_deny
from ksproxyd.authz.engine import Engine, Reactor, available
from ksproxyd.authz.escalation import Escalation
from ksproxyd.authz.memory import Memory
from ksproxyd.authz.paths import with_public_paths
from ksproxyd.authz.rbac import RBAC
from ksproxyd.authz.rights import Rights
from ksproxyd.authz.roles import Roles
from ksproxyd.kube.client import KubeClient
from ksproxyd.model.identity import Identity
from ksproxyd.settings import Settings
from ksproxyd.state.kinds import BINDING_KINDS, NAMESPACES, ROLE_KINDS, ROLE_TEMPLATES, Kind
from ksproxyd.state.state import State
from ksproxyd.state.store import Object
from ksproxyd.tree.write_checks import WriteChecks


class Authorization:
    """``authorizer`` is what the chain asks; the rest is for whoever asks of more than the request."""

    log = Logger()

    def __init__(self, reactor: Reactor, state: State, settings: Settings) -> None:
        wanted = settings.ksproxyd.authorization.policy_engine == "auto" and available()
        #: For policies that are not understood without one.
        self.engine = Engine(reactor, settings.ksproxyd.authorization.policy_timeout) if wanted else None
        namespaces = state.store(NAMESPACES)
        self.roles = Roles({kind.name: state.store(kind) for kind in ROLE_KINDS}, engine=wanted)
        self.bindings = Bindings({kind: state.store(kind) for kind in BINDING_KINDS})
        self.rbac = RBAC(self.roles, self.bindings, namespaces)
        mode = settings.authorization.mode
        self.authorizer: Authorizer
        if mode == "AlwaysAllow":
            self.log.warn("authorization.mode is AlwaysAllow: everybody who reaches the gateway may do everything")
            self.authorizer = always_allow
        else:
            decide = self.rbac.decide if mode == "RBAC" else always_deny
            self.authorizer = Memory(with_public_paths(decide), self.roles, self.bindings, namespaces).decide
        self.rights = Rights(self.rbac, self.authorizer)
        templates = state.store(ROLE_TEMPLATES)
        self.escalation = Escalation(
            self.rights,
            self.roles.find,
            # Where everybody may do everything there is nothing to be had by giving it to oneself.
            "off" if mode == "AlwaysAllow" else settings.ksproxyd.authorization.escalation,
            templates.values,
        )
        self._isolation = mode != "AlwaysAllow"

    def stop(self) -> None:
        """Ask no engine any more."""
        if self.engine is not None:
            self.engine.stop()

    def write_checks(self, client: KubeClient) -> WriteChecks:
        """What is asked before something is written that gives rights, or says whose something is."""
        return WriteChecks(self.escalation, self.rights, client, self._of_group, self._isolation)

    def _of_group(self, group: str) -> Iterator[tuple[Kind, Object]]:
        """The bindings that name ``group``."""
        members = Identity("", (group,))
        for kind in BINDING_KINDS:
            for binding in self.bindings.everywhere(kind, members):
                yield kind, binding

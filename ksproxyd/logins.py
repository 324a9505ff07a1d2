"""Joins what has to do with logins: users, passwords, tokens, what gateways share, and the endpoints on top of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.authn.authenticator import Authenticator, Rules
from ksproxyd.authn.clients import Clients
from ksproxyd.authn.directory import Directory
from ksproxyd.authn.external_logins import ProviderLogins
from ksproxyd.authn.hashing import hashers, usual_number
from ksproxyd.authn.lockout import Lockout
from ksproxyd.authn.login import Login
from ksproxyd.authn.managing.login_history import Retention
from ksproxyd.authn.managing.service_accounts import ACCOUNT, TOKEN, ServiceAccountTokens
from ksproxyd.authn.passwords import Passwords
from ksproxyd.authn.providers.mapper import Mapper
from ksproxyd.authn.providers.registry import Providers
from ksproxyd.authn.records import LoginRecords
from ksproxyd.authn.shared import shared_store as make_store
from ksproxyd.authn.tokens.claims import Claims, service_account_of
from ksproxyd.authn.tokens.hops import HopTokens
from ksproxyd.authn.tokens.keys import KeyProblem, KeyRing
from ksproxyd.authn.tokens.service import Tokens
from ksproxyd.authn.user_manager import ManagerRules, UserManager, manager_mode
from ksproxyd.kapis.config.published import PREFIX as CONFIG
from ksproxyd.kapis.config.published import Published
from ksproxyd.kapis.config.theme import Theme
from ksproxyd.kapis.iam.users import Authority, Users
from ksproxyd.kapis.oauth.callback import provider_routes
from ksproxyd.kapis.oauth.front import Front
from ksproxyd.kapis.oauth.programs import Programs
from ksproxyd.kapis.oauth.routes import PREFIX, WELL_KNOWN, oauth_routes, well_known_routes
from ksproxyd.kapis.router import Route, Router
from ksproxyd.kube.client import KubeClient
from ksproxyd.observe.logins import LoginMetrics
from ksproxyd.settings import Settings
from ksproxyd.state.election import Leadership
from ksproxyd.state.kinds import GROUP_BINDINGS, LOGIN_CONFIGS, SERVICE_ACCOUNT_TOKENS, SERVICE_ACCOUNTS, USERS
from ksproxyd.state.state import State
from ksproxyd.state.store import Object
from ksproxyd.state.validation import field, text
from ksproxyd.tree import Tree
from ksproxyd.tree.health import Check
from ksproxyd.tree.login_checks import identity_providers, shared_store
from ksproxyd.upstream.pool import Dialer


class Logins:
    """Everything behind the question who is asking. ``random()`` gives numbers from 0 up to 1, ``in_thread`` runs a
    function in a thread, ``suffix()`` gives a few random characters for a name.

    :meth:`start` when the state is being followed, :meth:`stop` at the end. Raises
    :class:`~ksproxyd.authn.tokens.keys.KeyProblem` for keys that cannot be used.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        state: State,
        client: KubeClient,
        random: Callable[[], float],
        in_thread: Callable[..., Deferred[Any]],
        leadership: Leadership,
        suffix: Callable[[], str],
        authority: Authority,
        dialer: Dialer | None = None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        given, ours = settings.authentication, settings.ksproxyd
        tries, duration = given.authenticate_rate_limiter_max_tries, given.authenticate_rate_limiter_duration
        self.store = make_store(reactor, settings)
        self.keys = KeyRing(settings, in_thread)
        self.static_tokens = StaticTokens(state)
        self.tokens = Tokens(reactor, settings, self.store, self.keys, self.static_tokens.holds)
        self.directory = Directory(state.store(USERS), state.store(GROUP_BINDINGS))
        credentials = ours.credentials
        self.passwords = Passwords(
            hashers(reactor, credentials.password_timeout),
            credentials.password_processes or usual_number(),
            credentials.password_queue,
        )
        self.lockout = Lockout(self.store, tries, duration)
        history = Retention(given.login_history_retention_period, given.login_history_maximum_entries)
        self.manager = UserManager(
            reactor,
            random,
            client,
            state.store(USERS),
            manager_mode(settings),
            leadership,
            self.passwords,
            ManagerRules(tries, duration, history),
            ended=self.end_user,
            changed=self._leading_changed,
        )
        self.service_account_tokens = ServiceAccountTokens(
            reactor,
            random,
            client,
            state.store(SERVICE_ACCOUNTS),
            state.store(SERVICE_ACCOUNT_TOKENS),
            lambda: self.manager.leading,
            self.tokens.static_token,
            suffix,
        )
        self.records = LoginRecords(
            reactor, client, random, written=self.manager.recorded, crowded=lambda: self.passwords.full
        )
        configs = state.store(LOGIN_CONFIGS)
        self.providers = Providers(reactor, settings, configs, dialer=dialer)
        self.mapper = Mapper(reactor, self.directory, client)
        self.clients = Clients(configs, default_secret=ours.compat.default_client_secret)
        self.login = Login(
            reactor,
            self.directory,
            self.passwords,
            self.lockout,
            self.records,
            duration=duration,
            external=ProviderLogins(self.providers, self.mapper, self.directory),
            locked=self.manager.locked,
        )
        self.authenticator = Authenticator(
            reactor,
            Rules(
                basic=ours.credentials.basic,
                groups=ours.credentials.groups,
                users=settings.multicluster.cluster_role != "member",
                believed_for=ours.credentials.believed_for if self.store.common else None,
            ),
            self.tokens,
            self.login,
            self.directory,
            self.static_tokens.has_account,
            ours.credentials.remembered_tokens,
        )
        self.programs = Programs(
            reactor,
            settings,
            self.store,
            self.directory,
            self.clients,
            self.passwords,
            self.login,
            self.tokens,
            self.authenticator,
            self.static_tokens.has_account,
        )
        self.front = Front(
            reactor,
            settings,
            self.store,
            self.directory,
            self.clients,
            self.programs.codes,
            self.programs.devices,
            self.tokens,
            self.login,
            self.providers,
        )
        front = self.front
        self._by_providers = provider_routes(
            reactor,
            self.providers,
            self.mapper,
            self.store,
            self.login,
            self.tokens,
            front,
            self.directory,
            legacy=ours.compat.legacy_callback,
            registration_lifetime=ours.oauth.registration_lifetime,
        )
        self._users = Users(
            reactor,
            state.store(USERS),
            self.directory,
            client,
            self.passwords,
            self.login,
            self.tokens,
            authority,
            self.end_user,
        )
        self._published = [*Published(settings, self.providers, self.clients).routes()]
        if settings.multicluster.cluster_role != "member":
            self._published += Theme(client).routes()
        self.hops = HopTokens(reactor, self.tokens.hop_token, self.directory)
        self.tokens.on_revoked(self.authenticator.doubt)
        self.tokens.on_revoked(self.hops.forget)
        self.static_tokens.changed = self.authenticator.doubt
        self._preparing: Deferred[Any] | None = None

    def start(self) -> None:
        """Begin to keep users in order, and get the key that signs id tokens."""
        self.manager.start()
        self.service_account_tokens.start()
        # Without the secret nobody logs in, and nothing is to be signed by a key that is made.
        if self.keys.secret or self.keys.ready:
            self._preparing = Deferred.fromCoroutine(self.keys.keep_trying(self._reactor, self.store))
            self._preparing.addErrback(self._not_prepared)

    def user_routes(self) -> list[Route]:
        """The routes of users, for the group they belong to."""
        return self._users.routes()

    def mount(self, tree: Tree) -> None:
        """Serve the endpoints of logins."""
        routes = oauth_routes(self.programs.routes(), self.front.routes(), self._by_providers)
        tree.mount(PREFIX, routes, subtree=True)
        tree.mount(CONFIG, Router(CONFIG, "published settings", self._published), subtree=True)
        tree.mount(WELL_KNOWN, well_known_routes(self.programs.well_known()), subtree=True)

    def away(self) -> str:
        """Why what gateways share cannot be asked now; empty while it can."""
        return self.store.away

    def checks(self) -> list[Check]:
        """What ``/readyz?verbose`` says of logins."""
        providers = self.providers
        return [
            shared_store(self.store.common, self.away),
            identity_providers(providers.problems, lambda: len(providers.published())),
        ]

    def metrics(self) -> LoginMetrics:
        """What is counted."""
        return LoginMetrics(self.passwords, self.records, self.away, self.providers.problems)

    def _not_prepared(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("getting the key that signs id tokens failed", failure)

    def _leading_changed(self) -> None:
        self.service_account_tokens.look_at_all()

    def reload(self, settings: Settings) -> None:
        """Use other keys, if the settings name others; those before stay published."""
        try:
            self.keys.reload(settings)
        except KeyProblem as error:
            self.log.error("the keys of before stay in use: {error}", error=str(error))

    async def end_user(self, user: str, keep: str = "") -> None:
        """End every session of a user but the one called ``keep``, with programs and in browsers."""
        await self.tokens.end_user(user, keep=keep)
        await self.front.browsers.end_user(user)

    async def stop(self) -> None:
        """Nobody logs in any more; let go of everything."""
        if self._preparing is not None:
            self._preparing.cancel()
        self.authenticator.stop()
        self.hops.stop()
        self.static_tokens.stop()
        self.login.stop()
        self.clients.stop()
        self.providers.stop()
        self.service_account_tokens.stop()
        await self.manager.stop()
        await self.records.stop()
        self.directory.stop()
        await self.passwords.close()
        closing = self.store.close()
        if closing is not None:
            await closing


class StaticTokens:
    """Tokens in Secrets of ServiceAccounts, by digest (spec 02, D-22). ``changed()`` is called when one has gone."""

    def __init__(self, state: State) -> None:
        self._accounts = state.store(SERVICE_ACCOUNTS)
        self._digests = state.store(SERVICE_ACCOUNT_TOKENS).index(_digest)
        self.changed: Callable[[], object] = lambda: None
        self._ends = [
            store.subscribe(self._event)
            for store in (state.store(SERVICE_ACCOUNTS), state.store(SERVICE_ACCOUNT_TOKENS))
        ]

    def stop(self) -> None:
        """Hear of no more changes."""
        for end in self._ends:
            end()

    def _event(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self.changed()

    def holds(self, claims: Claims, digest: str) -> bool:
        """Whether the token with this digest is in a Secret of the account that it speaks of."""
        account = service_account_of(claims.sub)
        return account is not None and any(
            (text(secret, "metadata", "namespace"), _account(secret)) == account for secret in self._digests.get(digest)
        )

    def has_account(self, claims: Claims) -> bool:
        """Whether that account exists."""
        account = service_account_of(claims.sub)
        return account is not None and account in self._accounts


def _account(secret: Object) -> str:
    annotations = field(secret, "metadata", "annotations")
    name = annotations.get(ACCOUNT) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""


def _digest(secret: Object) -> list[str]:
    data = field(secret, "data", TOKEN)
    if not isinstance(data, str) or not data:
        return []
    try:
        token = base64.b64decode(data, validate=True).strip()
    except (binascii.Error, ValueError):
        return []
    return [hashlib.sha256(token).hexdigest()]

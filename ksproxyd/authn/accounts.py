"""All that has to do with users and their passwords, put together from the settings."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from ksproxyd.authn.directory import Directory
from ksproxyd.authn.lockout import Counters, Lockout
from ksproxyd.authn.login import ExternalLogins, Login
from ksproxyd.authn.managing.login_history import Retention
from ksproxyd.authn.passwords import Passwords, Pool, password_pool
from ksproxyd.authn.records import LoginRecords
from ksproxyd.authn.user_manager import ManagerRules, Mode, UserManager
from ksproxyd.kube.client import KubeClient
from ksproxyd.settings import Settings
from ksproxyd.state.election import Leadership
from ksproxyd.state.store import Store

#: The Lease by which gateways agree on who looks after the users.
LEASE = "ksproxyd-user-manager"


class Accounts:
    """The parts, as :meth:`start` brings them to life and :meth:`stop` ends them.

    ``users`` is the store that ``directory`` is an index over. ``random()`` gives numbers from 0 up to 1. ``external``
    checks passwords with identity providers, ``ended(user)`` ends the sessions of a user who goes; ``changed()`` is
    called when :attr:`manager` may have begun or ended to lead. ``pool`` may be another than threads of our own.
    """

    def __init__(
        self,
        reactor: Any,
        random: Callable[[], float],
        settings: Settings,
        client: KubeClient,
        users: Store,
        directory: Directory,
        counters: Counters,
        leadership: Leadership,
        *,
        external: ExternalLogins | None = None,
        ended: Callable[[str], Coroutine[Any, Any, object]] | None = None,
        changed: Callable[[], object] = lambda: None,
        pool: Pool | None = None,
    ) -> None:
        ours, theirs = settings.ksproxyd.credentials, settings.authentication
        tries, duration = theirs.authenticate_rate_limiter_max_tries, theirs.authenticate_rate_limiter_duration
        threads = ours.password_threads
        self.directory = directory
        self.passwords = Passwords(reactor, pool or password_pool(reactor, threads), threads, ours.password_queue)
        self.lockout = Lockout(counters, tries, duration)
        self.manager = UserManager(
            reactor,
            random,
            client,
            users,
            manager_mode(settings),
            leadership,
            self.passwords,
            ManagerRules(
                tries,
                duration,
                Retention(theirs.login_history_retention_period, theirs.login_history_maximum_entries),
            ),
            ended=ended,
            changed=changed,
        )
        self.records = LoginRecords(reactor, client, random, written=self.manager.recorded)
        self.login = Login(
            reactor,
            directory,
            self.passwords,
            self.lockout,
            self.records,
            duration=duration,
            external=external,
            locked=self.manager.locked,
        )

    def start(self) -> None:
        """Begin to look after the users, where that is ours to do."""
        self.manager.start()

    async def stop(self) -> None:
        """End everything; what is on its way to the API server gets a moment."""
        self.login.stop()
        await self.records.stop()
        await self.manager.stop()
        await self.passwords.close()


def manager_mode(settings: Settings) -> Mode:
    """Whether users are looked after here. On a member cluster ``auto`` is no: its users are the host's."""
    mode: Mode = settings.ksproxyd.iam.manage_users
    if mode == "auto" and settings.multicluster.cluster_role == "member":
        return False
    return mode

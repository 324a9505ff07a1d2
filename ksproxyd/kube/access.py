"""Where the API server is and what we show it, kept fresh for as long as we run.

Tokens and certificates in files are looked at once a minute, a credential plugin is asked again before what it
gave expires, or after the server refused it. All of that happens in threads and child processes in the
background: a request only ever reads :attr:`ClusterAccess.target` and :meth:`ClusterAccess.headers`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from ksproxyd.kube.address import parse_server
from ksproxyd.kube.connection import SERVICE_ACCOUNT, Connection, Presentation, present, service_account
from ksproxyd.kube.errors import AccessError
from ksproxyd.kube.exec_plugin import ExecCredential, run_plugin
from ksproxyd.kube.kubeconfig import read_kubeconfig
from ksproxyd.upstream.target import Target

#: How often files are looked at again, in seconds; also the least time between two runs of a plugin.
REREAD = 60.0

#: The part of a plugin credential's life after which a new one is fetched.
RENEW_AT = 0.8

#: How long a credential plugin may take, in seconds: enough for a round trip to a slow identity provider.
PLUGIN_TIMEOUT = 60.0


class KubernetesOptions(Protocol):
    """The part of the ``kubernetes`` settings that says where the API server is."""

    @property
    def kubeconfig(self) -> str: ...

    @property
    def master(self) -> str: ...


async def load_access(
    options: KubernetesOptions,
    reactor: Any,
    *,
    environ: Mapping[str, str] = os.environ,
    folder: Path = SERVICE_ACCOUNT,
    now: Callable[[], float] = time.time,
) -> ClusterAccess:
    """Find the API server and read the credentials; the result keeps itself fresh until it is stopped.

    In this order: the kubeconfig of ``options`` (its server replaced by ``master`` where that is set), ``master``
    alone without credentials, ``~/.kube/config`` if it exists, and the service account of the pod we run in.
    ``reactor`` gives the time, the thread pool and child processes; ``environ`` is also what plugins get.
    Raises :class:`AccessError`.
    """
    find = _Finder(options.kubeconfig, options.master, environ, folder)
    connection = await deferToThreadPool(reactor, reactor.getThreadPool(), find)
    access = ClusterAccess(connection, reactor, environ, now)
    await access.renew()
    access.keep_fresh()
    return access


class ClusterAccess:
    """An API server and our credentials for it, as they are now.

    ``target`` and ``path_prefix`` say where requests go; read them for every request, as a renewed certificate
    makes a new target. ``problem`` is empty, or says why credentials could not be renewed the last time; what
    was there before stays in use then.
    """

    log = Logger()

    def __init__(
        self, connection: Connection, reactor: Any, environ: Mapping[str, str], now: Callable[[], float]
    ) -> None:
        self.origin = connection.origin
        self.path_prefix = connection.address.prefix
        self.problem = ""
        self._connection = connection
        self._reactor = reactor
        self._environ = environ
        self._now = now
        self._presentation: Presentation | None = None
        self._credential: ExecCredential | None = None
        self._asked = 0.0
        self._refused = False
        self._subscribers: list[Callable[[Target, Target], None]] = []
        self._timer: IDelayedCall | None = None
        self._renewal: Deferred[None] | None = None

    @property
    def target(self) -> Target:
        """Where the API server is and how it is verified."""
        return self._current().target

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header fields that say who we are, to be added to every request."""
        return self._current().headers

    def subscribe(self, callback: Callable[[Target, Target], None]) -> Callable[[], None]:
        """Have ``callback(old, new)`` called when the target changes; returns what ends that.

        Connections to the old target still work until the server thinks otherwise; idle ones should be closed.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def refused(self) -> None:
        """Tell that the server answered 401: a plugin is asked again, at most once in :data:`REREAD` seconds."""
        if self._connection.plugin is None or self._refused or self._timer is None:
            return
        self._refused = True
        self._schedule()

    async def renew(self) -> None:
        """Ask the plugin if that is due, read the files and put the result into use. Raises :class:`AccessError`."""
        plugin = self._connection.plugin
        if plugin is not None and self._plugin_due() <= self._now():
            self._asked, self._refused = self._now(), False
            self._credential = await run_plugin(plugin, self._reactor, self._environ, PLUGIN_TIMEOUT)
        pool = self._reactor.getThreadPool()
        fresh = await deferToThreadPool(self._reactor, pool, present, self._connection, self._credential)
        old, self._presentation = self._presentation, fresh
        if old is not None and old.target != fresh.target:
            self.log.info("{origin}: the credentials for TLS changed", origin=self.origin)
            for callback in tuple(self._subscribers):
                try:
                    callback(old.target, fresh.target)
                except Exception:
                    self.log.failure("a subscriber of {origin} failed", origin=self.origin)

    def keep_fresh(self) -> None:
        """Begin to renew in the background. To be called once, after the first :meth:`renew`."""
        self._schedule()

    def stop(self) -> None:
        """Stop renewing; what is there stays usable."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.cancel()

    def _current(self) -> Presentation:
        if self._presentation is None:
            raise AccessError(f"{self.origin}: credentials have not been read yet")
        return self._presentation

    def _plugin_due(self) -> float:
        """When the plugin is to be asked next, in epoch seconds; infinity for never."""
        if self._connection.plugin is None:
            return float("inf")
        if self._credential is None:
            return self._asked + REREAD if self._asked else 0.0
        expires = self._credential.expires
        due = float("inf") if expires is None else self._asked + (expires - self._asked) * RENEW_AT
        if self._refused:
            due = self._asked
        # Whatever a plugin says of its expiry, it is not run in a tight loop.
        return max(due, self._asked + REREAD)

    def _schedule(self) -> None:
        if self._renewal is not None:
            return
        timer = self._timer
        if timer is not None and timer.active():
            timer.cancel()
        delay = self._plugin_due() - self._now()
        if self._connection.has_files:
            delay = min(delay, REREAD)
        # A day is as good as never, and within what every timer can hold.
        self._timer = self._reactor.callLater(min(max(delay, 1.0), 86400.0), self._start_renewal)

    def _start_renewal(self) -> None:
        self._renewal = renewal = Deferred.fromCoroutine(self.renew())
        renewal.addCallbacks(self._renewed, self._not_renewed)
        renewal.addErrback(self._broken)

    def _renewed(self, _: None) -> None:
        if self.problem:
            self.log.info("{origin}: credentials are fresh again", origin=self.origin)
        self.problem = ""
        self._renewal = None
        self._schedule()

    def _not_renewed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        problem = failure.getErrorMessage()
        if failure.check(AccessError) is None:
            self.log.failure("renewing the credentials of {origin}", failure, origin=self.origin)
        elif problem != self.problem:
            self.log.warn("keeping the credentials we have: {problem}", problem=problem)
        self.problem = problem
        self._renewal = None
        self._schedule()

    def _broken(self, failure: Failure) -> None:
        self.log.failure("renewing the credentials of {origin}", failure, origin=self.origin)


class _Finder:
    """Decides which configuration counts, and reads it; blocks, so it is called in a thread."""

    def __init__(self, kubeconfig: str, master: str, environ: Mapping[str, str], folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self.master = master
        self.environ = environ
        self.folder = folder

    def __call__(self) -> Connection:
        if self.kubeconfig:
            return read_kubeconfig(self.kubeconfig, self.master)
        if self.master:
            try:
                return Connection(origin="kubernetes.master", address=parse_server(self.master))
            except ValueError as error:
                raise AccessError(f"kubernetes.master: {error}") from error
        home = self.environ.get("HOME", "")
        default = os.path.join(home, ".kube", "config")
        if home and os.path.exists(default):
            return read_kubeconfig(default)
        try:
            return service_account(self.environ, self.folder)
        except AccessError as error:
            raise AccessError(
                f"no cluster is configured: kubernetes.kubeconfig is empty, {default} does not exist, and {error}"
            ) from error

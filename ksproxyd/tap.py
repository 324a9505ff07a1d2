"""``twistd ksproxyd``: options, and the service that runs the gateway. The only importer of the global reactor."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from ksproxyd.authn.providers.check import check_idp
from ksproxyd.gateway import Gateway, StartError
from ksproxyd.kube.errors import AccessError, KubeError
from ksproxyd.observe.logging import configure
from ksproxyd.observe.notify import InheritedSocket
from ksproxyd.server.certificates import CertificateError
from ksproxyd.server.listeners import ListenError
from ksproxyd.settings import Override, Settings, SettingsError, find_file, load_file, load_text
from ksproxyd.standalone.service import Standalone, StandaloneError
from ksproxyd.transport.polling import poll_directly

#: What a start can fail with that is one clear line by itself.
EXPECTED = (StartError, AccessError, CertificateError, ListenError, StandaloneError)


class Options(usage.Options):
    """The command line of ``twistd ksproxyd`` and of ``ksproxyd run``."""

    longdesc = "An event-driven API gateway for Kubernetes."

    optFlags = [
        ["check-config", None, "Check the configuration, say what is wrong with it, and exit."],
        ["standalone", None, "Run on an embedded Kubernetes API instead of a cluster."],
        ["demo", None, "Add a sample extension with its own backend (goes with --standalone)."],
    ]
    optParameters = [
        ["config", "c", None, "Configuration file. Default: the first of the usual places that exists."],
        ["state-dir", None, None, "Directory for what outlives the process."],
        ["kube-listen", None, None, "Where the embedded Kubernetes API listens (an endpoint string)."],
        ["authorization", None, None, "authorization.mode, instead of what the configuration says."],
        ["admin-password-file", None, None, "Password of the first user of the embedded API."],
        ["kubeconfig", None, None, "How to reach the cluster, instead of what the configuration says."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        #: Sockets of socket activation, put here by ``ksproxyd run``. Under ``twistd``, whose endpoint plugins take the
        #: service manager's variables for themselves, a listener is written as ``systemd:domain=INET:index=0``.
        self.sockets: list[InheritedSocket] = []

    def opt_listen(self, endpoint: str) -> None:
        """Listen here (an endpoint string such as tcp:9090:interface=127.0.0.1) instead of what the configuration
        says. May be given more than once."""
        self["listen"].append(endpoint)

    def overrides(self) -> list[Override]:
        """What the command line says about settings."""
        found: list[Override] = []

        def put(path: str, value: Any, option: str) -> None:
            found.append(Override(path, value, option))

        if self["standalone"]:
            put("ksproxyd.standalone.enabled", "true", "--standalone")
        if self["demo"]:
            put("ksproxyd.standalone.demo", "true", "--demo")
        if self["authorization"]:
            put("authorization.mode", self["authorization"], "--authorization")
        if self["state-dir"]:
            put("ksproxyd.stateDir", self["state-dir"], "--state-dir")
        if self["kube-listen"]:
            put("ksproxyd.standalone.listen", self["kube-listen"], "--kube-listen")
        if self["admin-password-file"]:
            put("ksproxyd.standalone.adminPasswordFile", self["admin-password-file"], "--admin-password-file")
        if self["kubeconfig"]:
            put("kubernetes.kubeconfig", self["kubeconfig"], "--kubeconfig")
        if self["listen"]:
            put("ksproxyd.listeners", list(self["listen"]), "--listen")
        return found

    def load(self) -> Settings:
        """The settings: file, environment and command line. Raises :class:`SettingsError`; warnings go to stderr."""
        path = self["config"] or find_file()
        if path is None and not self["standalone"]:
            raise usage.UsageError("there is no configuration file; name one with --config, or use --standalone")
        if path is None:
            loaded = load_text("", "(no file)", os.environ, self.overrides())
        else:
            loaded = load_file(path, os.environ, self.overrides())
        for warning in loaded.warnings:
            print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
        return loaded.settings


def makeService(options: Options) -> IService:
    """The service for ``options``. Exits with one line a problem if the configuration is bad."""
    try:
        settings = options.load()
    except SettingsError as error:
        raise SystemExit("\n".join(str(problem) for problem in error.problems)) from None
    except usage.UsageError as error:
        raise SystemExit(str(error)) from None
    if options["check-config"]:
        print("the configuration is fine")  # noqa: T201
        raise SystemExit(0)
    from twisted.internet import reactor

    poll_directly(reactor)
    return GatewayService(reactor, options, settings)


def check_provider(
    settings: Settings, kubeconfig: str, name: str, username: str, password: str, say: Callable[[str], object]
) -> int:
    """Run ``check-idp``: its steps are told to ``say``. Returns the exit code. The reactor runs, once, for it alone."""
    from twisted.internet import reactor as running

    reactor: Any = running
    codes: list[int] = []

    async def work() -> None:
        codes.append(await check_idp(reactor, settings, kubeconfig, os.environ, name, username, password, say))

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(*EXPECTED, KubeError):
            failure.printTraceback(sys.stderr)
        say(f"ksproxyd check-idp: {failure.getErrorMessage()}")

    def ended(_: None) -> None:
        if reactor.running:
            reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(work()).addErrback(failed).addCallback(ended)

    reactor.callWhenRunning(begin)
    reactor.run()
    return codes[0] if codes else 1


class GatewayService(Service):
    """Runs one gateway for as long as the process lives. ``exit_code`` is what the process should end with."""

    log = Logger()
    name = "ksproxyd"

    def __init__(self, reactor: Any, options: Options, settings: Settings) -> None:
        self._reactor = reactor
        self._options = options
        self._settings = settings
        self.exit_code = 0
        self._terminating = False
        self._reload_wanted = False
        self.output = configure(settings.ksproxyd.logging, reactor)
        self.gateway: Gateway | None = None
        self._standalone: Standalone | None = None
        self._starting: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Joining the application: our output takes its log, unless ``twistd`` was told where to log."""
        twistd = self._options.parent
        if isinstance(parent, Componentized) and (twistd is None or (twistd["nodaemon"] and not twistd["logfile"])):
            parent.setComponent(ILogObserver, self.output)
        super().setServiceParent(parent)

    def startService(self) -> None:
        super().startService()
        self._reactor.callWhenRunning(self._running)

    def _running(self) -> None:
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        # The reactor's own handler would end the process by the signal again, as if it had not ended in good order.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._terminate))
        self._starting = ensureDeferred(self._start())
        self._starting.addCallbacks(self._started, self._failed)

    async def _start(self) -> None:
        access = None
        settings = self._settings
        if settings.ksproxyd.standalone.enabled:
            self._standalone = Standalone(self._reactor, settings.ksproxyd)
            access = await self._standalone.start()
            settings = self._standalone.with_logins(settings)
        self.gateway = Gateway(self._reactor, settings, self.output, os.environ)
        # Ten thousand objects of the cluster's stay, too; each full collection would look at them again.
        self.gateway.on_synced = gc.freeze
        await self.gateway.start(self._options.sockets, access)
        if self._standalone is not None and self.gateway.logins is not None and self.gateway.kube_client is not None:
            await self._standalone.make_admin(self.gateway.kube_client, self.gateway.logins.passwords.hash)

    def _started(self, _: None) -> None:
        self._starting = None
        # What start-up has made stays; the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        # Few at a time: twenty thousand that have just been made take ten milliseconds to look at.
        gc.set_threshold(1000, 2, 350)
        if self._standalone is not None and self.gateway is not None:
            self._standalone.introduce(self.gateway.listeners.addresses)
        if self._reload_wanted:
            self._reload_wanted = False
            self.reload()

    def _failed(self, failure: Failure) -> None:
        self._starting = None
        if failure.check(CancelledError):
            return
        if failure.check(*EXPECTED):
            self.log.critical("cannot start: {why}", why=failure.getErrorMessage())
        else:
            self.log.failure("cannot start", failure)
        self.exit_code = 1
        # twistd ends with 0 whatever happened; whoever started us must see that this was no success.
        atexit.register(self._exit)
        self._terminate()

    def _exit(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self.exit_code)

    def _terminate(self) -> None:
        if self._reactor.running and not self._terminating:
            self._terminating = True
            self._reactor.stop()

    def reload(self) -> None:
        """Read the configuration again and put it into use, if it is good; else say why and go on as before."""
        if self._starting is not None:
            # What is read now may be what is being started with, or not any more.
            self._reload_wanted = True
            return
        if self.gateway is None:
            return
        try:
            settings = self._options.load()
        except (SettingsError, usage.UsageError) as error:
            problems = getattr(error, "problems", [error])
            for problem in problems:
                self.log.error("not reloaded: {problem}", problem=str(problem))
            return
        if self._standalone is not None:
            settings = self._standalone.with_logins(settings)
        self.gateway.reload(settings)

    def stopService(self) -> Any:
        super().stopService()
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self.gateway is not None:
            await self.gateway.stop()
        if self._standalone is not None:
            await self._standalone.stop()
        self.output.close()

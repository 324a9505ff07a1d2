"""``--standalone``: the embedded Kubernetes API as a part of the process, with its listener and its kubeconfig."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from ksproxyd.kube.access import ClusterAccess
from ksproxyd.kube.address import parse_server
from ksproxyd.kube.client import KubeClient
from ksproxyd.kube.connection import Connection
from ksproxyd.kube.errors import KubeError
from ksproxyd.manifests import crds, roles
from ksproxyd.model.status import StatusError
from ksproxyd.server.certificates import server_context
from ksproxyd.server.limits import Limits, Timeouts
from ksproxyd.server.server import Server
from ksproxyd.settings import KsproxydSettings, Settings
from ksproxyd.settings.secret_file import SecretFileError
from ksproxyd.standalone.access import Access, admin_token, write_admin_kubeconfig
from ksproxyd.standalone.api import StandaloneAPI
from ksproxyd.standalone.bootstrap import fill
from ksproxyd.standalone.certificate import keep_certificate
from ksproxyd.standalone.demo import API_PATH, PROXY_PATH, SCRIPT_PATH, DemoBackend, install
from ksproxyd.standalone.logins import ADMIN, make_admin, with_logins
from ksproxyd.standalone.roles import install_roles
from ksproxyd.standalone.serve import StandaloneNode
from ksproxyd.standalone.storage.store import Store, StoreError
from ksproxyd.transport.wheel import Wheel
from ksproxyd.upstream.client import Client
from ksproxyd.upstream.pool import TCPDialer, UpstreamTimeouts
from ksproxyd.upstream.pools import Pools

KUBECONFIG = "admin.kubeconfig"

#: Where it listens if it is for the gateway alone: nobody else learns of the port, nor of the token.
_UNSHARED = "tcp:0:interface=127.0.0.1"


class StandaloneError(Exception):
    """The embedded API cannot start; the message is one line that says why."""


class Standalone:
    """Starts and stops the embedded API, and the sample extension where it is asked for."""

    log = Logger()

    def __init__(self, reactor: Any, settings: KsproxydSettings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._wheel = Wheel(reactor)
        self._store: Store | None = None
        self._api: StandaloneAPI | None = None
        self._node: StandaloneNode | None = None
        self._server: Server | None = None
        self._port: IListeningPort | None = None
        self._demo: DemoBackend | None = None
        self._folder = Path(settings.state_dir or default_state_dir())
        self._password: str | None = None
        self._shared = bool(settings.standalone.listen)

    @property
    def kubeconfig(self) -> Path:
        """How ``kubectl`` reaches it."""
        return self._folder / KUBECONFIG

    async def start(self) -> ClusterAccess:
        """Serve, and say how it is reached. Raises :class:`StandaloneError`."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            token = admin_token(str(self._folder) if self._shared else "")
            self._store = Store(self._settings.standalone.data)
        except (OSError, StoreError) as error:
            raise StandaloneError(f"the embedded Kubernetes API cannot use {self._folder}: {error}") from error
        self._wheel.start()
        api = self._api = StandaloneAPI(self._store, self._reactor, random.SystemRandom())
        api.start()
        try:
            fill(api, yaml.load_all(crds(), Loader=yaml.CSafeLoader))
            install_roles(api, roles())
        except StatusError as error:
            raise StandaloneError(f"the embedded Kubernetes API cannot serve what it ships: {error}") from error
        self._node = StandaloneNode(api, Access(token), self._reactor)
        self._server = Server(
            self._reactor,
            self._wheel,
            self._node.handle,
            lambda exchange: None,
            Limits(),
            Timeouts(),
            time.time,
        )
        host = await self._listen(self._server)
        try:
            cert_file, key_file, certificate = keep_certificate(str(self._folder), host.host)
            self._server.tls_context = server_context(cert_file, key_file)
            shown = f"[{host.host}]" if ":" in host.host else host.host
            url = f"https://{'127.0.0.1' if host.host in ('0.0.0.0', '::') else shown}:{host.port}"
            if self._shared:
                write_admin_kubeconfig(str(self.kubeconfig), url, token, certificate)
            else:
                # One of an earlier start leads nowhere now.
                self.kubeconfig.unlink(missing_ok=True)
        except OSError as error:
            raise StandaloneError(f"the embedded Kubernetes API cannot use {self._folder}: {error}") from error
        connection = Connection(
            origin="the embedded Kubernetes API", address=parse_server(url), ca=certificate, token=token.encode()
        )
        access = ClusterAccess(connection, self._reactor, os.environ, time.time)
        await access.renew()
        kept = self._settings.standalone.data
        self.log.warn(
            "running on the embedded Kubernetes API{place}, which is for trying things out; objects are kept {where}",
            place=f" at {url}" if self._shared else "",
            where=f"in {kept}" if kept else "in memory only",
        )
        if self._settings.standalone.demo:
            await self._install_demo(access)
        return access

    async def _listen(self, server: Server) -> Any:
        """Listen; returns the address."""
        where = self._settings.standalone.listen or _UNSHARED
        try:
            self._port = await serverFromString(self._reactor, where).listen(server)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
            raise StandaloneError(f"the embedded Kubernetes API cannot listen on {where}: {reason}") from error
        except ValueError as error:
            raise StandaloneError(f"the embedded Kubernetes API cannot listen on {where!r}: {error}") from error
        return self._port.getHost()

    def with_logins(self, settings: Settings) -> Settings:
        """``settings`` as a gateway on the embedded API needs them. Raises :class:`StandaloneError`."""
        try:
            return with_logins(settings, str(self._folder))
        except OSError as error:
            raise StandaloneError(f"the embedded Kubernetes API cannot use {self._folder}: {error}") from error

    async def make_admin(self, client: KubeClient, hashed: Callable[[str], Awaitable[str]]) -> None:
        """Make the first user, if there is none; ``hashed`` makes a hash. Raises :class:`StandaloneError`."""
        path = self._settings.standalone.admin_password_file
        try:
            self._password = await make_admin(client, hashed, path)
        except (SecretFileError, KubeError) as error:
            raise StandaloneError(f"the user {ADMIN} cannot be made: {error}") from error

    async def _install_demo(self, access: ClusterAccess) -> None:
        self._demo = DemoBackend(self._reactor, self._wheel)
        url = await self._demo.start()
        pools = Pools(TCPDialer(self._reactor), self._wheel, UpstreamTimeouts())
        await install(KubeClient(Client(pools, self._reactor), access, self._reactor), url)
        pools.close()

    def introduce(self, addresses: list[str]) -> None:
        """Tell a person at a terminal what can be tried."""
        base = addresses[0] if addresses else ""
        lines = ["", f"ksproxyd is serving on {base}; try:", ""]
        if self._demo is not None:
            lines += [f"  curl {base}{API_PATH}", f"  curl {base}{PROXY_PATH}/hello", f"  curl {base}{SCRIPT_PATH}"]
        else:
            lines += [f"  curl {base}/version"]
        lines.append("")
        if self._shared:
            lines += ["and with kubectl, on the embedded Kubernetes API directly:", ""]
            lines += [f"  kubectl --kubeconfig {self.kubeconfig} get apiservices.extensions.kubesphere.io", ""]
        if self._password is not None:
            # Once: nothing but its hash is kept.
            lines += [f"log in at {base}/oauth/login as {ADMIN} with the password {self._password}", ""]
            self._password = None
        os.write(1, "\n".join([*lines, ""]).encode())

    async def stop(self) -> None:
        """Serve no longer."""
        if self._port is not None:
            stopping = self._port.stopListening()
            if stopping is not None:
                await stopping
        if self._demo is not None:
            await self._demo.stop()
        if self._node is not None:
            stopped = self._node.stop()
            if stopped is not None:
                await stopped
        if self._server is not None:
            for connection in list(self._server.connections):
                connection.abort()
        if self._api is not None:
            self._api.stop()
        self._wheel.stop()
        if self._store is not None:
            self._store.close()


def default_state_dir() -> str:
    """Where the embedded API keeps its token and kubeconfig when nothing was said (XDG Base Directory)."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "ksproxyd")

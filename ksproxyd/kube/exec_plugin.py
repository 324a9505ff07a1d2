"""Credential plugins: a command that prints an ``ExecCredential`` (client.authentication.k8s.io).

The command runs as a child of the reactor, so that it can be given a time limit and be killed; a thread that
waits for a child can do neither. Its standard input is empty: a gateway has nobody to answer questions.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from ksproxyd.kube.errors import AccessError

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")

#: A credential is a few kilobytes; a plugin that prints more than this is broken.
MAX_OUTPUT = 1024 * 1024

#: Where the ``config`` of :attr:`PluginCall.cluster` comes from: a cluster extension of this name.
CLUSTER_CONFIG = "client.authentication.k8s.io/exec"


class PluginCall(msgspec.Struct, frozen=True):
    """A command as a kubeconfig's ``exec`` section describes it.

    ``folder`` is the kubeconfig's, to which a relative command is relative; ``cluster`` is what the plugin
    is told of the cluster, None to tell nothing.
    """

    api_version: str
    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    install_hint: str = ""
    folder: str = ""
    cluster: dict[str, Any] | None = None

    def __repr__(self) -> str:
        # Arguments and environment may hold secrets.
        return f"<PluginCall {self.command}>"


class ExecCredential(msgspec.Struct, frozen=True):
    """What a plugin gave: a token, a client certificate with its key, or both. ``expires`` is epoch seconds."""

    token: str | None = None
    client_cert: bytes | None = None
    client_key: bytes | None = None
    expires: float | None = None

    def __repr__(self) -> str:
        return f"<ExecCredential expires={self.expires}>"


class Spawner(Protocol):
    """The part of a reactor that is needed here."""

    def spawnProcess(
        self, processProtocol: Any, executable: str, args: list[str], env: dict[str, str], /
    ) -> Any: ...

    def callLater(self, delay: float, callable: Any, *args: Any, **kwargs: Any) -> IDelayedCall: ...


def run_plugin(
    call: PluginCall, reactor: Spawner, environ: Mapping[str, str], timeout: float
) -> Deferred[ExecCredential]:
    """Run the plugin; fires with its credential.

    Fails with :class:`AccessError` when it cannot be started, exits with another status than 0, prints
    something else than a credential, or takes longer than ``timeout`` seconds. Cancelling kills it.
    """
    protocol = _PluginProcess(call, timeout)
    try:
        executable = _find(call, environ)
        env = {**environ, **dict(call.env), "KUBERNETES_EXEC_INFO": _exec_info(call)}
        timer = reactor.callLater(timeout, protocol.timed_out)
    except AccessError:
        protocol.done.errback(Failure())
        return protocol.done
    protocol.timer = timer
    try:
        reactor.spawnProcess(protocol, executable, [call.command, *call.args], env)
    except OSError as error:
        protocol.failed(f"could not be started: {error.strerror or error}")
    return protocol.done


def read_credential(output: bytes, call: PluginCall) -> ExecCredential:
    """The credential in what a plugin printed. Raises :class:`ValueError` that says what is wrong with it."""
    try:
        decoded = msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("printed something that is not JSON") from None
    if not isinstance(decoded, dict) or decoded.get("kind") != "ExecCredential":
        raise ValueError("printed something that is not an ExecCredential")
    if decoded.get("apiVersion") != call.api_version:
        raise ValueError(f"printed apiVersion {decoded.get('apiVersion')!r}, wanted {call.api_version!r}")
    status = decoded.get("status")
    if not isinstance(status, dict):
        raise ValueError("printed a credential without status")
    token, cert, key = (
        status.get(name) or None for name in ("token", "clientCertificateData", "clientKeyData")
    )
    if any(value is not None and not isinstance(value, str) for value in (token, cert, key)):
        raise ValueError("printed a credential whose fields are not text")
    if (cert is None) != (key is None):
        raise ValueError("printed only one of clientCertificateData and clientKeyData")
    if token is None and cert is None:
        raise ValueError("printed neither a token nor a client certificate")
    return ExecCredential(
        token, cert and cert.encode(), key and key.encode(), _expiry(status.get("expirationTimestamp"))
    )


def cluster_info(
    server: str, ca: bytes | None, insecure: bool, server_name: str | None, config: Any
) -> dict[str, Any]:
    """What a plugin with ``provideClusterInfo`` is told (``spec.cluster`` of its input)."""
    info: dict[str, Any] = {"server": server, "config": config}
    if ca is not None:
        info["certificate-authority-data"] = base64.b64encode(ca).decode()
    if insecure:
        info["insecure-skip-tls-verify"] = True
    if server_name:
        info["tls-server-name"] = server_name
    return info


def _expiry(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"printed an expirationTimestamp that is no RFC 3339 time: {value!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _exec_info(call: PluginCall) -> str:
    spec: dict[str, Any] = {"interactive": False}
    if call.cluster is not None:
        spec["cluster"] = call.cluster
    info = {"apiVersion": call.api_version, "kind": "ExecCredential", "spec": spec}
    return msgspec.json.encode(info).decode()


def _find(call: PluginCall, environ: Mapping[str, str]) -> str:
    """The file to execute: on PATH, or relative to the kubeconfig where the command has a slash in it."""
    command = call.command
    if "/" in command:
        command = os.path.join(call.folder, command)
    found = shutil.which(command, path=environ.get("PATH", os.defpath))
    if found is None:
        hint = " ".join(call.install_hint.split())
        raise AccessError(
            f"credential plugin {call.command!r} is not an executable file" + (f". {hint}" if hint else "")
        )
    return found


class _PluginProcess(ProcessProtocol):
    """Collects what the child prints and turns its end into a credential or an error."""

    def __init__(self, call: PluginCall, timeout: float) -> None:
        self.call = call
        self.timeout = timeout
        self.timer: IDelayedCall | None = None
        self.done: Deferred[ExecCredential] = Deferred(self._cancelled)
        self.out: list[bytes] = []
        self.err: list[bytes] = []
        self.size = 0
        self.settled = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._collect(self.out, data)

    def errReceived(self, data: bytes) -> None:
        self._collect(self.err, data)

    def processEnded(self, reason: Failure) -> None:
        if self.settled:
            return
        if reason.check(ProcessDone) is None:
            signal, code = (getattr(reason.value, name, None) for name in ("signal", "exitCode"))
            end = f"was ended by signal {signal}" if signal else f"exited with status {code}"
            self.failed(end + self._complaint())
            return
        try:
            credential = read_credential(b"".join(self.out), self.call)
        except ValueError as error:
            self.failed(str(error))
            return
        self._settle()
        self.done.callback(credential)

    def timed_out(self) -> None:
        self.failed(f"did not finish within {self.timeout:g} s")

    def failed(self, text: str) -> None:
        """Give up, for the reason in ``text``."""
        self._settle()
        self.done.errback(AccessError(f"credential plugin {self.call.command!r} {text}"))

    def _cancelled(self, done: Deferred[ExecCredential]) -> None:
        self._settle()

    def _settle(self) -> None:
        self.settled = True
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        if self.transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def _collect(self, to: list[bytes], data: bytes) -> None:
        if self.settled:
            return
        self.size += len(data)
        if self.size > MAX_OUTPUT:
            self.failed(f"printed more than {MAX_OUTPUT} bytes")
            return
        to.append(data)

    def _complaint(self) -> str:
        lines = [line.strip() for line in b"".join(self.err).decode("utf-8", "replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        return f" ({last[:200]})" if last else ""

"""Execs on this machine instead of in a container: the same programs, without a cluster."""

from __future__ import annotations

import os
import shutil
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from ksproxyd.terminal.channels import V5
from ksproxyd.terminal.execution import ExecRequest, Output
from ksproxyd.terminal.exit_status import EXITED, NOT_STARTED, Ended


class LocalExecutions:
    """Runs what is asked for, in ``folder``. ``protocol`` is what the cluster pretends to speak."""

    def __init__(self, folder: str, protocol: str = V5, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.protocol = protocol
        self.environ = environ or {"PATH": os.environ["PATH"]}
        #: What was run, in order.
        self.commands: list[tuple[str, ...]] = []
        self.open: set[Any] = set()

    def begin(self, request: ExecRequest, output: Output) -> LocalExecution:
        self.commands.append(request.command)
        return LocalExecution(self, request, output)


class LocalExecution(ProcessProtocol):
    """One program."""

    def __init__(self, executions: LocalExecutions, request: ExecRequest, output: Output) -> None:
        self.protocol = executions.protocol
        self.typed = self.printed = 0
        self._executions = executions
        self._output = output
        self._over = False
        self._drain: Any = lambda full: None
        executions.open.add(self)
        program = shutil.which(request.command[0], path=executions.environ["PATH"])
        if program is None:
            ended = Ended(NOT_STARTED, 500, "InternalError", "executable file not found in $PATH")
            reactor.callLater(0, self._end, ended)  # type: ignore[attr-defined]
            return
        reactor.spawnProcess(  # type: ignore[attr-defined]
            self, program, list(request.command), env=executions.environ, path=executions.folder
        )
        if not request.stdin:
            self.transport.closeStdin()

    def connectionMade(self) -> None:
        reactor.callLater(0, self._started)  # type: ignore[attr-defined]

    def _started(self) -> None:
        if not self._over:
            self._output.started()

    def write(self, data: bytes) -> None:
        self.typed += len(data)
        if not self._over:
            self.transport.write(data)

    def close_stdin(self) -> None:
        if self.protocol == V5 and not self._over:
            self.transport.closeStdin()

    def resize(self, columns: int, rows: int) -> None:
        """There is no terminal."""

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        self.transport.resumeProducing()

    def on_drain(self, callback: Any) -> None:
        self._drain = callback

    def close(self) -> None:
        self._over = True
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            return

    def outReceived(self, data: bytes) -> None:
        self._said(data, False)

    def errReceived(self, data: bytes) -> None:
        self._said(data, True)

    def _said(self, data: bytes, stderr: bool) -> None:
        if not self._over:
            self.printed += len(data)
            self._output.output(data, stderr)

    def processEnded(self, reason: Failure) -> None:
        code = 0 if reason.check(ProcessDone) else reason.value.exitCode or 128 + (reason.value.signal or 0)
        self._end(Ended(EXITED, code))

    def _end(self, result: Ended) -> None:
        self._executions.open.discard(self)
        if not self._over:
            self._over = True
            self._output.ended(result)

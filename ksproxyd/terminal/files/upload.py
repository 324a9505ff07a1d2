"""Puts files into a container: they are packed here, and unpacked there by its own tar (spec 05, 5)."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from ksproxyd.terminal import channels
from ksproxyd.terminal.execution import ExecRequest, Execution, Executions
from ksproxyd.terminal.exit_status import Ended
from ksproxyd.terminal.files import archive
from ksproxyd.terminal.files.names import literally
from ksproxyd.terminal.files.passed import Passed
from ksproxyd.terminal.files.spool import Spool

#: The last bytes of what tar complains of that are kept.
COMPLAINTS = 4096


class Unpacking:
    """tar in the container, and what it says (an :class:`~ksproxyd.terminal.execution.Output`)."""

    def __init__(self) -> None:
        self.complaints = b""
        self.begun: Deferred[None] = Deferred()
        self.over: Deferred[Ended] = Deferred()
        self.result: Ended | None = None
        self._writable: Deferred[None] | None = None

    def started(self) -> None:
        self.begun.callback(None)

    def output(self, data: bytes, stderr: bool) -> None:
        self.complaints = (self.complaints + data)[-COMPLAINTS:]

    def ended(self, result: Ended) -> None:
        self.result = result
        for waiting in (self.begun, self._writable):
            if waiting is not None and not waiting.called:
                waiting.callback(None)
        if not self.over.called:
            self.over.callback(result)

    def drained(self, full: bool) -> None:
        """The cluster takes no more for now, or again."""
        if full:
            self._writable = Deferred()
        else:
            waiting, self._writable = self._writable, None
            if waiting is not None and not waiting.called:
                waiting.callback(None)

    async def room(self) -> bool:
        """Wait until more can be sent; False if there is nobody any more who would take it."""
        if self._writable is not None and self.result is None:
            await self._writable
        return self.result is None


def plain_command(path: str) -> tuple[str, ...]:
    """What unpacks into ``path`` where the end of the archive can be told."""
    return ("tar", "-xmf", "-", *literally(path), "-C", path)


def bounded_command(path: str, length: int) -> tuple[str, ...]:
    """The same where it cannot: not every tar stops reading by itself. Path and length are arguments, never code."""
    script = 'size="$1"; shift; head -c "$size" | "$@"'
    return ("sh", "-c", script, "sh", str(length), *plain_command(path))


class Upload:
    """One upload into ``path`` of a container. What has been unpacked stays if it is cancelled."""

    def __init__(self, executions: Executions, namespace: str, pod: str, container: str, path: str) -> None:
        self._executions = executions
        self._where = (namespace, pod, container)
        self._path = path
        self._execution: Execution | None = None

    async def send(self, spool: Spool, passed: Passed | None = None) -> tuple[Ended, str]:
        """Send the files of ``spool``; returns how tar ended and the last it complained of.

        ``passed`` keeps account of what is sent of them.
        """
        try:
            return await self._send(spool, passed)
        finally:
            if self._execution is not None:
                self._execution.close()

    async def _send(self, spool: Spool, passed: Passed | None) -> tuple[Ended, str]:
        unpacking = self._begin(plain_command(self._path))
        await unpacking.begun
        assert self._execution is not None
        if unpacking.result is None and self._execution.protocol == channels.V4:
            self._execution.close()
            size = archive.length((file.name, file.size) for file in spool.files)
            unpacking = self._begin(bounded_command(self._path, size))
            await unpacking.begun
        await self._pack(spool, unpacking, passed)
        result = unpacking.result or await unpacking.over
        return result, unpacking.complaints.decode("utf-8", "replace").strip()

    def _begin(self, command: tuple[str, ...]) -> Unpacking:
        unpacking = Unpacking()
        request = ExecRequest(*self._where, command, stdin=True, stdout=True, stderr=True, tty=False)
        self._execution = execution = self._executions.begin(request, unpacking)
        execution.on_drain(unpacking.drained)
        return unpacking

    async def _pack(self, spool: Spool, unpacking: Unpacking, passed: Passed | None) -> None:
        execution = self._execution
        assert execution is not None
        await spool.rewind()
        for file in spool.files:
            execution.write(archive.head(file.name, file.size))
            if passed is not None:
                passed.begin(file.name)
            while await unpacking.room():
                data = await spool.read(file)
                if not data:
                    break
                execution.write(data)
                if passed is not None:
                    passed.take(data)
            if unpacking.result is not None:
                return
            execution.write(archive.padding(file.size))
        execution.write(archive.END)
        execution.close_stdin()

"""R2: files come out of a container, as an archive or one as it is (spec 05, 6).

``?format=raw`` gives one file as it is, with its length, and from any byte on (RFC 9110, 14): a download that broke off
is resumed. It takes ``stat`` and ``tail`` in the container; an archive takes ``tar``.
"""

from __future__ import annotations

import posixpath
import re

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ksproxyd.chain import TAKEN
from ksproxyd.kapis.terminal.access import Access
from ksproxyd.kapis.terminal.accounting import PassedOf
from ksproxyd.kapis.terminal.answers import container_for, exec_failed
from ksproxyd.kube.client import KubeClient
from ksproxyd.model.message import Pairs, Response
from ksproxyd.model.query import parameter
from ksproxyd.model.status import StatusError, bad_request, gateway_timeout, not_found, too_large
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings.terminal import TerminalSettings
from ksproxyd.terminal.execution import Executions
from ksproxyd.terminal.exit_status import Ended
from ksproxyd.terminal.files.download import Download, packing, reading, sizing
from ksproxyd.terminal.files.names import BadName, container_path, disposition
from ksproxyd.terminal.files.passed import Passed

_RANGE = re.compile(rb"bytes=([0-9]{1,18})-([0-9]{0,18})")

#: What tar says, and with which code it ends, where files changed while it read them: the archive is whole.
_CHANGED = ("file changed as we read it", "file removed before we read it", "file shrank by")

_MISSING = ("no such file or directory", "cannot stat", "can't open", "not found")


class Downloads:
    """The handler. ``passed_of`` makes what keeps account of the bytes that are sent, where there is a record."""

    def __init__(
        self,
        clock: IReactorTime,
        settings: TerminalSettings,
        client: KubeClient,
        access: Access,
        executions: Executions,
        passed_of: PassedOf | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._client = client
        self._access = access
        self._executions = executions
        self._passed_of = passed_of

    async def get(self, exchange: Exchange, namespace: str, pod: str) -> Response:
        """``GET …/pods/{pod}/file?container=&path=&format=``."""
        self._access.pod(exchange, namespace, pod)
        form = parameter(exchange.query, "format") or "tar"
        if form not in ("tar", "raw"):
            raise bad_request("format is tar, or raw for one file as it is")
        try:
            path = container_path(parameter(exchange.query, "path"))
        except BadName as error:
            raise bad_request(str(error)) from None
        where = (namespace, pod, await container_for(self._client, exchange, namespace, pod))
        if form == "raw":
            return await self._raw(exchange, where, path)
        name = f"{posixpath.basename(path) or 'root'}.tar"
        fields = [(b"Content-Type", b"application/x-tar"), (b"Content-Disposition", disposition(name))]
        if exchange.method == "HEAD":
            return Response(200, [*fields, *_FIELDS])
        passed = self._account(exchange)
        transfer = _Transfer(self._clock, self._settings, exchange, 200, fields, None, passed)
        return await transfer.run(self._executions, where, packing(path), path, "tar")

    async def _raw(self, exchange: Exchange, where: tuple[str, str, str], path: str) -> Response:
        size, tag = await self._look(where, path)
        fields = [
            (b"Content-Type", b"application/octet-stream"),
            (b"Content-Disposition", disposition(posixpath.basename(path))),
            (b"Accept-Ranges", b"bytes"),
            (b"ETag", tag),
        ]
        limit = self._settings.download_limit
        begin, end = _range(exchange, size, tag)
        if limit and end - begin > limit:
            raise too_large(f"the file has {size} bytes; {limit} may be downloaded at a time")
        status, part = 200, ""
        if (begin, end) != (0, size):
            status = 206
            part = f"bytes {begin}-{end - 1}/{size}"
            fields.append((b"Content-Range", part.encode()))
        if exchange.method == "HEAD":
            return Response(status, [*fields, *_FIELDS])
        passed = self._account(exchange, part)
        if end == begin:
            if passed is not None:
                passed.begin()
                passed.complete = True
            return Response(status, [*fields, *_FIELDS])
        transfer = _Transfer(self._clock, self._settings, exchange, status, fields, end - begin, passed)
        return await transfer.run(self._executions, where, reading(path, begin), path, "tail")

    def _account(self, exchange: Exchange, part: str = "") -> Passed | None:
        if self._passed_of is None:
            return None
        passed = self._passed_of(exchange)
        passed.range = part
        return passed

    async def _look(self, where: tuple[str, str, str], path: str) -> tuple[int, bytes]:
        """Size and tag of a file."""
        answer = _Answer()
        looking = Download(answer, limit=4096, first=1)
        looking.start(self._executions, *where, sizing(path))
        try:
            result = await looking.over
        finally:
            looking.cancel()
        if result is None or not result.ran:
            raise exec_failed(result or Ended("lost"), where[2], "stat")
        if result.code:
            raise _of_program(result.code, looking.said(), path, where[2], "stat")
        said = answer.text.decode("utf-8", "replace").strip()
        size, _, rest = said.partition(" ")
        changed, _, kind = rest.partition(" ")
        if not size.isdigit() or "regular" not in kind:
            raise bad_request(f"{path} is no file, but {kind or 'something else'}; without format=raw it comes as tar")
        return int(size), f'"{size}-{changed}"'.encode("ascii", "replace")


class _Answer:
    """A few bytes."""

    def __init__(self) -> None:
        self.text = b""

    def begin(self) -> None:
        """They come."""

    def take(self, data: bytes) -> None:
        self.text += data


_FIELDS: Pairs = [(b"X-Content-Type-Options", b"nosniff"), (b"Cache-Control", b"no-store")]


class _Transfer:
    """The bytes on their way: the client makes the program wait, and what breaks off is seen to."""

    def __init__(
        self,
        clock: IReactorTime,
        settings: TerminalSettings,
        exchange: Exchange,
        status: int,
        fields: Pairs,
        length: int | None,
        passed: Passed | None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._exchange = exchange
        self._status = status
        self._fields = fields
        self._length = length
        self._left = length
        self._passed = passed
        self._late = False
        limit = settings.download_limit if length is None else 0
        self._download = Download(self, limit) if length is None else Download(self, first=1)

    async def run(
        self, executions: Executions, where: tuple[str, str, str], command: tuple[str, ...], path: str, program: str
    ) -> Response:
        """Answer the exchange with the output of ``command``."""
        timer: IDelayedCall = self._clock.callLater(self._settings.download_timeout, self._too_late)
        download = self._download
        download.start(executions, *where, command)
        try:
            result = await download.over
        except CancelledError:
            # The client has gone.
            raise
        finally:
            download.cancel()
            if timer.active():
                timer.cancel()
        return self._finished(result, path, where[2], program)

    def _finished(self, result: Ended | None, path: str, container: str, program: str) -> Response:
        exchange, download = self._exchange, self._download
        if self._left == 0:
            self._finish()
            return TAKEN
        if result is not None and result.ran and self._length is None and _is_whole(result.code, download.said()):
            if not download.begun:
                self.begin()
            self._finish()
            return TAKEN
        if download.begun:
            # No end of the body: the client is to see that it is not complete.
            exchange.abort()
            return TAKEN
        if self._late:
            raise gateway_timeout(f"the container has not given the file within {self._settings.download_timeout:g} s")
        if download.too_large:
            raise too_large(f"there are more than the {self._settings.download_limit} bytes that may be downloaded")
        if result is None or not result.ran:
            raise exec_failed(result or Ended("lost"), container, program)
        raise _of_program(result.code, download.said(), path, container, program)

    def _finish(self) -> None:
        if self._passed is not None:
            # Before the end, which is when it is recorded.
            self._passed.complete = True
        self._exchange.finish()

    def _too_late(self) -> None:
        self._late = True
        self._download.cancel()

    # -- what the download says (a Taker) ----------------------------------------------------------------------

    def begin(self) -> None:
        self._exchange.start(self._status, [*self._fields, *_FIELDS], self._length)
        self._exchange.set_producer(self)
        if self._passed is not None:
            self._passed.begin()

    def take(self, data: bytes) -> None:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if self._passed is not None:
            self._passed.take(data)
        self._exchange.write(data)
        self._exchange.flush()
        if self._left == 0:
            self._download.cancel()

    def pauseProducing(self) -> None:
        self._download.pause()

    def resumeProducing(self) -> None:
        self._download.resume()

    def stopProducing(self) -> None:
        """The exchange tells."""


def _range(exchange: Exchange, size: int, tag: bytes) -> tuple[int, int]:
    """Which bytes are asked for: first, and behind the last. Raises the 416 for what is not there."""
    wanted = exchange.fields.get(b"range")
    condition = exchange.fields.get(b"if-range")
    found = _RANGE.fullmatch(wanted) if wanted is not None else None
    if found is None or (condition is not None and condition != tag):
        # Other forms of ranges may be passed over, and then the whole is the answer.
        return 0, size
    begin = int(found[1])
    end = min(int(found[2]) + 1, size) if found[2] else size
    if begin >= size or end <= begin:
        headers = [(b"Content-Range", b"bytes */%d" % size)]
        raise StatusError(416, "RangeNotSatisfiable", f"the file has {size} bytes", headers=headers)
    return begin, end


def _is_whole(code: int, said: str) -> bool:
    """Whether an archive is complete, although files changed meanwhile."""
    return code == 0 or (code == 1 and bool(said) and all(_changed(line) for line in said.splitlines()))


def _changed(line: str) -> bool:
    return any(each in line for each in _CHANGED)


def _of_program(code: int, said: str, path: str, container: str, program: str) -> StatusError:
    if any(each in said.lower() for each in _MISSING) and code not in (126, 127):
        return not_found(f"there is no {path} in container {container}")
    if code in (126, 127):
        return bad_request(f"container {container} has no {program}; files come out with the container's own")
    return bad_request(f"{program} in container {container} failed ({code}): {said or 'it does not say why'}")

"""R3: files from a form go into a container (spec 05, 5)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from ksproxyd.kapis.bodies import media_type, unsupported_media_type
from ksproxyd.kapis.terminal.access import Access
from ksproxyd.kapis.terminal.accounting import PassedOf
from ksproxyd.kapis.terminal.answers import container_for, exec_failed
from ksproxyd.kube.client import KubeClient
from ksproxyd.model.message import Response
from ksproxyd.model.multipart import Malformed, Reader, boundary_of
from ksproxyd.model.query import parameter
from ksproxyd.model.status import StatusError, bad_request, gateway_timeout, service_unavailable, too_large
from ksproxyd.server.exchange import Exchange
from ksproxyd.settings.terminal import TerminalSettings
from ksproxyd.terminal.execution import Executions
from ksproxyd.terminal.files.names import BadName, container_path
from ksproxyd.terminal.files.passed import Passed
from ksproxyd.terminal.files.spool import Duplicate, Full, InThread, Room, Spool, TooLarge
from ksproxyd.terminal.files.upload import Upload

#: What a form may add to its files before it is refused unread, in bytes.
ALLOWANCE = 1024 * 1024


class Uploads:
    """The handler. Nothing of a file is ever in memory but the piece that is on its way to the disk.

    ``passed_of`` makes what keeps account of the files that go into a container, where there is a record.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: TerminalSettings,
        client: KubeClient,
        access: Access,
        executions: Executions,
        in_thread: InThread,
        passed_of: PassedOf | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._client = client
        self._access = access
        self._executions = executions
        self._in_thread = in_thread
        self._room = Room(settings.spool_limit)
        self._passed_of = passed_of

    async def post(self, exchange: Exchange, namespace: str, pod: str) -> Response:
        """``POST …/pods/{pod}/file?container=&path=``: the folder to put the files of a form into."""
        if media_type(exchange) != b"multipart/form-data":
            raise unsupported_media_type("multipart/form-data")
        self._access.pod(exchange, namespace, pod)
        try:
            path = container_path(parameter(exchange.query, "path") or "/")
            boundary = boundary_of(exchange.fields.get(b"content-type") or b"")
        except (BadName, Malformed) as error:
            raise bad_request(str(error)) from None
        limit = self._settings.upload_file_limit
        if exchange.length > limit + ALLOWANCE:
            raise too_large(f"the form has {exchange.length} bytes; files may have {limit} together")
        container = await container_for(self._client, exchange, namespace, pod)
        spool = Spool(self._in_thread, limit, self._room)
        try:
            await self._receive(exchange, spool, boundary)
            if not spool.files:
                raise bad_request("the form has no file in it")
            files = [{"name": file.name, "size": file.size} for file in spool.files]
            passed = None if self._passed_of is None else self._passed_of(exchange)
            await self._send(Upload(self._executions, namespace, pod, container, path), spool, container, passed)
        finally:
            await spool.close()
        return Response.json(200, {"files": files})

    async def _receive(self, exchange: Exchange, spool: Spool, boundary: bytes) -> None:
        body = _Body(exchange, spool, boundary)
        exchange.send_body_to(body)
        try:
            await body.over
        except (BadName, Duplicate, Malformed) as error:
            raise bad_request(str(error)) from None
        except TooLarge as error:
            raise too_large(str(error)) from None
        except Full as error:
            raise service_unavailable(str(error), 10) from None
        except OSError as error:
            raise service_unavailable(f"the upload cannot be kept until it is complete: {error.strerror}", 10) from None

    async def _send(self, upload: Upload, spool: Spool, container: str, passed: Passed | None) -> None:
        sending: Deferred[Any] = Deferred.fromCoroutine(upload.send(spool, passed))
        sending.addTimeout(self._settings.upload_timeout, self._clock)
        try:
            result, said = await sending
        except TimeoutError:
            raise gateway_timeout(
                f"the container has not taken the files within {self._settings.upload_timeout:g} s"
            ) from None
        if not result.ran:
            raise exec_failed(result, container, "tar")
        if result.code:
            raise bad_request(f"tar in container {container} failed ({result.code}): {said or 'it does not say why'}")
        if passed is not None:
            passed.complete = True


class _Body:
    """The body on its way to the disk: while that is written, the client waits."""

    def __init__(self, exchange: Exchange, spool: Spool, boundary: bytes) -> None:
        self._exchange = exchange
        self._spool = spool
        self._reader = Reader(boundary, spool)
        self._writing: Deferred[None] | None = None
        self._complete = False
        self.over: Deferred[None] = Deferred(self._given_up)

    def body_data(self, data: bytes) -> None:
        if self.over.called:
            return
        try:
            self._reader.feed(data)
        except Exception as error:
            self._fail(error)
            return
        if self._spool.full:
            self._write()

    def body_end(self) -> None:
        if self.over.called:
            return
        try:
            self._reader.end()
        except Malformed as error:
            self._fail(error)
            return
        self._complete = True
        self._write()

    def body_aborted(self) -> None:
        self._fail(StatusError(400, "BadRequest", "the request body broke off"))

    def _write(self) -> None:
        if self._writing is None:
            self._exchange.pause_body()
            self._writing = Deferred.fromCoroutine(self._spool.write_out())
            self._writing.addCallbacks(self._written, lambda failure: self._fail(failure.value))

    def _written(self, _: None) -> None:
        self._writing = None
        if self.over.called:
            return
        if self._spool.full or (self._complete and self._spool.waiting):
            self._write()
        elif self._complete:
            self._exchange.resume_body()
            self.over.callback(None)
        else:
            self._exchange.resume_body()

    def _fail(self, error: BaseException) -> None:
        if not self.over.called:
            self.over.errback(error)

    def _given_up(self, _: Deferred[None]) -> None:
        """The client has gone; what is being written is seen to its end by the spool."""

"""Takes batches in: images to the store, then the document to the broker, and only then an answer."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from muniflow.errors import Fault, Invalid, MuniflowError, NotFound, Rejected, Unavailable
from muniflow.images.limits import ImageLimits
from muniflow.model.messages import Command
from muniflow.model.operation import Operations, Size
from muniflow.model.topology import BATCHES, CONTROL
from muniflow.runtime.failpoints import Failpoints
from muniflow.store.types import Store
from muniflow_gateway.auth.access import Caller
from muniflow_gateway.clients.backlog import Backlog
from muniflow_gateway.clients.broker import Broker
from muniflow_gateway.clients.notices import NoticeHub
from muniflow_gateway.metrics import GatewayMetrics
from muniflow_gateway.problems import Problem, problem_of
from muniflow_gateway.settings import GatewaySettings
from muniflow_gateway.upload import documents
from muniflow_gateway.upload.body import chunks, drain, whole
from muniflow_gateway.upload.documents import IdempotencyRecord
from muniflow_gateway.upload.image_size import measure
from muniflow_gateway.upload.multipart import Form, FormReader, Sink, StoredFile, boundary_of

BUSY_S = 5.0
MEASURE_THREADS = 2

Answer = TypeVar("Answer")


@dataclass
class UploadService:
    """Where batches are handed in."""

    settings: GatewaySettings
    limits: ImageLimits
    operations: Operations
    source: Store
    broker: Broker
    backlog: Backlog
    notices: NoticeHub
    failpoints: Failpoints
    metrics: GatewayMetrics
    uploading: int = 0
    """Forms that are coming in now."""
    _writers: Executor = field(init=False)
    _readers: Executor = field(init=False)
    _before_publish: Callable[[], None] = field(init=False)
    _after_publish: Callable[[], None] = field(init=False)

    def __post_init__(self) -> None:
        """Make the threads."""
        self._writers = ThreadPoolExecutor(self.settings.max_uploads, "upload")
        self._readers = ThreadPoolExecutor(MEASURE_THREADS, "measure")
        self._before_publish = self.failpoints.at("gateway.before_publish")
        self._after_publish = self.failpoints.at("gateway.after_publish")

    def close(self) -> None:
        """End the threads."""
        for pool in (self._writers, self._readers):
            pool.shutdown(wait=False, cancel_futures=True)

    async def take_form(self, request: Request, caller: Caller) -> str:
        """Take a form with images; returns the id of its batch, which is durable then.

        Raises:
            Problem: it is refused, whole; or the store or the broker is away.
        """
        try:
            async with self._slot(request, caller) as batch_id:
                return await self._take_form(request, caller, batch_id)
        except ClientDisconnect:
            raise Problem(HTTPStatus.BAD_REQUEST, "the client went away", reason="gone") from None
        except (Problem, MuniflowError) as error:
            problem = error if isinstance(error, Problem) else problem_of(error)
            if not await drain(request):
                problem.headers["Connection"] = "close"
            raise problem from error

    async def take_document(self, request: Request, caller: Caller) -> str:
        """Take a JSON document that names images in the store; returns the id of its batch.

        Raises:
            Problem: it is refused.
            Unavailable: the broker is away.
        """
        limit_bytes, silence_s = self.settings.max_field_bytes, self.settings.body_timeout_s
        try:
            body = await whole(request, limit_bytes=limit_bytes, silence_s=silence_s, allowance=caller.allowance)
        except ClientDisconnect:
            raise Problem(HTTPStatus.BAD_REQUEST, "the client went away", reason="gone") from None
        self.broker.require()
        await self.backlog.require_room()
        if (key := request.headers.get("idempotency-key")) is not None:
            body = documents.with_batch_id(body, documents.repeatable_batch_id(caller.name, key))
        batch = documents.check_document(body, self.operations)
        with self.notices.listening(batch.batch_id) as subscription:
            message_id = await self._publish(batch.batch_id, body, files=0)
            # Others may hand in something else under the same id at the same time, so it is not any answer.
            notice = await subscription.answer_to(message_id, self.settings.answer_s)
        if notice is not None and notice.state == "rejected":
            faults = tuple(Fault(fault.get("place", ""), fault.get("problem", "")) for fault in notice.faults)
            raise Problem(HTTPStatus.CONFLICT, "the coordinator refuses the batch", faults)
        return batch.batch_id

    async def sent_folder(self, batch_id: str) -> str:
        """Prefix in the source store of the images that were sent with a batch.

        Raises:
            Unavailable: the store is away.
        """
        record = await self._find_record(batch_id) if batch_id.startswith(documents.REPEATABLE) else None
        return record.source if record else documents.folder_of(self.settings.uploads_prefix, batch_id)

    async def command(self, command: Command) -> None:
        """Ask something of the coordinator, durably.

        Raises:
            Unavailable: the broker is away.
        """
        self.broker.require()
        await self.broker.publish(CONTROL, command.to_bytes(), self.settings.publish_timeout_s)

    @asynccontextmanager
    async def _slot(self, request: Request, caller: Caller) -> AsyncIterator[str]:
        """Room for one more upload, and the id of its batch."""
        self.broker.require()
        await self.backlog.require_room()
        if self.uploading >= self.settings.max_uploads:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many uploads at once", retry_after_s=BUSY_S)
        key = request.headers.get("idempotency-key")
        batch_id = documents.new_batch_id() if key is None else documents.repeatable_batch_id(caller.name, key)
        self.uploading += 1
        try:
            yield batch_id
        finally:
            self.uploading -= 1

    async def _take_form(self, request: Request, caller: Caller, batch_id: str) -> str:
        repeatable = "idempotency-key" in request.headers
        record = await self._find_record(batch_id) if repeatable else None
        new_folder = documents.new_attempt_folder if repeatable else documents.folder_of
        folder = new_folder(self.settings.uploads_prefix, batch_id)
        sink = Sink(self.source, folder, self._writers, durable=self.settings.durable_uploads, keep=record is None)
        if record is not None:
            form = await self._read(request, caller, sink)
            await self._repeat(batch_id, documents.request_digest(form), record)
            return batch_id
        needed = False
        try:
            form = await self._read(request, caller, sink)
            own = IdempotencyRecord(documents.request_digest(form), await self._document(form, caller, batch_id, sink))
            needed = True  # from here on the record of its key, or the coordinator, may name its images
            record = await self._make_record(batch_id, own) if repeatable else own
            needed = record == own
            if needed:
                await self._publish(batch_id, own.document, len(form.files))
            else:
                await self._repeat(batch_id, own.digest, record)
        finally:
            if not needed:
                await self._forget(folder)
        return batch_id

    async def _publish(self, batch_id: str, document: bytes, files: int) -> str:
        """Hand a checked document to the broker; `files` images came with it. Returns the id of the message.

        Raises:
            Unavailable: it is not known to be safe.
        """
        message_id = secrets.token_hex(16)
        self._before_publish()
        self.notices.submitted(batch_id)
        await self.broker.publish(BATCHES, document, self.settings.publish_timeout_s, message_id)
        self._after_publish()
        self.metrics.handed_in(files)
        return message_id

    async def _read(self, request: Request, caller: Caller, sink: Sink) -> Form:
        settings = self.settings
        body = chunks(
            request,
            limit_bytes=settings.max_request_bytes,
            silence_s=settings.body_timeout_s,
            allowance=caller.allowance,
        )
        return await FormReader(boundary_of(request.headers.get("content-type", "")), sink, settings).read(body)

    async def _document(self, form: Form, caller: Caller, batch_id: str, sink: Sink) -> bytes:
        for file in form.files:
            size = await self._measure(sink, file)
            if size is not None and size.pixels > self.limits.max_pixels:
                form.fault(file.place, f"{file.name}: {size} is more than the limit of {self.limits.max_pixels} pixels")
            elif size is not None and not form.faults:
                caller.allowance.take_pixels(size.pixels)
        return documents.document_of(form, batch_id, sink.folder, self.operations)

    async def _measure(self, sink: Sink, file: StoredFile) -> Size | None:
        def look() -> Size | None:
            with sink.store.open(f"{sink.folder}{file.name}") as stream:
                return measure(stream)

        return await asyncio.get_running_loop().run_in_executor(self._readers, look)

    async def _make_record(self, batch_id: str, own: IdempotencyRecord) -> IdempotencyRecord:
        """Let the idempotency key stand for this request, unless another one was first; returns the first."""
        key = documents.record_key(self.settings.uploads_prefix, batch_id)
        if await self._in_thread(lambda: self.source.create(key, own.to_bytes())):
            return own
        return await self._find_record(batch_id) or own

    async def _find_record(self, batch_id: str) -> IdempotencyRecord | None:
        """What was sent under this idempotency key before."""
        key = documents.record_key(self.settings.uploads_prefix, batch_id)
        try:
            return IdempotencyRecord.from_bytes(await self._in_thread(lambda: bytes(self.source.read(key))))
        except NotFound:
            return None
        except (ValueError, Rejected) as error:
            raise Unavailable("what was sent under this Idempotency-Key before", str(error)) from None

    async def _repeat(self, batch_id: str, digest: str, record: IdempotencyRecord) -> None:
        """Publish what was published before, if the request is the same: to the coordinator it is the same batch."""
        if digest != record.digest:
            text = "this Idempotency-Key was used for another request; take a new one"
            raise Invalid((Fault("Idempotency-Key", text),))
        await self._publish(batch_id, record.document, files=0)

    async def _forget(self, folder: str) -> None:
        """Remove the images of a request that are not needed: no other request writes into its folder."""
        with suppress(MuniflowError):
            await self._in_thread(lambda: self.source.delete_prefix(folder))

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._writers, work)

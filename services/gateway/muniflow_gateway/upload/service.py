"""Takes batches in: images to the store, then the document to the broker, and only then an answer."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from muniflow.errors import Fault, Invalid, MuniflowError, NotFound, Rejected, Unavailable
from muniflow.forecast.route import PIXELS_PER_MP
from muniflow.forecast.sizes import Picture
from muniflow.forecast.task_class import READS
from muniflow.images.header import ImageLimits, ImageStart, read_start
from muniflow.model.keys import upload_folder
from muniflow.model.messages import Command
from muniflow.model.operation import Operations
from muniflow.model.owners import Grants
from muniflow.model.topology import BATCHES, CONTROL
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.settings import variable
from muniflow.store.types import Store
from muniflow_gateway.auth.access import Caller
from muniflow_gateway.clients.backlog import AcceptedImages
from muniflow_gateway.clients.broker import Broker
from muniflow_gateway.clients.notices import NoticeHub
from muniflow_gateway.metrics import GatewayMetrics
from muniflow_gateway.problems import Problem, problem_of
from muniflow_gateway.settings import GatewaySettings
from muniflow_gateway.upload import documents
from muniflow_gateway.upload.body import chunks, drain, whole
from muniflow_gateway.upload.budgets import BudgetCheck, refusal
from muniflow_gateway.upload.documents import IdempotencyRecord, Rights
from muniflow_gateway.upload.multipart import Form, FormReader, Sink, StoredFile, boundary_of
from muniflow_gateway.upload.pace import BodyPace

BUSY_S = 5.0
READ_THREADS = 2

Answer = TypeVar("Answer")


@dataclass
class UploadService:
    """Accepts batches."""

    settings: GatewaySettings
    limits: ImageLimits
    operations: Operations
    grants: Grants
    source: Store
    broker: Broker
    backlog: AcceptedImages
    budgets: BudgetCheck
    notices: NoticeHub
    failpoints: Failpoints
    metrics: GatewayMetrics
    _by_key: Counter[str] = field(init=False, default_factory=Counter)
    """Forms that are coming in now, by the name of the key."""
    _writers: Executor = field(init=False)
    _readers: Executor = field(init=False)
    _before_publish: Callable[[], None] = field(init=False)
    _after_publish: Callable[[], None] = field(init=False)

    def __post_init__(self) -> None:
        """Make the threads."""
        self._writers = ThreadPoolExecutor(self.settings.max_uploads, "upload")
        self._readers = ThreadPoolExecutor(READ_THREADS, "headers")
        self._before_publish = self.failpoints.at("gateway.before_publish")
        self._after_publish = self.failpoints.at("gateway.after_publish")

    @property
    def uploading(self) -> int:
        """Forms that are coming in now."""
        return self._by_key.total()

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

    async def take_document(self, request: Request, caller: Caller) -> tuple[str, float | None]:
        """Take a JSON document that names images in the store.

        Returns:
            The id of its batch, and when it had ended before, unix time, if the coordinator says so in time.

        Raises:
            Problem: it is refused.
            Unavailable: the broker is away.
        """
        limit_bytes, pace = self.settings.max_field_bytes, BodyPace.of(self.settings)
        try:
            body = await whole(request, limit_bytes=limit_bytes, pace=pace, allowance=caller.allowance)
        except ClientDisconnect:
            raise Problem(HTTPStatus.BAD_REQUEST, "the client went away", reason="gone") from None
        self.broker.require()
        await self.backlog.require_room()
        own_id = None
        if (key := request.headers.get("idempotency-key")) is not None:
            own_id = documents.repeatable_batch_id(caller.identity, key)
            body = documents.with_batch_id(body, own_id)
        batch = documents.check_document(body, self.operations, self._rights(caller), time.time(), own_id)
        with self.notices.listening(batch.batch_id) as subscription:
            message_id = await self._publish(batch.batch_id, body, caller, files=0)
            # Others may hand in something else under the same id at the same time, so it is not any answer.
            notice = await subscription.answer_to(message_id, self.settings.answer_s)
        if notice is not None and notice.state == "rejected":
            raise refusal(notice)
        return batch.batch_id, None if notice is None else notice.already_run_at

    async def sent_folder(self, batch_id: str) -> str:
        """Prefix in the source store of the images that were sent with a batch.

        Raises:
            Unavailable: the store is away.
        """
        record = await self._find_record(batch_id) if batch_id.startswith(documents.REPEATABLE) else None
        return record.source if record else upload_folder(batch_id, self.settings.uploads_prefix)

    def _rights(self, caller: Caller) -> Rights:
        return Rights(caller.owner, self.grants, urgent="urgent" in caller.scopes)

    async def command(self, command: Command, caller: Caller, owner: str) -> None:
        """Ask something of the coordinator about a batch of this owner, durably.

        Raises:
            Unavailable: the broker is away.
        """
        self.broker.require()
        await self.broker.publish(CONTROL, command.to_bytes(), self.settings.publish_timeout_s, caller.headers(owner))

    @asynccontextmanager
    async def _slot(self, request: Request, caller: Caller) -> AsyncIterator[str]:
        """Room for one more upload, and the id of its batch."""
        self.broker.require()
        await self.backlog.require_room()
        if self.uploading >= self.settings.max_uploads:
            text = f"too many uploads at once ({variable('max_uploads')})"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after_s=BUSY_S)
        if self._by_key[caller.name] >= self.settings.max_uploads_per_key:
            text = f"too many uploads at once with this key ({variable('max_uploads_per_key')})"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after_s=BUSY_S)
        key = request.headers.get("idempotency-key")
        batch_id = documents.new_batch_id() if key is None else documents.repeatable_batch_id(caller.identity, key)
        self._by_key[caller.name] += 1
        try:
            yield batch_id
        finally:
            self._by_key[caller.name] -= 1

    async def _take_form(self, request: Request, caller: Caller, batch_id: str) -> str:
        repeatable = "idempotency-key" in request.headers
        record = await self._find_record(batch_id) if repeatable else None
        attempt = secrets.token_hex(8) if repeatable else ""
        folder = upload_folder(batch_id, self.settings.uploads_prefix, attempt)
        sink = Sink(self.source, folder, self._writers, durable=self.settings.durable_uploads, keep=record is None)
        if record is not None:
            form = await self._read(request, caller, sink)
            await self._repeat(batch_id, documents.request_digest(form), record, caller)
            return batch_id
        needed = False
        try:
            form = await self._read(request, caller, sink)
            own = IdempotencyRecord(documents.request_digest(form), await self._document(form, caller, batch_id, sink))
            needed = True  # from here on the record of its key, or the coordinator, may name its images
            record = await self._make_record(batch_id, own) if repeatable else own
            needed = record == own
            if needed:
                await self._publish(batch_id, own.document, caller, len(form.files))
            else:
                await self._repeat(batch_id, own.digest, record, caller)
        finally:
            if not needed:
                await self._forget(folder)
        return batch_id

    async def _publish(self, batch_id: str, document: bytes, caller: Caller, files: int) -> str:
        """Hand a checked document to the broker; `files` images came with it. Returns the id of the message.

        Raises:
            Unavailable: it is not known to be safe.
        """
        message_id = secrets.token_hex(16)
        self._before_publish()
        self.notices.submitted(batch_id, caller.owner)
        await self.broker.publish(BATCHES, document, self.settings.publish_timeout_s, caller.headers(), message_id)
        self._after_publish()
        self.metrics.handed_in(files)
        return message_id

    async def _read(self, request: Request, caller: Caller, sink: Sink) -> Form:
        settings = self.settings
        body = chunks(
            request,
            limit_bytes=settings.max_request_bytes,
            limit_name=variable("max_request_bytes"),
            pace=BodyPace.of(settings),
            allowance=caller.allowance,
        )
        boundary = boundary_of(request.headers.get("content-type", ""))
        return await FormReader(boundary, sink, settings, self.limits).read(body)

    async def _document(self, form: Form, caller: Caller, batch_id: str, sink: Sink) -> bytes:
        """The document of a form that is right.

        Raises:
            Invalid: with every fault of files and fields, also those that are too much of one image or one batch.
            Problem: 429, it is too much for its key or owner now.
        """
        pictures = await self._pictures(form, sink)
        rights = self._rights(caller)
        body, faults = documents.document_of(form, batch_id, sink.folder, self.operations, time.time(), rights=rights)
        work = partial(self.budgets.needed, body, caller.owner, pictures)
        needed = await asyncio.get_running_loop().run_in_executor(self._readers, work)
        if faults or needed.faults:
            raise Invalid((*faults, *needed.faults))
        await self.budgets.require_left(caller.owner, needed.amounts)
        sent_px = sum(picture.size.pixels for picture in pictures.values() if picture is not None)
        caller.allowance.take_pixels(sent_px + round(needed.amounts.megapixels * PIXELS_PER_MP))
        return body

    async def _pictures(self, form: Form, sink: Sink) -> dict[Fault, Picture | None]:
        """The images that a form may have by their headers, each by its place and name; `None`: too little is known.

        A kind of picture that is not decoded fails alone beside others, as in a folder; what is none is a fault.
        """
        starts = [(file, await self._start_of(sink, file)) for file in form.files]
        whole = all(start.refused is not None for _, start in starts)
        pictures: dict[Fault, Picture | None] = {}
        for file, start in starts:
            if start.refused is not None and (whole or start.refused.reason_code != "image_unsupported"):
                form.fault(file.place, f"{file.name}: {start.refused}")
                continue
            picture = None if start.header is None else Picture(start.header.size, READS[start.header.format])
            pictures[Fault(file.place, file.name)] = picture
        return pictures

    async def _start_of(self, sink: Sink, file: StoredFile) -> ImageStart:
        def look() -> ImageStart:
            with sink.store.open(f"{sink.folder}{file.name}") as stream:
                return read_start(stream, self.limits)

        return await asyncio.get_running_loop().run_in_executor(self._readers, look)

    async def _make_record(self, batch_id: str, own: IdempotencyRecord) -> IdempotencyRecord:
        """Record this request under its idempotency key, unless another was first; returns the record of the first."""
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

    async def _repeat(self, batch_id: str, digest: str, record: IdempotencyRecord, caller: Caller) -> None:
        """Publish what was published before, if the request is the same: to the coordinator it is the same batch."""
        if digest != record.digest:
            text = "this Idempotency-Key was used for another request; take a new one"
            raise Invalid((Fault("Idempotency-Key", text),))
        await self._publish(batch_id, record.document, caller, files=0)

    async def _forget(self, folder: str) -> None:
        """Remove the images of a request that are not needed: no other request writes into its folder."""
        with suppress(MuniflowError):
            await self._in_thread(lambda: self.source.delete_prefix(folder))

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._writers, work)

"""A multipart form with images, parsed while it streams in: fields stay in memory, files go straight to the store."""

import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from http import HTTPStatus

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from muniflow.errors import Fault, Rejected
from muniflow.images.limits import ImageLimits
from muniflow.images.sniff import allowed_format
from muniflow.runtime.settings import variable
from muniflow.store.types import Store
from muniflow_gateway.problems import Problem, too_large
from muniflow_gateway.settings import GatewaySettings
from muniflow_gateway.upload.filenames import Labels
from muniflow_gateway.upload.stream_writer import Writer

FIELDS = frozenset({"actions", "batch"})
FILE_FIELDS = frozenset({"files", "file"})
MAX_PART_HEADERS = 8
MAX_PART_HEADER_BYTES = 4096
MAX_FAULTS = 50
HEAD_BYTES = 64
"""What tells an image from other files."""
PARSE_BYTES = 64 * 1024


@dataclass(frozen=True)
class StoredFile:
    """An image of a form, in the store."""

    place: str
    """`files[2]`."""
    name: str
    """Its name below the folder of the request."""
    size_bytes: int
    sha256: str


@dataclass
class Form:
    """What came in a form."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[StoredFile] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, place: str, problem: str) -> None:
        """Note what is wrong; the rest is still checked."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(place, problem))


@dataclass(frozen=True)
class Sink:
    """Where the files of a form go."""

    store: Store
    folder: str
    """Prefix in the store, ending in `/`."""
    executor: Executor
    durable: bool
    keep: bool = True
    """Whether to store them; otherwise they are only looked at and hashed."""


def boundary_of(content_type: str) -> str:
    """The boundary of a form.

    Raises:
        Problem: 415, it is no form; 400, it has no boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind.casefold() != "multipart/form-data":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send multipart/form-data, not {kind[:80] or 'a body without a type'!r}"
        )
    boundary = options.get("boundary", "")
    if not boundary or len(boundary) > 200 or not boundary.isascii():  # noqa: PLR2004 - RFC 2046 allows 70
        raise Problem(HTTPStatus.BAD_REQUEST, "the Content-Type of the form has no boundary that could be used")
    return str(boundary)


class FormReader:
    """Reads one form."""

    def __init__(self, boundary: str, sink: Sink, settings: GatewaySettings, limits: ImageLimits) -> None:
        """Files go to `sink`, if they start as `limits` allow."""
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=MAX_PART_HEADER_BYTES,
            max_header_count=MAX_PART_HEADERS,
            max_segment_count=settings.max_files + len(FIELDS),
        )
        self._sink = sink
        self._settings = settings
        max_file_bytes = min(settings.max_file_bytes, limits.max_encoded_bytes)
        self._limits = limits.model_copy(update={"max_encoded_bytes": max_file_bytes})
        self._labels = Labels()
        self._form = Form()
        self._part: _Part | None = None
        self._seen_files = 0

    async def read(self, chunks: AsyncIterator[bytes]) -> Form:
        """Parse the whole form.

        Raises:
            Problem: it is broken, or beyond a cap.
            MuniflowError: the store failed.
        """
        try:
            async for chunk in chunks:
                for start in range(0, len(chunk), PARSE_BYTES):
                    await self._parse(chunk[start : start + PARSE_BYTES])
            self._parser.close()
        except ParserLimitReached as error:
            files = f"{self._settings.max_files} files, {variable('max_files')}"
            text = f"the form is beyond a limit: {error} ({files}; 8 headers of 4 KiB a part)"
            raise too_large(text) from None
        except (MultipartError, UnicodeError) as error:
            raise Problem(HTTPStatus.BAD_REQUEST, f"the form cannot be read: {error}") from None
        finally:
            if self._part is not None:
                await self._part.abort()
        return self._form

    async def _parse(self, chunk: bytes) -> None:
        for event in self._parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                self._part = self._begin(event)
            elif self._part is None:
                continue
            elif event is None:
                part, self._part = self._part, None
                await part.finish()
            else:
                await self._part.feed(bytes(event))

    def _begin(self, segment: MultipartSegment) -> "_Part":
        name = str(segment.name or "")
        if name in FILE_FIELDS:
            place = f"files[{self._seen_files}]"
            self._seen_files += 1
            label = self._labels.take(segment.filename)
            return _File(place, label, self._form, self._sink, self._limits)
        if name not in FIELDS:
            self._form.fault(name[:80], "unknown field; a form has `actions` (or `batch`) and `files`")
        elif name in self._form.fields:
            self._form.fault(name, "given twice")
        elif segment.filename is not None and name == "batch":
            pass  # `curl -F batch=@batch.json` sends a file; what counts is its content
        return _Field(name, self._form, self._settings.max_field_bytes)


class _Part:
    """One part of a form while it comes in."""

    async def feed(self, chunk: bytes) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        raise NotImplementedError

    async def abort(self) -> None:
        """The rest will not come."""


class _Field(_Part):
    def __init__(self, name: str, form: Form, limit_bytes: int) -> None:
        self._name = name
        self._form = form
        self._limit_bytes = limit_bytes
        self._body = bytearray()

    async def feed(self, chunk: bytes) -> None:
        if len(self._body) + len(chunk) > self._limit_bytes:
            raise too_large(
                f"longer than {self._limit_bytes} bytes, the limit of a field ({variable('max_field_bytes')})",
                self._name[:80],
            )
        self._body += chunk

    async def finish(self) -> None:
        if self._name not in FIELDS:
            return
        try:
            self._form.fields.setdefault(self._name, self._body.decode())
        except UnicodeDecodeError:
            self._form.fault(self._name, "not UTF-8 text")


class _File(_Part):
    def __init__(self, place: str, name: str, form: Form, sink: Sink, limits: ImageLimits) -> None:
        self._place = place
        self._name = name
        self._form = form
        self._sink = sink
        self._limits = limits
        self._head = b""
        self._size_bytes = 0
        self._hash = hashlib.sha256()
        self._writer: Writer | None = None
        self._begun = False
        self._wanted = True

    async def feed(self, chunk: bytes) -> None:
        self._size_bytes += len(chunk)
        if self._size_bytes > self._limits.max_encoded_bytes:
            limit = f"{self._limits.max_encoded_bytes} bytes, the limit of one file ({variable('max_file_bytes')})"
            raise too_large(f"{self._name}: more than {limit}", self._place)
        self._hash.update(chunk)
        if not self._begun:
            self._head += chunk
            if len(self._head) < HEAD_BYTES:
                return
            chunk = self._begin()
        if self._writer is not None and chunk:
            await self._writer.feed(chunk)

    async def finish(self) -> None:
        if not self._begun and (left := self._begin()) and self._writer is not None:
            await self._writer.feed(left)
        if not self._wanted:
            return
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await writer.finish()
        self._form.files.append(StoredFile(self._place, self._name, self._size_bytes, self._hash.hexdigest()))

    async def abort(self) -> None:
        if self._writer is not None:
            await self._writer.abort()

    def _begin(self) -> bytes:
        """Look at the first bytes, and begin to store an image; returns those bytes."""
        self._begun = True
        try:
            allowed_format(memoryview(self._head), self._limits.formats)
        except Rejected as refused:
            self._wanted = False
            self._form.fault(self._place, f"{self._name}: {refused}")
        if self._wanted and self._sink.keep:
            key = f"{self._sink.folder}{self._name}"
            self._writer = Writer(self._sink.store, key, self._sink.executor, durable=self._sink.durable)
        begun, self._head = self._head, b""
        return begun

"""Blobs in S3, Google Cloud Storage or Azure, through `obstore` (the extra `objects`)."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import BinaryIO, Self, cast
from urllib.parse import unquote

import obstore
from obstore import exceptions
from obstore.store import ObjectStore as Backend
from obstore.store import from_url

from muniflow.errors import Fault, Invalid, MuniflowError, NotFound, Rejected, Unavailable
from muniflow.model.keys import is_hidden
from muniflow.store.backend_secrets import allow_http, from_files
from muniflow.store.checks import Watched, probe, problem_of, range_length, require_key, require_prefix
from muniflow.store.places import Location
from muniflow.store.types import Blob, OnOther, ignored

MULTIPART_FROM_BYTES = 64 << 20
"""Buffers up to this size go in one request: three round trips for a 3 MB intermediate would be two too many."""
PART_BYTES = 8 << 20
"""Size of a part of a stream; 10,000 of them (the limit of S3) are 80 GB."""
PARTS_IN_FLIGHT = 4
PUTS_IN_FLIGHT = 8
"""Blobs that are put at the same time."""
STREAM_BUFFER_BYTES = 1 << 20
"""What one request of a stream reads ahead, for each download that runs; hundreds may."""
_LIST_PAGE = 1000
_RETRIES = 3
_RETRY_TIMEOUT = timedelta(seconds=15)
# Short: muniflow itself retries longer faults, and hands the work back meanwhile.
_REQUEST_TIMEOUT = "120s"
# For one request with its whole body: a raw panorama of 134 MP has 400 MB.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
# A refused list or bulk delete has no error type of its own.
_DENIED_SIGNS = ("403 Forbidden", "401 Unauthorized", "<Code>AccessDenied</Code>")
_DENIED = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)


class ObjectStore:
    """The store below a bucket or a prefix of it. Open it after a fork, not before: it has threads of its own."""

    def __init__(self, backend: Backend, name: str) -> None:
        """Use an obstore backend; `name` is what errors call it (`s3://bucket/prefix`)."""
        self._backend = backend
        self._name = name

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store at `s3://bucket/prefix`, `gs://…` or `az://…`; credentials come from the environment and its files.

        Raises:
            Invalid: the URL or a setting of the environment is wrong.
        """
        scheme = url.partition(":")[0]
        try:
            backend = from_url(
                url,
                **from_files(scheme, os.environ),
                client_options={"timeout": _REQUEST_TIMEOUT, "allow_http": allow_http(scheme, os.environ)},
                retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_TIMEOUT},
            )
        except (exceptions.BaseError, ValueError) as error:
            raise Invalid((Fault(url, _first_line(error)),)) from error
        return cls(backend, url)

    def __repr__(self) -> str:
        return f"ObjectStore({self._name!r})"

    def location(self) -> Location:
        """Bucket and prefix; all stores of a process are on one service, which its environment names."""
        scheme, _, rest = self._name.rpartition("://")
        bucket, *parts = rest.split("/")
        return Location(f"{scheme}://{bucket}", tuple(unquote(part) for part in parts if part))

    def read(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> memoryview:
        """Bytes of a blob, in one request."""
        require_key(key)
        if offset_bytes == 0 and length_bytes is None:
            with self._translated("read", key):
                return memoryview(obstore.get(self._backend, key).bytes())
        if length_bytes == 0 or offset_bytes < 0 or (length_bytes or 0) < 0:
            self._range(key, offset_bytes, length_bytes)
            return memoryview(b"")
        try:
            with self._translated("read", key):
                data = memoryview(self._get(key, offset_bytes, length_bytes))
        except Unavailable:
            # Each service reports a range behind the end in its own words; the size is reliable.
            with suppress(Unavailable):
                size_bytes = self.size(key)
                if size_bytes is not None and range_length(key, size_bytes, offset_bytes, length_bytes) == 0:
                    return memoryview(b"")
            raise
        if length_bytes is not None and len(data) != length_bytes:
            self._range(key, offset_bytes, length_bytes)
            raise Unavailable("blob store", f"{self._name}: {len(data)} bytes of {key!r} came, not {length_bytes}")
        return data

    def open(self, key: str) -> BinaryIO:
        """The blob as a stream of ranged requests, read ahead in blocks."""
        require_key(key)
        with self._translated("read", key):
            reader = obstore.open_reader(self._backend, key, buffer_size=STREAM_BUFFER_BYTES)
        return cast("BinaryIO", io.BufferedReader(_Reader(self, reader, key)))

    def write(self, key: str, data: bytes | memoryview | Iterable[bytes], *, durable: bool = False) -> int:
        """Put a blob; an iterable goes in parts and becomes visible with the last. Always durable."""
        del durable  # Object stores answer when the blob is safe.
        require_key(key)
        if isinstance(data, bytes | bytearray | memoryview):
            return self._put(key, _flat(data))
        watched = Watched(data)
        try:
            with self._translated("write", key):
                obstore.put(self._backend, key, watched, chunk_size=PART_BYTES, max_concurrency=PARTS_IN_FLIGHT)
        except Exception:
            if watched.error is not None:
                raise watched.error from None
            raise
        return watched.size_bytes

    def create(self, key: str, data: bytes) -> bool:
        """Put a blob on the condition that there is none."""
        require_key(key)
        try:
            with self._translated("write", key):
                obstore.put(self._backend, key, data, mode="create", use_multipart=False)
        except exceptions.AlreadyExistsError:
            return False
        return True

    def write_many(self, blobs: Sequence[tuple[str, memoryview]]) -> Sequence[MuniflowError | None]:
        """Put blobs in parallel: each is a round trip."""
        writes = [partial(self.write, key, data) for key, data in blobs]
        if len(writes) <= 1:
            return [problem_of(write) for write in writes]
        with ThreadPoolExecutor(min(len(writes), PUTS_IN_FLIGHT), "put") as threads:
            return list(threads.map(problem_of, writes))

    def sync(self, keys: Sequence[str], *, whole_volume: bool = False) -> None:
        """Nothing to do: object stores answer a write when the blob is safe."""

    def size(self, key: str) -> int | None:
        """Size by a HEAD request."""
        meta = self._head(key)
        return None if meta is None else meta["size"]

    def version(self, key: str) -> str | None:
        """Size, time and ETag by a HEAD request."""
        meta = self._head(key)
        return None if meta is None else _version(meta)

    def _head(self, key: str) -> "obstore.ObjectMeta | None":
        require_key(key)
        try:
            with self._translated("read", key):
                return obstore.head(self._backend, key)
        except NotFound:
            return None

    def list(self, prefix: str = "", on_other: OnOther = ignored) -> Iterator[Blob]:
        """Blobs below `prefix`, a page at a time; an object store holds nothing else."""
        del on_other
        require_prefix(prefix, allow_empty=True)
        return self._list(prefix)

    def delete(self, key: str) -> None:
        """Remove a blob."""
        require_key(key)
        self._delete_all([key], key)

    def delete_prefix(self, prefix: str) -> None:
        """Remove all blobs below `prefix`, a page at a time."""
        require_prefix(prefix, allow_empty=False)
        for page in self._pages(prefix):
            self._delete_all([blob.key for blob in page], prefix)

    def check(self) -> None:
        """Try a write, a read and a delete."""
        probe(self)

    def _list(self, prefix: str) -> Iterator[Blob]:
        for page in self._pages(prefix):
            yield from (blob for blob in page if not is_hidden(blob.key[len(prefix) :]))

    def _pages(self, prefix: str) -> Iterator[Sequence[Blob]]:
        with self._translated("list", prefix):
            pages = obstore.list(self._backend, prefix or None, chunk_size=_LIST_PAGE)
        while True:
            with self._translated("list", prefix):
                page = next(pages, None)
            if page is None:
                return
            yield [Blob(meta["path"], meta["size"], _version(meta)) for meta in page]

    def _delete_all(self, keys: Sequence[str], what: str) -> None:
        try:
            with self._translated("delete", what):
                obstore.delete(self._backend, keys)
        except NotFound:
            # GCS and Azure raise this when a blob is gone already, and may have stopped there.
            for key in keys if len(keys) > 1 else []:
                self._delete_all([key], key)

    def _get(self, key: str, offset_bytes: int, length_bytes: int | None) -> "obstore.Bytes":
        if length_bytes is None:
            return obstore.get(self._backend, key, options={"range": {"offset": offset_bytes}}).bytes()
        return obstore.get_range(self._backend, key, start=offset_bytes, length=length_bytes)

    def _range(self, key: str, offset_bytes: int, length_bytes: int | None) -> int:
        """Length of a range by the blob's true size; raises `NotFound` when it does not lie inside."""
        size_bytes = self.size(key)
        if size_bytes is None:
            raise NotFound(f"blob {key!r} is not in the store")
        return range_length(key, size_bytes, offset_bytes, length_bytes)

    def _put(self, key: str, data: bytes | memoryview) -> int:
        with self._translated("write", key):
            obstore.put(
                self._backend,
                key,
                data,
                use_multipart=len(data) > MULTIPART_FROM_BYTES,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_IN_FLIGHT,
            )
        return len(data)

    @contextmanager
    def _translated(self, action: str, key: str) -> Iterator[None]:
        """Raise what an obstore error of this block means."""
        try:
            yield
        except exceptions.AlreadyExistsError:
            raise  # an answer, not a failure
        except (exceptions.BaseError, OSError, ValueError, TypeError) as error:
            raise _meaning(error, self._name, action, key) from error


class _Reader(io.RawIOBase):
    """An obstore reader as a raw stream whose errors have muniflow's meaning."""

    def __init__(self, store: ObjectStore, reader: "obstore.ReadableFile", key: str) -> None:
        self._store = store
        self._reader = reader
        self._key = key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        with self._store._translated("read", self._key):  # noqa: SLF001 - one module, one concern
            data = self._reader.read(len(buffer))
        buffer[: len(data)] = memoryview(data)
        return len(data)


def _version(meta: "obstore.ObjectMeta") -> str:
    # In whole seconds, as a HEAD has them; a listing has fractions.
    return f"{meta['size']}-{int(meta['last_modified'].timestamp())}-{(meta['e_tag'] or '').strip(chr(34))}"


def _meaning(error: Exception, name: str, action: str, key: str) -> MuniflowError:
    """The error to raise for an obstore error, met at blob `key` of the store `name`."""
    text = str(error)
    if isinstance(error, FileNotFoundError) and not any(sign in text for sign in _NO_BUCKET):
        return NotFound(f"blob {key!r} is not in the store")
    # What a path cannot hold is an error of the client's types in a delete.
    if isinstance(error, exceptions.InvalidPathError | ValueError | TypeError):
        return Rejected(
            f"blob {key!r}: this store does not take its name ({_first_line(error)})", reason_code="source_unreadable"
        )
    if isinstance(error, _DENIED) or any(sign in text for sign in _DENIED_SIGNS):
        return Unavailable("blob store", f"{name}: not allowed to {action} {key!r}: {_first_line(error)}")
    return Unavailable("blob store", f"{name}: cannot {action} {key!r}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    """An obstore error without the debug output that follows."""
    return str(error).partition("\n\nDebug source")[0].replace("\n", " ").strip()


def _flat(data: bytes | memoryview) -> bytes | memoryview:
    """A C-contiguous buffer of any shape as plain bytes, without a copy."""
    view = memoryview(data)
    return view.cast("B") if view.nbytes else b""

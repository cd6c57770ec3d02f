"""The interface of a blob store. Every backend passes `tests/contract/test_store.py`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from muniflow.errors import MuniflowError
from muniflow.store.places import Location


@dataclass(frozen=True)
class Blob:
    """A blob in a listing."""

    key: str
    size_bytes: int
    version: str = ""
    """Its size, the time of its last change and its ETag, as far as the store knows them; only to be compared."""


OnOther = Callable[[str, str], object]


def ignored(_key: str, _why: str) -> None:
    """Do nothing: for those who ask for blobs only."""


class Store(Protocol):
    """Bytes under keys (see `muniflow.model.keys`), confined to one root.

    Every method raises `Rejected` for a key that `stored_key_problem` refuses, `NotFound` for a blob that is not there,
    and `Unavailable` when the store cannot answer now (no space, read-only, no network): the work is retried.
    """

    def location(self) -> Location:
        """Where its blobs are, to be compared with other stores."""
        ...

    def read(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> memoryview:
        """Bytes of a blob, read-only; a local volume maps the file and copies nothing.

        `length_bytes=None` reads to the end. Raises `NotFound` when the blob is shorter than asked for.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """The blob as a stream in constant memory: for manifests and downloads."""
        ...

    def write(self, key: str, data: bytes | memoryview | Iterable[bytes], *, durable: bool = False) -> int:
        """Store a blob whole or not at all, over one of the same key; returns its size in bytes.

        `durable` survives a power failure once this returns. An iterable is written in constant memory.
        """
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Store a small blob durably unless there is one of this key; of many callers at once exactly one makes it.

        False where it was there. An object store may also return false for a blob that this call made, if its answer
        was lost and the request repeated: read the blob to know.
        """
        ...

    def write_many(self, blobs: Sequence[tuple[str, memoryview]]) -> Sequence[MuniflowError | None]:
        """Store several blobs, each as `write` would without `durable`, and all of them sooner than one by one.

        Returns the error of each, or `None`, in the same order; one that fails does not stop the others.
        """
        ...

    def sync(self, keys: Sequence[str], *, whole_volume: bool = False) -> None:
        """Make blobs that were written without `durable` survive a power failure; cheap for many at once.

        `whole_volume`: sync everything on their volume where that is faster; for callers that write nothing there which
        need not survive. Raises `NotFound` when one of them is not there.
        """
        ...

    def size(self, key: str) -> int | None:
        """Size of a blob in bytes, or `None` when it is not there."""
        ...

    def version(self, key: str) -> str | None:
        """`Blob.version` of a blob, or `None` when it is not there."""
        ...

    def list(self, prefix: str = "", on_other: OnOther = ignored) -> Iterator[Blob]:
        """All blobs whose key starts with `prefix` (empty, or ending in `/`), in the order of their keys' bytes.

        Hidden ones below `prefix`, and those in hidden folders, are left out. `on_other` is called with the key of
        everything else that is there and no blob, and why it is none: links, pipes, devices.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove a blob; one that is not there is no error."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Remove all blobs below `prefix` (ending in `/`); none there is no error."""
        ...

    def check(self) -> None:
        """Try a write, a read and a delete of a small blob; raises what they raise."""
        ...


@runtime_checkable
class KeepsUnfinished(Protocol):
    """A store in which a killed writer leaves a file that is no blob; object stores have none."""

    def remove_unfinished(self, prefix: str, before_s: float, stopped: Callable[[], bool]) -> int:
        """Remove such files below `prefix` (ending in `/`), if nothing was written to them since `before_s`, unix time.

        Returns how many; ends early once `stopped`. Raises `Unavailable`.
        """
        ...

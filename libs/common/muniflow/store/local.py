"""Blobs as files on a local volume, with plain system calls (`docs/adr/0004-stores.md`)."""

import errno
import io
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from muniflow.errors import MuniflowError, NotFound, Rejected, Unavailable
from muniflow.runtime.failpoints import Failpoints
from muniflow.store.checks import Watched, probe, problem_of, range_length, require_prefix
from muniflow.store.folders import (
    folder,
    list_folder,
    make_folder,
    open_file,
    open_folder,
    parts_of,
    remove_folder,
    require_root,
    version_of,
)
from muniflow.store.oserrors import meaning, translated
from muniflow.store.places import Location
from muniflow.store.sync import sync_files
from muniflow.store.syncs import NO_SYNCS, Syncs
from muniflow.store.types import Blob, OnOther, ignored
from muniflow.store.unfinished import remove_unfinished
from muniflow.store.volume import Volume
from muniflow.store.whole_file import Buffer, create_hidden, write_hidden, write_nameless

Done = TypeVar("Done")

WRITE_ATTEMPTS = 16
"""How often a write starts again when another process removes its folder meanwhile."""
STREAM_BUFFER_BYTES = 1 << 16
"""Of each download that runs; hundreds may."""
SYNC_FILES = 256
"""Descriptors open at once."""
COPY_MAX_BYTES = 1 << 21
"""Up to here one read is two to three times as fast as a mapping with its page faults; at 3 MB they are equal."""

# Mapping all pages in one call is cheaper than a fault for each group of 16.
_MAP = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
NONE = Failpoints()


class LocalStore:
    """The store below the folder `root`, which is made by the first write.

    A missing root is `Unavailable` for whoever reads or lists: a volume that is not mounted must not turn every image
    into a failed one. Links below the root are never followed; blobs are replaced whole, never changed in place.
    """

    def __init__(self, root: Path, failpoints: Failpoints = NONE) -> None:
        """Use `root`; a relative one is resolved now. Touches nothing."""
        self._root = str(root.absolute())
        self._volume = Volume(self._root)
        self._syncs = Syncs.of(failpoints)
        self._after_temp_write = failpoints.at("store.after_temp_write")
        self._after_rename = failpoints.at("store.after_rename")

    def __repr__(self) -> str:
        return f"LocalStore({self._root!r})"

    def location(self) -> Location:
        """The real path of the root, with all links on the way resolved."""
        return Location("file", Path(os.path.realpath(self._root)).parts[1:])

    def read(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> memoryview:
        """Map a range of a blob, or copy a small one; the mapping (and one descriptor) lives as long as the view."""
        fd, size_bytes = self._open_blob(key)
        try:
            length = range_length(key, size_bytes, offset_bytes, length_bytes)
            if length == 0:
                return memoryview(b"")
            if length <= COPY_MAX_BYTES and len(data := os.pread(fd, length, offset_bytes)) == length:
                return memoryview(data)
            skip = offset_bytes % mmap.ALLOCATIONGRANULARITY
            mapping = mmap.mmap(fd, skip + length, flags=_MAP, prot=mmap.PROT_READ, offset=offset_bytes - skip)
            return memoryview(mapping)[skip:]
        except OSError as error:
            raise meaning(error, self._root, key) from error
        finally:
            os.close(fd)

    def open(self, key: str) -> BinaryIO:
        """The blob as a stream."""
        fd, _ = self._open_blob(key)
        return cast("BinaryIO", io.BufferedReader(_File(fd, self._root, key), STREAM_BUFFER_BYTES))

    def write(self, key: str, data: bytes | memoryview | Iterable[bytes], *, durable: bool = False) -> int:
        """Write a hidden file, then give it its name."""
        *parts, name = parts_of(key)
        if isinstance(data, bytes | bytearray | memoryview):
            return self._write(parts, name, (data,), attempts=WRITE_ATTEMPTS, durable=durable)
        watched = Watched(data)
        try:
            # A stream can be read only once, so it is not written again when its folder vanishes.
            return self._write(parts, name, watched, attempts=1, durable=durable)
        except Exception:
            if watched.error is not None:
                raise watched.error from None
            raise

    def create(self, key: str, data: bytes) -> bool:
        """Write a hidden file, then link it to its name, which fails if the name exists."""
        *parts, name = parts_of(key)
        create = partial(create_hidden, name=name, data=data, after_write=self._after_temp_write, syncs=self._syncs)
        return self._in_folder(parts, name, create, attempts=WRITE_ATTEMPTS, durable=True)

    def write_many(self, blobs: Sequence[tuple[str, memoryview]]) -> Sequence[MuniflowError | None]:
        """Write files one after the other; a folder is opened once for those in it that follow each other."""
        problems: list[MuniflowError | None] = []
        for _, near in groupby(blobs, lambda blob: blob[0].rpartition("/")[0]):
            problems += self._write_near(list(near))
        return problems

    def sync(self, keys: Sequence[str], *, whole_volume: bool = False) -> None:
        """Sync files and the folders on their way; 128 at once take a quarter of the time of one by one."""
        if whole_volume and keys and (not self._syncs.volume or self._volume.sync(keys)):
            return
        for first in range(0, len(keys), SYNC_FILES):
            sync_files(self._root, keys[first : first + SYNC_FILES], self._syncs)

    def size(self, key: str) -> int | None:
        """Size by `stat`."""
        status = self._status(key)
        return None if status is None else status.st_size

    def version(self, key: str) -> str | None:
        """Size and time by `stat`."""
        status = self._status(key)
        return None if status is None else version_of(status)

    def _status(self, key: str) -> os.stat_result | None:
        *parts, name = parts_of(key)
        try:
            with folder(self._root, parts) as fd:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise meaning(error, self._root, key) from error
        if stat.S_ISLNK(status.st_mode):
            raise meaning(OSError(errno.ELOOP, ""), self._root, key)
        return status if stat.S_ISREG(status.st_mode) else None

    def list(self, prefix: str = "", on_other: OnOther = ignored) -> Iterator[Blob]:
        """Blobs below `prefix`; the names of one folder at a time are held in memory (about 100 bytes each)."""
        require_prefix(prefix, allow_empty=True)
        return self._list(prefix, on_other)

    def delete(self, key: str) -> None:
        """Unlink the file; its folders stay."""
        *parts, name = parts_of(key)
        # IsADirectoryError and NotADirectoryError: there is no such *blob*, so there is nothing to do.
        with (
            translated(self._root, key),
            suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
            folder(self._root, parts) as fd,
        ):
            os.unlink(name, dir_fd=fd)

    def delete_prefix(self, prefix: str) -> None:
        """Remove a folder and all below it; what others write there meanwhile may stay."""
        require_prefix(prefix, allow_empty=False)
        *parts, name = prefix[:-1].split("/")
        with (
            translated(self._root, prefix),
            suppress(FileNotFoundError, NotADirectoryError),
            folder(self._root, parts) as fd,
        ):
            remove_folder(fd, name)

    def remove_unfinished(self, prefix: str, before_s: float, stopped: Callable[[], bool]) -> int:
        """Walk the folder; a writer that still runs and loses its file writes it again, or raises."""
        return remove_unfinished(self._root, prefix, before_s, stopped)

    def check(self) -> None:
        """Try a write, a read and a delete."""
        probe(self)

    def _write(self, parts: Sequence[str], name: str, chunks: Iterable[Buffer], *, attempts: int, durable: bool) -> int:
        def write(folder_fd: int) -> int:
            if not durable:
                self._volume.watch()
            return self._write_file(folder_fd, name, chunks, once=attempts == 1, durable=durable)

        size_bytes = self._in_folder(parts, name, write, attempts=attempts, durable=durable)
        self._after_rename()
        return size_bytes

    def _in_folder(
        self, parts: Sequence[str], name: str, work: Callable[[int], Done], *, attempts: int, durable: bool
    ) -> Done:
        """Do `work` with the descriptor of the folder at `parts`; again when that is removed meanwhile."""
        key = "/".join([*parts, name])
        try:
            for _ in range(attempts):
                with suppress(FileNotFoundError):
                    fd = self._new_folder(parts, durable=durable)
                    try:
                        return work(fd)
                    finally:
                        os.close(fd)
        except OSError as error:
            raise meaning(error, self._root, key) from error
        raise Unavailable("blob store", f"the folder of {key!r} was removed while it was written")

    def _write_near(self, blobs: Sequence[tuple[str, memoryview]]) -> Sequence[MuniflowError | None]:
        """Write blobs of one folder."""
        with ExitStack() as stack:
            folder_fd: int | None = None
            with suppress(OSError, Rejected):
                *parts, _ = parts_of(blobs[0][0])
                opened_fd = self._new_folder(parts, durable=False)
                stack.callback(os.close, opened_fd)
                self._volume.watch()
                folder_fd = opened_fd
            return [problem_of(partial(self._write_into, folder_fd, key, data)) for key, data in blobs]

    def _write_into(self, folder_fd: int | None, key: str, data: memoryview) -> None:
        """Write one blob into its open folder; after an error with `write`, which knows what the error means."""
        if folder_fd is not None:
            with suppress(OSError):
                self._write_file(folder_fd, parts_of(key)[-1], (data,), once=False, durable=False)
                self._after_rename()
                return
        self.write(key, data)

    def _write_file(self, folder_fd: int, name: str, chunks: Iterable[Buffer], *, once: bool, durable: bool) -> int:
        how = (name, chunks, self._after_temp_write, self._syncs if durable else NO_SYNCS)
        # A volume may refuse a file without a name only after all is written.
        size_bytes = None if once else write_nameless(folder_fd, *how)
        return write_hidden(folder_fd, *how) if size_bytes is None else size_bytes

    def _open_blob(self, key: str) -> tuple[int, int]:
        """Descriptor and size of a blob that is there."""
        *parts, name = parts_of(key)
        try:
            return open_file(self._root, parts, name)
        except FileNotFoundError as error:
            require_root(self._root)
            raise meaning(error, self._root, key) from error
        except (IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(f"{meaning(error, self._root, key)}, not a blob") from error
        except OSError as error:
            raise meaning(error, self._root, key) from error

    def _list(self, prefix: str, on_other: OnOther) -> Iterator[Blob]:
        try:
            with folder(self._root, prefix.split("/")[:-1]) as fd:
                yield from list_folder(fd, prefix, on_other)
        except (FileNotFoundError, NotADirectoryError):
            require_root(self._root)
        except OSError as error:
            raise meaning(error, self._root, prefix) from error

    def _new_folder(self, parts: Sequence[str], *, durable: bool) -> int:
        """Descriptor of the folder at `parts`, made where it turns out to be missing."""
        if durable:
            # A folder that exists is used as it is: only new folders are synced, with their parents.
            with suppress(FileNotFoundError):
                return open_folder(self._root, parts)
        return make_folder(self._root, parts, self._syncs.new_folder if durable else None)


class _File(io.FileIO):
    """A file whose read errors have muniflow's meaning."""

    def __init__(self, fd: int, root: str, key: str) -> None:
        super().__init__(fd, "rb")
        self._place = (root, key)

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        with translated(*self._place):
            return cast("int", super().readinto(buffer))

    def readall(self) -> bytes:
        with translated(*self._place):
            return super().readall()

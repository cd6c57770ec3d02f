"""A file of a local volume that is there whole or not at all: first its bytes, then its name."""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from muniflow.errors import Unavailable
from muniflow.runtime.failpoints import Hit
from muniflow.store.folders import TEMPORARY
from muniflow.store.syncs import Syncs

Buffer = bytes | memoryview

_HIDDEN = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
NAMELESS = os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_TMPFILE", 0)
_NOT_HERE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EPERM, errno.EACCES, errno.EXDEV, errno.ENOSYS}
"""Errors of volumes that have no files without a name (NFS, say), or cannot name them."""


def write_hidden(folder_fd: int, name: str, chunks: Iterable[Buffer], after_write: Hit, syncs: Syncs) -> int:
    """Write a hidden file and rename it; returns its size in bytes. Over a file of the same name.

    On an error nothing is left behind; a process that is killed leaves the hidden file.
    """
    with _temporary_name(folder_fd) as temporary:
        size_bytes = _write_new(folder_fd, temporary, chunks, syncs)
        after_write()
        os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    syncs.name(folder_fd)
    return size_bytes


def create_hidden(folder_fd: int, name: str, data: Buffer, after_write: Hit, syncs: Syncs) -> bool:
    """Write a hidden file durably and link it to `name`; false, and nothing changed, where there is such a file.

    Raises:
        Unavailable: the volume has no hard links, and without one a name cannot be taken atomically.
    """
    with _temporary_name(folder_fd) as temporary:
        _write_new(folder_fd, temporary, (data,), syncs)
        after_write()
        created = _link_new(folder_fd, temporary, name)
        os.unlink(temporary, dir_fd=folder_fd)
    if created:
        syncs.name(folder_fd)
    return created


def write_nameless(folder_fd: int, name: str, chunks: Iterable[Buffer], after_write: Hit, syncs: Syncs) -> int | None:
    """Write a file that has no name yet, and name it; `None`, and nothing there, where the volume cannot.

    Like `write_hidden`, but a killed process leaves nothing, and a new name costs one change of the folder, not three.
    """
    fd = _open_nameless(folder_fd)
    if fd is None:
        return None
    try:
        size_bytes = _write(fd, chunks, syncs)
        after_write()
        if not _link(fd, folder_fd, name):
            return None
    finally:
        os.close(fd)
    syncs.name(folder_fd)
    return size_bytes


def _open_nameless(folder_fd: int) -> int | None:
    try:
        return os.open(".", NAMELESS, 0o666, dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return None


def _link(fd: int, folder_fd: int, name: str) -> bool:
    """Name an open file that has no name, over a file of the same name; false where the volume cannot."""
    nameless = f"/proc/self/fd/{fd}"
    try:
        os.link(nameless, name, dst_dir_fd=folder_fd, follow_symlinks=True)
    except FileExistsError:
        with _temporary_name(folder_fd) as temporary:
            os.link(nameless, temporary, dst_dir_fd=folder_fd, follow_symlinks=True)
            os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return False
    return True


def _link_new(folder_fd: int, temporary: str, name: str) -> bool:
    """Give a file a second name; false where there is a file of that name."""
    try:
        os.link(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        reason = f"its volume has no hard links ({error.strerror}), which {name!r} needs"
        raise Unavailable("blob store", reason) from None
    return True


@contextmanager
def _temporary_name(folder_fd: int) -> Iterator[str]:
    """A hidden name in an open folder; on an error the file of that name is removed."""
    # Random, not counted: processes on several machines share a volume, and forked ones share counters.
    name = TEMPORARY + secrets.token_hex(8)
    try:
        yield name
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder_fd)
        raise


def _write_new(folder_fd: int, name: str, chunks: Iterable[Buffer], syncs: Syncs) -> int:
    """Write a file that is not there yet; returns its size in bytes."""
    fd = os.open(name, _HIDDEN, 0o666, dir_fd=folder_fd)
    try:
        return _write(fd, chunks, syncs)
    finally:
        os.close(fd)


def _write(fd: int, chunks: Iterable[Buffer], syncs: Syncs) -> int:
    size_bytes = 0
    for chunk in chunks:
        size_bytes += _write_all(fd, chunk)
    syncs.file(fd)
    return size_bytes


def _write_all(fd: int, data: Buffer) -> int:
    """Write a C-contiguous buffer of any shape; returns its size in bytes."""
    view = memoryview(data)
    done = os.write(fd, view) if view.nbytes else 0
    while done < view.nbytes:
        done += os.write(fd, view.cast("B")[done:])
    return done

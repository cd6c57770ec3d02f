"""A file of a local volume that is there whole or not at all: first its bytes, then its name."""

import errno
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress

from muniflow.errors import Unavailable
from muniflow.runtime.failpoints import Hit
from muniflow.store.folders import TEMPORARY

Buffer = bytes | memoryview

_HIDDEN = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
NAMELESS = os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_TMPFILE", 0)
_NOT_HERE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EPERM, errno.EACCES, errno.EXDEV, errno.ENOSYS}
"""What volumes say that know no files without a name (NFS, say), or give them none."""


def write_hidden(folder_fd: int, name: str, chunks: Iterable[Buffer], after_write: Hit, *, durable: bool) -> int:
    """Write a hidden file and rename it; returns its size in bytes. Over a file of the same name.

    On an error nothing is left behind; a process that is killed leaves the hidden file.
    """
    temporary = _temporary_name()
    fd = os.open(temporary, _HIDDEN, 0o666, dir_fd=folder_fd)
    try:
        try:
            size_bytes = _write(fd, chunks, durable=durable)
        finally:
            os.close(fd)
        after_write()
        os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder_fd)
        raise
    if durable:
        os.fsync(folder_fd)
    return size_bytes


def create_hidden(folder_fd: int, name: str, data: Buffer, after_write: Hit) -> bool:
    """Write a hidden file durably and link it to `name`; false, and nothing changed, where there is such a file.

    Raises:
        Unavailable: the volume knows no hard links, and without one no name can be taken atomically.
    """
    temporary = _temporary_name()
    write_hidden(folder_fd, temporary, (data,), after_write, durable=True)
    try:
        os.link(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        raise Unavailable(
            "blob store", f"its volume knows no hard links ({error.strerror}), which {name!r} needs"
        ) from None
    finally:
        os.unlink(temporary, dir_fd=folder_fd)
    os.fsync(folder_fd)
    return True


def write_nameless(
    folder_fd: int, name: str, chunks: Iterable[Buffer], after_write: Hit, *, durable: bool
) -> int | None:
    """Write a file that has no name yet, and name it; `None`, and nothing there, where the volume cannot.

    Like `write_hidden`, but a killed process leaves nothing, and a new name costs one change of the folder, not three.
    """
    fd = _open_nameless(folder_fd)
    if fd is None:
        return None
    try:
        size_bytes = _write(fd, chunks, durable=durable)
        after_write()
        if not _link(fd, folder_fd, name):
            return None
    finally:
        os.close(fd)
    if durable:
        os.fsync(folder_fd)
    return size_bytes


def _open_nameless(folder_fd: int) -> int | None:
    try:
        return os.open(".", NAMELESS, 0o666, dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return None


def _link(fd: int, folder_fd: int, name: str) -> bool:
    """Give an open file without a name this one, over a file of the same name; false where the volume cannot."""
    nameless = f"/proc/self/fd/{fd}"
    try:
        os.link(nameless, name, dst_dir_fd=folder_fd, follow_symlinks=True)
    except FileExistsError:
        temporary = _temporary_name()
        os.link(nameless, temporary, dst_dir_fd=folder_fd, follow_symlinks=True)
        _rename(folder_fd, temporary, name)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return False
    return True


def _rename(folder_fd: int, temporary: str, name: str) -> None:
    try:
        os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder_fd)
        raise


def _temporary_name() -> str:
    # Random, not counted: processes on several machines share a volume, and forked ones share counters.
    return TEMPORARY + secrets.token_hex(8)


def _write(fd: int, chunks: Iterable[Buffer], *, durable: bool) -> int:
    size_bytes = 0
    for chunk in chunks:
        size_bytes += _write_all(fd, chunk)
    if durable:
        os.fsync(fd)
    return size_bytes


def _write_all(fd: int, data: Buffer) -> int:
    """Write a C-contiguous buffer of any shape; returns its size in bytes."""
    view = memoryview(data)
    done = os.write(fd, view) if view.nbytes else 0
    while done < view.nbytes:
        done += os.write(fd, view.cast("B")[done:])
    return done

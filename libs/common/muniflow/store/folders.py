"""Folders of a local volume, reached one part at a time from the root so that no symbolic link is ever followed.

Functions take or give folder descriptors and raise plain `OSError`.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from muniflow.errors import Rejected, Unavailable
from muniflow.model.keys import is_hidden
from muniflow.store.checks import require_key
from muniflow.store.syncs import Sync
from muniflow.store.types import Blob, OnOther

TEMPORARY = ".muniflow-tmp-"
"""Prefix of the name of a file that is not yet a blob: hidden, so that no key can name it and no list has it."""
LINK = "a link; links are not followed (a bind mount is)"
SPECIAL_FILE = "a pipe, a socket or a device"
REMOVE_PASSES = 16
"""How often a folder is emptied again when others keep writing into it."""

# O_NONBLOCK: opening a named pipe in a source folder would block for ever.
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""How a blob is opened to be read."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BELOW = _FOLDER | os.O_NOFOLLOW


def parts_of(key: str) -> list[str]:
    """The folders on the way to a blob, and its name.

    Raises:
        Rejected: it cannot be the key of a blob.
    """
    require_key(key)
    return key.split("/")


def ways_of(keys: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """The names of blobs, by the folders on the way to them.

    Raises:
        Rejected: one of them cannot be the key of a blob.
    """
    names: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        *way, name = parts_of(key)
        names.setdefault(tuple(way), []).append(name)
    return names


def require_root(root: str) -> None:
    """Raise `Unavailable` where the root itself is missing: then nothing is known about the blobs below it."""
    if not Path(root).is_dir():
        raise Unavailable("blob store", f"the folder {root} is not there; is its volume mounted?")


def open_folder(root: str, parts: Sequence[str]) -> int:
    """Descriptor of the folder at `parts` below `root`; the root itself may be a link.

    Raises:
        OSError: ELOOP where a part is a symbolic link.
    """
    fd = _open_root(root)
    for part in parts:
        fd = _step(fd, part)
    return fd


def make_folder(root: str, parts: Sequence[str], sync: Sync | None = None) -> int:
    """Like `open_folder`, and makes what is missing.

    `sync` is called for every folder on the way: another process may have made one just now, and not synced it.
    """
    try:
        fd = _open_root(root)
    except FileNotFoundError:
        Path(root).mkdir(parents=True, exist_ok=True)
        fd = _open_root(root)
    for part in parts:
        fd = _step(fd, part, make=True, sync=sync)
    return fd


@contextmanager
def folder(root: str, parts: Sequence[str]) -> Iterator[int]:
    """The folder at `parts` below `root`, open for a while."""
    fd = open_folder(root, parts)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(root: str, parts: Sequence[str], name: str) -> tuple[int, int]:
    """Descriptor and size of a regular file.

    Raises:
        Rejected: it is a pipe, a socket or a device.
    """
    with folder(root, parts) as parent:
        fd = os.open(name, READ, dir_fd=parent)
    try:
        return fd, _file_size(fd, "/".join([*parts, name]))
    except BaseException:
        os.close(fd)
        raise


def _file_size(fd: int, key: str) -> int:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise Rejected(f"blob {key!r}: it is a pipe, a socket or a device, not a file", reason_code="source_unreadable")
    return status.st_size


def list_folder(fd: int, prefix: str, on_other: OnOther) -> Iterator[Blob]:
    """All blobs below an open folder but hidden ones, in the order of their keys' bytes.

    Holds the names of one branch in memory. A hidden folder is not entered. `on_other`: see `Store.list`.
    """
    for name in _ordered_names(fd, lambda name, why: on_other(_text(prefix + name), why)):
        if name.endswith("/"):
            try:
                below = enter_folder(fd, name[:-1])
            except (FileNotFoundError, NotADirectoryError):
                continue  # removed, or replaced by a file, since the folder was read
            try:
                yield from list_folder(below, prefix + name, on_other)
            finally:
                os.close(below)
        else:
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                yield Blob(_text(prefix + name), status.st_size, version_of(status))


def version_of(status: os.stat_result) -> str:
    """`Blob.version` of a file."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def remove_folder(parent: int, name: str) -> None:
    """Remove the folder `name` of an open folder and all below it.

    One that others keep writing to is emptied `REMOVE_PASSES` times and then left; a mount point is emptied and left.
    """
    for _ in range(REMOVE_PASSES):
        if _remove_once(parent, name):
            return


def _remove_once(parent: int, name: str) -> bool:
    """Empty and remove a folder; false when it is not empty after all."""
    fd = enter_folder(parent, name)
    try:
        for entry in _entries(fd):
            with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                if entry.is_dir(follow_symlinks=False):
                    _remove_once(fd, entry.name)
                else:
                    os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
            raise
        return error.errno == errno.EBUSY
    return True


def _open_root(root: str) -> int:
    try:
        return os.open(root, _FOLDER)
    except NotADirectoryError:
        # ENOTDIR would blame one blob; this concerns all of them.
        raise OSError(errno.ENODEV, "the root of the store is not a folder") from None


def _step(fd: int, part: str, *, make: bool = False, sync: Sync | None = None) -> int:
    """Open a folder below `fd`, with `make` even where it is missing, and close `fd`, in any case."""
    try:
        if make and sync is not None:
            _make(fd, part)
            sync(fd)
        try:
            return enter_folder(fd, part)
        except FileNotFoundError:
            if not make:
                raise
            _make(fd, part)
            return enter_folder(fd, part)
    finally:
        os.close(fd)


def _make(fd: int, part: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(part, dir_fd=fd)


def enter_folder(fd: int, name: str) -> int:
    """Open the folder `name` of an open folder."""
    try:
        return os.open(name, _BELOW, dir_fd=fd)
    except NotADirectoryError:
        # Linux says ENOTDIR for a link too; the difference matters to whoever reads the message.
        if _is_link(fd, name):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


def _is_link(fd: int, name: str) -> bool:
    """Whether `name` in an open folder is a symbolic link."""
    try:
        os.readlink(name, dir_fd=fd)
    except OSError:
        return False
    return True


def _entries(fd: int) -> list[os.DirEntry[str]]:
    with os.scandir(fd) as entries:
        return list(entries)


def _ordered_names(fd: int, on_other: OnOther) -> list[str]:
    """Names of files, and of folders with a `/` behind: sorted like this, `a-b` comes before what is in the folder `a`.

    Hidden ones are left out; what is neither is given to `on_other`, in no order.
    """
    names = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                names.append(entry.name + "/")
            elif entry.is_file(follow_symlinks=False):
                names.append(entry.name)
            else:
                on_other(entry.name, LINK if entry.is_symlink() else SPECIAL_FILE)
    return sorted(names, key=os.fsencode)


def _text(key: str) -> str:
    # A name that is not UTF-8 cannot travel in a message. Listed like this it is reported as missing, not left out, and
    # two of them do not become one.
    return os.fsencode(key).decode(errors="backslashreplace")

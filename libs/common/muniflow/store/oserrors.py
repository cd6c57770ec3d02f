"""What an `OSError` of a local volume means for the work: one table, applied in one place."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from muniflow.errors import MuniflowError, NotFound, Rejected, Unavailable

_PERMANENT = {
    errno.ENAMETOOLONG: "its name or path is too long for this volume",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "a part of its path is not a folder",
    errno.ELOOP: "it is a symbolic link or lies behind one, and links are not followed (use a bind mount instead)",
    errno.EILSEQ: "this volume does not take its name",
    errno.EINVAL: "this volume does not take it (are there special characters in its name?)",
    errno.EFBIG: "it is larger than this volume or this process's file size limit (ulimit -f) allows",
}


def meaning(error: OSError, root: str, key: str) -> MuniflowError:
    """The error to raise for `error`, met at blob `key` of the volume at `root`.

    Unknown numbers count as transient: work that is tried again in vain costs little, work given up is lost.
    """
    if error.errno == errno.ENOENT:
        return NotFound(f"blob {key!r} is not in the store")
    if error.errno in _PERMANENT:
        return Rejected(f"blob {key!r}: {_PERMANENT[error.errno]}", reason_code="source_unreadable")
    reason = f"{root}: {error.strerror or error}"
    if error.errno in {errno.EACCES, errno.EPERM}:
        reason += f" (user {os.geteuid()} needs read, write and search permission there, for {key!r})"
    return Unavailable("blob store", reason)


@contextmanager
def translated(root: str, key: str) -> Iterator[None]:
    """Raise what an `OSError` of this block means."""
    try:
        yield
    except OSError as error:
        raise meaning(error, root, key) from error

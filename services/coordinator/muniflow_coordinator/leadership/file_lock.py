"""The leader lock for SQLite: a lock of the operating system, which ends with its process however that ends."""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from muniflow.errors import Unavailable

SUFFIX = ".lock"


class FileLock:
    """A `Lock` by `flock` on a file beside the database. Locks of the database file itself belong to SQLite."""

    poll_s = 0.5
    renew_s = 5.0
    valid_s = float("inf")  # a live process keeps it, even a stopped one

    def __init__(self, database: Path) -> None:
        """Lock `<database>.lock`."""
        self._path = database.with_name(database.name + SUFFIX)
        self._fd: int | None = None

    @property
    def holder(self) -> str | None:
        """Return what the holder wrote into the file."""
        with suppress(OSError):
            return self._path.read_text().strip() or None
        return None

    def acquire(self) -> bool:
        """Lock the file if it is free."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Unavailable("the lock of the database", f"{self._path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                return False
            raise Unavailable("the lock of the database", f"{self._path}: {error.strerror}") from error
        with suppress(OSError):  # for people only; a full disk must not stop the coordinator here
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._fd = fd
        return True

    def renew(self) -> bool:
        """Return whether the locked file still has the path that other processes lock."""
        if self._fd is None:
            return False
        try:
            there = self._path.stat()
        except OSError:
            return False
        mine = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def release(self) -> None:
        """Unlock the file. It stays, because a lock on a removed file excludes nobody."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

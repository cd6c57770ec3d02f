"""Many files on a local volume, made to survive a power failure together."""

import os
from collections.abc import Sequence

from muniflow.store.folders import READ, folder, parts_of, require_root
from muniflow.store.oserrors import meaning, translated


def sync_files(root: str, keys: Sequence[str]) -> None:
    """Sync blobs below `root`, and then each folder on their way once.

    Raises:
        NotFound: one of them is not there.
        Unavailable: the volume does not answer.
    """
    names: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        *way, name = parts_of(key)
        names.setdefault(tuple(way), []).append(name)
    files: list[int] = []
    try:
        for way_to, below in names.items():
            _start(root, way_to, below, files)
        with translated(root, keys[0]):
            for fd in files:
                os.fsync(fd)
            for way_to in sorted({full[:depth] for full in names for depth in range(len(full) + 1)}):
                with folder(root, way_to) as fd:
                    os.fsync(fd)
    finally:
        for fd in files:
            os.close(fd)


def _start(root: str, way: Sequence[str], names: Sequence[str], files: list[int]) -> None:
    """Open the blobs of one folder, into `files`, and begin to write them: all, before the wait for the first."""
    name = ""
    try:
        with folder(root, way) as parent:
            for name in names:
                files.append(os.open(name, READ, dir_fd=parent))
                os.posix_fadvise(files[-1], 0, 0, os.POSIX_FADV_DONTNEED)  # what is dropped is not read again here
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            require_root(root)
        raise meaning(error, root, "/".join([*way, name])) from error

"""Removing what killed writers left on a local volume: files that never got their names."""

import os
from collections.abc import Callable
from contextlib import suppress

from muniflow.store.checks import require_prefix
from muniflow.store.folders import TEMPORARY, enter_folder, folder
from muniflow.store.oserrors import translated


def remove_unfinished(root: str, prefix: str, before_s: float, stopped: Callable[[], bool]) -> int:
    """Remove unfinished files below `prefix`, if nothing was written to them since `before_s`, unix time in seconds.

    Follows no link. Ends early once `stopped`; returns how many were removed.

    Raises:
        Rejected: the prefix is none.
        Unavailable: the volume is away.
    """
    require_prefix(prefix, allow_empty=False)
    with (
        translated(root, prefix),
        suppress(FileNotFoundError, NotADirectoryError),
        folder(root, prefix.split("/")[:-1]) as fd,
    ):
        return _walk(fd, before_s, stopped)
    return 0


def _walk(fd: int, before_s: float, stopped: Callable[[], bool]) -> int:
    removed = 0
    with os.scandir(fd) as entries:
        for entry in entries:
            if stopped():
                break
            with suppress(FileNotFoundError, NotADirectoryError):
                if entry.is_dir(follow_symlinks=False):
                    below = enter_folder(fd, entry.name)
                    try:
                        removed += _walk(below, before_s, stopped)
                    finally:
                        os.close(below)
                elif entry.name.startswith(TEMPORARY) and entry.stat(follow_symlinks=False).st_mtime < before_s:
                    os.unlink(entry.name, dir_fd=fd)
                    removed += 1
    return removed

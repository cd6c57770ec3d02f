"""Many files on a local volume, made to survive a power failure together."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from muniflow.store.folders import READ, folder, require_root, ways_of
from muniflow.store.oserrors import meaning, translated
from muniflow.store.syncs import ALL_SYNCS, Sync, Syncs

SLOW_SYNC_S = 0.001
"""Of a file after the first one of a group, for which the disk only empties its cache: about 0.1 ms on a quick disk."""
SYNC_THREADS = 8


def sync_files(root: str, keys: Sequence[str], syncs: Syncs = ALL_SYNCS) -> None:
    """Sync blobs below `root`, and then each folder on their way once.

    Raises:
        NotFound: one of them is not there.
        Unavailable: the volume does not answer.
    """
    names = ways_of(keys)
    files: list[int] = []
    try:
        for way_to, below in names.items():
            _start(root, way_to, below, files)
        with translated(root, keys[0]):
            _sync_all(files, syncs.outputs)
            for way_to in sorted({full[:depth] for full in names for depth in range(len(full) + 1)}):
                with folder(root, way_to) as fd:
                    syncs.output_names(fd)
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


def _sync_all(files: Sequence[int], sync: Sync) -> None:
    """One after the other as long as that is quick, because threads cost more than they bring; else side by side.

    The kernel merges flushes that wait for a slow disk at the same time.
    """
    for number, fd in enumerate(files, 1):
        began_s = time.perf_counter()
        sync(fd)
        # The first one waits for the journal, whatever the disk.
        if number > 1 and len(files) > number and time.perf_counter() - began_s > SLOW_SYNC_S:
            shares = [files[first::SYNC_THREADS] for first in range(number, min(number + SYNC_THREADS, len(files)))]
            with ThreadPoolExecutor(len(shares)) as threads:
                list(threads.map(partial(_sync_each, sync), shares))
            return


def _sync_each(sync: Sync, files: Sequence[int]) -> None:
    for fd in files:
        sync(fd)

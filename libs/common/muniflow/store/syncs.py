"""The calls that make blobs of a volume survive a power failure, each with a name by which a test leaves it out."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from muniflow.runtime.failpoints import Failpoints

Sync = Callable[[int], None]
"""Waits until what a descriptor names is on the disk."""


def fsync(fd: int) -> None:
    """Sync a file or a folder."""
    os.fsync(fd)


def _no_sync(_fd: int) -> None:
    """Sync nothing."""


@dataclass(frozen=True)
class Syncs:
    """All of them; the names are those in `muniflow.runtime.failpoints.SYNCS`."""

    file: Sync = fsync
    """The bytes of a durable file, before it gets its name."""
    name: Sync = fsync
    """The folder of a durable file, after it got its name."""
    new_folder: Sync = fsync
    """The parent of a folder that is made for a durable file."""
    outputs: Sync = fsync
    """Each file of a group that is made durable together."""
    output_names: Sync = fsync
    """Each folder on the way to them."""
    volume: bool = True
    """Whether one call may sync a whole volume; `False` leaves that call out, and nothing takes its place."""

    @classmethod
    def of(cls, failpoints: Failpoints) -> "Syncs":
        """All that a test does not leave out."""

        def unless_skipped(name: str) -> Sync:
            return _no_sync if failpoints.skips(f"store.sync_{name}") else fsync

        return cls(
            file=unless_skipped("file"),
            name=unless_skipped("name"),
            new_folder=unless_skipped("new_folder"),
            outputs=unless_skipped("outputs"),
            output_names=unless_skipped("output_names"),
            volume=not failpoints.skips("store.sync_volume"),
        )


NO_SYNCS = Syncs(_no_sync, _no_sync, _no_sync, _no_sync, _no_sync, volume=False)
"""For a file that need not survive."""
ALL_SYNCS = Syncs()

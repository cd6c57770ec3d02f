"""Volumes that can lose power: a file system on a loop device, cut by its own shutdown call without flushing its log.

What was synced before the cut is there when the volume is mounted again. What was not is gone, as with the page cache
of a machine that lost power; after the cut, all reads that are not cached and all writes get EIO.
"""

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.namespaces import MOUNTS, leave_mounts, restored
from tests.support.root_tools import path_of, require, run_tool
from tests.support.waiting import eventually

SHUTDOWN = 0x8004587D
"""`EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN`: one number for both."""
WITHOUT_LOG_FLUSH = 2
BUSY_S = 20.0
REQUIRED = "POWER_CUTS_REQUIRED"
"""Set to `true`: where a volume cannot be cut, that is a failure and no skip."""
CANARY = "canary"


@dataclass(frozen=True)
class FileSystem:
    """How to make one and to mount it."""

    name: str
    make: tuple[str, ...]
    options: str
    size_mb: int


# ext4 would write its journal by itself every 5 s; ten minutes leave everything to who syncs.
EXT4 = FileSystem("ext4", ("mkfs.ext4", "-q", "-F", "-m", "0"), "loop,commit=600", 512)
XFS = FileSystem("xfs", ("mkfs.xfs", "-q", "-f"), "loop", 512)
FILE_SYSTEMS: Mapping[str, FileSystem] = {system.name: system for system in (EXT4, XFS)}


def why_not(env: Mapping[str, str] = os.environ) -> str | None:
    """Why no volume can be cut here, or `None`."""
    if os.geteuid() != 0:
        return "power cuts need root, to mount file systems"
    for system in FILE_SYSTEMS.values():
        if shutil.which(system.make[0], path=path_of(env)) is None:
            return f"power cuts need {system.make[0]} (scripts/bootstrap dev installs it)"
    if not Path("/dev/loop-control").exists():
        return "power cuts need loop devices, and there is no /dev/loop-control"
    return None


def require_cuts() -> None:
    """Skip the test where no volume can be cut; fail it where `POWER_CUTS_REQUIRED` is true."""
    require(why_not(), REQUIRED)


@dataclass
class Volume:
    """A mounted file system of its own."""

    system: FileSystem
    folder: Path
    image: Path
    cuts: int = 0
    kept: list[int] = field(default_factory=list)
    """Cuts that a file survived that nobody had synced: they were none."""

    def make(self) -> None:
        self.folder.mkdir(parents=True)
        with self.image.open("wb") as file:
            file.truncate(self.system.size_mb << 20)
        made = run_tool(*self.system.make, str(self.image))
        assert made.returncode == 0, made.stderr
        self.mount()

    def mount(self) -> None:
        done = run_tool("mount", "-t", self.system.name, "-o", self.system.options, str(self.image), str(self.folder))
        assert done.returncode == 0, f"{self.image} cannot be mounted: {done.stderr}"

    def settle(self) -> None:
        """Sync all of it: what is there now is old."""
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            assert run_tool("sync", "-f", str(self.folder)).returncode == 0
        finally:
            os.close(fd)

    def cut(self) -> None:
        """Lose power, now."""
        (self.folder / CANARY).write_bytes(b"nobody synced this")
        self.cuts += 1
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
        finally:
            os.close(fd)

    def restore(self) -> None:
        """Mount it again, once nobody has a file open there."""
        eventually(lambda: run_tool("umount", str(self.folder)).returncode == 0, BUSY_S, f"{self.folder} is in use")
        self.mount()
        canary = self.folder / CANARY
        with suppress(FileNotFoundError):
            if canary.read_bytes():
                self.kept.append(self.cuts)
            canary.unlink()

    def remove(self) -> None:
        if os.path.ismount(self.folder):
            run_tool("umount", "--lazy", str(self.folder))
        self.image.unlink(missing_ok=True)


@contextmanager
def own_mounts() -> Iterator[None]:
    """A mount namespace of this thread and of what it starts.

    Whoever makes such a namespace elsewhere copies all mounts that it sees, and a copy keeps a volume from its end.
    """
    here = Path.cwd()
    try:
        with restored(MOUNTS):
            leave_mounts()
            assert run_tool("mount", "--make-rprivate", "/").returncode == 0
            yield
    finally:
        os.chdir(here)  # coming back went to the root


@contextmanager
def volume(system: FileSystem, place: Path) -> Iterator[Volume]:
    """A new volume at `place`, gone afterwards."""
    made = Volume(system, place, place.with_name(f"{place.name}.img"))
    try:
        made.make()
        yield made
    finally:
        made.remove()

"""Everything on a local volume made to survive a power failure in one go (docs/adr/0015-sync-of-a-volume.md)."""

import errno
import os
import platform
import re
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from muniflow.store.folders import folder, require_root, ways_of
from muniflow.store.oserrors import meaning

KNOWN_FILE_SYSTEMS = frozenset({"ext4", "xfs"})
"""Where one `syncfs` is known to promise for each file what an `fsync` does. With FUSE, say, it is not."""
TELLS_ERRORS_FROM = (5, 8)
"""The version of Linux from which `syncfs` says that a write before it failed (syncfs(2))."""
SLOW_S = 1.0
"""Longer than muniflow's own outputs take: others write to this volume, too, and a sync of all of it waits for them."""
PAUSE_FACTOR = 60.0
"""After a slow sync, the pause before the next is this many times as long as it took."""

_FORBIDDEN = {errno.ENOSYS, errno.EPERM}
"""Errors of a sandbox that forbids this call; a failed write has others."""

SyncAll = Callable[[int], None]


class Volume:
    """The volume of a store's root."""

    def __init__(self, root: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Touches nothing yet."""
        self._root, self._clock = root, clock
        self._fd: int | None = None
        self._device = -1
        self._sync_all: SyncAll | None = None
        self._not_before_s = 0.0

    def watch(self) -> None:
        """Call before a write: the kernel reports an error only to descriptors that were open when it happened."""
        if self._fd is None:
            self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._fd)  # a store has no end of its own
            self._device = os.fstat(self._fd).st_dev
            self._sync_all = syncfs() if file_system_of(self._device) in KNOWN_FILE_SYSTEMS else None

    def sync(self, keys: Sequence[str]) -> bool:
        """Sync all that is on the volume, with the blobs `keys`; false, and nothing done, where that is unsafe or slow.

        Raises:
            NotFound: one of them is not there.
            Unavailable: something could not be written since the last sync.
        """
        if self._fd is None or self._sync_all is None or self._clock() < self._not_before_s or not self._holds(keys):
            return False
        began_s = self._clock()
        try:
            self._sync_all(self._fd)
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise meaning(error, self._root, keys[0]) from error
            self._sync_all = None
            return False
        ended_s = self._clock()
        if ended_s - began_s > SLOW_S:
            self._not_before_s = ended_s + (ended_s - began_s) * PAUSE_FACTOR
        return True

    def _holds(self, keys: Sequence[str]) -> bool:
        """Whether all of them are on this volume: another one may be mounted below the root, or over it by now."""
        key = ""
        try:
            for way, names in ways_of(keys).items():
                with folder(self._root, way) as fd:
                    for name in names:
                        key = "/".join([*way, name])
                        if os.stat(name, dir_fd=fd, follow_symlinks=False).st_dev != self._device:
                            return False
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                require_root(self._root)
            raise meaning(error, self._root, key or keys[0]) from error
        return True


def file_system_of(device: int) -> str | None:
    """The type of the mounted file system of this device number, as Linux tells it."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return None
    for mount in mounts:
        about, _, source = mount.partition(" - ")
        if about.split()[2] == wanted:
            return source.split()[0]
    return None


def syncfs() -> SyncAll | None:
    """The system call, or `None` where it is missing or hides errors."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if platform.system() != "Linux" or version is None or tuple(map(int, version.groups())) < TELLS_ERRORS_FROM:
        return None
    import ctypes  # imported here: most processes never need it

    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return None

    def sync_all(fd: int) -> None:
        if call(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return sync_all

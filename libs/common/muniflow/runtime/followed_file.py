"""A file of settings that may change while a process runs, as mounted Secrets and ConfigMaps do."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from muniflow.errors import Fault, Invalid
from muniflow.runtime.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often it is looked at, in seconds."""
Content = TypeVar("Content")


def stamp_of(path: Path) -> tuple[int, int] | None:
    """What changes with a file, and with who may read it; `None` only when there surely is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return 0, error.errno or 0
    return status.st_ctime_ns, status.st_ino


class FollowedFile(Generic[Content]):
    """What a file says now."""

    def __init__(self, place: str, path: Path, read: Callable[[bytes], Content], clock: Clock = SYSTEM_CLOCK) -> None:
        """Read it.

        Args:
            place: the setting that names it, for errors.
            path: the file.
            read: makes something of its bytes, or raises `ValueError`.
            clock: for how often it is looked at.

        Raises:
            Invalid: it cannot be read.
        """
        self._place, self._path, self._read, self._clock = place, path, read, clock
        self._stamp = stamp_of(path)
        self._looked_s = clock.monotonic_s()
        self._content = self._read_now()

    def now(self) -> Content:
        """What it says; as before while it cannot be read."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            if (stamp := stamp_of(self._path)) != self._stamp:
                self._look(stamp)
        return self._content

    def _look(self, stamp: tuple[int, int] | None) -> None:
        try:
            self._content = self._read_now()
        except Invalid as error:
            log.error("stays as it was: %s", error)  # noqa: TRY400 - the text says it all
        else:
            log.info("read again", extra={"file": str(self._path)})
        self._stamp = stamp

    def _read_now(self) -> Content:
        try:
            return self._read(self._path.read_bytes())
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            raise Invalid((Fault(self._place, f"{self._path}: {text}"),)) from None

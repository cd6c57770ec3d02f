"""A small volume of its own for a store, to fill it up or to make it read-only."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from muniflow_cli.stack.waiting import wait_until

SIZE_MB = 24
BUSY_S = 20.0


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def small_volume(folder: Path) -> Iterator["Volume"]:
    """A tmpfs at `folder`; skips the test where it cannot be had."""
    folder.mkdir()
    if os.geteuid() != 0 or not _mount("-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)):
        pytest.skip("needs the right to mount a tmpfs (root)")
    try:
        yield Volume(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Volume:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be written. While a file is open for writing the kernel refuses, so it is asked again."""
        assert wait_until(lambda: _mount("-o", "remount,ro", str(self.folder)), BUSY_S)
        try:
            yield
        finally:
            assert _mount("-o", "remount,rw", str(self.folder))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is free."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            self._filler.unlink()

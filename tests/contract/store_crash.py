"""Run as a process: write to `folder/blob` of the store at a URL and die by SIGKILL before the last chunk is in."""

import os
import signal
import sys
from collections.abc import Iterator

from muniflow.store import open_store


def chunks() -> Iterator[bytes]:
    yield b"half" * 300_000
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    open_store(sys.argv[1]).write("folder/blob", chunks())

"""What the C codecs print while they work, as text instead of noise on stderr.

libjpeg fills what is missing with grey and only prints that it did: its first warning is the one sign of a JPEG that
was cut and closed again. libpng prints why it gave up, which is the reason that a person wants to see.
"""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_STDERR = 2
# Known beginnings; all else that was written meanwhile (another thread's log line, say) goes on to stderr.
_CODEC_LINE = re.compile(
    rb"libpng (warning|error)|Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS"
    rb"|Warning: unknown JFIF|Unknown Adobe color|\[ ?(WARN|ERROR|INFO):|TIFF|libtiff should|Invalid crop"
    rb"|Application transferred"
)
_one_at_a_time = threading.Lock()
"""File descriptor 2 belongs to the whole process."""


@dataclass
class Messages:
    """Filled when the block ends."""

    lines: tuple[str, ...] = ()


@contextmanager
def codec_messages() -> Iterator[Messages]:
    """Collect what codecs print to stderr inside the block; about 20 microseconds.

    Threads that decode wait for each other. A process that another thread starts meanwhile inherits the redirected
    stderr.
    """
    messages = Messages()
    with _one_at_a_time:
        catch = _open_catch()
        saved = _redirect(catch)
        try:
            yield messages
        finally:
            _restore(saved)
            written = os.pread(catch, os.fstat(catch).st_size, 0)
            os.close(catch)
            if written:
                messages.lines = _sort_out(written)


def _open_catch() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("codec_messages")
    with tempfile.TemporaryFile() as file:  # not Linux
        return os.dup(file.fileno())


def _redirect(catch: int) -> int | None:
    try:
        saved = os.dup(_STDERR)
    except OSError:  # a process without stderr
        saved = None
    os.dup2(catch, _STDERR, inheritable=True)
    return saved


def _restore(saved: int | None) -> None:
    if saved is None:
        os.close(_STDERR)
        return
    os.dup2(saved, _STDERR, inheritable=True)
    os.close(saved)


def _sort_out(written: bytes) -> tuple[str, ...]:
    lines = written.splitlines(keepends=True)
    others = b"".join(line for line in lines if not _CODEC_LINE.match(line))
    with suppress(OSError):  # nobody reads stderr
        if others:
            os.write(_STDERR, others)
    return tuple(line.decode(errors="replace").strip() for line in lines if _CODEC_LINE.match(line))

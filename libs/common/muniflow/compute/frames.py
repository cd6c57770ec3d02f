"""What travels between a parent and a compute child: length-prefixed frames of byte parts. Pure; no unpickling.

A frame is `length (u32 LE)`, then that many bytes: `count (u32 LE)`, `count` part lengths (u32 LE), the parts.
"""

import struct
from collections.abc import Sequence

MAX_FRAME_BYTES = 512 * 2**20
"""Far above any real group; what is longer comes from a broken child."""
_LENGTH = struct.Struct("<I")


class FrameError(Exception):
    """The bytes are no frames: the other side is broken and must be ended."""


def frame(parts: Sequence[bytes]) -> bytes:
    """One frame that holds `parts`."""
    body_bytes = _LENGTH.size * (1 + len(parts)) + sum(map(len, parts))
    if body_bytes > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {body_bytes} bytes; the limit is {MAX_FRAME_BYTES}")
    head = struct.pack(f"<II{len(parts)}I", body_bytes, len(parts), *map(len, parts))
    return b"".join((head, *parts))


class Decoder:
    """Takes bytes as they arrive and gives whole frames, for a side that must not block."""

    def __init__(self) -> None:
        """Start between two frames."""
        self._buffer = bytearray()

    @property
    def between_frames(self) -> bool:
        """Whether nothing of a further frame has arrived."""
        return not self._buffer

    def feed(self, data: bytes | bytearray | memoryview) -> list[list[bytes]]:
        """Add bytes; returns the parts of each frame that is whole now.

        Raises:
            FrameError: these are no frames.
        """
        self._buffer += data
        frames = []
        while len(self._buffer) >= _LENGTH.size:
            (body_bytes,) = _LENGTH.unpack_from(self._buffer)
            if not _LENGTH.size <= body_bytes <= MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {body_bytes} bytes")
            end = _LENGTH.size + body_bytes
            if len(self._buffer) < end:
                break
            frames.append(_parts(bytes(memoryview(self._buffer)[_LENGTH.size : end])))
            del self._buffer[:end]
        return frames


def _parts(body: bytes) -> list[bytes]:
    (count,) = _LENGTH.unpack_from(body)
    start = _LENGTH.size * (1 + count)
    if start > len(body):
        raise FrameError(f"{count} parts in {len(body)} bytes")
    lengths = struct.unpack_from(f"<{count}I", body, _LENGTH.size)
    if start + sum(lengths) != len(body):
        raise FrameError(f"parts of {sum(lengths)} bytes in {len(body) - start}")
    parts = []
    for length in lengths:
        parts.append(body[start : start + length])
        start += length
    return parts

"""The text chunks of a PNG, as far as they may state an orientation. Pure; needs no numpy."""

import zlib

EXIF_KEY = b"Raw profile type exif"
"""ImageMagick's way to store EXIF, from before PNG had a chunk for it: lines of hexadecimal."""
XMP_KEY = b"XML:com.adobe.xmp"
MAX_TEXT_BYTES = 2**20
"""So much is inflated of one text."""


def text_of(kind: bytes, body: memoryview) -> bytes:
    """The text in a chunk of `kind`, what comes behind its key; empty where it is broken."""
    if kind == b"tEXt":
        return bytes(body[:MAX_TEXT_BYTES])
    if kind == b"zTXt":
        return _inflated(body[1:])
    # iTXt: whether and how it is compressed, a language, the key in that language, the text.
    parts = bytes(body[2:]).split(b"\0", 2)
    if len(parts) < 3:  # noqa: PLR2004
        return b""
    return _inflated(parts[2]) if bytes(body[:1]) == b"\1" else parts[2]


def block_in_hexadecimal(text: bytes) -> bytes:
    """The block of a raw profile: an empty line, its name and its length come before."""
    try:
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except ValueError:
        return b""


def _inflated(coded: memoryview | bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(coded, MAX_TEXT_BYTES)
    except zlib.error:
        return b""

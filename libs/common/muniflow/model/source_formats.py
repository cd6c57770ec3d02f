"""What a file is, by its first bytes, whatever its name says. Pure: intake, gateway and decoders share it."""

from typing import Literal

SourceFormat = Literal["jpeg", "png", "webp", "tiff", "heif", "avif"]
FORMAT_NAMES: dict[SourceFormat, str] = {
    "jpeg": "JPEG", "png": "PNG", "webp": "WebP", "tiff": "TIFF", "heif": "HEIC", "avif": "AVIF",
}  # fmt: skip
"""Formats by the name that people know."""
EXTENSIONS = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "tif", "tiff", "heic", "heif", "hif", "avif"}
)
"""Extensions, in small letters, that a listing takes without a look at the file; a decoder sees what it is."""
HEAD_BYTES = 64
"""What is read of a file to tell its kind."""

OTHER_KINDS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "a JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG"),
    (8, b"WEBP", "a WebP"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (0, b"II+\0", "a BigTIFF"),
    (0, b"MM\0+", "a BigTIFF"),
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"%PDF", "a PDF"),
    (4, b"ftypheic", "a HEIC photograph"),
    (4, b"ftypheix", "a HEIC photograph"),
    (4, b"ftypmif1", "a HEIF photograph"),
    (4, b"ftypavif", "an AVIF"),
    (4, b"ftyp", "a video (MP4 or alike)"),
    (4, b"jP  \r\n\x87\n", "a JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (4, b"JXL \r\n\x87\n", "a JPEG XL"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"RIFF", "a RIFF file (sound or video)"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"<svg", "SVG"),
    (0, b"<!", "HTML"),
    (0, b"<html", "HTML"),
)

_BRANDS: dict[bytes, SourceFormat] = {
    b"avif": "avif", b"avis": "avif", b"heic": "heif", b"heix": "heif", b"heim": "heif", b"heis": "heif",
    b"hevc": "heif", b"hevx": "heif",
}  # fmt: skip
_GENERAL = frozenset({b"mif1", b"mif2", b"miaf", b"msf1"})


def format_of(data: memoryview) -> SourceFormat | None:
    """The format that `data` starts as, or `None` for one that muniflow never decodes."""
    head = bytes(data[:16])
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    return _brand(bytes(data[:HEAD_BYTES])) if head[4:8] == b"ftyp" else None


def _brand(head: bytes) -> SourceFormat | None:
    """The format that an ISO media file says it is: its own brand, and for a general one those that it is also."""
    listed = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[place : place + 4] for place in range(16, listed - 3, 4))}
    own = _BRANDS.get(head[8:12])
    if own is not None or head[8:12] not in _GENERAL:
        return own
    return next((name for brand, name in _BRANDS.items() if brand in brands), None)


def has_known_extension(key: str) -> bool:
    """Whether a listing takes this key without a look at the file."""
    _, dot, extension = key.rpartition(".")
    return bool(dot) and extension.lower() in EXTENSIONS


def kind_of(data: memoryview) -> str | None:
    """What `data` seems to be, for a person: `a GIF`, `text`, `only zero bytes`; `None` for unknown data."""
    head = bytes(data[:HEAD_BYTES])
    for offset, magic, name in OTHER_KINDS:
        if head[offset : offset + len(magic)] == magic:
            return name
    if not any(head):
        return "only zero bytes"
    return "text" if _is_text(head) else None


def describe(data: memoryview) -> str:
    """The same with the first bytes of unknown data."""
    return kind_of(data) or f"unknown data (it starts with {bytes(data[:8]).hex(' ')})"


def _is_text(head: bytes) -> bool:
    if any(byte < 0x20 and byte not in b"\t\n\r" for byte in head):  # noqa: PLR2004 - control characters
        return False
    # The cut may be inside a character, so up to three bytes at the end may be left over.
    return len(head.decode("utf-8", errors="ignore").encode()) > len(head) - 4

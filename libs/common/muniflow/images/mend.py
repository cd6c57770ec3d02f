"""Copies of files in which harmless deviations are put right, so that decoders can be as strict as ever."""

from muniflow.images.fields import UPRIGHT, ImageHeader, Mends, truncated
from muniflow.images.jpeg_trailer import closed, end_before_trailer, end_before_zeros
from muniflow.images.tiff_tags import Tag
from muniflow.images.tiff_tiles import as_stored, in_strips
from muniflow.images.turbo import jpeg_complaint

_MULTIPLIED = 1
"""What a TIFF says of a fourth sample by which colours were multiplied."""
_IEND = b"\0\0\0\0IEND\xae\x42\x60\x82"


def mended(data: memoryview, header: ImageHeader) -> memoryview:
    """`data` as a strict decoder takes it: itself, or a copy.

    Args:
        data: the file.
        header: what was read of it.

    Raises:
        Rejected: nobody can tell where a picture without its end marker ends.
    """
    if header.format == "tiff":
        return _mended_tiff(data, header)
    if header.mends is None:
        return data
    return _mended_jpeg(data, header.mends) if header.format == "jpeg" else _mended_png(data, header.mends)


def _mended_tiff(data: memoryview, header: ImageHeader) -> memoryview:
    values: dict[Tag, int] = {}
    if header.alpha == "straight":
        # libtiff would multiply colours by it, and leaves them alone where that was done before.
        values[Tag.EXTRA_SAMPLES] = _MULTIPLIED
    if header.orientation != UPRIGHT and not header.decoder_turns:
        # libtiff would turn each tile in its place.
        values[Tag.ORIENTATION] = UPRIGHT
    data = in_strips(data)
    return as_stored(data, values) if values else data


def _mended_jpeg(data: memoryview, mends: Mends) -> memoryview:
    copy = bytearray(data)
    for place, value in mends.values:
        copy[place] = value
    if mends.end is None:
        return memoryview(copy)
    end = end_before_trailer(memoryview(copy), mends.scan_start, mends.end)
    if end is None:
        truncated("jpeg", "it has no end of image (EOI), and unknown data follow its pixels")
    picture = closed(memoryview(copy), end)
    told = jpeg_complaint(picture)
    end = end_before_zeros(picture, told)
    return picture if end is None else closed(picture, end)


def _mended_png(data: memoryview, mends: Mends) -> memoryview:
    parts, position = [], 0
    for start, end in mends.dropped:
        parts.append(data[position:start])
        position = end
    parts.append(data[position : mends.end])
    return memoryview(b"".join([*parts, _IEND if mends.end is not None else b""]))

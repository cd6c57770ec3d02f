"""Finds the lines of codecs that report missing or wrong pixels."""

import re
from typing import Final

from muniflow.images.jpeg import place_before_end
from muniflow.images.turbo import jpeg_complaint
from muniflow.model.source_formats import SourceFormat

_LOG_PREFIX = re.compile(r"^\[ ?(?:WARN|ERROR|INFO):[^\]]*\] global \S+ (?:TIFF_(?:Error|Warning) )?")

_STRAY_BYTES = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_PADDING = {0x00, 0xFF}
_NOTHING = re.compile(r"(?!)")
_NAMES_OF_METADATA = (
    "Software|DateTime|Artist|Copyright|ImageDescription|Make|Model|DocumentName|HostComputer|PageName|PageNumber"
    "|XResolution|YResolution|ResolutionUnit|XPosition|YPosition|MinSampleValue|MaxSampleValue|ICC ?Profile|XMLPacket"
    "|Photoshop|RichTIFFIPTC|EXIFIFDOffset|GPSIFDOffset|TargetPrinter|Geo\\w+|GDAL\\w+|Tag \\d+"
)
_HARMLESS: Final[dict[SourceFormat, re.Pattern[str]]] = {
    "jpeg": _NOTHING,
    # Ancillary chunks that do not concern the pixels and are whole, if odd: "iCCP: known incorrect sRGB profile".
    # And what libpng leaves out for being where it says nothing of them: behind their end, whose checksum was proven by
    # then, or of transparency beside a channel of alpha.
    "png": re.compile(
        r"libpng warning: (?:(?!tRNS)[a-z][A-Za-z]{3}: (?!CRC error)|Invalid cICP |IDAT: Extra compressed data$"
        r"|PLTE: out of place$|IEND: invalid$|tRNS: invalid with alpha channel$)"
    ),
    "webp": _NOTHING,
    "heif": _NOTHING,
    "avif": _NOTHING,
    # Tags that do not concern the pixels.
    "tiff": re.compile(
        r"Unknown field with tag|not sorted in ascending order|ASCII value for tag|doesn't match SamplesPerPixel"
        r"|encoded with progressive mode|^libtiff should be able"
        rf"|(?:Incorrect|Incompatible|Null|Sanity check|IO error|Defined|Invalid) .*\b(?:{_NAMES_OF_METADATA})\b"
    ),
}


def complaint(kind: SourceFormat, lines: tuple[str, ...], data: memoryview) -> str | None:
    """The first line that reports damage to `data`, without its log prefix; `None` where all are harmless.

    Raises:
        Rejected: a JPEG that is damaged between its scans.
    """
    told = next((line for line in lines if not _HARMLESS[kind].search(line)), None)
    if told is None or (kind == "jpeg" and _is_padding(told, data)):
        return None
    return _LOG_PREFIX.sub("", told)


def _is_padding(line: str, data: memoryview) -> bool:
    """Whether libjpeg complains only about padding before the end of image, as some cameras write it.

    Any other bytes there are pixels left over: behind damaged data the decoder made more pixels of the bytes before
    than they hold. libjpeg prints only its first complaint; without the padding, there must be no other.
    """
    stray = _STRAY_BYTES.search(line)
    if stray is None:
        return False
    start, end = place_before_end(data, int(stray[1]))
    picture = memoryview(bytes(data[:start]) + b"\xff\xd9")
    return _PADDING.issuperset(data[start:end]) and jpeg_complaint(picture) is None

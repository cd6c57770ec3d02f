"""Which of the lines that codecs print tell of pixels that are missing or wrong. Pure."""

import re
from typing import Final

from muniflow.images.jpeg import bytes_before_end
from muniflow.images.limits import SourceFormat

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
    # Ancillary chunks that say nothing of the pixels and are whole, if odd: "iCCP: known incorrect sRGB profile".
    "png": re.compile(r"libpng warning: (?!tRNS|eXIf)[a-z][A-Za-z]{3}: (?!CRC error)"),
    "webp": _NOTHING,
    # Tags that say nothing of the pixels.
    "tiff": re.compile(
        r"Unknown field with tag|not sorted in ascending order|ASCII value for tag|doesn't match SamplesPerPixel"
        r"|encoded with progressive mode|^libtiff should be able"
        rf"|(?:Incorrect|Incompatible|Null|Sanity check|IO error|Defined|Invalid) .*\b(?:{_NAMES_OF_METADATA})\b"
    ),
}


def complaint(kind: SourceFormat, lines: tuple[str, ...], data: memoryview) -> str | None:
    """The first line that tells of damage to `data`, without the decoration of a log; `None` where all are harmless.

    Raises:
        Rejected: a JPEG that is damaged between its scans.
    """
    told = next((line for line in lines if not _HARMLESS[kind].search(line)), None)
    if told is None or (kind == "jpeg" and _is_padding(told, data)):
        return None
    return _LOG_PREFIX.sub("", told)


def _is_padding(line: str, data: memoryview) -> bool:
    """Whether libjpeg complains of nothing but padding before the end of image, as some cameras write it.

    Any other bytes there are pixels that were left over: after a damage, the decoder took those before for more pixels
    than they were. libjpeg prints its first complaint only, and this one can be no other's but the last.
    """
    stray = _STRAY_BYTES.search(line)
    return stray is not None and _PADDING.issuperset(bytes_before_end(data, int(stray[1])))

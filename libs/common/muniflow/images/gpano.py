"""Where a panorama lies on its sphere: GPano, read from XMP, rescaled for an output, and written as our own packet.

https://developers.google.com/streetview/spherical-metadata. Pure.
"""

import re
from dataclasses import dataclass
from typing import Final

from muniflow.model.frame import Frame
from muniflow.model.operation import Size

_NAMESPACE = "http://ns.google.com/photos/1.0/panorama/"
_FULL = ("FullPanoWidthPixels", "FullPanoHeightPixels")
_AREA = ("CroppedAreaLeftPixels", "CroppedAreaTopPixels", "CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels")
_NUMBER, _WORD, _TIME, _TRUTH = r"-?\d{1,9}(?:\.\d{1,12})?", r"[A-Za-z-]{1,40}", r"[0-9T:.+Z-]{1,40}", "(?i:true|false)"
_KEPT: Final = {
    "ProjectionType": _WORD,
    "UsePanoramaViewer": _TRUTH,
    "ExposureLockUsed": _TRUTH,
    "PoseHeadingDegrees": _NUMBER,
    "PosePitchDegrees": _NUMBER,
    "PoseRollDegrees": _NUMBER,
    "InitialViewHeadingDegrees": _NUMBER,
    "InitialViewPitchDegrees": _NUMBER,
    "InitialViewRollDegrees": _NUMBER,
    "InitialHorizontalFOVDegrees": _NUMBER,
    "SourcePhotosCount": _NUMBER,
    "FirstPhotoDate": _TIME,
    "LastPhotoDate": _TIME,
}
"""What no size changes, and how it may look; anything else is left out."""
_STATED = re.compile(
    rb'(?<!/)GPano:([A-Za-z]{1,40})(?:\s*=\s*(?:"([^"<&]{0,60})"|\'([^\'<&]{0,60})\')|\s*>([^<&]{0,60})<)'
)


@dataclass(frozen=True)
class Pano:
    """A panorama and the part of it that the source shows, in pixels of the source as it is decoded."""

    full_width_px: float
    full_height_px: float
    left_px: float
    top_px: float
    kept: tuple[tuple[str, str], ...]
    """Names and values that no size changes."""


def read_pano(packet: bytes, size: Size) -> Pano | None:
    """The panorama that an XMP packet describes; `None` where it describes none.

    Args:
        packet: the XMP.
        size: that of the image. Where GPano states another one, as after a resize by a program that left it, its
            numbers are rescaled to this.
    """
    stated = {name.decode(): b"".join(values).strip().decode("latin-1") for name, *values in _STATED.findall(packet)}
    kept = tuple((name, stated[name]) for name, form in _KEPT.items() if re.fullmatch(form, stated.get(name, "")))
    if "ProjectionType" not in dict(kept):
        return None
    numbers = {name: float(stated[name]) for name in (*_FULL, *_AREA) if re.fullmatch(_NUMBER, stated.get(name, ""))}
    left, top, width, height = (numbers.get(name, default) for name, default in zip(_AREA, (0, 0, *size), strict=True))
    full_width, full_height = numbers.get(_FULL[0], width), numbers.get(_FULL[1], height)
    if min(left, top) < 0 or min(width, height) < 1 or left + width > full_width or top + height > full_height:
        return None  # nonsense turns a viewer to the wrong side
    x, y = size.width_px / width, size.height_px / height
    return Pano(full_width * x, full_height * y, left * x, top * y, kept)


def packet_of(pano: Pano, source: Size, frame: Frame, size: Size) -> bytes:
    """The XMP packet of an output.

    Args:
        pano: that of the source.
        source: its size.
        frame: where the output lies in it.
        size: of the output.
    """
    x, y = frame.full_width_px / source.width_px, frame.full_height_px / source.height_px
    left, top = round(pano.left_px * x + frame.left_px), round(pano.top_px * y + frame.top_px)
    full = (
        max(round(pano.full_width_px * x), left + size.width_px),
        max(round(pano.full_height_px * y), top + size.height_px),
    )
    values = [*pano.kept]
    values += [(name, str(value)) for name, value in zip(_FULL, full, strict=True)]
    values += [(name, str(value)) for name, value in zip(_AREA, (left, top, *size), strict=True)]
    body = "".join(f'\n   GPano:{name}="{value}"' for name, value in values)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'  <rdf:Description rdf:about="" xmlns:GPano="{_NAMESPACE}"{body}/>\n'
        ' </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="r"?>'
    ).encode()

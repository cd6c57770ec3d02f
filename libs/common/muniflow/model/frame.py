"""Where an image between two steps lies in its source. Pure."""

from typing import NamedTuple

from muniflow.model.operation import Area, Size


class Frame(NamedTuple):
    """An image lies here in its whole source, as large as the source is at the scale of the image; in pixels of it."""

    left_px: float
    top_px: float
    full_width_px: float
    full_height_px: float

    def shown(self, area: Area, size: Size) -> "Frame":
        """That of an image of `size` which shows an `area` of this one."""
        x, y = size.width_px / area.width_px, size.height_px / area.height_px
        left_px, top_px = (self.left_px + area.left_px) * x, (self.top_px + area.top_px) * y
        return Frame(left_px, top_px, self.full_width_px * x, self.full_height_px * y)


def whole(size: Size) -> Frame:
    """The frame of a source itself."""
    return Frame(0.0, 0.0, float(size.width_px), float(size.height_px))

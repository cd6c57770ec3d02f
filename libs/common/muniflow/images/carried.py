"""What an encoded output carries beside its pixels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Carried:
    """Parts of a file that are no pixels."""

    profile: bytes | None = None
    """ICC; `None`: sRGB, which no file states."""
    exif: bytes | None = None
    """A TIFF structure."""
    xmp: bytes | None = None
    """A packet."""
    density: tuple[float, float] | None = None
    """Dots an inch, across and down."""

    def __bool__(self) -> bool:
        return self != NOTHING


NOTHING = Carried()

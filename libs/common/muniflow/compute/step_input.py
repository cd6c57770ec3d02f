"""An image or tile in memory, between two steps of a chain."""

from dataclasses import dataclass

from muniflow.compute import raw
from muniflow.images.types import Image
from muniflow.model.frame import Frame
from muniflow.model.lineage import Lineage, fraction
from muniflow.model.operation import Params, Size


@dataclass(slots=True)
class StepInput:
    """Before step `step`."""

    image: Image
    step: int
    lineage: Lineage
    region: raw.Region | None
    """Its memory; `None` when it never leaves this process as raw pixels."""
    params: Params | None = None
    """Instead of the route's, after a reduced decode."""
    frame: Frame | None = None
    """Where it lies in its source, where outputs say so."""

    @property
    def size(self) -> Size:
        """In pixels."""
        return Size(self.image.shape[1], self.image.shape[0])

    def frame_of(self, tiles: "list[StepInput]", params: Params) -> None:
        """Note where the tiles that a step with `params` made of this lie in its source, where this one knows."""
        areas = params.areas(self.size) if self.frame is not None else None
        if self.frame is not None and areas is not None:
            for tile, area in zip(tiles, areas, strict=True):
                tile.frame = self.frame.shown(area, tile.size)

    def fills(self, region: raw.Region, tiles: "list[StepInput]") -> bool:
        """Whether the memory that the tiles of this are in is worth to be written whole."""
        # Of what other tiles of this task are in, too, only this one's share counts.
        share = float(fraction(self.lineage) / fraction(region.lineage))
        return region.size_bytes * share <= raw.MAX_WASTE * sum(tile.image.nbytes for tile in tiles)

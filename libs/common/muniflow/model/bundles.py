"""How many tiles travel in one task (docs/adr/0007-tiles-travel-together.md). Pure.

A message costs client and broker about a third of a millisecond, whatever it is about; a quarter of a small photograph
takes less than that to blur. So small tiles of one image stay together, and large ones go their own ways, each to a
worker of its own.
"""

from collections.abc import Sequence

from muniflow.model.messages import Tile

TASK_PIXELS = 2**20
"""Pixels in one task, when it holds more than one tile: some 20 milliseconds of work."""
TASK_TILES = 64
"""Tiles in one task: a message stays below 16 KB."""


def cuts(sizes_px: Sequence[int]) -> list[slice]:
    """Cut tiles of these sizes, in pixels, into runs: each run is the input of one task. Their order stays."""
    made: list[slice] = []
    first, pixels = 0, 0
    for place, size_px in enumerate(sizes_px):
        pixels += size_px
        if place > first and (pixels > TASK_PIXELS or place - first >= TASK_TILES):
            made.append(slice(first, place))
            first, pixels = place, size_px
    if sizes_px:
        made.append(slice(first, len(sizes_px)))
    return made


def bundles(tiles: Sequence[Tile]) -> list[tuple[Tile, ...]]:
    """Cut the tiles that a task made into the inputs of the tasks that follow."""
    return [tuple(tiles[cut]) for cut in cuts([tile.pixels.size_px for tile in tiles])]

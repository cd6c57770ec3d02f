"""Which tiles travel together."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from muniflow.model.bundles import TASK_PIXELS, TASK_TILES, bundles
from muniflow.model.messages import RawRef, Tile

SIDES = st.sampled_from([1, 16, 128, 256, 512, 700, 1024, 1025, 3000])


def tile(number: int, width_px: int, height_px: int) -> Tile:
    ref = RawRef(key=f"{number}", width_px=width_px, height_px=height_px, stride_bytes=3 * width_px)
    return Tile(lineage=((number, 1000),), pixels=ref)


def size_px(tiles: tuple[Tile, ...]) -> int:
    return sum(each.pixels.size_px for each in tiles)


@given(st.lists(st.tuples(SIDES, SIDES), max_size=200))
def test_nothing_is_lost_doubled_or_moved_and_no_bundle_is_larger_than_allowed(sides):
    tiles = [tile(number, *side) for number, side in enumerate(sides)]
    made = bundles(tiles)
    assert [each for bundle in made for each in bundle] == tiles
    assert all(bundle and len(bundle) <= TASK_TILES for bundle in made)
    assert all(len(bundle) == 1 or size_px(bundle) <= TASK_PIXELS for bundle in made)
    for one, following in itertools.pairwise(made):
        full = len(one) == TASK_TILES or size_px(one) + following[0].pixels.size_px > TASK_PIXELS
        assert full, "two bundles that would fit into one"


def test_quarters_of_small_photographs_stay_together_and_those_of_panoramas_do_not():
    for width_px, height_px, expected in ((128, 128, 1), (512, 512, 1), (2000, 1000, 4)):
        assert len(bundles([tile(number, width_px, height_px) for number in range(4)])) == expected

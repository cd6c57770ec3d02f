import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.images import craft

from muniflow.errors import Rejected
from muniflow.model.operation import Size
from muniflow_split.params import SplitParams, parts
from muniflow_split.step import STEP

grids = st.builds(
    lambda columns, rows: SplitParams(columns=columns, rows=rows + (columns == 1)), *[st.integers(1, 9)] * 2
)
sides = st.integers(9 + 1, 40)


def test_quadrants_come_left_top_right_top_left_bottom_right_bottom():
    image = craft.noise(6, 4)
    left_top, right_top, left_bottom, right_bottom = STEP.apply(image, SplitParams())
    assert np.array_equal(left_top, image[:2, :3])
    assert np.array_equal(right_top, image[:2, 3:])
    assert np.array_equal(left_bottom, image[2:, :3])
    assert np.array_equal(right_bottom, image[2:, 3:])


def test_odd_sizes_put_the_extra_row_and_column_last():
    assert SplitParams().sizes(Size(5, 3)) == (Size(2, 1), Size(3, 1), Size(2, 2), Size(3, 2))


def test_a_grid_is_columns_by_rows():
    assert SplitParams(columns=3, rows=1).sizes(Size(9, 4)) == (Size(3, 4),) * 3
    assert SplitParams(columns=1, rows=2).sizes(Size(9, 4)) == (Size(9, 2),) * 2


@pytest.mark.parametrize(
    ("length_px", "count", "expected"),
    [(10, 4, (2, 2, 3, 3)), (11, 3, (3, 4, 4)), (4, 4, (1, 1, 1, 1)), (5, 1, (5,)), (7, 2, (3, 4))],
)
def test_parts(length_px, count, expected):
    assert parts(length_px, count) == expected


@given(grids, st.builds(Size, sides, sides))
def test_tiles_are_views_that_cover_the_image_once_in_order(params, source):
    image = craft.noise(*source)
    tiles = STEP.apply(image, params)
    assert len(tiles) == params.fan_out
    assert tuple(Size(tile.shape[1], tile.shape[0]) for tile in tiles) == params.sizes(source)
    assert all(np.shares_memory(tile, image) for tile in tiles)
    areas = [tuple(map(int, area)) for area in params.areas(source)]
    assert all(
        np.array_equal(tile, image[top : top + height, left : left + width])
        for tile, (left, top, width, height) in zip(tiles, areas, strict=True)
    )
    rows = [np.hstack(tiles[start : start + params.columns]) for start in range(0, len(tiles), params.columns)]
    assert np.array_equal(np.vstack(rows), image)


def test_tiles_of_a_tile_are_views_too():
    image = craft.noise(9, 7)
    tile = STEP.apply(STEP.apply(image, SplitParams())[3], SplitParams())[0]
    assert np.shares_memory(tile, image)
    assert np.array_equal(tile, image[3:5, 4:6])


@pytest.mark.parametrize(("width_px", "height_px"), [(1, 1), (1, 5), (5, 1)])
def test_an_image_with_too_few_pixels_is_rejected(width_px, height_px):
    reason = f"an image of {width_px}x{height_px} cannot be split into 2x2 tiles: every tile needs at least one pixel"
    with pytest.raises(Rejected, match=reason):
        SplitParams().sizes(Size(width_px, height_px))
    with pytest.raises(Rejected, match=reason):
        STEP.apply(craft.noise(width_px, height_px), SplitParams())


def test_the_smallest_image_is_split_into_single_pixels():
    image = craft.noise(2, 2)
    assert [tile.tolist() for tile in STEP.apply(image, SplitParams())] == [[[p]] for p in image.reshape(4, 3).tolist()]

"""The corpus: the size that is asked for, the same every time, different from picture to picture."""

import numpy as np
import pytest
from benchmarks.corpus import picture
from benchmarks.routes import ROUTES

PHOTOS = [np.random.default_rng(number).integers(0, 256, (600, 400, 3), np.uint8) for number in range(2)]


@pytest.mark.parametrize(("width_px", "height_px"), [(512, 512), (1000, 700), (100, 2000)])
def test_a_picture_has_the_size_asked_for(width_px: int, height_px: int):
    assert picture(PHOTOS, width_px, height_px, seed=1).shape == (height_px, width_px, 3)


def test_the_same_seed_is_the_same_picture_and_another_is_not():
    first, again, other = (picture(PHOTOS, 600, 600, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_the_chain_makes_as_many_outputs_as_the_route_says(route, tmp_path):
    from benchmarks import chain

    (tmp_path / "a.jpg").write_bytes(chain.encode(PHOTOS[0]))
    (tmp_path / "out").mkdir()
    for fast in (False, True):
        chain.run(str(tmp_path / "a.jpg"), route.operations, tmp_path / "out", fast=fast)
        assert len(list((tmp_path / "out").iterdir())) == route.outputs_per_image

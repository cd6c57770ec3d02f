from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.images import craft

from muniflow.errors import Rejected
from muniflow.images.limits import MAX_PIXELS
from muniflow.images.opencv import cv2
from muniflow.model.operation import Size
from muniflow_resize.params import MAX_SIDE_PX, ResizeParams
from muniflow_resize.resize import resize
from muniflow_resize.step import STEP


def box(width=None, height=None, fit="exact"):
    return ResizeParams(width=width, height=height, fit=fit)


def percent(value):
    return ResizeParams(percent=value)


@pytest.mark.parametrize(
    ("params", "source", "expected"),
    [
        (box(200, 300), (1024, 768), (200, 300)),
        (box(200, 300), (1, 1), (200, 300)),
        (box(200), (1024, 768), (200, 150)),
        (box(200), (100, 50), (200, 100)),
        (box(None, 300), (1024, 768), (400, 300)),
        (box(1), (1, 5000), (1, 5000)),
        (box(1), (5000, 1), (1, 1)),  # never 0 px
        (box(None, 1), (3, 1000), (1, 1)),
        (box(200, 300, "inside"), (1024, 768), (200, 150)),
        (box(200, 300, "inside"), (768, 1024), (200, 267)),
        (box(200, 300, "inside"), (20, 10), (200, 100)),
        (box(200, 300, "shrink"), (1024, 768), (200, 150)),
        (box(200, 300, "shrink"), (20, 10), (20, 10)),
        (box(200, 300, "shrink"), (100, 600), (50, 300)),
        (box(200, None, "shrink"), (100, 600), (100, 600)),
        (box(200, None, "shrink"), (400, 600), (200, 300)),
        (percent(50.0), (1024, 768), (512, 384)),
        (percent(50.0), (3, 5), (2, 3)),  # halves up
        (percent(50.0), (1, 1), (1, 1)),
        (percent(1.0), (10, 10), (1, 1)),
        (percent(12.5), (100, 200), (13, 25)),
        (percent(300.0), (5, 7), (15, 21)),
        (percent(100.0), (640, 480), (640, 480)),
    ],
)
def test_sizes(params, source, expected):
    assert params.sizes(Size(*source)) == (Size(*expected),)


@pytest.mark.parametrize(
    ("params", "source", "target"),
    [
        (percent(1000.0), (5000, 5000), "50000x50000"),
        (box(60000), (1000, 100), "60000x6000"),
        (box(60000), (1, 1), "60000x60000"),
        (box(10), (1, 10000), "10x100000"),  # one side too long
    ],
)
def test_enlarging_beyond_the_limits_is_rejected(params, source, target):
    with pytest.raises(Rejected, match=f"{Size(*source)} would be enlarged to {target}; the limits are {MAX_PIXELS} "):
        params.sizes(Size(*source))


def test_an_image_beyond_the_limit_may_still_be_shrunk():
    assert percent(90.0).sizes(Size(20000, 20000)) == (Size(18000, 18000),)
    assert box(70).sizes(Size(70000, 70000)) == (Size(70, 70),)


sides = st.integers(1, 60)
sizes = st.builds(Size, sides, sides)
params_of = st.one_of(
    st.builds(box, sides, sides, st.sampled_from(["exact", "inside", "shrink"])),
    st.builds(lambda w, fit: box(w, None, fit), sides, st.sampled_from(["exact", "inside", "shrink"])),
    st.builds(lambda h, fit: box(None, h, fit), sides, st.sampled_from(["exact", "inside", "shrink"])),
    st.builds(percent, st.floats(0.01, 400)),
)


@given(params_of, sizes)
def test_what_is_made_has_the_size_that_was_said(params, source):
    image = craft.noise(*source)
    before = image.copy()
    (made,) = STEP.apply(image, params)
    ((width_px, height_px),) = params.sizes(source)
    assert made.shape == (height_px, width_px, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(image, before)


@given(st.builds(Size, st.integers(1, 70000), st.integers(1, 70000)), st.integers(1, 9000), st.integers(1, 9000))
def test_inside_is_within_the_box_touches_it_and_keeps_the_aspect_ratio(source, width, height):
    try:
        (made,) = box(width, height, "inside").sizes(source)
    except Rejected:
        return
    assert made.width_px <= width
    assert made.height_px <= height
    assert made.width_px == width or made.height_px == height
    scale = min(Fraction(width, source.width_px), Fraction(height, source.height_px))
    assert abs(made.width_px - source.width_px * scale) <= 1
    assert abs(made.height_px - source.height_px * scale) <= 1


@given(st.builds(Size, st.integers(1, 70000), st.integers(1, 70000)), st.integers(1, 70000))
def test_shrink_never_enlarges(source, width):
    (made,) = box(min(width, MAX_SIDE_PX), None, "shrink").sizes(source)
    assert made.width_px <= source.width_px
    assert made.height_px <= source.height_px


@given(params_of, sizes)
def test_for_a_reduced_decode_the_same_size_is_made(params, source):
    on_reduced = params.on_reduced(source)
    half = Size(-(-source.width_px // 2), -(-source.height_px // 2))
    assert on_reduced.sizes(source) == on_reduced.sizes(half) == params.sizes(source)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_shrinking_averages_blocks(factor):
    image = craft.noise(6 * factor, 4 * factor)
    blocks = image.reshape(4, factor, 6, factor, 3).mean(axis=(1, 3))
    difference = np.abs(resize(image, Size(6, 4)) - blocks)
    assert difference.max() <= 0.5 + 1e-9


def test_a_thin_line_does_not_alias_away():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 33] = 255
    assert resize(image, Size(10, 10))[:, 3].min() >= 25


def test_shrinking_one_side_averages_it_also_when_the_other_grows():
    image = craft.noise(60, 4)
    narrow = image.reshape(4, 6, 10, 3).mean(axis=2)
    made = resize(image, Size(6, 8))
    expected = cv2.resize(np.round(narrow).astype(np.uint8), (6, 8), interpolation=cv2.INTER_CUBIC)
    assert np.abs(made.astype(int) - expected).max() <= 1


def test_enlarging_keeps_flat_colour_and_range():
    flat = np.full((3, 5, 3), (10, 200, 255), np.uint8)
    assert np.array_equal(resize(flat, Size(50, 31)), np.full((31, 50, 3), (10, 200, 255), np.uint8))


def test_an_image_of_the_right_size_is_handed_on_as_it_is():
    image = craft.noise(9, 4)
    assert resize(image, Size(9, 4)) is image


@given(sizes, sizes)
def test_a_view_gives_what_its_copy_gives(source, target):
    whole = craft.noise(source.width_px + 7, source.height_px + 5)
    view = whole[3 : 3 + source.height_px, 2 : 2 + source.width_px]
    assert np.array_equal(resize(view, target), resize(view.copy(), target))

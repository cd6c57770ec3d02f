"""Each method against a formula in numpy, and on every shape of input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.images import craft

from muniflow.model.operation import Size
from muniflow_blur.params import DEFAULTS, BlurParams
from muniflow_blur.step import STEP

METHODS = tuple(DEFAULTS)


def blurred(image, method, **parameters):
    (made,) = STEP.apply(image, BlurParams.model_validate({"method": method, **parameters}))
    return made


def mirrored(image, border):
    """Borders as OpenCV makes them by default: mirrored, without the edge pixel itself."""
    return np.pad(image, ((border, border), (border, border), (0, 0)), mode="reflect")


def windows(image, side):
    """Shape (H, W, side, side, 3): the neighbourhood of each pixel."""
    stacked = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
    return np.moveaxis(stacked, 2, -1)


def convolved(image, weights):
    """Separable: rows, then columns; floating point."""
    padded = windows(mirrored(image.astype(float), len(weights) // 2), len(weights))
    return np.einsum("hwyxc,y,x->hwc", padded, weights, weights)


def test_gaussian_by_its_formula():
    image = craft.noise(23, 17)
    weights = np.array([1, 4, 6, 4, 1]) / 16  # OpenCV's table for 5 and sigma 0
    assert np.abs(blurred(image, "gaussian") - convolved(image, weights)).max() <= 1


@pytest.mark.parametrize(("kernel", "sigma"), [(5, 1.1), (3, 0.8), (9, 2.5)])
def test_gaussian_with_a_sigma_by_its_formula(kernel, sigma):
    image = craft.noise(23, 17)
    weights = np.exp(-((np.arange(kernel) - kernel // 2) ** 2) / (2 * sigma**2))
    assert (
        np.abs(blurred(image, "gaussian", kernel=kernel, sigma=sigma) - convolved(image, weights / weights.sum())).max()
        <= 2
    )


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_median_by_its_definition(kernel):
    image = craft.noise(23, 17)
    border = kernel // 2
    padded = np.pad(image, ((border, border), (border, border), (0, 0)), mode="edge")
    expected = np.median(windows(padded, kernel), axis=(2, 3))
    assert np.array_equal(blurred(image, "median", kernel=kernel), expected)


def test_bilateral_by_its_formula():
    image = craft.noise(23, 17)
    diameter, sigma_color, sigma_space = 9, 75.0, 75.0
    radius = diameter // 2
    near = windows(mirrored(image.astype(float), radius), diameter)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    circle = np.hypot(x, y) <= radius
    space = np.where(circle, np.exp(-(x**2 + y**2) / (2 * sigma_space**2)), 0)
    distance = np.abs(near - image[:, :, None, None, :]).sum(axis=-1)  # OpenCV adds up the channels' differences
    weights = space * np.exp(-(distance**2) / (2 * sigma_color**2))
    expected = (near * weights[..., None]).sum(axis=(2, 3)) / weights.sum(axis=(2, 3))[..., None]
    assert np.abs(blurred(image, "bilateral") - expected).max() <= 1


def test_updownsampling_by_its_formula():
    image = craft.noise(24, 16)
    weights = np.array([1, 4, 6, 4, 1]) / 16
    down = np.floor(convolved(image, weights)[::2, ::2] + 0.5)
    spread = np.zeros((16, 24, 3))
    spread[::2, ::2] = down
    inner = np.floor(4 * convolved(spread, weights) + 0.5)[4:-4, 4:-4]
    assert np.abs(blurred(image, "updownsampling")[4:-4, 4:-4] - inner).max() <= 1


shapes = st.builds(Size, st.integers(1, 40), st.integers(1, 40))
ODD_SHAPES = [Size(1, 1), Size(1, 2), Size(2, 1), Size(1, 9), Size(9, 1), Size(1, 200), Size(3, 2), Size(17, 31)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", ODD_SHAPES, ids=str)
def test_every_size_is_kept_down_to_one_pixel(method, size):
    image = craft.noise(*size)
    before = image.copy()
    made = blurred(image, method)
    assert made.shape == image.shape
    assert made.dtype == np.uint8
    assert BlurParams.from_short(method).sizes(size) == (size,)
    assert np.array_equal(image, before)
    assert not np.shares_memory(made, image)


@pytest.mark.parametrize("method", METHODS)
@given(shapes, st.integers(0, 6), st.integers(0, 6), st.integers(0, 3))
@settings(max_examples=60)
def test_a_view_gives_what_its_copy_gives(method, size, left_px, top_px, seed):
    whole = craft.noise(size.width_px + left_px + 5, size.height_px + top_px + 5, seed)
    view = whole[top_px : top_px + size.height_px, left_px : left_px + size.width_px]
    assert np.array_equal(blurred(view, method), blurred(np.ascontiguousarray(view), method))


@pytest.mark.parametrize("method", METHODS)
def test_a_read_only_view_is_fine(method):
    image = craft.noise(30, 20)
    image.flags.writeable = False
    assert blurred(image[5:, 7:], method).shape == (15, 23, 3)


@pytest.mark.parametrize("method", METHODS)
@given(shapes, st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=30)
def test_flat_colour_stays(method, size, colour):
    flat = np.full((size.height_px, size.width_px, 3), colour, np.uint8)
    assert np.array_equal(blurred(flat, method), flat)


@pytest.mark.parametrize(
    "parameters",
    [
        {"method": "gaussian", "kernel": 99},
        {"method": "gaussian", "kernel": 99, "sigma": 1000},
        {"method": "median", "kernel": 99},
        {"method": "bilateral", "diameter": 25, "sigma_color": 1000, "sigma_space": 1000},
        {"method": "bilateral", "diameter": 1, "sigma_color": 0.001, "sigma_space": 0.001},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [Size(1, 1), Size(1, 7), Size(120, 110)], ids=str)
def test_the_outermost_parameters_work_on_every_size(parameters, size):
    image = craft.noise(*size)
    assert blurred(image, **parameters).shape == image.shape

"""Each operation on an OpenCL device against the CPU: within 1 gray level, on every shape of input."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from muniflow.compute.device import MAX_DIFFERENCE
from muniflow.compute.step import installed_steps
from muniflow.errors import Rejected
from muniflow.model.batch import read_step
from muniflow.model.operation import Size, installed_operations

pytest_plugins = ["tests.support.opencl_fixtures"]

STEPS = installed_steps()
BLURS = (
    ["blur", "gaussian"],
    ["blur", "updownsampling"],
    ["blur", "bilateral"],
    ["blur", "median"],
    {"op": "blur", "method": "gaussian", "kernel": 15, "sigma": 3.5},
    {"op": "blur", "method": "median", "kernel": 3},
    {"op": "blur", "method": "median", "kernel": 9},
    {"op": "blur", "method": "bilateral", "diameter": 5, "sigma_color": 20, "sigma_space": 3},
)
"""A new kernel size is compiled anew by the driver, so these are few."""
SPLITS = (["split", True], ["split", "3x2"], ["split", "1x5"])
SIDES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 64, 97, 160])
"""So few, because the driver of the tests compiles kernels for each shape of work."""
MAX_PIXELS = 10**6
PERCENTAGES = st.sampled_from([12.5, 33, 50, 99, 100, 101, 150, 200, 333])
BOXES = st.builds("{}x{}".format, SIDES, SIDES)
RESIZES = st.one_of(
    st.builds(lambda box: ["resize", box], BOXES),
    st.builds(lambda side: ["resize", f"{side}x"], SIDES),
    st.builds(lambda side: ["resize", f"x{side}"], SIDES),
    st.builds(lambda percent: ["resize", f"{percent}%"], PERCENTAGES),
    st.builds(
        lambda width, height, fit: {"op": "resize", "width": width, "height": height, "fit": fit},
        SIDES, SIDES, st.sampled_from(["exact", "inside", "shrink"]),
    ),
)  # fmt: skip


@st.composite
def views(draw):
    """An image and a window of it: noise, only black and white, or even; the window may be all of it."""
    height_px, width_px = draw(SIDES), draw(SIDES)
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    border = draw(st.sampled_from([0, 1, 3]))
    shape = (height_px + 2 * border, width_px + 2 * border, 3)
    levels = draw(st.sampled_from([range(256), (0, 255), (254, 255), (100,)]))
    image = noise.choice(levels, shape)
    return image.astype(np.uint8), (border, border + height_px, border, border + width_px)


def possible(entry, view):
    """Whether the step takes an image of this size, and makes none that takes long."""
    _, (top, bottom, left, right) = view
    read = read_step(entry, installed_operations(), "step")
    params = STEPS[read.op].operation.params.model_validate(read.params)
    try:
        return all(size.pixels <= MAX_PIXELS for size in params.sizes(Size(right - left, bottom - top)))
    except Rejected:
        return False


def hold(opencl_process, entry, view):
    image, window = view
    top, bottom, left, right = window
    read = read_step(entry, installed_operations(), "step")
    step = STEPS[read.op]
    params = step.operation.params.model_validate(read.params)
    sizes = params.sizes(Size(right - left, bottom - top))
    expected = step.apply(image[top:bottom, left:right], params)
    made = opencl_process.apply(read.op, read.params, image, window)
    assert [part.shape for part in made] == [(size.height_px, size.width_px, image.shape[2]) for size in sizes]
    assert {part.dtype for part in made} == {np.dtype(np.uint8)}
    for mine, theirs in zip(made, expected, strict=True):
        assert np.abs(mine.astype(int) - theirs).max() <= MAX_DIFFERENCE


many = settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])


@pytest.mark.parametrize("entry", [*BLURS, *SPLITS], ids=str)
@many
@given(view=views())
def test_blur_and_split_on_opencl_are_those_of_the_cpu(opencl_process, entry, view):
    assume(possible(entry, view))
    hold(opencl_process, entry, view)


@many
@given(entry=RESIZES, view=views())
def test_resize_on_opencl_is_that_of_the_cpu(opencl_process, entry, view):
    assume(possible(entry, view))
    hold(opencl_process, entry, view)


@pytest.mark.parametrize("entry", [*BLURS, *SPLITS, ["resize", "37%"], ["resize", "230%"], ["resize", "800x"]], ids=str)
def test_a_large_image_on_opencl_is_that_of_the_cpu(opencl_process, entry):
    image = np.random.default_rng(5).integers(0, 256, (701, 913, 3), dtype=np.uint8)
    hold(opencl_process, entry, (image, (1, 700, 2, 911)))


@pytest.mark.parametrize("entry", [*BLURS[:4], ["resize", "37%"], ["resize", "230%"]], ids=str)
def test_alpha_on_opencl_is_that_of_the_cpu(opencl_process, entry):
    image = np.random.default_rng(6).integers(0, 256, (150, 203, 4), dtype=np.uint8)
    image[:, 60:, 3] = 255
    image[20:90, 30:120, 3] = 0
    hold(opencl_process, entry, (image, (1, 149, 2, 201)))

"""Plans: worked out once for each step and size, in bounded memory, and held against what a step makes."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from tests.support import compute_steps
from tests.support.compute_help import picture, route

from muniflow.compute.plans import MAX_KEPT, Plans
from muniflow.errors import Rejected
from muniflow.images.limits import ImageLimits
from muniflow.model.messages import RouteStep


def plans(max_pixels=10_000):
    return Plans(compute_steps.steps(), max_pixels)


def test_a_plan_is_worked_out_once():
    made, (half, quarter) = plans(), route("half", "quarter")
    assert made.of(half, (48, 64, 3)) is made.of(half, (48, 64, 3))
    assert made.of(half, (48, 64, 3)) is not made.of(half, (48, 66, 3))
    assert [shape for shape, _ in made.of(quarter, (48, 64, 3)).made] == [(24, 32, 3)] * 4


def test_few_plans_are_kept_and_none_that_makes_many_images():
    made, (half,) = plans(), route("half")
    for width_px in range(2, MAX_KEPT + 10):
        made.of(half, (2, width_px, 3))
    assert len(made._plans) < MAX_KEPT
    before = len(made._plans)
    with pytest.raises(RuntimeError, match="makes 1 images, and its route says 65"):
        made.of(half.model_copy(update={"fan_out": 65}), (2, 4, 3))
    assert len(made._plans) == before


def test_what_would_be_too_large_is_refused_before_it_is_computed():
    (smooth,) = route("smooth")
    with pytest.raises(Rejected, match="smooth would make 101x100 px, 10100 in all; the limit is 10000 pixels"):
        plans().of(smooth, (100, 101, 3))


def test_a_step_that_is_not_here_and_one_with_wrong_parameters_are_refused():
    with pytest.raises(Rejected, match="'melt' is not installed here; installed: "):
        plans().of(RouteStep(op="melt"), (2, 2, 3))
    with pytest.raises(Rejected, match="parameters of half: "):
        plans().params(RouteStep(op="half", params={"colour": 1}))


@pytest.mark.parametrize(
    "wrong", [lambda image: [image[:1]], lambda image: [image.astype(np.uint16)], lambda _image: []]
)
def test_a_step_that_breaks_its_contract_is_found_out(wrong):
    (smooth,) = route("smooth")
    plan = plans().of(smooth, (48, 64, 3))
    assert len(plan.run(picture(64, 48))) == 1
    broken = replace(plan, step=replace(plan.step, apply=lambda image, _params: wrong(image)))
    with pytest.raises(RuntimeError, match="step smooth made"):
        broken.run(picture(64, 48))


@pytest.mark.parametrize(("source_px", "tiles", "code"), [
    (10_000, 1, None), (100, 4, None), (100, 6, "output_too_large"), (1_700, 6, None), (20_000, 60, "too_much_work"),
])  # fmt: skip
def test_all_tiles_of_an_image_together_are_held_to_its_limits(source_px, tiles, code):
    """The largest tile, which may be a pixel wider than the others, stands for all of them."""
    (smooth,) = route("smooth")
    plan = replace(plans().of(smooth, (50, 50, 3)), seconds=0.1)
    limits = ImageLimits(max_pixels=10_000, max_growth=8, max_image_seconds=5)
    with nullcontext() if code is None else pytest.raises(Rejected) as caught:
        plan.require(limits, source_px, ((0, tiles),) if tiles > 1 else ())
    assert (caught and caught.value.reason_code) == code

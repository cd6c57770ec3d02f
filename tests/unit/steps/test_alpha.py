"""Operations on images with alpha: what alpha hides never shows, and what it does not hide is as without it."""

import numpy as np
import pytest
from tests.unit.images import craft

from muniflow.compute.step import installed_steps
from muniflow.model.batch import read_step
from muniflow.model.operation import installed_operations

MIXING = (
    ["resize", "50%"], ["resize", "37%"], ["resize", "230%"], ["resize", "20x200"],
    ["blur", "gaussian"], {"op": "blur", "method": "gaussian", "kernel": 15, "sigma": 3.5}, ["blur", "updownsampling"],
)  # fmt: skip
OTHERS = (["blur", "bilateral"], ["blur", "median"], ["split", True], ["resize", "100%"])


def run(entry: object, image: np.ndarray) -> np.ndarray:
    read = read_step(entry, installed_operations(), "step")
    step = installed_steps()[read.op]
    before = image.copy()
    made = step.apply(image, step.operation.params.model_validate(read.params))
    assert np.array_equal(image, before), "a step changes nothing"
    return made[0]


def picture(alpha: np.ndarray) -> np.ndarray:
    height_px, width_px = alpha.shape
    return np.dstack([craft.photo(width_px, height_px), alpha])


ALPHA = np.random.default_rng(1).integers(0, 256, (61, 83), dtype=np.uint8)
HOLE = np.full((61, 83), 255, np.uint8)
HOLE[10:40, 20:50] = 0


@pytest.mark.parametrize("entry", MIXING, ids=str)
@pytest.mark.parametrize("alpha", [ALPHA, HOLE], ids=["noise", "hole"])
def test_colours_weigh_as_much_as_their_alpha(entry: object, alpha: np.ndarray) -> None:
    image = picture(alpha)
    weight = alpha.astype(np.float32)
    planes = [run(entry, np.dstack([plane.astype(np.float32)] * 3))[:, :, 0] for plane in
              (*(image[:, :, n] * weight for n in range(3)), weight)]  # fmt: skip
    made = run(entry, image).astype(int)
    assert np.abs(made[:, :, 3] - planes[3].clip(0, 255)).max() <= 0.6
    seen = planes[3] > 0.5
    for channel in range(3):
        wanted = (planes[channel][seen] / planes[3][seen]).clip(0, 255)
        assert np.abs(made[:, :, channel][seen] - wanted).max() <= 0.6


@pytest.mark.parametrize("entry", [*MIXING, ["blur", "median"]], ids=str)
def test_what_alpha_hides_never_shows(entry: object) -> None:
    image, other = picture(HOLE), picture(HOLE)
    image[HOLE == 0, :3], other[HOLE == 0, :3] = (0, 0, 255), (200, 9, 90)
    assert np.array_equal(run(entry, image), run(entry, other))


@pytest.mark.parametrize("entry", [*MIXING, *OTHERS], ids=str)
def test_an_opaque_picture_is_as_without_alpha(entry: object) -> None:
    image = picture(np.full((61, 83), 255, np.uint8))
    made = run(entry, image)
    assert np.array_equal(made[:, :, :3], run(entry, np.ascontiguousarray(image[:, :, :3])))
    assert (made[:, :, 3] == 255).all()


def test_bilateral_passes_alpha() -> None:
    image = picture(ALPHA)
    made = run(["blur", "bilateral"], image)
    assert np.array_equal(made[:, :, 3], ALPHA)
    assert np.array_equal(made[:, :, :3], run(["blur", "bilateral"], np.ascontiguousarray(image[:, :, :3])))

"""The price of an image is what its steps really make, and no attack and no panorama is taken for the other."""

import pytest
from tests.support.compute_help import context, picture, write_source
from tests.support.forecast_help import OPERATIONS, batch, photo, sample

from muniflow.compute.process import process
from muniflow.compute.step import installed_steps
from muniflow.forecast.price import ImagePrice, PriceList
from muniflow.images.limits import MAX_PIXELS, ImageLimits
from muniflow.images.opencv import cv2
from muniflow.model.messages import Task

LIMITS = ImageLimits()
PANORAMA = photo(16384, 8192)
GROWING = [["split", "3x2"], ["resize", "250%"]]
FOUR_PANORAMAS = [["split", "2x2"], ["resize", "11585x11585"]]


def price_of(picture, *operations, **fields) -> ImagePrice:
    return PriceList.of(batch(*operations, **fields), OPERATIONS).price(picture)


def problem(picture, *operations, **fields):
    """The code of the refusal of one image, if it is refused."""
    price = price_of(picture, *operations, **fields)
    found = LIMITS.too_large(price.most_px, picture.size.pixels) or LIMITS.too_long(price.seconds)
    return found.reason_code if found else None


def made_px(tmp_path, work, source):
    """Pixels that each step of a route really makes of an image, and those of its outputs."""
    installed, pixels = installed_steps(), [0] * len(work.route)
    write_source(tmp_path, "a.png", source)
    task = Task(
        batch="b", image=0, source="a.png", stem="a", destination="out", encoding=work.encoding, route=work.route
    )
    waiting, outputs = [task], list[str]()
    while waiting:
        task = waiting.pop()
        outcome = process(task, context(tmp_path, steps={task.op: installed[task.op]}))
        pixels[task.step] += outcome.work.pixels_out if outcome.work else 0
        waiting += outcome.follow
        outputs += outcome.outputs
    images = [cv2.imread(str(tmp_path / "output" / key)) for key in outputs]
    return pixels, sum(image.shape[0] * image.shape[1] for image in images if image is not None)


@pytest.mark.parametrize("route", [
    [["resize", "50%"], ["split", True], ["blur", "gaussian"]],
    [["split", "3x2"], ["resize", "x77"], ["split", "2x3"]],
    GROWING,
])  # fmt: skip
def test_pixels_are_exactly_those_that_workers_make(tmp_path, route):
    work = batch(*route, output="png", alpha="flatten")
    pixels, output_px = made_px(tmp_path, work, picture(211, 137))
    price = PriceList.of(work, OPERATIONS).price(photo(211, 137, "png"))
    assert (price.made_px, price.most_px) == (sum(pixels), max(pixels))
    assert price.output_bytes == 3 * output_px


@pytest.mark.parametrize(("source", "route", "code"), [
    (photo(128, 128), FOUR_PANORAMAS, "output_too_large"),
    (photo(128, 128), [["split", "64x64"], ["resize", "11585x11585"]], "output_too_large"),
    (PANORAMA, [["split", "64x64"], ["resize", "11585x11585"]], "output_too_large"),
    (PANORAMA, [{"op": "blur", "method": "bilateral", "diameter": 25}], "too_much_work"),
    (PANORAMA, [["split", "64x64"], {"op": "blur", "method": "bilateral", "diameter": 25}], "too_much_work"),
    (photo(4000, 3000), [{"op": "blur", "method": "bilateral", "diameter": 25}], None),
    (photo(4000, 3000), [["resize", "300%"], ["split", True], ["blur", "median"]], None),
    (PANORAMA, [["split", "16x8"], ["blur", "gaussian"]], None),
    (PANORAMA, [["split", "64x64"], ["blur", "bilateral"]], None),
    (PANORAMA, [["split", "7x3"], ["resize", "200%"]], None),
    (PANORAMA, [["split", "64x64"], *[["blur", "gaussian"]] * 30], None),
    (photo(1, 1), [["resize", "11585x11585"]], None),
])  # fmt: skip
def test_what_is_refused_by_default(source, route, code):
    for output in ("jpg", "png", "webp"):
        assert problem(source, *route, output=output) == code


def test_the_largest_image_is_the_dearest_that_a_step_takes():
    prices = PriceList.of(batch(["split", "8x8"], ["resize", "1000%"]), OPERATIONS)
    largest = prices.largest(MAX_PIXELS)
    assert largest.most_px > LIMITS.max_growth * MAX_PIXELS, "also where the largest one of all would be refused"
    assert PriceList.of(batch(["resize", "200x300"]), OPERATIONS).largest(MAX_PIXELS).made_px == 60_000


def test_a_batch_needs_its_sample_for_each_image_and_an_unknown_size_counts_as_given():
    prices = PriceList.of(batch(["split", "2x1"]), OPERATIONS)
    unknown = ImagePrice(made_px=5_000_000, output_bytes=2**20, seconds=7.0)
    one, amounts = prices.price(photo(1000, 1000)), prices.amounts(sample(photo(1000, 1000), None, count=100), unknown)
    assert (amounts.images, amounts.outputs, amounts.megapixels) == (100, 200, 50 * 1 + 50 * 5)
    assert amounts.mebibytes == pytest.approx(50 * (3e6 / 2**20 + 1))
    assert amounts.seconds == pytest.approx(50 * (one.seconds + 7))

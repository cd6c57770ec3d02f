"""Sizes of sources, from their headers."""

import io

import numpy as np
import pytest

from muniflow.errors import NotFound, Unavailable
from muniflow.forecast.sizes import Picture
from muniflow.images.limits import ImageLimits
from muniflow.images.opencv import cv2
from muniflow.images.pictures import read_picture, read_pictures
from muniflow.model.operation import Size


def encoded(suffix, width_px=30, height_px=20):
    return cv2.imencode(suffix, np.zeros((height_px, width_px, 3), np.uint8))[1].tobytes()


class Counted(io.BytesIO):
    """Counts what is read of it."""

    taken = 0

    def read(self, size=-1):
        found = super().read(size)
        self.taken += len(found)
        return found


@pytest.mark.parametrize(("suffix", "reads"), [(".jpg", "jpg"), (".png", "png"), (".webp", "webp"), (".tiff", "tiff")])
def test_the_size_and_the_format_come_from_the_bytes_and_not_from_the_name(suffix, reads):
    limits = ImageLimits(formats=("jpeg", "png", "webp", "tiff"))
    found = read_picture(lambda _key: io.BytesIO(encoded(suffix)), "x.bin", limits)
    assert found == Picture(Size(30, 20), reads)


@pytest.mark.parametrize("data", [b"", b"no image", encoded(".jpg")[:40], encoded(".tiff")])
def test_what_no_step_accepts_has_no_size(data):
    assert read_picture(lambda _key: io.BytesIO(data), "a.jpg") is None


def test_a_source_that_is_not_there_has_no_size():
    def missing(key):
        raise NotFound(f"{key}: not there")

    assert read_picture(missing, "a.jpg") is None


def test_a_store_that_is_away_is_no_answer():
    def away(_key):
        raise Unavailable("blob store")

    with pytest.raises(Unavailable):
        read_pictures(away, ["a.jpg", "b.jpg"])


def test_of_a_large_file_only_the_first_part_is_read():
    noise = np.random.default_rng(1).integers(0, 255, (2000, 2000, 3), np.uint8)
    stream = Counted(cv2.imencode(".jpg", noise)[1].tobytes())
    assert read_picture(lambda _key: stream, "a.jpg") == Picture(Size(2000, 2000), "jpg")
    assert stream.taken <= 64 * 1024


def test_the_order_is_that_of_the_keys():
    sizes = {f"{n}.png": (n + 1, n + 2) for n in range(40)}
    found = read_pictures(lambda key: io.BytesIO(encoded(".png", *sizes[key])), list(sizes))
    assert found == [Picture(Size(*size), "png") for size in sizes.values()]

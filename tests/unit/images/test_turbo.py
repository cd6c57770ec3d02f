"""JPEG by libjpeg-turbo itself: that its pixels are OpenCV's is in `test_decode`."""

from typing import get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from muniflow.images.decode import Reduction
from muniflow.images.opencv import cv2
from muniflow.images.turbo import STREAMED_BYTES, decode_jpeg
from muniflow.model.operation import Size


def jpeg(width_px: int, height_px: int) -> memoryview:
    return memoryview(cv2.imencode(".jpg", np.full((height_px, width_px, 3), 90, np.uint8))[1].tobytes())


@given(st.integers(16, 300), st.integers(16, 40), st.sampled_from(get_args(Reduction)))
def test_few_rows_begin_where_libjpeg_turbo_writes_around_the_cache(width_px: int, height_px: int, factor: int):
    pixels = decode_jpeg(jpeg(width_px, height_px), Size(width_px, height_px), factor)
    assert pixels is not None
    assert pixels.shape == (-(-height_px // factor), -(-width_px // factor), 3)
    begins = pixels.ctypes.data + np.arange(len(pixels)) * pixels.strides[0]
    streamed = np.count_nonzero(begins % STREAMED_BYTES == 0)
    assert streamed <= (0 if pixels.strides[0] % 2 == 0 else 1 + len(pixels) // STREAMED_BYTES)

"""Alpha is kept, or laid over a background; bands are chosen; twelve bits in sixteen are seen."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from tests.unit.images import craft, profiles
from tests.unit.images.corpus import saved

from muniflow.errors import Rejected
from muniflow.images.carried import Carried
from muniflow.images.decode import decode
from muniflow.images.encode import encode
from muniflow.images.limits import ImageLimits
from muniflow.model.messages import Encoding
from muniflow.model.rendering import DEFAULT, Rendering

LIMITS = ImageLimits(formats=("jpeg", "png", "webp", "tiff"))
RGB = np.ascontiguousarray(craft.photo(40, 30)[:, :, ::-1])
STEPS = np.tile(np.array([0, 1, 2, 100, 128, 200, 254, 255], np.uint8), (30, 5))
"""Every kind of alpha; most of it neither 0 nor 255."""
MASK = np.where(np.indices((30, 40)).sum(0) % 7 > 2, 255, 0).astype(np.uint8)
NIR = (255 - RGB[:, :, 1].astype(int) // 2).clip(1, 254).astype(np.uint8)


def png16(kind: int, samples: np.ndarray) -> bytes:
    """A PNG of 16 bits, of a colour type that Pillow does not write."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples))),
        (b"IEND", b""),
    )
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return craft.PNG_SIGNATURE + b"".join(body)


def tiff(samples: np.ndarray, *extra: str, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, metadata=None, extrasamples=extra, **{"photometric": "rgb", **options})
    return file.getvalue()


def files() -> dict[str, bytes]:
    rgba = Pillow.fromarray(np.dstack([RGB, STEPS]))
    palette = Pillow.fromarray(RGB).quantize(16)
    gray = Pillow.fromarray(np.ascontiguousarray(RGB[:, :, 0]))
    random = np.random.default_rng(2)
    return {
        "png": saved(rgba, "PNG"),
        "png gray": saved(rgba.convert("LA"), "PNG"),
        "png palette": saved(palette, "PNG", transparency=bytes([0, 128, *[255] * 14])),
        "png palette of 4 bits": saved(palette, "PNG", transparency=bytes([0, 128, *[255] * 14]), bits=4),
        "png one colour": saved(Pillow.fromarray(RGB), "PNG", transparency=tuple(int(value) for value in RGB[3, 3])),
        "png one gray": saved(gray, "PNG", transparency=int(RGB[3, 3, 0])),
        "png bilevel": saved(Pillow.fromarray(RGB[:, :, 0] > 100), "PNG", transparency=0),
        "png 16 bits": png16(6, random.integers(0, 65536, (30, 40, 4), dtype=np.uint16)),
        "png gray 16 bits": png16(4, random.integers(0, 65536, (30, 40, 2), dtype=np.uint16)),
        "png profile": saved(rgba, "PNG", icc_profile=profiles.srgb()),
        "webp lossless": saved(rgba, "WEBP", lossless=True, exact=True),
        "webp lossy": saved(rgba, "WEBP", quality=80),
    }


def read(data: bytes, rendering: Rendering = DEFAULT, *, alpha: bool = False) -> np.ndarray:
    image = decode(memoryview(data), LIMITS, rendering=rendering, alpha=alpha)
    return image[:, :, [2, 1, 0, 3][: image.shape[2]]]


def seen_by_pillow(data: bytes) -> np.ndarray:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))


def laid_over(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    alpha = rgba[:, :, 3:] / 255
    return np.round(rgba[:, :, :3] * alpha + np.array(background) * (1 - alpha)).astype(int)


@pytest.mark.parametrize("name", files())
def test_alpha_is_kept_or_laid_over_the_background(name: str) -> None:
    data = files()[name]
    wanted = seen_by_pillow(data)
    assert np.array_equal(read(data, alpha=True), wanted)
    assert np.abs(read(data) - laid_over(wanted, (255, 255, 255))).max() <= 1
    blue = Rendering(background="#1020f0")
    assert np.abs(read(data, blue) - laid_over(wanted, (16, 32, 240))).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"tile": (32, 32), "compression": "lzw"}], ids=str)
def test_alpha_of_a_tiff_is_not_multiplied(layout: dict[str, Any], orientation: int) -> None:
    rgba = np.dstack([RGB, MASK])
    data = tiff(rgba, "unassalpha", extratags=[(274, "H", 1, orientation, True)], **layout)
    upright = craft.shown(rgba, orientation)
    assert np.array_equal(read(data, alpha=True), upright)
    assert np.array_equal(read(data), laid_over(upright, (255, 255, 255)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("samples", [RGB, RGB.astype(np.uint16) * 257, RGB[:, :, 0]], ids=["8", "16", "gray"])
def test_tiles_of_a_tiff_are_turned_as_one_picture(samples: np.ndarray, orientation: int) -> None:
    colours = {} if samples.ndim == 3 else {"photometric": "minisblack"}
    data = tiff(samples, tile=(16, 16), extratags=[(274, "H", 1, orientation, True)], **colours)
    shown = craft.shown(RGB if samples.ndim == 3 else np.dstack([samples] * 3), orientation)
    assert np.array_equal(read(data), shown)


def test_colours_that_were_multiplied_are_divided_again() -> None:
    alpha = np.where(STEPS < 100, 0, np.where(STEPS < 254, STEPS, 255)).astype(np.uint8)
    alpha[10:] = 255
    multiplied = np.round(RGB * (alpha[:, :, None] / 255)).astype(np.uint8)
    data = tiff(np.dstack([multiplied, alpha]), "assocalpha")
    kept = read(data, alpha=True)
    assert np.array_equal(kept[:, :, 3], alpha)
    assert np.abs(kept[:, :, :3].astype(int) - RGB)[alpha > 0].max() <= 2
    assert not kept[alpha == 0][:, :3].any()
    assert np.abs(read(data) - laid_over(np.dstack([RGB, alpha]), (255, 255, 255))).max() <= 1


@pytest.mark.parametrize("marked", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("alpha", [False, True])
def test_near_infrared_is_a_band_whatever_it_is_called(marked: str, alpha: bool) -> None:
    assert np.array_equal(read(tiff(np.dstack([RGB, NIR]), marked), alpha=alpha), RGB)


@pytest.mark.parametrize("marked", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("bands", [(1, 2, 3), (4, 1, 2), (2, 2, 2)])
def test_bands_are_chosen(marked: str, bands: tuple[int, int, int]) -> None:
    samples = np.dstack([RGB, NIR])
    chosen = read(tiff(samples, marked), Rendering(bands=bands), alpha=True)
    assert np.array_equal(chosen, samples[:, :, [band - 1 for band in bands]])
    assert np.array_equal(
        read(saved(Pillow.fromarray(samples), "PNG"), Rendering(bands=bands)),
        samples[:, :, [band - 1 for band in bands]],
    )


def test_a_band_that_is_not_there_is_refused() -> None:
    for data in (saved(Pillow.fromarray(RGB), "PNG"), saved(Pillow.fromarray(RGB), "JPEG"), tiff(RGB)):
        with pytest.raises(Rejected, match="bands: the image has no band 4; it has 3"):
            read(data, Rendering(bands=(4, 1, 2)))


def test_twelve_bits_in_sixteen_are_scaled_by_their_range() -> None:
    ramp = np.tile(np.arange(40) * 4095 // 39, (30, 1)).astype(np.uint16)
    for data in (tiff(ramp, photometric="minisblack"), tiff(np.dstack([ramp] * 3)), png16(2, np.dstack([ramp] * 3))):
        assert np.array_equal(read(data), np.dstack([ramp >> 4] * 3))
    with_alpha = png16(6, np.dstack([ramp, ramp, ramp, np.full_like(ramp, 65535)]))
    assert np.array_equal(read(with_alpha, alpha=True), np.dstack([ramp >> 4] * 3 + [np.full_like(ramp, 255)]))
    ramp[0, 0] = 4096
    assert np.array_equal(read(tiff(ramp, photometric="minisblack")), np.dstack([ramp >> 8] * 3))


def test_colours_of_a_profile_are_converted_and_alpha_is_not() -> None:
    rgba = Pillow.fromarray(np.dstack([RGB, STEPS]))
    made = read(saved(rgba, "PNG", icc_profile=profiles.wide()), alpha=True)
    assert np.array_equal(made[:, :, :3], read(saved(rgba.convert("RGB"), "PNG", icc_profile=profiles.wide())))
    assert np.array_equal(made[:, :, 3], STEPS)


@pytest.mark.parametrize("kept", [None, profiles.wide()], ids=["plain", "profile"])
def test_outputs_with_alpha(kept: bytes | None) -> None:
    bgra = np.ascontiguousarray(np.dstack([RGB[:, :, ::-1], STEPS]))
    for kind in ("png", "webp"):
        data = bytes(encode(bgra, Encoding(format=kind), Carried(kept)))
        with Pillow.open(io.BytesIO(data)) as image:
            assert image.mode == "RGBA"
            assert image.info.get("icc_profile") == kept
            shown = np.asarray(image)
        assert np.array_equal(shown[:, :, 3], STEPS)
        if kind == "png":
            assert np.array_equal(shown[:, :, :3], RGB)


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_four_bands_of_16_bits_are_alpha_where_they_are_a_mask_and_else_left_out(compression, tile):
    """Orthophotos and drones: RGB and a mask, or RGB and near infrared, called alpha or nothing."""
    random = np.random.default_rng(20261129)
    bands = random.integers(4096, 65536, (32, 48, 4), dtype=np.uint16)
    mask = bands.copy()
    mask[:, :, 3] = np.where(random.random((32, 48)) < 0.3, 0, 65535)

    def read(pixels, extra, **options):
        stream = io.BytesIO()
        tifffile.imwrite(stream, pixels, photometric="rgb", extrasamples=[extra], compression=compression, tile=tile)
        return decode(memoryview(stream.getvalue()), LIMITS, alpha=True, **options)

    colours = (bands >> 8)[:, :, 2::-1]
    for extra in (0, 1, 2):
        assert np.array_equal(read(bands, extra), colours)
    assert np.array_equal(read(mask, 2), (mask >> 8)[:, :, [2, 1, 0, 3]])
    assert np.array_equal(read(mask, 0), (mask >> 8)[:, :, 2::-1])
    infrared = read(bands, 0, rendering=Rendering(bands=(4, 1, 2)))
    assert np.array_equal(infrared, (bands >> 8)[:, :, [1, 0, 3]])
    sensor = read(bands >> 4, 0, rendering=Rendering(bands=(4, 1, 2)))
    assert np.array_equal(sensor, (bands >> 8)[:, :, [1, 0, 3]])

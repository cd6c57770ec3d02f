"""Colours: converted by the profile of a file to what littleCMS makes of them, or left with it."""

import io
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms
from tests.unit.images import craft, profiles

from muniflow.images import colour
from muniflow.images.carried import Carried
from muniflow.images.decode import decode
from muniflow.images.encode import encode
from muniflow.images.header import read_header
from muniflow.images.limits import ImageLimits
from muniflow.images.profile import kept_profile
from muniflow.images.types import Image
from muniflow.model.messages import Encoding
from muniflow.model.rendering import Rendering

LIMITS = ImageLimits(formats=("jpeg", "png", "webp", "tiff"))
EXACT: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {},
}  # fmt: skip
FORMATS = pytest.mark.parametrize("kind", EXACT)
WIDE = pytest.mark.parametrize("profile", [profiles.wide(), profiles.adobe()], ids=["wide", "adobe"])


def picture(mode: str = "RGB") -> Pillow.Image:
    return Pillow.fromarray(craft.photo(120, 90)[:, :, ::-1]).convert(mode)


def saved(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **EXACT[kind] | options)
    return file.getvalue()


def shown(data: bytes, color: Literal["srgb", "keep"] = "srgb", reduction: Literal[1, 2, 4, 8] = 1) -> np.ndarray:
    image = decode(memoryview(data), LIMITS, rendering=Rendering(color=color), reduction=reduction)
    return image[:, :, ::-1].astype(int)


def direct(data: bytes, profile: bytes) -> np.ndarray:
    """What littleCMS makes of the pixels that Pillow decodes."""
    with Pillow.open(io.BytesIO(data)) as image:
        made = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
        )  # fmt: skip
    assert made is not None
    return np.asarray(made).astype(int)


@FORMATS
@WIDE
def test_colours_of_a_profile_become_those_of_srgb(kind: str, profile: bytes) -> None:
    data = saved(picture(), kind, icc_profile=profile)
    with Pillow.open(io.BytesIO(data)) as image:
        plain = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(shown(data) - direct(data, profile)).max() <= 1
    assert np.abs(shown(data) - plain).max() > 20, "the test would see a profile that is left out"
    assert np.abs(shown(data, "keep") - plain).max() <= 1


def test_a_long_profile_comes_in_parts_in_any_order() -> None:
    profile = profiles.wide() + bytes(150_000)
    data = saved(picture(), "JPEG", icc_profile=profile)
    places = read_header(memoryview(data)).profile
    assert len(places) == 3
    spans = [slice(start - 18, end) for start, end in places]
    turned = data[: spans[0].start] + b"".join(data[span] for span in reversed(spans)) + data[spans[2].stop :]
    assert kept_profile(memoryview(turned), read_header(memoryview(turned))) == profile
    assert np.array_equal(shown(turned), shown(data))
    without = data[: spans[1].start] + data[spans[1].stop :]
    assert not read_header(memoryview(without)).profile
    assert np.array_equal(shown(without), shown(data, "keep"))


def test_a_reduced_decode_is_converted_too() -> None:
    data = saved(picture(), "JPEG", icc_profile=profiles.wide())
    assert np.abs(shown(data, reduction=2) - shown(data, "keep", 2)).max() > 20


@pytest.mark.parametrize("profile", [profiles.srgb(), profiles.rgb([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)], 2.2)],
                         ids=["srgb", "almost"])  # fmt: skip
def test_nothing_is_spent_on_srgb(profile: bytes) -> None:
    found = colour.conversion(profile, "rgb")
    assert (found is None) == (profile == profiles.srgb())


def test_a_conversion_is_made_once_for_a_profile() -> None:
    data = saved(picture(), "PNG", icc_profile=profiles.adobe())
    shown(data)
    before = colour.conversion.cache_info()
    shown(data)
    after = colour.conversion.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (1, 0)


@FORMATS
@pytest.mark.parametrize("profile", [
    b"", b"no profile", profiles.wide()[:200], profiles.gray(1.8), profiles.press(), bytes(4000),
], ids=["empty", "text", "cut", "gray", "cmyk", "zeros"])  # fmt: skip
def test_a_profile_that_does_not_fit_counts_for_none(kind: str, profile: bytes) -> None:
    plain, data = saved(picture(), kind), saved(picture(), kind, icc_profile=profile)
    assert np.array_equal(shown(data), shown(plain))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_gray_stays_gray(kind: str, gamma: float) -> None:
    data = saved(picture("L"), kind, icc_profile=profiles.gray(gamma))
    pixels = shown(data)
    assert np.array_equal(pixels, pixels[:, :, [1, 1, 1]])
    assert np.abs(pixels - direct(data, profiles.gray(gamma))).max() <= 1
    assert np.array_equal(shown(data, "keep"), pixels), "outputs have three channels, which its profile does not fit"
    of_rgb = saved(picture("L"), kind, icc_profile=profiles.wide())
    assert np.array_equal(shown(of_rgb), shown(saved(picture("L"), kind)))


@pytest.mark.parametrize("color", ["srgb", "keep"])
def test_cmyk_goes_through_its_profile(color: Literal["srgb", "keep"]) -> None:
    data = saved(picture("CMYK"), "JPEG", icc_profile=profiles.press())
    assert np.abs(shown(data, color) - direct(data, profiles.press())).max() <= 1
    plain = shown(saved(picture("CMYK"), "JPEG"))
    assert np.abs(plain - shown(data)).max() > 20


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("side_px", [15, 120])
def test_cmyk_is_reduced_too(side_px: int, reduction: Literal[2, 4, 8]) -> None:
    data = saved(picture("CMYK").resize((side_px, side_px)), "JPEG", icc_profile=profiles.press())
    assert shown(data, reduction=reduction).shape == (-(-side_px // reduction), -(-side_px // reduction), 3)


def test_cmyk_with_harmless_padding_is_converted_as_without() -> None:
    data = saved(picture("CMYK"), "JPEG", icc_profile=profiles.press())
    assert np.array_equal(shown(data[:-2] + bytes(8) + data[-2:]), shown(data))


def test_orientation_and_mends_come_with_it() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    data = saved(picture(), "JPEG", icc_profile=profiles.wide(), exif=exif)
    assert np.array_equal(shown(data), np.rot90(shown(saved(picture(), "JPEG", icc_profile=profiles.wide())), -1))
    assert np.array_equal(shown(data[:-2]), shown(data)), "without its end of image"


@pytest.mark.parametrize("output", ["jpg", "png", "webp"])
@pytest.mark.parametrize("size", [(40, 30), (1, 1), (301, 7)])
def test_a_kept_profile_is_in_every_output(output: Literal["jpg", "png", "webp"], size: tuple[int, int]) -> None:
    pixels: Image = craft.photo(*size)
    profile = profiles.wide() + bytes(70_001)
    plain, carrying = (bytes(encode(pixels, Encoding(format=output), Carried(each))) for each in (None, profile))
    assert kept_profile(memoryview(carrying), read_header(memoryview(carrying))) == profile
    with Pillow.open(io.BytesIO(carrying)) as image, Pillow.open(io.BytesIO(plain)) as bare:
        assert image.info["icc_profile"] == profile
        assert "icc_profile" not in bare.info
        assert np.array_equal(np.asarray(image), np.asarray(bare))


def test_pillow_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [saved(picture(), kind, icc_profile=profiles.wide()) for kind in EXACT]

    def opened(*_: Any, **__: Any) -> None:
        raise AssertionError("Image.open was called")

    monkeypatch.setattr(Pillow, "open", opened)
    for data in files:
        shown(data)

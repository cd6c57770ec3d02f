"""HEIC and AVIF: their colour profiles and their alpha, as of every other format."""

import io
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms
from tests.unit.images import craft, profiles

from muniflow.images.decode import decode
from muniflow.images.header import read_header
from muniflow.images.opencv import cv2
from muniflow.images.profile import kept_profile
from muniflow.model.rendering import Rendering

FOLDER = Path(__file__).parent / "heic"
NCLX_P3 = b"nclx" + struct.pack(">HHHB", 12, 13, 6, 0x80)
WIDE = pytest.mark.parametrize("profile", [profiles.wide(), profiles.adobe()], ids=["wide", "adobe"])


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def heic(name: str = "plain", colr: bytes = b"", references: bytes = b"") -> bytes:
    """A file of the folder with another `colr` and one more reference; what lies behind `meta` moves on."""
    data = (FOLDER / f"{name}.heic").read_bytes()
    changes = []
    if colr:
        place = data.index(b"colr") - 4
        changes.append((place, 19, box(b"colr", colr), [b"meta", b"iprp", b"ipco"]))
    if references:
        place = data.index(b"iref") - 4
        end = place + int.from_bytes(data[place : place + 4], "big")
        changes.append((end, 0, references, [b"meta", b"iref"]))
    moved = sum(len(new) - length for _, length, new, _ in changes)
    made = bytearray(data)
    place = made.index(b"iloc") + 8
    (items,) = struct.unpack_from(">H", made, place + 2)
    place += 4
    for _ in range(items):
        (base,) = struct.unpack_from(">I", made, place + 4)
        struct.pack_into(">I", made, place + 4, base + moved)
        (extents,) = struct.unpack_from(">H", made, place + 8)
        place += 10 + 8 * extents
    for place, length, new, around in sorted(changes, reverse=True):
        made[place : place + length] = new
        for kind in around:
            start = made.index(kind) - 4
            size = int.from_bytes(made[start : start + 4], "big") + len(new) - length
            made[start : start + 4] = struct.pack(">I", size)
    return bytes(made)


def avif(image: Pillow.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    subsampling = "4:0:0" if image.mode == "L" else "4:4:4"
    image.save(stream, "AVIF", quality=100, subsampling=subsampling, **options)
    return stream.getvalue()


def photo(mode: str = "RGB") -> Pillow.Image:
    return Pillow.fromarray(craft.photo(96, 64)[:, :, ::-1]).convert(mode)


def shown(data: bytes, color: Literal["srgb", "keep"] = "srgb", *, alpha: bool = False, **more: Any) -> np.ndarray:
    image = decode(memoryview(data), rendering=Rendering(color=color, **more), alpha=alpha)
    return image[:, :, [2, 1, 0, *range(3, image.shape[2])]].astype(int)


def by_littlecms(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    made = ImageCms.profileToProfile(
        Pillow.fromarray(pixels.astype(np.uint8)), ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"), renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )  # fmt: skip
    assert made is not None
    return np.asarray(made).astype(int)


def p3_to_srgb(pixels: np.ndarray) -> np.ndarray:
    """By the numbers of the standards: sRGB's curve, and the matrix between the primaries under D65."""
    v = pixels / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    matrix = [[1.2249402, -0.2249402, 0], [-0.0420570, 1.0420570, 0], [-0.0196376, -0.0786361, 1.0982736]]
    linear = np.clip(linear @ np.array(matrix).T, 0, 1)
    coded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(coded * 255))


@WIDE
@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_colours_of_a_profile_become_those_of_srgb(kind: str, profile: bytes) -> None:
    made = heic(colr=b"prof" + profile) if kind == "heic" else avif(photo(), icc_profile=profile)
    plain = heic() if kind == "heic" else avif(photo())
    assert np.abs(shown(made, "keep") - shown(plain)).max() <= 1
    assert np.abs(shown(made) - by_littlecms(shown(made, "keep"), profile)).max() <= 1
    assert np.abs(shown(made) - shown(plain)).max() > 20, "the test would see a profile that is left out"
    assert kept_profile(memoryview(made), read_header(memoryview(made))) == profile


def test_a_box_that_names_display_p3_is_a_profile() -> None:
    for made, plain in (
        (heic(colr=NCLX_P3), heic()),
        (avif(photo()).replace(b"nclx\0\1\0\x0d", b"nclx\0\x0c\0\x0d"), avif(photo())),
    ):
        kept = shown(made, "keep")
        assert np.array_equal(kept, shown(plain))
        assert np.abs(shown(made) - p3_to_srgb(kept)).max() <= 1
        profile = kept_profile(memoryview(made), read_header(memoryview(made)))
        assert profile is not None
        assert np.array_equal(shown(made), by_littlecms(kept, profile))
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        assert name.strip() == "Display P3"


@pytest.mark.parametrize("colr", [
    b"prof", b"prof" + profiles.wide()[:200], b"prof" + profiles.gray(1.8),
    b"nclx" + struct.pack(">HHHB", 12, 16, 6, 0x80),
], ids=["empty", "cut", "gray", "pq"])  # fmt: skip
def test_a_profile_that_does_not_fit_counts_for_none(colr: bytes) -> None:
    made = heic(colr=colr)
    assert np.array_equal(shown(made), shown(made, "keep"))


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_gray_stays_gray(kind: str) -> None:
    profile = profiles.gray(1.0)
    made = heic("gray", colr=b"prof" + profile) if kind == "heic" else avif(photo("L"), icc_profile=profile)
    plain = heic("gray") if kind == "heic" else avif(photo("L"))
    pixels = shown(made)
    assert np.array_equal(pixels, pixels[:, :, [1, 1, 1]])
    assert np.abs(pixels - shown(plain)).max() > 20


def transparent() -> Pillow.Image:
    image = photo("RGBA")
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:, 32:64], alpha[:, 64:] = 128, 255
    image.putalpha(Pillow.fromarray(alpha))
    return image


@pytest.mark.parametrize("data", [heic("alpha"), avif(transparent()), avif(transparent().convert("LA"))],
                         ids=["heic", "avif", "gray avif"])  # fmt: skip
@pytest.mark.parametrize("background", ["#ffffff", "#00ff00"])
def test_alpha_is_kept_or_lies_over_the_background(data: bytes, background: str) -> None:
    kept = shown(data, alpha=True)
    assert kept.shape[2] == 4
    alpha = kept[:, :, 3:]
    assert alpha.min() <= 128
    under = np.array([int(background[n : n + 2], 16) for n in (1, 3, 5)])
    flat = shown(data, background=background)
    assert np.abs(flat - np.rint((kept[:, :, :3] * alpha + under * (255 - alpha)) / 255)).max() <= 1


def test_alpha_and_a_profile_come_together() -> None:
    for made in (heic("alpha", colr=b"prof" + profiles.wide()), avif(transparent(), icc_profile=profiles.wide())):
        kept, converted = shown(made, "keep", alpha=True), shown(made, alpha=True)
        assert np.array_equal(kept[:, :, 3], converted[:, :, 3])
        assert np.abs(converted[:, :, :3] - by_littlecms(kept[:, :, :3], profiles.wide())).max() <= 1


def test_a_heic_that_multiplied_its_colours_gets_them_back() -> None:
    straight = shown(heic("alpha"), alpha=True)
    made = shown(heic("alpha", references=box(b"prem", struct.pack(">HHH", 1, 1, 2))), alpha=True)
    expected = np.minimum(
        (straight[:, :, :3] * 255 + straight[:, :, 3:] // 2) // np.maximum(straight[:, :, 3:], 1), 255
    )
    assert np.array_equal(made[:, :, :3], expected)


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif_with_alpha_has_eight_bits(bits: int) -> None:
    full = (1 << bits) - 1
    image = (np.asarray(transparent())[:, :, [2, 1, 0, 3]].astype(np.uint32) * full // 255).astype(np.uint16)
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
    done, coded = cv2.imencode(".avif", image, options)
    assert done
    pixels = shown(coded.tobytes(), alpha=True)
    assert np.abs(pixels - np.asarray(transparent()).astype(int)).mean() < 2
    assert pixels[:, :, 3].max() == 255

"""What a PNG says of its colours by numbers: cICP before a profile, that before sRGB, that before gAMA and cHRM."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from tests.unit.images import craft, profiles

from muniflow.images.colour import gray_table
from muniflow.images.decode import decode
from muniflow.images.header import read_header
from muniflow.images.profile import kept_profile
from muniflow.model.rendering import Rendering

PICTURE = craft.photo(64, 48)[:, :, ::-1]
D65, SRGB = (0.3127, 0.3290), [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
P3 = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]
ADOBE = [(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 / gamma)))


def chrm(primaries: list[tuple[float, float]]) -> bytes:
    values = [round(value * 100_000) for corner in (D65, *primaries) for value in corner]
    return chunk(b"cHRM", struct.pack(">8I", *values))


def cicp(primaries: int, curve: int, matrix: int = 0, whole: int = 1) -> bytes:
    return chunk(b"cICP", bytes([primaries, curve, matrix, whole]))


def png(*chunks: bytes, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(stream, "PNG", **options)
    data = stream.getvalue()
    return data[:33] + b"".join(chunks) + data[33:]


def shown(data: bytes, color: str = "srgb") -> np.ndarray:
    found = decode(memoryview(data), rendering=Rendering(color=color))
    return found[:, :, ::-1].astype(int)


def by_littlecms(profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(Image.fromarray(PICTURE), source, ImageCms.createProfile("sRGB"),
                                     renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC)  # fmt: skip
    return np.asarray(made).astype(int)


@pytest.mark.parametrize(("chunks", "primaries", "gamma"), [
    ((gama(1.0), chrm(SRGB)), SRGB, 1.0),
    ((gama(1.8),), SRGB, 1.8),
    ((gama(2.2), chrm(ADOBE)), ADOBE, None),
    ((chrm(P3),), P3, None),
    ((cicp(12, 13),), P3, None),
    ((cicp(12, 4),), P3, 2.2),
    ((cicp(12, 13), gama(1.0)), P3, None),
], ids=["linear", "old mac", "adobe", "p3 corners", "p3", "p3 with 2.2", "cicp first"])  # fmt: skip
def test_numbers_are_followed_as_littlecms_does(chunks, primaries, gamma):
    data = png(*chunks)
    if gamma is None:
        # The curve of sRGB: by that of the profile that littleCMS itself makes, over other primaries.
        kept = kept_profile(memoryview(data), read_header(memoryview(data)))
        assert kept is not None
        expected = by_littlecms(kept)
        near = by_littlecms(profiles.rgb(primaries, 2.2))
        assert np.abs(expected - near).max() <= 20, "a curve that is near that of sRGB"
    else:
        expected = by_littlecms(profiles.rgb(primaries, gamma))
    assert np.abs(shown(data) - expected).max() <= 2
    assert np.abs(shown(data) - PICTURE).max() > 10, "the test would see numbers that are left out"
    assert np.array_equal(shown(data, "keep"), PICTURE)


@pytest.mark.parametrize("chunks", [
    (gama(2.2),), (gama(2.2), chrm(SRGB)), (chunk(b"sRGB", b"\0"), gama(1.0)), (cicp(1, 13), gama(1.0)),
    (cicp(9, 16),), (cicp(12, 13, matrix=5),), (cicp(12, 13, whole=0),), (chunk(b"gAMA", b""),),
    (chunk(b"gAMA", bytes(4)),), (chunk(b"cHRM", bytes(32)),), (chunk(b"cHRM", struct.pack(">8I", *[50_000] * 8)),),
    (chunk(b"cICP", b""),),
])  # fmt: skip
def test_srgb_and_what_is_not_followed_cost_no_colour(chunks):
    assert np.array_equal(shown(png(*chunks)), PICTURE)


def test_cicp_comes_before_a_profile_and_a_profile_before_gamma():
    profile = profiles.adobe()
    assert np.array_equal(shown(png(cicp(1, 13), icc_profile=profile)), PICTURE)
    plain = shown(png(icc_profile=profile))
    assert np.abs(plain - PICTURE).max() > 10
    assert np.array_equal(shown(png(gama(1.0), icc_profile=profile)), plain)
    assert np.array_equal(shown(png(cicp(9, 16), icc_profile=profile)), plain), "PQ is not followed, the profile is"


def test_gray_follows_its_gamma_and_stays_gray():
    pixels = shown(png(gama(1.0), mode="L"))
    table = gray_table(profiles.gray(1.0))
    assert table is not None
    expected = table[np.asarray(Image.fromarray(PICTURE).convert("L"))].astype(int)
    assert np.array_equal(pixels, pixels[:, :, [1, 1, 1]])
    assert np.abs(pixels[:, :, 0] - expected).max() <= 2

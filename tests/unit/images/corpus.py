"""Files of every format, coding, layout and depth that is decoded; what may happen to one; what other decoders see.

The references are Pillow, and tifffile with imagecodecs: they are asked only what the pixels of given bytes are.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps
from PIL.TiffImagePlugin import TiffImageFile
from tests.unit.images import craft, profiles

from muniflow.images.types import Image
from muniflow.model.source_formats import SourceFormat

WIDTH_PX, HEIGHT_PX = 48, 40
_ALPHA_MODES = frozenset({"RGBA", "LA"})
_EXTRA_SAMPLES = 338


class Sample(NamedTuple):
    """One kind of file, with one clean file of it."""

    name: str
    format: SourceFormat
    data: bytes
    off_by: int = 0
    """Gray levels by which the references may differ: their arithmetic is their own."""

    def __str__(self) -> str:
        return self.name


@cache
def picture() -> np.ndarray:
    """RGB: ramps with grain, so that codings have something to do and each pixel its own value."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
    ramps = np.stack([x * 5, y * 6, (x + y) * 2], -1).astype(np.uint8)
    return ramps ^ np.random.default_rng(3).integers(0, 8, ramps.shape, dtype=np.uint8)


@cache
def samples() -> tuple[Sample, ...]:
    """One sample for every combination that can be written."""
    return (*_tiffs(), *_fax(), *_jpegs(), *_pngs(), *_webps(), *_with_profiles())


def _tiffs() -> Iterator[Sample]:
    codings: dict[str, dict[str, Any]] = {
        "none": {},
        "lzw": {"compression": "lzw"},
        "lzw-predictor": {"compression": "lzw", "predictor": 2},
        "deflate": {"compression": "deflate"},
        "deflate-predictor": {"compression": "adobe_deflate", "predictor": 2},
        "packbits": {"compression": "packbits"},
    }
    layouts: dict[str, dict[str, Any]] = {"whole": {}, "strips": {"rowsperstrip": 12}, "tiles": {"tile": (32, 32)}}
    for coding, options in codings.items():
        for layout, shape in layouts.items():
            for depth, (pixels, kind) in _depths().items():
                if pixels.dtype == bool and (layout == "tiles" or "predictor" in options):
                    continue
                yield Sample(f"tiff-{coding}-{layout}-{depth}", "tiff", _tiff(pixels, **options, **shape, **kind))
        planes = {"photometric": "rgb", "planarconfig": "separate"}
        for layout in ("strips", "tiles"):
            pixels = np.ascontiguousarray(picture().transpose(2, 0, 1))
            yield Sample(
                f"tiff-{coding}-{layout}-planes", "tiff", _tiff(pixels, **options, **layouts[layout], **planes)
            )
    colour = {"photometric": "rgb", "compression": "jpeg"}
    for layout, shape in (("strips", {"rowsperstrip": 16}), ("tiles", {"tile": (16, 32)})):
        plain = _tiff(picture(), **colour, **shape, compressionargs={"outcolorspace": "rgb"})
        yield Sample(f"tiff-jpeg-{layout}-rgb", "tiff", plain)
        yield Sample(f"tiff-jpeg-{layout}-ycbcr", "tiff", _tiff(picture(), **colour, **shape), off_by=2)
        yield Sample(f"tiff-jpeg-{layout}-gray", "tiff", _tiff(picture()[:, :, 1], compression="jpeg", **shape))


def _depths() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    rgb, gray = picture(), np.ascontiguousarray(picture()[:, :, 1])
    deep = rgb.astype(np.uint16) * 257 ^ np.random.default_rng(4).integers(0, 256, rgb.shape, dtype=np.uint16)
    colours = np.random.default_rng(5).integers(0, 65536, (3, 256), dtype=np.uint16)
    return {
        "rgb8": (rgb, {"photometric": "rgb"}),
        "gray8": (gray, {}),
        "white8": (gray, {"photometric": "miniswhite"}),
        "palette8": (gray, {"photometric": "palette", "colormap": colours}),
        "bilevel": (gray > 90, {"photometric": "minisblack"}),
        "rgba8": (np.dstack([rgb, _mask(gray)]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        "rgb16": (deep, {"photometric": "rgb"}),
        "gray16": (np.ascontiguousarray(deep[:, :, 0]), {}),
        "gray12": (np.ascontiguousarray(deep[:, :, 0] >> 4), {}),
    }


def _mask(gray: np.ndarray) -> np.ndarray:
    """Alpha as of an orthophoto: nearly all of it 0 or 255."""
    alpha: np.ndarray = np.where(gray > 90, 255, 0).astype(np.uint8)
    alpha[:2] = gray[:2]
    return alpha


def _tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def _fax() -> Iterator[Sample]:
    for coding in ("group3", "group4"):
        yield Sample(
            f"tiff-{coding}", "tiff", saved(Pillow.fromarray(picture()[:, :, 1] > 90), "TIFF", compression=coding)
        )


def saved(image: Pillow.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _jpegs() -> Iterator[Sample]:
    rgb = Pillow.fromarray(picture())
    kinds: dict[str, tuple[Pillow.Image, dict[str, Any]]] = {
        "444": (rgb, {"subsampling": 0}),
        "420": (rgb, {"subsampling": 2}),
        "gray": (rgb.convert("L"), {}),
        "restarts": (rgb, {"restart_marker_blocks": 2}),
    }
    for name, (image, options) in kinds.items():
        for progressive in (False, True):
            data = saved(image, "JPEG", quality=90, progressive=progressive, **options)
            yield Sample(f"jpeg-{'progressive' if progressive else 'baseline'}-{name}", "jpeg", data)
    yield Sample("jpeg-cmyk", "jpeg", saved(rgb.convert("CMYK"), "JPEG", quality=90), off_by=2)


def _pngs() -> Iterator[Sample]:
    rgb = Pillow.fromarray(picture())
    deep = _depths()["rgb16"][0]
    for name, image in {
        "rgb8": rgb,
        "gray8": rgb.convert("L"),
        "palette8": rgb.quantize(200),
        "rgba8": Pillow.fromarray(_depths()["rgba8"][0]),
        "bilevel": Pillow.fromarray(picture()[:, :, 1] > 90),
        "gray16": Pillow.fromarray(deep[:, :, 0]),
        "gray12": Pillow.fromarray(deep[:, :, 0] >> 4),
        "gray-alpha8": Pillow.fromarray(_depths()["rgba8"][0]).convert("LA"),
    }.items():
        yield Sample(f"png-{name}", "png", saved(image, "PNG"))
    yield Sample("png-rgb16", "png", craft.png(deep[:, :, ::-1]))


def _webps() -> Iterator[Sample]:
    rgb, rgba = Pillow.fromarray(picture()), Pillow.fromarray(_depths()["rgba8"][0])
    for name, image in (("rgb", rgb), ("rgba", rgba)):
        yield Sample(f"webp-lossy-{name}", "webp", saved(image, "WEBP", quality=80))
        yield Sample(f"webp-lossless-{name}", "webp", saved(image, "WEBP", lossless=True, exact=True))


def _with_profiles() -> Iterator[Sample]:
    """Colours that are no sRGB: two copies of littleCMS would be off by nothing, the decoders by what they are else."""
    rgb = Pillow.fromarray(picture())
    wide, gray = profiles.wide(), profiles.gray(1.8)
    yield Sample("jpeg-profile-rgb", "jpeg", saved(rgb, "JPEG", quality=90, icc_profile=wide))
    yield Sample("jpeg-profile-gray", "jpeg", saved(rgb.convert("L"), "JPEG", quality=90, icc_profile=gray), 1)
    cmyk = rgb.convert("CMYK")
    yield Sample("jpeg-profile-cmyk", "jpeg", saved(cmyk, "JPEG", quality=90, icc_profile=profiles.press()), 2)
    yield Sample("png-profile-rgb", "png", saved(rgb, "PNG", icc_profile=wide))
    yield Sample("png-profile-gray", "png", saved(rgb.convert("L"), "PNG", icc_profile=gray), 1)
    rgba = Pillow.fromarray(_depths()["rgba8"][0])
    yield Sample("png-profile-rgba", "png", saved(rgba, "PNG", icc_profile=wide))
    yield Sample("png-profile-palette", "png", saved(rgb.quantize(200), "PNG", icc_profile=wide))
    yield Sample("webp-profile-rgb", "webp", saved(rgb, "WEBP", lossless=True, icc_profile=wide))
    yield Sample("tiff-profile-rgb", "tiff", saved(rgb, "TIFF", compression="tiff_lzw", icc_profile=wide))


# Damage


def damaged(sample: Sample, seed: int) -> bytes:
    """The file of a sample, damaged in a way that `seed` chooses."""
    random = np.random.default_rng([seed, sum(sample.name.encode())])
    way = _WAYS[seed % len(_WAYS)]
    return way(bytearray(sample.data), random)


def _somewhere(data: bytearray, random: np.random.Generator, longest: int) -> slice:
    length = int(random.integers(1, longest + 1))
    start = int(random.integers(0, max(1, len(data) - length)))
    return slice(start, start + length)


def _flip_bit(data: bytearray, random: np.random.Generator) -> bytes:
    data[int(random.integers(0, len(data)))] ^= 1 << int(random.integers(0, 8))
    return bytes(data)


def _invert(data: bytearray, random: np.random.Generator) -> bytes:
    place = _somewhere(data, random, 40)
    data[place] = bytes(value ^ 0xA5 for value in data[place])
    return bytes(data)


def _zeros(data: bytearray, random: np.random.Generator) -> bytes:
    place = _somewhere(data, random, 512)
    data[place] = bytes(len(data[place]))
    return bytes(data)


def _remove(data: bytearray, random: np.random.Generator) -> bytes:
    del data[_somewhere(data, random, 40)]
    return bytes(data)


def _double(data: bytearray, random: np.random.Generator) -> bytes:
    place = _somewhere(data, random, 200)
    return bytes(data[: place.stop] + data[place] + data[place.stop :])


def _swap(data: bytearray, random: np.random.Generator) -> bytes:
    """Two sectors change places."""
    one, other = (_somewhere(data, random, 1).start for _ in range(2))
    data[one : one + 64], data[other : other + 64] = data[other : other + 64], data[one : one + 64]
    return bytes(data)


def _cut_and_filled(data: bytearray, random: np.random.Generator) -> bytes:
    start = int(random.integers(len(data) // 4, len(data)))
    return bytes(data[:start].ljust(len(data), b"\0"))


def _cut_and_closed(data: bytearray, random: np.random.Generator) -> bytes:
    start = int(random.integers(len(data) // 4, len(data)))
    return bytes(data[:start]) + b"\xff\xd9"


_WAYS: tuple[Callable[[bytearray, np.random.Generator], bytes], ...] = (
    _flip_bit,
    _invert,
    _zeros,
    _remove,
    _double,
    _swap,
    _cut_and_filled,
    _cut_and_closed,
)


def middle_block(sample: Sample) -> range:
    """Where the middle strip or tile of a TIFF is."""
    with tifffile.TiffFile(io.BytesIO(sample.data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        number = len(page.dataoffsets) // 2
        return range(page.dataoffsets[number], page.dataoffsets[number] + page.databytecounts[number])


# References


def references(sample: Sample, data: bytes) -> dict[str, Image | str]:
    """What each reference sees in `data`: uint8 BGR, or why it refuses."""
    seen: dict[str, Image | str] = {}
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    for name, read in {"Pillow": _by_pillow, "tifffile": _by_tifffile}.items():
        if name == "tifffile" and (sample.format != "tiff" or "profile" in sample.name):  # no colours either
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                seen[name] = np.ascontiguousarray(read(data, sample.format)[:, :, ::-1])
            except Exception as error:  # noqa: BLE001 - they raise whatever they like
                seen[name] = repr(error)
    return seen


def _by_pillow(data: bytes, kind: SourceFormat) -> np.ndarray:
    with Pillow.open(io.BytesIO(data), formats=[kind.upper()]) as image:
        image.load()
        if image.info.get("icc_profile"):
            return _through_profile(image)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16") or upright.mode == "I":
            return np.dstack([_high_bits(np.asarray(upright).astype(np.uint32))] * 3)
        if isinstance(image, TiffImageFile) and len(upright.getbands()) == 4:
            return _of_four(np.asarray(upright), image.tag_v2.get(_EXTRA_SAMPLES, ()))
        if upright.mode in _ALPHA_MODES or "transparency" in upright.info:
            return _on_white(np.asarray(upright.convert("RGBA")))
        return np.asarray(upright.convert("RGB"))


def _through_profile(image: Pillow.Image) -> np.ndarray:
    """To sRGB, where the profile is one, and for these colours."""
    if image.mode == "RGBA":
        colours = image.convert("RGB")
        colours.info["icc_profile"] = image.info["icc_profile"]
        return _on_white(np.dstack([_through_profile(colours), np.asarray(image)[:, :, 3]]))
    shown = image.convert("RGB") if image.mode == "P" else image
    made: Pillow.Image | None = None
    with contextlib.suppress(ImageCms.PyCMSError, OSError):
        made = ImageCms.profileToProfile(
            shown,
            ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    return np.asarray(ImageOps.exif_transpose(made or shown.convert("RGB")))


def _high_bits(deep: np.ndarray) -> np.ndarray:
    """Eight bits of sixteen, or of the twelve that a sensor has."""
    made: np.ndarray = (deep >> (8 if deep.max() > 4095 else 4)).astype(np.uint8)
    return made


def _of_four(samples: np.ndarray, extra: tuple[int, ...]) -> np.ndarray:
    """The fourth sample of a TIFF is alpha where it is called so and looks like it."""
    alpha = samples[:, :, 3]
    if extra[:1] not in {(1,), (2,)} or ((alpha == 0) | (alpha == 255)).mean() < 0.5:
        return samples[:, :, :3]
    return _on_white(samples)


def _on_white(rgba: np.ndarray) -> np.ndarray:
    colour, alpha = rgba[:, :, :3].astype(int), rgba[:, :, 3:].astype(int)
    made: np.ndarray = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return made


def _by_tifffile(data: bytes, _kind: SourceFormat) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        pixels: np.ndarray = page.asarray(maxworkers=1)
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
            pixels = pixels.transpose(1, 2, 0)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            assert page.colormap is not None
            pixels = np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8)
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8) * 255
        if pixels.dtype == np.uint16:
            pixels = _high_bits(pixels)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = 255 - pixels
        if pixels.ndim == 2:
            pixels = np.dstack([pixels] * 3)
        pixels = _of_four(pixels, page.extrasamples) if pixels.shape[2] == 4 else pixels
    return craft.shown(pixels, int(page.tags.valueof(274, 1)))

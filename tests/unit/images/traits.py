"""Every trait of a file and every option of a batch that decides about pixels: one line each, and what is right.

The reference is Pillow with littleCMS; where it reads no such file, the pixels that were put in. A new format, trait or
option is one line here, and is tried whole and damaged by `test_differential.py`.
"""

import io
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pi_heif
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps
from tests.unit.images import craft, profiles, test_alpha, test_heif_colours, test_metadata, test_orientation
from tests.unit.images import test_mend as mend
from tests.unit.images import test_png_colours as numbers
from tests.unit.images.corpus import saved

from muniflow.images.opencv import cv2
from muniflow.model.rendering import DEFAULT, Rendering

KEEP, BLUE = Rendering(color="keep"), Rendering(background="#1020f0")
_HEIF_BRAND = b"ftyphei"


class Trait(NamedTuple):
    """A file, what is asked of it, and how to learn what is right."""

    name: str
    data: bytes
    rendering: Rendering = DEFAULT
    alpha: bool = False
    off_by: int = 0
    """Gray levels by which the reference may differ."""
    like: bytes | None = None
    """What the reference is asked about, where it does not read `data`."""
    profile: bytes | None = None
    """What littleCMS is given, where a file states its colours by numbers."""
    pixels: np.ndarray | None = None
    """What was put in: RGB or RGBA, where no reference tells."""

    def __str__(self) -> str:
        return self.name


@cache
def traits() -> tuple[Trait, ...]:
    """All of them."""
    return (*_deviations(), *_orientations(), *_colours(), *_numbers(), *_alphas(), *_bands(), *_with_metadata())


def _deviations() -> Iterator[Trait]:
    """What viewers open all the same."""
    for clean, coding in ((mend.JPEG, "baseline"), (mend.PROGRESSIVE, "progressive")):
        at_tables = clean.index(b"\xff\xdb")
        files = {
            "jfif 2.01": clean.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"),
            "no jfif": b"\xff\xd8" + clean[at_tables:],
            "adobe transform 5": b"\xff\xd8" + mend.adobe(5) + clean[at_tables:],
            "fill before a marker": clean[:at_tables] + b"\xff" * 5 + clean[at_tables:],
            "comment": craft.after_start(clean, craft.segment(0xFE, b"a comment")),
            "thumbnail": craft.after_start(clean, craft.segment(0xE1, b"Exif\0\0" + craft.exif(1) + mend.JPEG)),
            "broken exif": craft.after_start(clean, craft.segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
            "padding before its end": clean[:-2] + bytes(9) + clean[-2:],
            **{f"no end, {name}": clean[:-2] + trailer for name, trailer in mend.TRAILERS.items()},
            **{f"behind its end: {name}": clean + trailer for name, trailer in mend.TRAILERS.items()},
        }
        yield from (Trait(f"jpeg {coding}, {name}", data, like=clean) for name, data in files.items())
    for name, bytes_ in {"zeros": b"\0\0\0", "of progressive": b"\0\x3f\x11"}.items():
        yield Trait(f"jpeg, scan header {name}", mend.with_scan_header(mend.JPEG, bytes_), like=mend.JPEG)
    yield from (Trait(f"png, {name}", data, like=_PNG) for name, data in _png_deviations().items())
    webp = craft.lossless_webp(mend.PHOTO)
    picture, turned, profile = craft.webp_chunks(webp), (b"EXIF", craft.exif(6)), (b"ICCP", profiles.wide())
    both = (craft.webp_canvas(72, 48, 0x28), profile, (b"ICCP", profiles.adobe()), *picture, turned)
    for name, chunks in {
        "no canvas, exif": (*picture, turned),
        "flags of nothing": (craft.webp_canvas(72, 48), profile, *picture, turned),
        "two profiles, two exif": (*both, (b"EXIF", craft.exif(3))),
    }.items():
        yield Trait(f"webp, {name}", craft.webp_of(chunks), off_by=1)
    yield Trait("webp, behind its container", webp + b"more", like=webp)
    yield Trait("webp, unknown chunk", craft.webp_of([*craft.webp_chunks(webp), (b"abcd", b"odd")]), like=webp)
    rgb = np.ascontiguousarray(mend.PHOTO[:, :, ::-1])
    for order in "<>":
        yield Trait(f"tiff {order}", craft.tiff(rgb, order=order), pixels=rgb)
        yield Trait(f"tiff {order}, tiles of 16x16", test_alpha.tiff(rgb, tile=(16, 16), byteorder=order), pixels=rgb)
    yield Trait("tiff, unknown tag", craft.tiff(rgb, {60000: 1}), pixels=rgb)
    yield Trait("tiff, behind its end", craft.tiff(rgb) + b"more", pixels=rgb)


_PNG = craft.png(mend.PHOTO)


def _png_deviations() -> dict[str, bytes]:
    header, *others = craft.png_chunks(_PNG)
    stream = b"".join(body for kind, body in others if kind == b"IDAT")
    cut = [(b"IDAT", stream[place : place + 97]) for place in range(0, len(stream), 97)]
    end = (b"IEND", b"")
    return {
        "no end": _PNG[:-12],
        "half an end": _PNG[:-5],
        "behind its end": _PNG + b"more",
        "data behind its pixels": craft.png_of([header, (b"IDAT", stream + b"junk!"), end]),
        "a chunk behind its pixels": craft.png_of([header, (b"IDAT", stream), (b"IDAT", b"junk!"), end]),
        "small chunks": craft.png_of([header, *cut, end]),
        "empty chunks": craft.png_of([header, (b"IDAT", b""), *cut, (b"IDAT", b""), end]),
        "broken profile": craft.with_chunk(_PNG, (b"iCCP", b"x\0\0garbage")),
        "broken time": craft.with_chunk(_PNG, (b"tIME", bytes(3))),
        "unknown chunk": craft.with_chunk(_PNG, (b"abCd", b"anything")),
        "palette behind its pixels": craft.png_of([header, *others[:-1], (b"PLTE", bytes(9)), end]),
        "end with data": craft.png_of([header, *others[:-1], (b"IEND", b"xx")]),
    }


def _orientations() -> Iterator[Trait]:
    for name, data in test_orientation.FILES.items():
        yield Trait(f"orientation: {name}", data)
    both = craft.with_chunk(saved(_PHOTO.convert("RGBA"), "PNG"), (b"tRNS", b"\0\1\0\2\0\3"))
    yield Trait("alpha: one colour of png beside a channel", both, alpha=True)
    for turn in range(1, 9):
        exif = Pillow.Exif()
        exif[0x0112] = turn
        yield Trait(f"orientation: avif, {turn}", test_heif_colours.avif(_PHOTO, exif=exif), off_by=2)
    yield from (Trait(f"orientation: heic, {turn}", turned_heic(turn), off_by=2) for turn in range(4))


_PHOTO = test_heif_colours.photo()


def turned_heic(quarters: int) -> bytes:
    """With `irot`, put over `pixi`, which has the room and is not needed."""
    data = test_heif_colours.heic()
    place = data.index(b"pixi")
    return data[:place] + b"irot" + bytes([quarters]) + data[place + 5 :]


def _colours() -> Iterator[Trait]:
    lossless: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
    wanted = {"srgb": DEFAULT, "keep": KEEP}
    for name, profile in {"wide": profiles.wide(), "adobe": profiles.adobe(), "srgb": profiles.srgb()}.items():
        made = {kind: saved(_PHOTO, kind, icc_profile=profile, **more) for kind, more in lossless.items()}
        made["AVIF"] = test_heif_colours.avif(_PHOTO, icc_profile=profile)
        made["HEIC"] = test_heif_colours.heic(colr=b"prof" + profile)
        for kind, data in made.items():
            yield from (Trait(f"colour: {kind}, {name}, {each}", data, how, off_by=2) for each, how in wanted.items())
    gray, cmyk = profiles.gray(1.8), profiles.press()
    grays = {kind: saved(_PHOTO.convert("L"), kind, icc_profile=gray) for kind in ("JPEG", "PNG", "TIFF")}
    grays["AVIF"] = test_heif_colours.avif(_PHOTO.convert("L"), icc_profile=gray)
    for bounds in ("full", "limited"):
        bare = test_heif_colours.avif(_PHOTO.convert("L"), range=bounds)
        yield Trait(f"colour: gray AVIF, {bounds}", bare, off_by=2)
    for bits in (8, 10, 12):
        yield Trait(f"colour: gray AVIF of {bits} bits, limited", deep_avif(bits), off_by=2)
    grays["HEIC"] = test_heif_colours.heic("gray", colr=b"prof" + gray)
    for each, how in wanted.items():
        yield from (Trait(f"colour: gray {kind}, {each}", data, how, off_by=2) for kind, data in grays.items())
        data = saved(_PHOTO.convert("CMYK"), "JPEG", quality=95, icc_profile=cmyk)
        yield Trait(f"colour: CMYK, {each}", data, how, off_by=2)


def deep_avif(bits: int) -> bytes:
    """Gray, and said to run from 16 to 235 of 255."""
    ramp = np.tile(np.arange(64, dtype=np.uint16) << (bits - 6), (48, 1)).astype(np.uint8 if bits == 8 else np.uint16)
    data = bytearray(craft.encoded(".avif", ramp, [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]))
    data[data.index(b"nclx") + 10] = 0
    return bytes(data)


def _numbers() -> Iterator[Trait]:
    """Colours of PNG without a profile."""
    stated = {
        "gAMA": (numbers.gama(1.0), numbers.SRGB, 1.0),
        "gAMA of old": (numbers.gama(1.8), numbers.SRGB, 1.8),
        "cICP": (numbers.cicp(12, 4), numbers.P3, 2.2),
        "cICP before gAMA": (numbers.cicp(12, 4) + numbers.gama(1.0), numbers.P3, 2.2),
    }
    for name, (chunks, primaries, gamma) in stated.items():
        data, profile = numbers.png(chunks), profiles.rgb(primaries, gamma)
        yield Trait(f"colour: {name}", data, profile=profile, off_by=2)
        yield Trait(f"colour: {name}, keep", data, KEEP)
    for name, chunk in {"gAMA of sRGB": numbers.gama(2.2), "cICP of sRGB": numbers.cicp(1, 13)}.items():
        yield Trait(f"colour: {name}", numbers.png(chunk))


def _alphas() -> Iterator[Trait]:
    files = test_alpha.files()
    files["avif"] = test_heif_colours.avif(test_heif_colours.transparent())
    files["heic"] = test_heif_colours.heic("alpha")
    for name, data in files.items():
        near = 2 if name in {"avif", "heic"} else 0
        yield Trait(f"alpha: {name}, keep", data, alpha=True, off_by=near)
        yield Trait(f"alpha: {name}, flatten", data, off_by=near or 1)
        yield Trait(f"alpha: {name}, background", data, BLUE, off_by=near or 1)
    masked = np.dstack([test_alpha.RGB, test_alpha.MASK])
    for coding in ("none", "lzw", "deflate"):
        data = test_alpha.tiff(masked, "unassalpha", compression=coding)
        yield Trait(f"alpha: tiff {coding}, keep", data, alpha=True, pixels=masked)
        yield Trait(f"alpha: tiff {coding}, flatten", data, pixels=test_alpha.laid_over(masked, (255, 255, 255)))
    profiled = saved(Pillow.fromarray(masked), "PNG", icc_profile=profiles.wide())
    yield Trait("alpha: png with a profile, keep", profiled, alpha=True, off_by=1)
    yield Trait("alpha: png with a profile, flatten", profiled, off_by=2)


def _bands() -> Iterator[Trait]:
    infrared = np.dstack([test_alpha.RGB, test_alpha.NIR])
    deep, sensor = infrared.astype(np.uint16) * 257, infrared.astype(np.uint16) * 16
    depths: dict[str, np.ndarray] = {"8": infrared, "16": deep, "12 in 16": sensor}
    for depth, samples in depths.items():
        for marked in ("unassalpha", "assocalpha", "unspecified"):
            for coding in ("none", "deflate"):
                data, name = test_alpha.tiff(samples, marked, compression=coding), f"bands: {depth}, {marked}, {coding}"
                yield Trait(name, data, alpha=True, pixels=infrared[:, :, :3])
                for bands in ((1, 2, 3), (4, 1, 2)):
                    chosen = infrared[:, :, [band - 1 for band in bands]]
                    yield Trait(f"{name}, {bands}", data, Rendering(bands=bands), pixels=chosen)
        gray = np.dstack([infrared[:, :, 1]] * 3)
        if depth != "8":
            one = np.ascontiguousarray(samples[:, :, 1])
            yield Trait(f"bands: gray {depth}", test_alpha.tiff(one, photometric="minisblack"), pixels=gray)
            yield Trait(f"bands: png {depth}", test_alpha.png16(2, samples[:, :, :3]), pixels=infrared[:, :, :3])
    png = saved(Pillow.fromarray(infrared), "PNG")
    yield Trait("bands: png, (4, 1, 2)", png, Rendering(bands=(4, 1, 2)), pixels=infrared[:, :, [3, 0, 1]])


def _with_metadata() -> Iterator[Trait]:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        yield Trait(f"metadata: {kind}", test_metadata.source(kind), off_by=2 if kind == "AVIF" else 0)


# References


def seen(trait: Trait) -> np.ndarray:
    """What is right: uint8 BGR or BGRA."""
    shown = trait.pixels if trait.pixels is not None else _by_pillow(trait)
    return shown[:, :, [2, 1, 0, 3][: shown.shape[2]]]


def _by_pillow(trait: Trait) -> np.ndarray:
    data = trait.like or trait.data
    with _opened(data) as image:
        upright = ImageOps.exif_transpose(image)
        profile = trait.profile or image.info.get("icc_profile")
        has_alpha = "A" in upright.mode or "transparency" in upright.info
        rgba = np.asarray(upright.convert("RGBA"))
        colours = upright if upright.mode in {"L", "CMYK"} else Pillow.fromarray(rgba[:, :, :3])
        kept = trait.rendering.color == "keep" and colours.mode == "RGB"
        rgb = np.asarray(colours.convert("RGB") if kept or not profile else _in_srgb(colours, profile))
    if not has_alpha:
        return rgb
    if trait.alpha:
        return np.dstack([rgb, rgba[:, :, 3]])
    return test_alpha.laid_over(np.dstack([rgb, rgba[:, :, 3]]), trait.rendering.background_rgb)


def _opened(data: bytes) -> Pillow.Image:
    if data[4:11] == _HEIF_BRAND:
        shown: Pillow.Image = pi_heif.read_heif(io.BytesIO(data)).to_pillow()
        return shown
    image: Pillow.Image = Pillow.open(io.BytesIO(data))
    image.load()
    return image


def _in_srgb(image: Pillow.Image, profile: bytes) -> Pillow.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except OSError:  # broken: it counts for none
        return image.convert("RGB")
    made = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB",
    )  # fmt: skip
    assert made is not None
    return made


# Steps that mix pixels, by their definition, on RGB or RGBA


def _premultiplied(mix: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A step that weighs colours by their alpha."""

    def weighed(pixels: np.ndarray) -> list[np.ndarray]:
        exact = pixels.astype(float)
        if pixels.shape[2] == 3:
            return [mix(exact)]
        alpha = mix(exact[:, :, 3:])
        colours = mix(exact[:, :, :3] * exact[:, :, 3:]) / np.maximum(alpha, 1e-9)
        return [np.dstack([colours, alpha])]

    return weighed


def _halved(pixels: np.ndarray) -> np.ndarray:
    height_px, width_px, channels = pixels.shape
    return np.asarray(pixels.reshape(height_px // 2, 2, width_px // 2, 2, channels).mean((1, 3)))


def _blurred(pixels: np.ndarray) -> np.ndarray:
    weights = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.5**2))
    for axis in (0, 1):
        margins = [(3, 3) if axis == each else (0, 0) for each in range(3)]
        wide, count = np.pad(pixels, margins, "reflect"), pixels.shape[axis]
        pixels = sum(
            weight * np.take(wide, range(n, n + count), axis) for n, weight in enumerate(weights / weights.sum())
        )
    return pixels


def _quarters(pixels: np.ndarray) -> list[np.ndarray]:
    return [half for row in np.split(pixels, 2) for half in np.split(row, 2, 1)]


STEPS: dict[str, tuple[dict[str, Any], Callable[[np.ndarray], list[np.ndarray]]]] = {
    "split": ({"columns": 2, "rows": 2}, _quarters),
    "resize": ({"percent": 50}, _premultiplied(_halved)),
    "blur": ({"method": "gaussian", "kernel": 7, "sigma": 1.5}, _premultiplied(_blurred)),
}

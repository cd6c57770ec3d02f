import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.images import craft
from tests.unit.images.bad_images import BadImage, bad_images
from tests.unit.images.test_header import VALID

from muniflow.errors import Rejected
from muniflow.images.decode import COLOUR_FLAGS, decode, reduction
from muniflow.images.header import ImageHeader, read_header
from muniflow.images.limits import ImageLimits
from muniflow.images.opencv import cv2
from muniflow.images.turbo import REDUCED_FROM_PX, decode_jpeg
from muniflow.model.operation import Size

TIFF_TOO = ImageLimits(formats=("jpeg", "png", "webp", "tiff"))
NOISE = craft.noise(7, 5)


def read(data: bytes) -> np.ndarray:
    return decode(memoryview(data), TIFF_TOO)


@pytest.mark.parametrize("bad", bad_images(), ids=str)
def test_every_bad_image_is_refused_with_its_reason(bad: BadImage, capfd):
    with pytest.raises(Rejected) as caught:
        decode(memoryview(bad.data))
    assert bad.reason in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("make", [craft.png, craft.lossless_webp, lambda image: craft.tiff(image[:, :, ::-1])])
def test_lossless_files_give_their_very_pixels(make):
    image = read(make(NOISE))
    assert np.array_equal(image, NOISE)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


@pytest.mark.parametrize("sampling", [0x111111, 0x411111, 0x211111, 0x121111, 0x221111])
@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("quality", [30, 90, 100])
def test_a_jpeg_has_the_same_pixels_with_and_without_opencv(sampling, progressive, quality):
    """One batch may have both: what libjpeg complains of goes through OpenCV."""
    flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    for side_px in (1, 8, 16, 17, 53):
        picture = cv2.GaussianBlur(craft.noise(side_px + 4, side_px), (5, 5), 0)
        encoded = craft.encoded(".jpg", picture, [*flags, cv2.IMWRITE_JPEG_QUALITY, quality])
        for factor, flag in COLOUR_FLAGS.items():
            image = decode_jpeg(memoryview(encoded), Size(side_px + 4, side_px), factor)
            plain = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
            assert (image is None) == (factor > 1 and side_px < REDUCED_FROM_PX)
            if image is None:
                continue
            assert plain is not None
            assert image.tolist() == plain.tolist()
            assert image.flags.writeable
            assert image.flags.c_contiguous


def test_opencv_is_asked_only_where_libjpeg_complains():
    whole = craft.jpeg(craft.noise(64, 64))
    assert decode_jpeg(memoryview(whole), Size(64, 64)) is not None
    assert decode_jpeg(memoryview(whole[: len(whole) // 2] + b"\xff\xd9"), Size(64, 64)) is None
    assert decode_jpeg(memoryview(whole[:-2] + bytes(20) + whole[-2:]), Size(64, 64)) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation):
    block = craft.exif(orientation)
    lossless = [
        craft.with_chunk(craft.png(NOISE), (b"eXIf", block)),
        craft.webp_of([craft.webp_canvas(7, 5, 8), *craft.webp_chunks(craft.lossless_webp(NOISE)), (b"EXIF", block)]),
        craft.tiff(NOISE[:, :, ::-1], {274: orientation}),
    ]
    for data in lossless:
        assert np.array_equal(read(data), craft.shown(NOISE, orientation))
    plain = craft.jpeg(craft.photo(24, 16))
    turned = craft.after_start(plain, craft.jpeg_exif(orientation))
    assert np.array_equal(read(turned), craft.shown(read(plain), orientation))


@pytest.mark.parametrize("make", [craft.png, lambda image: craft.tiff(image[:, :, ::-1])])
def test_of_sixteen_bits_the_high_byte_stays(make):
    deep = np.random.default_rng(3).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    assert np.array_equal(read(make(deep)), deep >> 8)


@pytest.mark.parametrize("make", [craft.png, lambda image: craft.tiff(image[:, :, None])])
def test_gray_becomes_three_equal_channels(make):
    gray = craft.noise(7, 5)[:, :, 0].copy()
    assert np.array_equal(read(make(gray)), np.repeat(gray[:, :, None], 3, axis=2))


def test_a_gray_jpeg_becomes_three_equal_channels():
    assert np.array_equal(read(craft.flat_jpeg((77,), adobe=False)), np.full((8, 8, 3), 77, np.uint8))


@pytest.mark.parametrize(
    ("ink", "bgr"),
    [
        ((255, 255, 255, 255), (255, 255, 255)),  # Adobe counts backwards: 255 is no ink
        ((255, 255, 255, 0), (0, 0, 0)),
        ((0, 255, 255, 255), (255, 255, 0)),
        ((255, 0, 255, 255), (255, 0, 255)),
        ((255, 255, 0, 255), (0, 255, 255)),
    ],
)
def test_cmyk_is_read_as_adobe_writes_it(ink, bgr):
    difference = read(craft.flat_jpeg(ink)).astype(int) - np.array(bgr)
    assert np.abs(difference).max() <= 1


def test_a_file_cut_and_closed_is_refused_wherever_it_is_cut():
    data = craft.jpeg(craft.photo(160, 120))
    start = data.find(b"\xff\xda") + 14
    for place in range(start, len(data) - 3, 211):
        with pytest.raises(Rejected, match="the JPEG"):
            read(data[:place].rstrip(b"\xff") + b"\xff\xd9")


@pytest.mark.parametrize("padding", [bytes(3), bytes(200), b"\xff\0" * 4])
def test_padding_before_the_end_is_harmless(padding):
    data = craft.jpeg(NOISE)
    assert np.array_equal(read(data[:-2] + padding + data[-2:]), read(data))


@pytest.mark.parametrize("factor", [1, 2, 8])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_left_over_before_the_end_are_damage(progressive, factor):
    """A decoder that took damaged data for more pixels than it was: it has all it wants, and some is left."""
    data = craft.jpeg(craft.photo(64, 48), progressive=progressive)
    with pytest.raises(Rejected, match="extraneous bytes before marker 0xd9"):
        decode(memoryview(data[:-2] + data[-40:]), reduction=factor)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_a_progressive_jpeg_without_its_last_scan_is_refused_at_every_reduction(factor):
    data = craft.jpeg(craft.photo(320, 240), progressive=True)
    with pytest.raises(Rejected, match="do not carry all coefficients"):
        decode(memoryview(data[: data.rfind(b"\xff\xda")] + b"\xff\xd9"), reduction=factor)


@pytest.mark.parametrize(
    ("chunk", "harmless"),
    [
        ((b"iCCP", b"x\0\0garbage"), True),
        ((b"tIME", bytes(3)), True),
        ((b"tRNS", bytes(1)), False),
    ],
)
def test_only_chunks_that_say_nothing_of_pixels_may_be_wrong(chunk, harmless):
    data = craft.with_chunk(craft.png(NOISE), chunk)
    if harmless:
        assert np.array_equal(read(data), NOISE)
    else:
        with pytest.raises(Rejected, match='the PNG is damaged: the decoder says "libpng'):
            read(data)


@pytest.mark.parametrize("kind", [b"tEXt", b"eXIf", b"IDAT"])
def test_a_png_with_a_wrong_checksum_anywhere_is_refused(kind):
    data = bytearray(craft.with_chunk(craft.with_chunk(craft.png(NOISE), (b"tEXt", b"a\0b")), (b"eXIf", craft.exif(1))))
    data[data.find(kind) + 5] ^= 1
    with pytest.raises(Rejected, match="the PNG is damaged"):
        read(bytes(data))


def test_a_png_with_rows_to_spare_or_a_wrong_checksum_inside_is_refused():
    header, *others = craft.png_chunks(craft.png(NOISE))
    pixels = b"".join(body for kind, body in others if kind == b"IDAT")
    for changed in (pixels[:-1] + b"\0", zlib.compress(zlib.decompress(pixels) + bytes(22))):
        with pytest.raises(Rejected, match='the PNG is damaged: the decoder says "libpng'):
            read(craft.png_of([header, (b"IDAT", changed), (b"IEND", b"")]))


@pytest.mark.parametrize("behind", [(b"junk!",), (bytes(9),), (b"ju", b"nk"), (b"", b""), (b"\x78\x9c" * 400,)])
@pytest.mark.parametrize("ends", [True, False])
def test_data_behind_the_proven_end_of_a_pngs_pixels_are_harmless(behind, ends):
    """Every viewer opens it: the pixels have their checksum, and damage before it is seen as ever."""
    header, *others = craft.png_chunks(craft.png(NOISE))
    pixels = b"".join(body for kind, body in others if kind == b"IDAT")

    def png(stream: bytes) -> bytes:
        first, *more = behind
        chunks = [header, (b"IDAT", stream + first), *((b"IDAT", each) for each in more), (b"IEND", b"")]
        return craft.png_of(chunks if ends else chunks[:-1])

    assert np.array_equal(read(png(pixels)), NOISE)
    wrong = bytearray(pixels)
    wrong[len(wrong) // 2] ^= 1
    spare = zlib.compress(zlib.decompress(pixels) + bytes(22))
    short = zlib.compress(zlib.decompress(pixels)[:-22])
    whole = png(pixels)
    place = whole.index(b"IDAT") + 8
    broken = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    for damaged in (png(bytes(wrong)), png(pixels[:-4]), png(pixels[:-40]), png(spare), png(short), broken):
        with pytest.raises(Rejected, match="the PNG is"):
            read(damaged)


@pytest.mark.parametrize("behind", [b"", b"behind the container"])
def test_a_webp_is_not_completed_from_what_follows_its_picture(behind):
    """libwebp would read on in the next chunk, and in what follows the container."""
    kind, body = craft.webp_chunks(craft.lossless_webp(craft.photo(64, 48)))[0]
    cut = len(body) // 2
    chunks = [craft.webp_canvas(64, 48, 8), (kind, body[:cut]), (b"EXIF", body[cut:])]
    for data in (craft.webp_of(chunks), craft.webp_of(chunks[:2]) + body[cut:]):
        with pytest.raises(Rejected, match="the WebP is damaged"):
            read(data + behind)


def test_a_header_that_lies_about_the_size_is_refused():
    data = memoryview(craft.png(NOISE))
    with pytest.raises(Rejected, match="states 8x5 pixels, and decodes to 7x5"):
        decode(data, header=ImageHeader("png", 8, 5))


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        ((1024, 1024), (512, 512), 2),  # exact fits
        ((1024, 1024), (256, 256), 4),
        ((1024, 1024), (128, 128), 8),
        ((1024, 1024), (127, 127), 4),  # 1/8 is 128: no room to average, 1/4 is 256 and leaves 2x
        ((1024, 1024), (64, 64), 8),
        ((1024, 1024), (63, 64), 8),
        ((1024, 1024), (200, 200), 2),
        ((1024, 1024), (400, 400), 1),
        ((1024, 1024), (511, 512), 1),
        ((1024, 1024), (1024, 64), 1),  # one side does not shrink
        ((1023, 1024), (512, 512), 1),  # 1/2 would be 512 wide, but not the same pixels
        ((1024, 1024), (2048, 2048), 1),
        ((1, 1), (1, 1), 1),
    ],
)
def test_reduction(source, target, factor):
    assert reduction(Size(*source), Size(*target)) == factor


sides = st.integers(1, 5000)


@given(st.builds(Size, sides, sides), st.builds(Size, sides, sides))
def test_a_reduced_decode_is_never_smaller_than_the_target(source, target):
    factor = reduction(source, target)
    if factor > 1:
        assert -(-source.width_px // factor) >= target.width_px
        assert -(-source.height_px // factor) >= target.height_px


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_reduced_jpeg_has_the_size_rounded_up(factor, orientation):
    data = craft.after_start(craft.jpeg(craft.photo(101, 67)), craft.jpeg_exif(orientation))
    expected = read_header(memoryview(data)).size
    image = decode(memoryview(data), reduction=factor)
    assert image.shape == (-(-expected.height_px // factor), -(-expected.width_px // factor), 3)


@pytest.mark.parametrize("make", [craft.png, craft.lossless_webp])
def test_only_jpeg_is_decoded_smaller(make):
    assert np.array_equal(decode(memoryview(make(NOISE)), reduction=2), NOISE)


@pytest.mark.parametrize("target", [(512, 384), (256, 192), (128, 96), (200, 150), (250, 100), (64, 48), (100, 75)])
def test_fast_and_exact_are_alike_to_42_db(target):
    source = Size(1024, 768)
    data = memoryview(craft.encoded(".jpg", craft.photo(*source), [cv2.IMWRITE_JPEG_QUALITY, 95]))
    factor = reduction(source, Size(*target))
    assert factor > 1
    exact = cv2.resize(decode(data), target, interpolation=cv2.INTER_AREA)
    fast = cv2.resize(decode(data, reduction=factor), target, interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(exact, fast) >= 42


@given(
    st.sampled_from(sorted(VALID)),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4),
)
@settings(max_examples=300)
def test_a_mutated_file_decodes_to_what_it_states_or_is_refused(name, changes):
    data = bytearray(VALID[name])
    for place, value in changes:
        data[place % len(data)] = value
    limits = ImageLimits(formats=TIFF_TOO.formats, max_pixels=10**6)
    try:
        image = decode(memoryview(data), limits)
    except Rejected:
        return
    size = read_header(memoryview(data), limits).size
    assert image.shape == (size.height_px, size.width_px, 3)
    assert image.dtype == np.uint8

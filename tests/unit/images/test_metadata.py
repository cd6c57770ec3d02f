"""What outputs keep of the metadata of their source: chosen, written anew, right for the output."""

import io
import json
import re
import struct
import tracemalloc
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags
from PIL import Image as Pillow
from tests.support.compute_help import SUPPORT, context, files, picture, run_hop_by_hop, spec, task
from tests.support.worker_help import run_over_memory_broker
from tests.unit.images import craft

from muniflow.compute.process import process
from muniflow.images.carried import Carried
from muniflow.images.encode import encode
from muniflow.images.gpano import packet_of, read_pano
from muniflow.images.header import read_header
from muniflow.images.limits import ImageLimits
from muniflow.images.metadata import Metadata, metadata_of
from muniflow.images.metadata_blocks import blocks_of
from muniflow.model.batch import Batch
from muniflow.model.frame import Frame, whole
from muniflow.model.messages import Encoding, Task
from muniflow.model.operation import Area, Size
from muniflow.model.rendering import Rendering
from muniflow.model.settlement import Done
from muniflow.store.listing import first_task, iter_images
from muniflow_cli.engine.local import run_batch

LIMITS = ImageLimits(formats=("jpeg", "png", "webp", "tiff", "heif", "avif"))
WIDTH_PX, HEIGHT_PX = 120, 60
PANO = {
    "ProjectionType": "equirectangular", "PoseHeadingDegrees": "183.25", "FullPanoWidthPixels": "240",
    "FullPanoHeightPixels": "120", "CroppedAreaImageWidthPixels": "120", "CroppedAreaImageHeightPixels": "60",
    "CroppedAreaLeftPixels": "40", "CroppedAreaTopPixels": "30",
}  # fmt: skip
OWNER = "Camera of 12 Baker Street"


def packet(values: dict[str, str], *, elements: bool = False) -> bytes:
    if elements:
        inside = "".join(f"<GPano:{name}>{value}</GPano:{name}>" for name, value in values.items())
        return f"<x:xmpmeta><rdf:RDF><rdf:Description>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>".encode()
    inside = " ".join(f'GPano:{name}="{value}"' for name, value in values.items())
    return f"<x:xmpmeta><rdf:RDF><rdf:Description {inside} dc:creator='{OWNER}'/></rdf:RDF></x:xmpmeta>".encode()


def exif() -> Pillow.Exif:
    made = Pillow.Exif()
    made[0x0112], made[0x010F], made[0x0132], made[0x013B] = 6, "Maker", "2026:11:29 07:00:00", OWNER
    made[0x011A], made[0x011B], made[0x0128] = 300.0, 300.0, 2
    made[0x8769] = {
        0x9003: "2026:11:28 10:11:12", 0x829A: 0.01, 0xA431: OWNER, 0x927C: b"note" * 20, 0xA002: 4000,
    }  # fmt: skip
    made[0x8825] = {1: "N", 2: (52.0, 5.0, 27.25), 3: "E", 4: (5.0, 7.0, 4.5), 16: "T", 17: 183.25, 29: "2026:11:28"}
    return made


def source(kind: str, *, upright: bool = False, xmp: bytes | None = None) -> bytes:
    image = Pillow.fromarray(craft.photo(WIDTH_PX, HEIGHT_PX)[:, :, ::-1])
    block, stream = exif(), io.BytesIO()
    if upright:
        block[0x0112] = 1
    options: dict[str, Any] = {"exif": block, "xmp": xmp if xmp is not None else packet(PANO)}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
        options["pnginfo"] = info
    elif kind == "TIFF":
        options = {"tiffinfo": {**dict(block), 700: options["xmp"]}}
    image.save(stream, kind, **options)
    return stream.getvalue()


def kept(data: bytes, choice: Literal["keep", "gps"] = "keep") -> Metadata:
    view = memoryview(data)
    found = metadata_of(view, read_header(view, LIMITS), choice, "srgb")
    assert found is not None
    return found


def opened(data: bytes) -> tuple[Pillow.Exif, dict[str, str], Any]:
    """Its EXIF and GPano, as Pillow reads them."""
    with Pillow.open(io.BytesIO(data)) as image:
        image.load()
        coded = image.info.get("xmp") or b""
        stated = re.findall(r'GPano:(\w+)="([^"]*)"', (coded if isinstance(coded, bytes) else coded.encode()).decode())
        return image.getexif(), dict(stated), image.info.get("dpi")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("choice", ["keep", "gps"])
@pytest.mark.parametrize("output", ["jpg", "png", "webp"])
def test_what_is_chosen_is_in_the_output(kind: str, choice: Literal["keep", "gps"], output: Any) -> None:
    data = source(kind)
    found = kept(data, choice)
    frame = whole(found.size)
    size = Size(*found.size)
    image = picture(*size)
    made = bytes(
        encode(image, Encoding(format=output), Carried(None, found.exif, found.xmp(frame, size), found.density))
    )
    bare = bytes(encode(image, Encoding(format=output)))
    with Pillow.open(io.BytesIO(made)) as one, Pillow.open(io.BytesIO(bare)) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
    block, pano, dpi = opened(made)
    place, camera = block.get_ifd(ExifTags.IFD.GPSInfo), block.get_ifd(ExifTags.IFD.Exif)
    assert block[0x0112] == 1, "the pixels are upright"
    assert place[17] == 183.25
    assert [float(each) for each in place[2]] == [52.0, 5.0, 27.25]
    assert camera[0x9003] == "2026:11:28 10:11:12"
    assert 0x927C not in camera
    assert 0xA002 not in camera
    assert (block.get(0x010F) == "Maker") == (choice == "keep") == (0x829A in camera)
    assert (OWNER.encode() in made) == (choice == "keep")
    assert pano["PoseHeadingDegrees"] == "183.25"
    if output != "webp":
        assert [round(each) for each in dpi] == [300, 300]
    assert read_header(memoryview(made)).orientation == 1


def test_elements_are_read_as_attributes_are() -> None:
    size = Size(WIDTH_PX, HEIGHT_PX)
    assert read_pano(packet(PANO, elements=True), size) == read_pano(packet(PANO), size)


@pytest.mark.parametrize("wrong", [
    {"CroppedAreaLeftPixels": "200"}, {"CroppedAreaImageWidthPixels": "0"}, {"ProjectionType": "<script>"},
    {"ProjectionType": ""}, {"FullPanoWidthPixels": "10"},
])  # fmt: skip
def test_nonsense_is_no_panorama(wrong: dict[str, str]) -> None:
    assert read_pano(packet({**PANO, **wrong}), Size(WIDTH_PX, HEIGHT_PX)) is None


def numbers(coded: bytes) -> list[int]:
    stated = dict(re.findall(r'GPano:(\w+)="([^"]*)"', coded.decode()))
    names = ("FullPanoWidth", "FullPanoHeight", "CroppedAreaLeft", "CroppedAreaTop", "CroppedAreaImageWidth",
             "CroppedAreaImageHeight")  # fmt: skip
    return [int(stated[f"{name}Pixels"]) for name in names]


def test_a_panorama_is_rescaled_and_its_tiles_say_where_they_lie() -> None:
    size = Size(WIDTH_PX, HEIGHT_PX)
    pano = read_pano(packet(PANO), size)
    assert pano is not None
    assert numbers(packet_of(pano, size, whole(size), size)) == [240, 120, 40, 30, 120, 60]
    half = whole(size).shown(Area.all_of(size), Size(60, 30))
    assert numbers(packet_of(pano, size, half, Size(60, 30))) == [120, 60, 20, 15, 60, 30]
    tile = half.shown(Area(30, 15, 30, 15), Size(30, 15))
    assert numbers(packet_of(pano, size, tile, Size(30, 15))) == [120, 60, 50, 30, 30, 15]
    again = tile.shown(Area.all_of(Size(30, 15)), Size(60, 30))
    assert numbers(packet_of(pano, size, again, Size(60, 30))) == [240, 120, 100, 60, 60, 30]


def test_a_panorama_that_states_another_size_is_rescaled_to_the_image() -> None:
    pano = read_pano(packet(PANO), Size(60, 30))
    assert pano is not None
    assert numbers(packet_of(pano, Size(60, 30), whole(Size(60, 30)), Size(60, 30))) == [120, 60, 20, 15, 60, 30]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 700), st.binary(min_size=1, max_size=12), st.sampled_from(["JPEG", "PNG", "WEBP"]))
def test_broken_metadata_is_no_damage(place: int, junk: bytes, kind: str) -> None:
    data = source(kind)
    changed = memoryview(data[:place] + junk + data[place + len(junk) :])
    header = read_header(memoryview(data))
    blocks_of(changed, header)
    found = metadata_of(changed, header, "keep", "srgb")
    assert found is None or Metadata.from_bytes(found.to_bytes()) == found


@pytest.mark.parametrize("nested", [False, True])
def test_a_block_whose_tags_share_their_bytes_takes_no_memory(*, nested: bool) -> None:
    count, long = 4000, 2**19
    entries = b"".join(struct.pack("<HHII", 0xA000 + number, 7, long, 64) for number in range(count))
    table = struct.pack("<H", count) + entries + bytes(4)
    to_nested = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    block = b"II*\0" + struct.pack("<I", 8) + (to_nested if nested else b"") + table + bytes(long)
    stream = io.BytesIO()
    Pillow.new("RGB", (4, 4)).save(stream, "PNG", exif=block)
    view = memoryview(stream.getvalue())
    tracemalloc.start()
    try:
        assert metadata_of(view, read_header(view), "keep", "srgb") is None
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def first(output: Any, metadata: Any = "keep") -> Task:
    rendering = Rendering(metadata=metadata)
    return task("a.jpg", "half", "quarter", "smooth", encoding=Encoding(format=output), rendering=rendering)


@pytest.mark.parametrize("output", ["jpg", "png", "webp"])
def test_metadata_is_the_same_in_a_chain_and_one_by_one(tmp_path, output):
    for name in ("chained", "hops"):
        (tmp_path / name / "source").mkdir(parents=True)
        (tmp_path / name / "source/a.jpg").write_bytes(source("JPEG", upright=True))
    chosen = first(output)
    assert json.loads(chosen.to_bytes())["v"] == 2
    outcome = process(chosen, context(tmp_path / "chained"))
    assert outcome.disposition == Done()
    names = ("place", "heading", "time", "camera", "author", "exposure", "density", "panorama")
    events = (*outcome.settled, *run_hop_by_hop(chosen, tmp_path / "hops"))
    assert {event.metadata for event in events} == {names}
    made = files(tmp_path / "chained/output")
    assert made == files(tmp_path / "hops/output")
    lefts = [(int(pano["CroppedAreaLeftPixels"]), int(pano["CroppedAreaTopPixels"]))
             for _, pano, _ in (opened(made[name]) for name in sorted(made))]  # fmt: skip
    assert lefts == [(20, 15), (50, 15), (20, 30), (50, 30)]


def test_both_engines_give_the_same_bytes_and_the_report_says_what_was_chosen(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.jpg").write_bytes(source("JPEG"))
    example = first("jpg", "gps")
    chosen = Batch(
        batch_id="b", municipality="", source="", images=None, manifest=None, route=example.route, destination="out",
        encoding=example.encoding, decode="exact", weight=1, fingerprint="f", rendering=example.rendering,
    )  # fmt: skip
    local = spec(tmp_path, output_url=str(tmp_path / "local"), work_url=str(tmp_path / "local-work"))
    assert run_batch(chosen, local, jobs=1, python_path=(str(SUPPORT),)).state == "done"
    tasks = [first_task(chosen, ref) for ref in iter_images(chosen, context(tmp_path).source)]
    run_over_memory_broker(tmp_path, tasks, spec(tmp_path, output_url=str(tmp_path / "broker")))
    found = dict(files(tmp_path / "local/out"))
    report = json.loads(found.pop("report.json"))
    assert report["metadata"] == "gps"
    assert report["images"][0]["metadata"] == ["place", "heading", "time", "density", "panorama"]
    assert found == files(tmp_path / "broker/out")
    assert all(OWNER.encode() not in data for data in found.values())


def test_nothing_passes_by_default(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.jpg").write_bytes(source("JPEG"))
    chosen = task("a.jpg", "half", encoding=Encoding(format="jpg"))
    assert json.loads(chosen.to_bytes())["v"] == 1
    outcome = process(chosen, context(tmp_path))
    assert outcome.disposition == Done()
    assert [event.metadata for event in outcome.settled] == [None]
    (made,) = files(tmp_path / "output").values()
    block, pano, _ = opened(made)
    assert (dict(block), pano) == ({}, {})
    assert Frame(*whole(Size(2, 3))) == (0, 0, 2, 3)

"""Views and their references: what a reference names is what the view shows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.compute import raw
from muniflow.errors import NotFound, Rejected
from muniflow.model.lineage import WHOLE
from muniflow.model.messages import RawRef, Tile


class Memory:
    """A work store in memory."""

    def __init__(self):
        self.blobs = {}

    def read(self, key, offset_bytes=0, length_bytes=None):
        if key not in self.blobs:
            raise NotFound(key)
        end = None if length_bytes is None else offset_bytes + length_bytes
        if end is not None and end > len(self.blobs[key]):
            raise NotFound(f"{key} is too short")
        return memoryview(self.blobs[key])[offset_bytes:end]

    def write(self, key, data):
        self.blobs[key] = bytes(data)


def memory() -> Any:
    return Memory()


def load(ref, work):
    ((image, region),) = raw.load([Tile(pixels=ref)], work.read)
    return image, region


def spans_read(work, tiles):
    """What `raw.load` reads of these tiles: (offset, length), in bytes."""
    read: list[tuple[int, int]] = []
    original = work.read

    def watched(key, offset, length):
        read.append((offset, length))
        return original(key, offset, length)

    work.read = watched
    raw.load(tiles, work.read)
    work.read = original
    return read


def image_of(height_px, width_px):
    return np.arange(height_px * width_px * 3, dtype=np.uint32).astype(np.uint8).reshape(height_px, width_px, 3)


CUT = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(-3, 3).filter(bool))


@given(st.integers(1, 12), st.integers(1, 12), st.lists(st.tuples(CUT, CUT), min_size=1, max_size=3))
def test_a_reference_names_exactly_what_the_view_shows(height_px, width_px, cuts):
    image, work = image_of(height_px, width_px), memory()
    region = raw.region_of(image, "k", WHOLE)
    raw.write(region, work)
    view = image
    for rows, columns in cuts:
        view = view[slice(*rows), slice(*columns)]
    if raw.start_in(view, region) is not None:
        ref = raw.reference(view, region)
        loaded, loaded_region = load(ref, work)
        assert np.array_equal(loaded, view)
        # And once more from what was loaded: a tile of a tile still names the first blob.
        half = loaded[: (ref.height_px + 1) // 2]
        again = raw.reference(half, loaded_region)
        assert np.array_equal(load(again, work)[0], half)
    elif view.size:
        steps = [cut[2] for pair in cuts for cut in pair]
        assert any(step != 1 for step in steps)


@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 4), st.integers(1, 4), st.data())
def test_tiles_that_are_read_together_are_what_each_alone_is(height_px, width_px, rows, columns, data):
    image, work = image_of(height_px, width_px), memory()
    region = raw.region_of(image, "k", WHOLE)
    raw.write(region, work)
    pieces = [part for row in np.array_split(image, rows) for part in np.array_split(row, columns, axis=1) if part.size]
    chosen = data.draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=5))
    tiles = [Tile(lineage=((n, 16),), pixels=raw.reference(piece, region)) for n, piece in enumerate(chosen)]
    for (loaded, memory_of), piece, tile in zip(raw.load(tiles, work.read), chosen, tiles, strict=True):
        assert np.array_equal(loaded, piece)
        assert memory_of.lineage == tile.lineage
        assert raw.reference(loaded, memory_of) == tile.pixels


def test_tiles_that_lie_together_are_read_at_once():
    image, work = image_of(8, 8), memory()
    region = raw.region_of(image, "k", WHOLE)
    raw.write(region, work)
    corners = (image[:4, :4], image[:4, 4:], image[4:, :4], image[4:, 4:])
    tiles = [Tile(pixels=raw.reference(corner, region)) for corner in corners]
    assert spans_read(work, tiles) == [(0, 8 * 24)]
    assert spans_read(work, [tiles[0], tiles[3]]) == [(0, 8 * 24)]
    far = (image[:1, :1], image[7:, 7:])
    assert len(spans_read(work, [Tile(pixels=raw.reference(part, region)) for part in far])) == 2


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_copy_is_no_view(height_px, width_px):
    image = image_of(height_px, width_px)
    assert raw.start_in(image.copy(), raw.region_of(image, "k", WHOLE)) is None


@pytest.mark.parametrize(
    "view",
    [
        image_of(4, 4)[:, ::-1],
        image_of(4, 4)[::-1],
        image_of(4, 4)[:, ::2],
        image_of(4, 4)[:, :, ::-1],
        image_of(4, 4).transpose(1, 0, 2),
        np.broadcast_to(image_of(1, 4), (4, 4, 3)),
        image_of(4, 4)[:0],
        image_of(4, 4)[:, :, :2],
    ],
    ids=["mirrored", "upside-down", "every-second", "rgb", "turned", "broadcast", "empty", "two-channels"],
)
def test_what_a_reference_cannot_say_has_no_start(view):
    region = raw.region_of(raw.owner_of(view), "k", WHOLE)
    assert raw.start_in(view, region) is None
    with pytest.raises(RuntimeError, match="is not in k"):
        raw.reference(view, region)


def test_only_the_rows_of_a_tile_are_read():
    work = memory()
    work.blobs["k"] = image_of(8, 8).tobytes()
    ref = RawRef(key="k", width_px=4, height_px=2, stride_bytes=24, offset_bytes=60)
    assert spans_read(work, [Tile(pixels=ref)]) == [(60, 24 + 12)]


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        (RawRef(key="k", width_px=8, height_px=9, stride_bytes=24), "too short"),
        (RawRef(key="k", width_px=8, height_px=2, stride_bytes=23), "cannot be 23 bytes apart"),
        (RawRef(key="gone", width_px=8, height_px=2, stride_bytes=24), "gone"),
    ],
)
def test_references_that_lie_are_refused(ref, error):
    work = memory()
    work.blobs["k"] = image_of(8, 8).tobytes()
    with pytest.raises(Rejected, match=error):
        load(ref, work)


def test_a_loaded_image_cannot_be_changed():
    work = memory()
    work.blobs["k"] = image_of(2, 2).tobytes()
    image, _ = load(RawRef(key="k", width_px=2, height_px=2, stride_bytes=6), work)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1

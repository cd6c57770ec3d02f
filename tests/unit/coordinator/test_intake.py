"""Which batches are refused for their lists of images, and what the fault says."""

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.errors import Unavailable
from muniflow_coordinator.handlers.image_list import Chunks
from muniflow_coordinator.handlers.list_reader import CHUNKS_AHEAD
from muniflow_coordinator.resources import Stores
from muniflow_coordinator.state.types import ImageRow

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness


@pytest.mark.parametrize(
    ("document", "manifest", "faults"),
    [
        ({"source": "nothing"}, None, [("source", "no image below 'nothing/'")]),
        ({"manifest": "gone.txt"}, None, [("manifest", "gone.txt is not in the source store")]),
        ({"manifest": "list.txt"}, b"\n\n", [("manifest", "list.txt names no image")]),
        ({"manifest": "list.txt"}, b"good.jpg\n\xff\xd8\xff\xe0\0\x10JFIF", [("manifest line 2", "is not text")]),
        ({"images": ["a.jpg", "b.jpg", "a.png"]}, None, [("images[2]", "a.png and a.jpg would have the same")]),
        ({"images": [".git/config"]}, None, [("images[0]", "cannot begin with '.'")]),
        ({"source": ".muniflow/broker"}, None, [("source", "cannot begin with '.'")]),
        ({"source": ".muniflow/uploads/other"}, None, [("source", "cannot begin with '.'")]),
        ({"images": ["a.jpg"], "destination": ".out"}, None, [("destination", "cannot begin with '.'")]),
        ({"images": ["a.jpg", "a.jpg"]}, None, [("images[1]", "a.jpg is named twice")]),
        ({"manifest": "list.txt"}, b"x/a.jpg\nx/b.jpg\nx/b.tif\n", [("image 2 of list.txt", "image 1 of list.txt")]),
    ],
)
def test_a_wrong_list_is_refused_and_leaves_nothing(
    harness: "CoordinatorHarness", document: dict[str, Any], manifest: bytes | None, faults: list[tuple[str, str]]
) -> None:
    if manifest is not None:
        harness.stores.source.write("list.txt", manifest)
    harness.start()
    base: dict[str, Any] = {"source": None} | document
    harness.submit(**base)
    notice = harness.finish()
    assert notice.state == "rejected"
    assert len(notice.faults) == len(faults)
    for fault, (place, text) in zip(notice.faults, faults, strict=True):
        assert fault["place"] == place
        assert text in fault["problem"]
    assert harness.state
    assert harness.state.find("b") is None
    assert harness.state.states() == {}
    assert not harness.tasks


def test_a_manifest_is_a_whole_key_and_its_lines_are_below_the_source(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.stores.source.write("lists/some.txt", b"0001.jpg\n")
    harness.start()
    harness.submit(manifest="lists/some.txt")
    assert harness.finish().total == 1
    harness.stores.source.write("in/below.txt", b"0001.jpg\n")
    harness.submit(batch_id="below", manifest="below.txt")
    notice = harness.finish("below")
    assert [fault["place"] for fault in notice.faults] == ["manifest"]
    assert notice.faults[0]["problem"].endswith("write in/below.txt")


def test_a_name_that_cannot_be_used_is_one_image_of_its_batch(harness: "CoordinatorHarness") -> None:
    """The worker that reads it is refused by the store; the other images are done."""
    manifest = "good.jpg\n../bad.jpg\n\n/worse.jpg\nx\udcff.jpg\n4.15\u202fPM.jpg\n"
    harness.stores.source.write("list.txt", manifest.encode(errors="surrogateescape"))
    harness.start()
    harness.submit(source=None, manifest="list.txt")
    assert harness.finish().total == 5
    assert sorted(task.source for task in harness.tasks) == [
        "../bad.jpg", "/worse.jpg", "4.15\u202fPM.jpg", "good.jpg", "x\\xff.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        {"source": "in", "destination": "in"},
        {"source": "in", "destination": "in/out"},
        {"source": "", "destination": "out"},
        {"source": "in", "images": ["a.jpg"], "destination": "in"},
        {"source": None, "images": ["in/a.jpg"], "destination": "in"},
        {"source": None, "manifest": "list.txt", "destination": "in"},
        {"source": "b", "batch_id": "b"},
    ],
)
def test_outputs_among_the_sources_are_refused_and_nothing_is_dispatched(
    harness: "CoordinatorHarness", document: dict[str, Any]
) -> None:
    harness.stores = Stores(harness.stores.source, harness.stores.work, harness.stores.source)
    for key in ("in/a.jpg", "in/a-0.jpg", "b/a.jpg", "list.txt"):
        harness.stores.source.write(key, b"in/a.jpg\n")
    harness.start()

    harness.submit(**document)

    notice = harness.finish()
    assert notice.state == "rejected"
    (fault,) = notice.faults
    assert fault["place"] == "destination"
    assert "among the sources" in fault["problem"]
    assert not harness.tasks


def test_another_folder_of_the_same_store_takes_outputs(harness: "CoordinatorHarness") -> None:
    harness.stores = Stores(harness.stores.source, harness.stores.work, harness.stores.source)
    harness.stores.source.write("in/a.jpg", b"x")
    harness.start()
    harness.submit(source="in", destination="out")
    assert harness.finish().done == 1


def test_a_refused_batch_may_be_sent_again_corrected(harness: "CoordinatorHarness") -> None:
    harness.start()
    harness.submit(images=["a.jpg", "a.png"], source=None)
    assert harness.finish().state == "rejected"
    harness.notices.clear()
    harness.submit(images=["a.jpg", "b.png"], source=None)
    assert harness.finish().done == 2


def test_other_files_below_the_source_are_ignored(harness: "CoordinatorHarness") -> None:
    for name in ("a.jpg", "b.JPEG", "c.txt", "deep/d.webp", "e"):
        harness.stores.source.write(f"in/{name}", b"x")
    harness.start()
    harness.submit()
    assert harness.finish().done == 3
    assert [image["source"] for image in harness.report()["images"]] == ["in/a.jpg", "in/b.JPEG", "in/deep/d.webp"]


def test_names_that_json_must_escape_come_through(harness: "CoordinatorHarness") -> None:
    keys = ['quo"te.jpg', "Gruß/ñ 東.png", "dots.in.name.jpg", "noextension"]
    harness.start()
    harness.submit(images=keys, source=None)
    assert harness.finish().done == 4
    assert [task.source for task in harness.tasks] == keys
    assert harness.tasks[1].stem == "Gruß/ñ 東"


def test_a_longer_manifest_takes_no_more_memory(harness: "CoordinatorHarness") -> None:
    """Memory is measured in Python's allocator; 26,000 rows more would be 5 MB more if they were all held."""

    def peak_bytes(batch_id: str, lines: int) -> int:
        harness.stores.source.write("list.txt", (f"north/pano_{n:07}.jpg\n".encode() for n in range(lines)))
        tracemalloc.start()
        try:
            harness.submit(batch_id=batch_id, manifest="list.txt", source=None)
            harness.until(lambda: any(n.batch == batch_id for n in harness.notices), deadline_s=60)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    harness.hold = True
    harness.start(window_images=1)
    peak_bytes("warm", 10)
    short = peak_bytes("short", 6_000)
    long = peak_bytes("long", 32_000)
    assert harness.notices[-1].total == 32_000
    assert long < short + 2 * 2**20, (short, long)


def manifest(harness: "CoordinatorHarness", images: int) -> None:
    harness.stores.source.write("list.txt", (f"n/{n:04}.jpg\n".encode() for n in range(images)))


def test_while_the_database_is_unavailable_few_chunks_are_read_ahead(
    tmp_path: Path, virtual_harness: "Callable[[Path], CoordinatorHarness]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniflow_coordinator.handlers.image_list.CHUNK", 2)
    reads: list[int] = []
    read = Chunks.next

    def counted(chunks: Chunks) -> list[ImageRow]:
        reads.append(len(reads))
        return read(chunks)

    monkeypatch.setattr(Chunks, "next", counted)
    harness = virtual_harness(tmp_path / "one")
    manifest(harness, 40)
    coordinator = harness.start()
    assert harness.state
    insert = harness.state.insert_images

    def unavailable(batch: int, new: Sequence[ImageRow]) -> None:
        if harness.clock.monotonic_s() < 60:
            raise Unavailable("state database", "a test took it away")
        insert(batch, new)

    monkeypatch.setattr(harness.state, "insert_images", unavailable)
    harness.submit(manifest="list.txt", source=None)
    harness.until(lambda: coordinator.retry_queue.waiting_for)
    harness.loop.call_later(50, harness.loop.stop)
    harness.loop.start()
    assert len(reads) == CHUNKS_AHEAD
    assert harness.finish(deadline_s=100).done == 40
    assert len(reads) == 40 / 2 + 1
    harness.close()


def test_a_long_list_does_not_delay_a_short_one(
    tmp_path: Path, virtual_harness: "Callable[[Path], CoordinatorHarness]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread reads the lists, one chunk of each in turn."""
    monkeypatch.setattr("muniflow_coordinator.handlers.image_list.CHUNK", 2)
    harness = virtual_harness(tmp_path / "one")
    manifest(harness, 400)
    harness.pictures(1)
    harness.start(intake_threads=1)
    harness.submit(batch_id="long", manifest="list.txt", source=None, wait=False)
    harness.submit(batch_id="short", wait=False)
    assert (harness.finish("long").done, harness.finish("short").done) == (400, 1)
    accepted = [notice.batch for notice in harness.notices if notice.state == "running"]
    assert accepted == ["short", "long"]
    harness.close()

"""Which batches are refused for their lists of images, and what the fault says."""

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from muniflow_coordinator.core import Stores

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import World


@pytest.mark.parametrize(
    ("document", "manifest", "faults"),
    [
        ({"source": "nothing"}, None, [("source", "no image below 'nothing/'")]),
        ({"manifest": "gone.txt"}, None, [("manifest", "gone.txt is not in the source store")]),
        ({"manifest": "list.txt"}, b"\n\n", [("manifest", "list.txt names no image")]),
        (
            {"manifest": "list.txt"},
            b"good.jpg\n../bad.jpg\n\n/worse.jpg\nx\xff.jpg\n",
            [("manifest line 2", "'..'"), ("manifest line 4", "cannot start"), ("manifest line 5", "UTF-8")],
        ),
        ({"images": ["a.jpg", "b.jpg", "a.png"]}, None, [("images[2]", "a.png and a.jpg would have the same")]),
        ({"images": [".git/config"]}, None, [("images[0]", "cannot begin with '.'")]),
        ({"source": ".muniflow/broker"}, None, [("source", "cannot begin with '.'")]),
        ({"source": ".muniflow/uploads/other"}, None, [("source", "cannot begin with '.'")]),
        ({"manifest": "list.txt"}, b"a.jpg\n.git/config\n", [("manifest line 2", "cannot begin with '.'")]),
        ({"images": ["a.jpg"], "destination": ".out"}, None, [("destination", "cannot begin with '.'")]),
        ({"images": ["a.jpg", "a.jpg"]}, None, [("images[1]", "a.jpg is named twice")]),
        ({"manifest": "list.txt"}, b"x/a.jpg\nx/b.jpg\nx/b.tif\n", [("image 2 of list.txt", "image 1 of list.txt")]),
    ],
)
def test_a_wrong_list_is_refused_and_leaves_nothing(
    world: "World", document: dict[str, Any], manifest: bytes | None, faults: list[tuple[str, str]]
) -> None:
    if manifest is not None:
        world.stores.source.write("list.txt", manifest)
    world.start()
    base: dict[str, Any] = {"source": None} | document
    world.submit(**base)
    notice = world.finish()
    assert notice.state == "rejected"
    assert len(notice.faults) == len(faults)
    for fault, (place, text) in zip(notice.faults, faults, strict=True):
        assert fault["place"] == place
        assert text in fault["problem"]
    assert world.state
    assert world.state.find("b") is None
    assert world.state.states() == {}
    assert not world.tasks


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
    world: "World", document: dict[str, Any]
) -> None:
    world.stores = Stores(world.stores.source, world.stores.work, world.stores.source)
    for key in ("in/a.jpg", "in/a-0.jpg", "b/a.jpg", "list.txt"):
        world.stores.source.write(key, b"in/a.jpg\n")
    world.start()

    world.submit(**document)

    notice = world.finish()
    assert notice.state == "rejected"
    (fault,) = notice.faults
    assert fault["place"] == "destination"
    assert "among the sources" in fault["problem"]
    assert not world.tasks


def test_another_folder_of_the_same_store_takes_outputs(world: "World") -> None:
    world.stores = Stores(world.stores.source, world.stores.work, world.stores.source)
    world.stores.source.write("in/a.jpg", b"x")
    world.start()
    world.submit(source="in", destination="out")
    assert world.finish().done == 1


def test_a_refused_batch_may_be_sent_again_corrected(world: "World") -> None:
    world.start()
    world.submit(images=["a.jpg", "a.png"], source=None)
    assert world.finish().state == "rejected"
    world.notices.clear()
    world.submit(images=["a.jpg", "b.png"], source=None)
    assert world.finish().done == 2


def test_other_files_below_the_source_are_ignored(world: "World") -> None:
    for name in ("a.jpg", "b.JPEG", "c.txt", "deep/d.webp", "e"):
        world.stores.source.write(f"in/{name}", b"x")
    world.start()
    world.submit()
    assert world.finish().done == 3
    assert [image["source"] for image in world.report()["images"]] == ["in/a.jpg", "in/b.JPEG", "in/deep/d.webp"]


def test_names_that_json_must_escape_come_through(world: "World") -> None:
    keys = ['quo"te.jpg', "Gruß/ñ 東.png", "dots.in.name.jpg", "noextension"]
    world.start()
    world.submit(images=keys, source=None)
    assert world.finish().done == 4
    assert [task.source for task in world.tasks] == keys
    assert world.tasks[1].stem == "Gruß/ñ 東"


def test_a_longer_manifest_takes_no_more_memory(world: "World") -> None:
    """Memory is measured in Python's allocator; 26,000 rows more would be 5 MB more if they were all held."""

    def peak_bytes(batch_id: str, lines: int) -> int:
        world.stores.source.write("list.txt", (f"north/pano_{n:07}.jpg\n".encode() for n in range(lines)))
        tracemalloc.start()
        try:
            world.submit(batch_id=batch_id, manifest="list.txt", source=None)
            world.until(lambda: any(n.batch == batch_id for n in world.notices), deadline_s=60)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    world.hold = True
    world.start(window_images=1)
    peak_bytes("warm", 10)
    short = peak_bytes("short", 6_000)
    long = peak_bytes("long", 32_000)
    assert world.notices[-1].total == 32_000
    assert long < short + 2 * 2**20, (short, long)

"""Named images that are not there: settled at acceptance where a listing is cheap, left to workers where it is dear."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.model.batch import read_batch
from muniflow.model.operation import installed_operations
from muniflow.reason_codes import ReasonCode
from muniflow.store.types import Blob
from muniflow_coordinator.handlers.absent import FEW, MAX_LISTED, REASON, ListedKeys

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

ABSENT = 5000
CODE: ReasonCode = "source_missing"


def manifest(absent: int, there: int = 3) -> bytes:
    """Names of images that are there, in the middle of others."""
    names = [f"none/{number}.jpg" for number in range(absent)]
    names[absent // 2 : absent // 2] = [f"{number:04}.jpg" for number in range(there)]
    return "\n".join(names).encode()


def test_absent_images_are_no_tasks(harness: "CoordinatorHarness") -> None:
    harness.pictures(3)
    harness.stores.source.write("list.txt", manifest(ABSENT))
    harness.start()
    harness.submit(source="in", manifest="list.txt")
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 3, ABSENT)
    assert len(harness.tasks) == 3
    state = harness.state
    assert state
    (group,) = state.failure_groups()
    assert (group.reason_code, group.images) == (CODE, ABSENT)
    reasons = {reason for image in harness.report()["images"] for reason in image.get("reasons", ())}
    assert reasons == {f"operations[0] (copy): {REASON}"}
    # What has come since is done by a replay.
    harness.stores.source.write("in/none/7.jpg", b"came late")
    harness.command("reopen", image=7)
    harness.until(lambda: len(harness.tasks) == 4)
    harness.until(lambda: sum(group.images for group in state.failure_groups()) == ABSENT - 1)


def test_a_batch_of_absent_images_alone_ends(harness: "CoordinatorHarness") -> None:
    harness.stores.source.write("list.txt", manifest(FEW, there=0))
    harness.start()
    harness.submit(source="in", manifest="list.txt")
    harness.until(lambda: harness.state and (row := harness.state.find("b")) and row.state == "failed")
    assert not harness.tasks


def test_few_are_left_to_workers(harness: "CoordinatorHarness") -> None:
    harness.stores.source.write("list.txt", manifest(FEW - 1, there=0))
    harness.start()
    harness.submit(source="in", manifest="list.txt")
    harness.finish()
    assert len(harness.tasks) == FEW - 1


def test_a_listing_that_lacks_what_was_just_written_is_not_believed(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.pictures(FEW)
    harness.stores.source.write("list.txt", manifest(0, there=FEW))
    monkeypatch.setattr(harness.stores.source, "list", lambda *_: iter(()))
    harness.start()
    harness.submit(source="in", manifest="list.txt")
    assert harness.finish().state == "done"


class Listing:
    """A store whose listing is long, or what is given."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.read = 0

    def list(self, prefix: str, _on_other: Any) -> Iterator[Blob]:
        for name in self.names or (f"{number}.jpg" for number in range(10**9)):
            self.read += 1
            yield Blob(f"{prefix}{name}", 1)


def listed(store: Any, *images: str) -> ListedKeys | None:
    """What is found for a batch that names these."""
    document = f'{{"source": "in", "images": {list(images)}, "operations": [["resize", "8x8"]], "output": "png"}}'
    return ListedKeys.find(read_batch(document.replace("'", '"'), installed_operations()), store)


@pytest.mark.parametrize("count", [1, 50])
def test_a_listing_that_is_long_beside_the_batch_is_given_up(count: int) -> None:
    store = Listing()
    assert listed(store, *(f"{number}.png" for number in range(count))) is None
    assert store.read <= 4 * count + 1 < MAX_LISTED


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("a.jpg", False), ("A.JPG", False), ("cafe\u0301.jpg", False), ("b.jpg", True), ("a.jpg/b.jpg", True),
        (".hidden.jpg", False), ("../a.jpg", False), ("x" * 2000, False),
    ],
)  # fmt: skip
def test_only_what_is_surely_absent_counts(name: str, lacks: bool) -> None:
    found = listed(Listing("a.jpg", "caf\u00e9.jpg"), "a.jpg", "b.jpg")
    assert found is not None
    assert found.lack(f"in/{name}") is lacks

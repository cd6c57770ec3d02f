"""What the coordinator does with a batch that is too much: before it is accepted, and without reading for nothing."""

import time
from typing import Any

import pytest
from tests.unit.coordinator.conftest import CoordinatorHarness

from muniflow.errors import Unavailable
from muniflow.forecast.sizes import Picture
from muniflow.images.limits import ImageLimits
from muniflow.model.budget import Amounts, day_ends_in_s, day_of
from muniflow.model.operation import Size
from muniflow.planning.budgets import Budgets
from muniflow.runtime.budgets import BudgetSettings

TEN_MP = Picture(Size(4000, 2500), "jpg")


@pytest.fixture(autouse=True)
def _within_one_day() -> None:
    if day_ends_in_s(time.time()) < 60:
        pytest.skip("the day ends")


def budgets(limits: ImageLimits | None = None, **settings: Any) -> Budgets:
    return Budgets(BudgetSettings.model_validate(settings), limits or ImageLimits())


def sized(harness: CoordinatorHarness, *pictures: Picture | None) -> list[int]:
    """Let the headers of all images say this, in turn; the list gets how many were read at a time."""
    read: list[int] = []

    def read_pictures(_open: Any, keys: Any) -> list[Picture | None]:
        read.append(len(keys))
        return [pictures[number % len(pictures)] for number in range(len(keys))]

    harness.read_pictures = read_pictures
    return read


def faults_of(harness: CoordinatorHarness, batch: str = "b") -> list[tuple[str, str | None]]:
    notice = harness.finish(batch)
    assert notice.state == "rejected"
    return [(fault["place"], fault.get("reason_code")) for fault in notice.faults]


def spent(harness: CoordinatorHarness, owner: str = "default") -> Amounts:
    assert harness.state is not None
    return harness.state.spent(owner, day_of(harness.clock.now_s()))


@pytest.mark.parametrize("images", [["0000.jpg", "0001.jpg", "0002.jpg"], None])
def test_a_batch_of_too_many_images_leaves_nothing(harness: CoordinatorHarness, images: list[str] | None) -> None:
    harness.pictures(3)
    harness.budgets = budgets(batch_budget={"images": 2})
    harness.start()
    listed: dict[str, Any] = {} if images is None else {"images": images}
    harness.submit(**listed)
    assert faults_of(harness) == [("images", "batch_budget")]
    assert harness.state is not None
    assert harness.state.find("b") is None
    (kept,) = harness.state.rejections()
    assert [fault.reason_code for fault in kept.faults] == ["batch_budget"]


def test_a_list_that_is_too_long_is_not_read_to_its_end(harness: CoordinatorHarness) -> None:
    lines = "".join(f"{number}.jpg\n" for number in range(50_000))
    harness.stores.source.write("in/list.txt", lines.encode())
    harness.budgets = budgets(batch_budget={"images": 100})
    harness.start()
    harness.submit(manifest="in/list.txt")
    assert faults_of(harness) == [("images", "batch_budget")]
    assert "its list goes on" in harness.notices[-1].faults[0]["problem"]


def test_by_default_no_size_is_read_before_a_batch_is_accepted(harness: CoordinatorHarness) -> None:
    read = sized(harness, TEN_MP)
    harness.pictures(3)
    harness.budgets = budgets()
    harness.hold = True
    harness.start()
    harness.submit(operations=[["copy", 2]])
    harness.until(lambda: harness.notices)
    assert (harness.notices[0].state, len(read)) in {("running", 0), ("running", 1)}  # the forecast reads them later
    assert spent(harness) == Amounts()


def test_what_a_batch_needs_is_charged_once_whatever_is_delivered_again(harness: CoordinatorHarness) -> None:
    sized(harness, TEN_MP)
    harness.pictures(3)
    harness.budgets = budgets(owner_budgets={"utrecht": {"day": {"megapixels": 100}}})
    harness.start()
    sender = {"user_id": "utrecht"}
    for _ in range(2):
        harness.submit(operations=[["copy", 1]], source="utrecht/", images=["a.jpg", "b.jpg"], sender=sender)
        harness.finish()
    charged = spent(harness, "utrecht")
    assert (charged.images, charged.outputs, charged.megapixels) == (2, 2, 20)
    assert spent(harness) == Amounts()


@pytest.mark.parametrize("place", ["ledger.before_accept_batch", "ledger.after_accept_batch"])
def test_a_charge_is_there_exactly_when_its_batch_is(harness: CoordinatorHarness, place: str) -> None:
    """The coordinator ends before or after its commit, and another one goes on."""
    sized(harness, TEN_MP)
    harness.pictures(2)
    harness.budgets = budgets(day_budget={"megapixels": 100})
    harness.hold = True
    harness.start()
    with pytest.MonkeyPatch.context() as patched:
        assert harness.state is not None
        before, after = harness.state._failpoints["accept_batch"]

        def cut() -> None:
            raise Unavailable("database", "cut for the test")

        failing = [cut]

        def once() -> None:
            if failing:
                failing.pop()()

        both = (once, after) if place.endswith("before_accept_batch") else (before, once)
        patched.setitem(harness.state._failpoints, "accept_batch", both)
        harness.submit(operations=[["copy", 1]])
        harness.until(lambda: harness.notices)
    assert not failing
    assert spent(harness).megapixels == 20


def test_the_day_of_an_owner_ends_and_begins_again(harness: CoordinatorHarness) -> None:
    sized(harness, TEN_MP)
    harness.pictures(3)
    harness.budgets = budgets(day_budget={"megapixels": 59})
    harness.start()
    harness.submit(batch_id="one")
    assert harness.finish("one").state == "done"
    harness.submit(batch_id="two")
    assert faults_of(harness, "two") == [("operations", "day_budget")]
    assert spent(harness).megapixels == 30
    assert harness.state is not None
    assert harness.state.spent("default", day_of(harness.clock.now_s()) + 1) == Amounts()


def test_a_batch_is_refused_when_each_image_is_too_large_and_accepted_when_one_is_not(
    harness: CoordinatorHarness,
) -> None:
    harness.pictures(4)
    limits = ImageLimits(max_pixels=12_000_000, max_growth=1)
    harness.budgets = budgets(limits)
    sized(harness, TEN_MP)
    harness.start()
    harness.submit(operations=[["copy", 2]], batch_id="all")
    assert faults_of(harness, "all") == [("operations", "output_too_large")]
    sized(harness, TEN_MP, Picture(Size(10, 10), "jpg"))
    harness.coordinator.batches.pricer.read_pictures = harness.read_pictures  # type: ignore[union-attr]
    harness.submit(operations=[["copy", 2]], batch_id="some")
    assert harness.finish("some").state == "done", "workers of these tests hold nobody to limits"


def test_an_unknown_size_counts_as_the_largest(harness: CoordinatorHarness) -> None:
    sized(harness, None)
    harness.pictures(1)
    harness.budgets = budgets(ImageLimits(max_pixels=1_000_000), day_budget={"megapixels": 1.5})
    harness.start()
    harness.submit(batch_id="one")
    assert harness.finish("one").state == "done"
    assert spent(harness).megapixels == 1
    harness.submit(batch_id="two")
    assert faults_of(harness, "two") == [("operations", "day_budget")]


def test_a_store_that_is_away_delays_a_batch(harness: CoordinatorHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniflow_coordinator.handlers.pricer.RETRY_DELAY_S", 0.05)
    away = [True]

    def read_pictures(_open: Any, keys: Any) -> list[Picture | None]:
        if away:
            away.pop()
            raise Unavailable("the source store")
        return [TEN_MP] * len(keys)

    harness.read_pictures = read_pictures
    harness.pictures(1)
    harness.budgets = budgets(day_budget={"megapixels": 100})
    harness.start()
    harness.submit()
    assert harness.finish().state == "done"
    assert spent(harness).megapixels == 10

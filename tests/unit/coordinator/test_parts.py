"""The small parts of the coordinator, alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.model.batch import Batch
from muniflow.model.keys import work_prefix
from muniflow.model.ledger import SettledImage
from muniflow.model.messages import Encoding, RouteStep, Tally, Task
from muniflow.store.local import LocalStore
from muniflow.testing.inline import InlineExecutor
from muniflow.testing.virtual_time import VirtualClock, VirtualLoop
from muniflow_coordinator.cleanup.cleaner import GROUP, Cleaner
from muniflow_coordinator.runs.rates import Rate, StepRates
from muniflow_coordinator.runs.spec import read_spec, task_writer, write_spec
from muniflow_coordinator.runs.tallies import Tallies
from muniflow_coordinator.state.rows import settle_values

BATCH = Batch(
    batch_id="b",
    municipality="Súdwest-Fryslân",
    source="in/",
    images=("a.jpg",),
    manifest=None,
    route=(RouteStep(op="copy", params={"of": 2}, fan_out=2), RouteStep(op="paste")),
    encoding=Encoding(format="jpg", quality=80),
    destination="out/b",
    decode="fast",
    weight=3,
    fingerprint="f" * 64,
)


@given(
    image=st.integers(0, 2**31),
    stem=st.text(st.characters(codec="utf-8"), max_size=30),
    suffix=st.sampled_from(["", ".jpg", '."']),
    run=st.integers(0, 99),
)
def test_a_written_task_is_the_task(image: int, stem: str, suffix: str, run: int) -> None:
    body = task_writer(BATCH)(image, stem, suffix, run, 12.5)
    assert Task.from_bytes(body) == Task(
        batch="b",
        image=image,
        source=f"in/{stem}{suffix}",
        stem=stem,
        destination="out/b",
        encoding=BATCH.encoding,
        decode="fast",
        route=BATCH.route,
        run=run,
        published_at=12.5,
    )


def test_a_batch_is_kept_without_its_images() -> None:
    kept = read_spec(write_spec(BATCH))
    assert kept.images is None
    assert (kept.route, kept.encoding, kept.municipality) == (BATCH.route, BATCH.encoding, BATCH.municipality)


@given(st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 1), st.booleans())).flatmap(
    lambda found: st.permutations(sorted(found.items()))
))  # fmt: skip
def test_ranges_and_single_images_are_together_what_was_settled(found: list[tuple[int, tuple[int, bool]]]) -> None:
    settled = [
        SettledImage(image, run, "failed" if failed else "done", ("no",) if failed else (), had_leaves=False)
        for image, (run, failed) in found
    ]
    ranges, single = settle_values(3, settled, 7.0)
    done = [(n, part["run_"]) for part in ranges for n in range(int(str(part["first_"])), int(str(part["last_"])) + 1)]
    assert sorted(done) == sorted((image.image, image.run) for image in settled if image.state == "done")
    assert {part["n_"] for part in single} == {image.image for image in settled if image.state == "failed"}


def test_a_rate_forgets_what_is_older_than_a_minute() -> None:
    clock = VirtualClock()
    rate = Rate(clock)
    assert rate.per_s() is None
    for _ in range(41):
        rate.add(100)
        clock.advance_to(clock.monotonic_s() + 2.0)
    assert rate.per_s() == pytest.approx(50.0, rel=0.05)
    for _ in range(15):
        rate.add(0)
        clock.advance_to(clock.monotonic_s() + 2.0)
    assert rate.per_s() == pytest.approx(25.0, rel=0.05)


def steady(clock: VirtualClock, rate: Rate, *, per_s: float, seconds: float, group_s: float = 0.5) -> None:
    """Groups of what was done since the last one, as workers report."""
    for number in range(int(seconds / group_s)):
        clock.advance_to(clock.monotonic_s() + group_s)
        rate.add(per_s * group_s)
        assert number or rate.per_s() is None, "of one group it is not known how long it took"


@pytest.mark.parametrize("idle_s", [0.0, 8.0, 45.0, 300.0])
def test_a_rate_is_measured_over_the_time_in_which_there_was_work(idle_s: float) -> None:
    clock = VirtualClock()
    rate = Rate(clock)
    steady(clock, rate, per_s=118.0, seconds=5.0)
    clock.advance_to(clock.monotonic_s() + idle_s)
    for _ in range(20):
        clock.advance_to(clock.monotonic_s() + 0.5)
        rate.add(59.0)
    assert rate.per_s() == pytest.approx(118.0, rel=0.06)


def test_a_pause_is_told_from_slow_work_and_has_the_rate_0() -> None:
    clock = VirtualClock()
    rate = Rate(clock)
    steady(clock, rate, per_s=118.0, seconds=20.0)
    clock.advance_to(24.9)
    assert rate.paused_s() is None
    clock.advance_to(25.5)
    assert (rate.paused_s(), rate.per_s()) == (5.5, 0.0)


@pytest.mark.parametrize("after_s", [0.0, 600.0])
def test_a_stage_that_works_in_bursts_is_not_idle_beside_its_batch(after_s: float) -> None:
    """The first stage fills the window in a second, and the last one works it off in nine."""
    clock = VirtualClock()
    stages, batch = StepRates(clock), Rate(clock)
    stages.add("resize", 1, 0.001)
    clock.advance_to(after_s)  # nothing to do
    for tenth in range(1, 601):
        clock.advance_to(after_s + tenth / 10)
        if tenth % 90 < 10:
            stages.add("resize", 1000, 1.0)
        stages.add("blur", 400, 1.0)
        batch.add(100)
        rates = [rate for rate in (stages.of("resize")[0], batch.per_s()) if rate is not None]
        assert all(rates), "never idle"
    assert rates == [pytest.approx(1000.0, rel=0.2)] * 2


def test_stages_that_report_together_and_seldom_are_slow_and_not_idle() -> None:
    clock = VirtualClock()
    stages, batch = StepRates(clock), Rate(clock)
    for number in range(12):
        clock.advance_to(number * 25.0)
        for operation in ("resize", "split", "blur"):
            stages.add(operation, 1, 20.0)
            batch.add(1)
            clock.advance_to(clock.monotonic_s() + 0.001)
    assert [stages.of(operation)[0] for operation in ("resize", "split", "blur")] == [
        pytest.approx(1 / 25, rel=0.4)
    ] * 3
    assert batch.per_s() == pytest.approx(3 / 25, rel=0.4)
    assert batch.paused_s() is None


def test_a_stage_that_begins_late_is_measured_over_its_own_time() -> None:
    clock = VirtualClock()
    stages, batch = StepRates(clock), Rate(clock)
    for second in range(300):
        clock.advance_to(float(second))
        stages.add("resize", 5, 0.1)
        if second > 295:
            stages.add("blur", 133, 0.1)
            batch.add(133)
    assert stages.of("blur")[0] == batch.per_s() == pytest.approx(133.0)


def test_slow_tasks_are_no_pause() -> None:
    clock = VirtualClock()
    rate = Rate(clock)
    steady(clock, rate, per_s=1 / 25, seconds=250.0, group_s=25.0)
    assert rate.per_s() == pytest.approx(1 / 25, rel=0.4)


def test_the_rates_of_a_stage_and_of_a_batch_agree_in_the_first_seconds_after_another_batch() -> None:
    clock = VirtualClock()
    stages = StepRates(clock)
    stages.add("resize", 50, 0.5)
    clock.advance_to(0.5)
    stages.add("resize", 50, 0.5)
    clock.advance_to(50.0)  # nothing to do
    batch = Rate(clock)
    for _ in range(10):
        clock.advance_to(clock.monotonic_s() + 0.5)
        stages.add("resize", 59, 0.59)
        batch.add(59)
    rate, service_s = stages.of("resize")
    assert rate == batch.per_s() == pytest.approx(118.0)
    assert service_s == pytest.approx(0.01)


def test_tallies_add_up_and_never_pass_what_is_expected() -> None:
    tallies = Tallies(2)
    for _ in range(3):
        tallies.add(Tally(batch="b", step=1, done=4, failed=1, pixels=10, compute_s=0.5))
    tallies.add(Tally(batch="b", step=7, done=1))
    first, second = Tallies.read(tallies.write(), 2).progress(BATCH, 5)
    assert (first.done, first.expected) == (0, 5)
    assert (second.done, second.expected, second.failed, second.compute_s) == (10, 10, 3, 1.5)


def test_the_mean_size_of_images_is_that_of_the_first_step() -> None:
    tallies = Tallies(2)
    tallies.add(Tally(batch="b", step=1, done=4, pixels=10))
    assert tallies.mean_pixels is None
    tallies.add(Tally(batch="b", step=0, done=3, pixels=100))
    tallies.add(Tally(batch="b", step=0, done=1, pixels=300))
    assert Tallies.read(tallies.write(), 2).mean_pixels == 100.0


@pytest.fixture
def loop() -> VirtualLoop:
    return VirtualLoop(VirtualClock())


def kept_after(store: LocalStore, images: range) -> list[int]:
    return [n for n in images if store.size(work_prefix("b", n) + "x.raw") is not None]


def store_of(tmp_path: Path, images: range) -> LocalStore:
    store = LocalStore(tmp_path)
    for image in images:
        store.write(work_prefix("b", image) + "x.raw", b"x")
    return store


def test_a_batch_is_forgotten_only_when_nothing_of_it_is_being_removed(tmp_path: Path, loop: VirtualLoop) -> None:
    images = range(GROUP + 2)
    store = store_of(tmp_path, images)
    cleaner = Cleaner(store, InlineExecutor(loop), parallel=1)
    cleaner.add("b", images)
    assert len(cleaner) == 2, "the first group is being removed"
    assert cleaner.forget("b") is False
    assert len(cleaner) == 0
    loop.start()
    assert cleaner.forget("b") is True
    assert kept_after(store, images) == list(images[GROUP:])


def test_images_that_wait_are_removed_in_groups(tmp_path: Path, loop: VirtualLoop) -> None:
    images = range(2 * GROUP + 5)
    store = store_of(tmp_path, images)
    cleaner = Cleaner(store, InlineExecutor(loop), parallel=2)
    cleaner.add("b", images)
    loop.start()
    assert kept_after(store, images) == []
    assert (len(cleaner), cleaner.forget("b")) == (0, True)


def test_the_cleaner_keeps_a_bounded_queue(tmp_path: Path, loop: VirtualLoop) -> None:
    images = range(10)
    store = store_of(tmp_path, images)
    cleaner = Cleaner(store, InlineExecutor(loop), parallel=1, max_waiting=3)
    cleaner.add("b", images[:1])
    cleaner.add("b", images[1:])
    assert len(cleaner) == 3
    loop.start()
    assert kept_after(store, images) == [1, 2, 3, 4, 5, 6], "the oldest stay until the end of their batch"

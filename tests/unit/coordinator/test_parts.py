"""The small parts of the coordinator, alone."""

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniflow.model.batch import Batch
from muniflow.model.keys import work_prefix
from muniflow.model.ledger import SettledImage
from muniflow.model.messages import Encoding, RouteStep, Tally, Task
from muniflow.store.local import LocalStore
from muniflow_coordinator.cleanup.cleaner import Cleaner
from muniflow_coordinator.runs.rates import Rate
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


@settings(deadline=None)
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
    ranges, single = settle_values(3, settled)
    done = [(n, part["run_"]) for part in ranges for n in range(int(str(part["first_"])), int(str(part["last_"])) + 1)]
    assert sorted(done) == sorted((image.image, image.run) for image in settled if image.state == "done")
    assert {part["n_"] for part in single} == {image.image for image in settled if image.state == "failed"}


def test_a_rate_forgets_what_is_older_than_a_minute() -> None:
    now_s = 0.0
    rate = Rate(lambda: now_s)
    assert rate.per_s() is None
    rate.add(100)
    now_s = 10.0
    assert rate.per_s() == pytest.approx(10.0)
    now_s = 50.0
    rate.add(20)
    now_s = 100.0
    assert rate.per_s() == pytest.approx(20 / 60)
    now_s = 200.0
    assert rate.per_s() == 0


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


class SlowStore(LocalStore):
    """A store whose removals wait until the test lets them go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def delete_prefix(self, prefix: str) -> None:
        self.begun.release()
        self.go.acquire()
        super().delete_prefix(prefix)


def test_a_batch_is_forgotten_only_when_nothing_of_it_is_being_removed(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    for image in (1, 2):
        store.write(work_prefix("b", image) + "x.raw", b"x")
    cleaner = Cleaner(store, threads=1)
    cleaner.add("b", 1)
    cleaner.add("b", 2)
    assert store.begun.acquire(timeout=5)
    assert cleaner.forget("b") is False
    assert len(cleaner) == 0
    store.go.release()
    cleaner.stop()
    assert cleaner.forget("b") is True
    assert [blob.key for blob in store.list()] == [work_prefix("b", 2) + "x.raw"]


def test_the_cleaner_keeps_a_bounded_queue(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    cleaner = Cleaner(store, threads=1, most_waiting=3)
    cleaner.add("b", 0)
    assert store.begun.acquire(timeout=5)
    for image in range(1, 10):
        cleaner.add("b", image)
    assert len(cleaner) == 3
    store.go.release()
    store.go.release()
    cleaner.stop()

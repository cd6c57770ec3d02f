"""SIGKILL at every failpoint of every process: the outputs are those of a run without faults."""

import itertools

import pytest
from tests.chaos.harness import document
from tests.chaos.truth import Truth, digests, seed_of
from tests.support.stopping import stopped

from muniflow.model.topology import BATCHES, dead_queue
from muniflow.runtime.failpoints import LEDGER_COMMITS, PLACES
from muniflow.store.folders import TEMPORARY
from muniflow_coordinator.handlers.image_list import CHUNK

IMAGES = 12
WORKER_PLACES = [place for place in PLACES if place.partition(".")[0] in {"child", "store", "worker"}]
COORDINATOR_PLACES = [place for place in PLACES if place.partition(".")[0] in {"coordinator", "store"}]
SPLIT_WRITES = [["resize", "50%"], ["blur", "median"], ["split", True]]
"""`split` writes nothing between two steps: its tiles are references into what the step before it stored."""
WORKERS = ("resize-1", "split-1", "blur-1")
LATER_HIT = 3
ONCE = ("accept", "report", "notice", "end", "write", "rename")
"""Places that one batch passes once."""

PASSED_BY = {
    "a batch of a few images": ("take_over", "insert_batch"),
    "a batch of a manifest": ("accept_batch",),
    "a batch that is refused": ("insert_images", "drop_images", "drop_batch"),
    "a batch that is cancelled": ("mark_cancelling", "cancel_images"),
    "a batch that is cancelled before its turn": ("complete",),
    "a batch that is opened again": ("reopen_images",),
    "a batch that loses intermediates": ("restart_images",),
}
"""Which commits of the ledger each test below drives."""
CANCELLED_IMAGES = 40
LAST_PUBLISH = 4
"""At this one the worker of the last step dies, so that a batch stands still half way.

A task is an image, and a publish is of 1 to 5 of them (the window): 4 or more are done, and most of 40 are not.
"""

numbers = itertools.count(1)


def places_of(kind):
    """The places before and after each commit that this kind of batch passes."""
    return [f"ledger.{when}_{commit}" for commit in PASSED_BY[kind] for when in ("before", "after")]


def pictures(harness, count=IMAGES):
    """Names of pictures that are in the source store from the start."""
    names = sorted(str(path.relative_to(harness.root("source"))) for path in harness.root("source").rglob("n0/*"))
    assert len(names) >= count
    return names[:count]


def arm(harness, service, place, hit=1):
    """Begin a life that ends at `place`; returns a condition: whether it has ended."""
    victim = harness.services[service]
    victim.kill()
    victim.start(f"{place}=kill@{hit}")
    lives = victim.lives
    return lambda: victim.lives > lives


def run_with(harness, place, hits, operations=None, **other):
    """One batch during which each of these services dies at `place`, at its own hit."""
    died = {service: arm(harness, service, place, hit) for service, hit in hits.items()}
    batch = f"{place}-{next(numbers)}"
    sent = {**document(batch, pictures(harness), operations), **other}
    harness.submit({name: value for name, value in sent.items() if value is not None})

    def alive():
        return [service for service, ended in died.items() if not ended()]

    harness.until(lambda: not alive() or harness.ended(batch), f"deaths at {place}")
    assert not alive(), f"failpoint not reached: {place} in {alive()}"
    harness.until_ended(batch)
    guarantees = harness.guarantees(batch)
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"


@pytest.mark.parametrize("place", WORKER_PLACES)
def test_the_workers_die_at(harness, place):
    """One of each step, in one batch."""
    in_groups = place.startswith("worker.") or place == "child.before_reply"
    hits = {}
    for service in WORKERS:
        later = (seed_of() + len(place) + len(service)) % 2
        hits[service] = 2 if later and in_groups else LATER_HIT if later else 1
    run_with(harness, place, hits, SPLIT_WRITES if place.startswith("store.") else None)


@pytest.mark.parametrize(
    ("place", "hit"),
    [(place, hit) for place in COORDINATOR_PLACES for hit in (1, 2) if hit == 1 or not place.endswith(ONCE)],
)
def test_the_coordinator_dies_at(harness, place, hit):
    run_with(harness, place, {"coordinator": hit})


@pytest.mark.parametrize("place", places_of("a batch of a few images"))
def test_the_coordinator_dies_with_its_ledger(harness, place):
    run_with(harness, place, {"coordinator": 1})


@pytest.mark.parametrize("place", places_of("a batch of a manifest"))
def test_the_coordinator_dies_while_it_accepts_a_manifest(harness, place):
    (harness.root("source") / "manifest.txt").write_text("".join(f"{name}\n" for name in pictures(harness)))
    run_with(harness, place, {"coordinator": 1}, images=None, manifest="manifest.txt")


@pytest.mark.parametrize(
    ("place", "hit"),
    # The second chunk of images, too; one slice drops them all.
    [(place, hit) for place in places_of("a batch that is refused") for hit in (1, 2) if hit == 1 or "insert" in place],
)
def test_the_coordinator_dies_while_it_refuses_a_batch(harness, place, hit):
    """Two chunks of images are kept and dropped again; the id is free for a better batch."""
    batch = f"{place}-{next(numbers)}"
    letters = refused(harness)
    died = arm(harness, "coordinator", place, hit)
    harness.submit(document(batch, [*(f"nobody/{n}.png" for n in range(CHUNK + 10)), "nobody/0.jpg"]))
    harness.until(
        lambda: died() and harness.coordinator.ready and refused(harness) > letters, "a refusal after a death"
    )
    harness.until(lambda: harness.coordinator.ready and harness.status(batch) is None, "nothing of it")
    harness.submit(document(batch, pictures(harness)))
    harness.until_ended(batch)
    guarantees = harness.guarantees(batch)
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"


@pytest.mark.parametrize("place", places_of("a batch that is cancelled"))
def test_the_coordinator_dies_while_it_cancels(harness, place):
    number = next(numbers)
    batch, images = f"{place}-{number}", pictures(harness, CANCELLED_IMAGES)
    turn = number % CANCELLED_IMAGES  # an order of its own: what is known of this batch below is true of no other
    sent = document(batch, [*images[turn:], *images[:turn]])
    harness.until_clean()  # a late copy of another batch would count
    died = arm(harness, "coordinator", place)
    arm(harness, "blur-1", "worker.after_confirm", LAST_PUBLISH)
    harness.tending = False  # nobody goes on with the batch: it cannot end before the cancel comes
    harness.submit(sent)
    harness.until(lambda: not harness.services["blur-1"].running, "death of the last step")
    harness.until(lambda: harness.done_images(batch) >= 1, "the first image")
    harness.command("cancel", batch)
    harness.until(lambda: not harness.coordinator.running, f"death at {place}")
    harness.tending = True
    harness.until(died, f"death at {place}")
    harness.until_ended(batch)
    harness.until_clean()
    status, truth = harness.status(batch), harness.truth(sent)
    assert (status.state, status.total, status.failed) == ("cancelled", CANCELLED_IMAGES, 0)
    assert status.done > 0
    assert status.cancelled > 0
    assert status.done + status.cancelled == CANCELLED_IMAGES
    found = digests(harness.root("output") / batch)
    assert found.items() <= truth.outputs.items()
    # What was in flight before the cancel was recorded is not known, so it is cancelled, and may yet be written.
    leaves = status.done * len(truth.outputs) // CANCELLED_IMAGES
    assert len(found) == leaves or (place == "ledger.before_mark_cancelling" and len(found) >= leaves)
    harness.know(sent, Truth(found, frozenset(), CANCELLED_IMAGES))


@pytest.mark.parametrize("place", places_of("a batch that is cancelled before its turn"))
def test_the_coordinator_dies_while_it_ends_a_batch_of_which_nothing_was_dispatched(harness, place):
    """No worker answers, and the batch before it fills the one window."""
    first, batch = f"{place}-{next(numbers)}", f"{place}-{next(numbers)}"
    harness.until_clean()
    harness.tending = False
    harness.services["resize-1"].kill()
    harness.coordinator.kill()
    harness.coordinator.start(f"{place}=kill", MUNIFLOW_WINDOW_TOTAL="1", MUNIFLOW_EXPRESS_IMAGES="0")
    lives = harness.coordinator.lives
    harness.submit(document(first, pictures(harness)))
    harness.until(lambda: harness.status(first) is not None, "the first batch")
    sent = document(batch, pictures(harness)[::-1])  # what is known of this batch below is true of no other
    harness.submit(sent)
    harness.until(lambda: harness.status(batch) is not None, "the second batch")
    harness.command("cancel", batch)
    harness.until(lambda: not harness.coordinator.running, f"death at {place}")
    harness.tending = True
    harness.until(lambda: harness.coordinator.lives > lives, "another life")
    harness.until_ended(first, batch)
    assert harness.status(batch).cancelled == IMAGES
    harness.know(sent, Truth({}, frozenset(), IMAGES))
    assert harness.guarantees(first).clean


@pytest.mark.parametrize("place", places_of("a batch that is opened again"))
def test_the_coordinator_dies_while_it_opens_an_image_again(harness, place):
    number = next(numbers)
    batch, late = f"{place}-{number}", harness.root("source") / f"late-{number}.png"
    sent = document(batch, [*pictures(harness, 3), late.name])
    harness.submit(sent)
    harness.until_ended(batch)
    assert harness.status(batch).state == "partial"
    late.write_bytes((harness.root("source") / pictures(harness)[-1]).read_bytes())
    died = arm(harness, "coordinator", place)
    harness.command("reopen", batch)
    harness.until(died, f"death at {place}")
    harness.until(lambda: (now := harness.status(batch)) is not None and now.state == "done", "a whole batch")
    guarantees = harness.guarantees(batch)
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"


@pytest.mark.parametrize("place", places_of("a batch that loses intermediates"))
def test_the_coordinator_dies_while_an_image_begins_again(harness, place):
    died = arm(harness, "coordinator", place)

    def lost():
        for path in harness.intermediates():
            path.unlink(missing_ok=True)
        return died()

    batch = f"{place}-{next(numbers)}"
    blurs = [service.process.pid for name, service in harness.services.items() if name.startswith("blur")]
    with stopped(blurs):
        # The other way round: what is known of cancelled batches is true of none of it.
        harness.submit(document(batch, pictures(harness, CANCELLED_IMAGES)[::-1]))
        harness.until(harness.intermediates, "intermediates that nobody reads yet")
        lost()
    harness.until(lambda: lost() or harness.ended(batch), f"death at {place}")
    assert died()
    harness.until_ended(batch)
    guarantees = harness.guarantees(batch)
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"


def test_every_commit_of_the_ledger_has_its_death():
    assert sorted(commit for commits in PASSED_BY.values() for commit in commits) == sorted(LEDGER_COMMITS)


@pytest.mark.parametrize("after", ["the batch", "a death of the coordinator"])
def test_what_a_killed_worker_did_not_finish_is_removed(harness, after):
    died = arm(harness, "blur-1", "store.after_temp_write", LATER_HIT)
    batch = f"unfinished-{next(numbers)}"
    harness.submit(document(batch, pictures(harness)))
    harness.until(died, "death between a file and its name")
    # Where this volume knows files without a name it left nothing; on NFS it would have left this.
    (harness.root("output") / batch).mkdir(parents=True, exist_ok=True)
    (harness.root("output") / batch / f"{TEMPORARY}left").write_bytes(b"half of it")
    harness.until_ended(batch)
    if after == "a death of the coordinator":
        harness.coordinator.kill()
    harness.until(lambda: not harness.unfinished(), "clean outputs")
    guarantees = harness.guarantees(batch)
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"


def test_afterwards_nothing_is_left(harness, capsys):
    harness.until_clean()
    guarantees = harness.guarantees()
    with capsys.disabled():
        print(f"\nfailpoints: {guarantees}")
    assert guarantees.clean
    assert guarantees.faults >= harness.batches, "a batch saw no death"
    harness.until(lambda: not harness.unfinished(), "clean outputs")
    assert [service.left() for service in harness.services.values()] == [[]] * len(harness.services)


def refused(harness) -> int:
    """Documents of batches that the ledger keeps as letters."""
    return sum(1 for _ in harness.client.letters(queue=dead_queue(BATCHES)))

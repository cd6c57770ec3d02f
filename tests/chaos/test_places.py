"""SIGKILL at every failpoint of every process: the outputs are those of a run without faults."""

import itertools

import pytest
from tests.chaos.truth import Truth, digests, seed_of
from tests.chaos.world import document

from muniflow.failpoints import LEDGER_COMMITS, PLACES
from muniflow.store.folders import TEMPORARY
from muniflow.topology import BATCHES, dead_queue
from muniflow_coordinator.intake import CHUNK

IMAGES = 12
WORKER_PLACES = [place for place in PLACES if place.partition(".")[0] in {"child", "store", "worker"}]
COORDINATOR_PLACES = [place for place in PLACES if place.partition(".")[0] in {"coordinator", "store"}]
SPLIT_WRITES = [["resize", "50%"], ["blur", "median"], ["split", True]]
"""`split` writes nothing between two steps: its tiles are references into what the step before it stored."""
LATER_HIT = 3
ONCE = ("accept", "report", "notice", "end", "write", "rename")
"""Places that one batch passes once."""

PASSED_BY = {
    "a batch of a few images": ("take_over", "insert_batch"),
    "a batch of a manifest": ("accept_batch",),
    "a batch that is refused": ("insert_images", "drop_images", "drop_batch"),
    "a batch that is cancelled": ("mark_cancelling", "cancel_images", "complete"),
    "a batch that is opened again": ("reopen_images",),
}
"""Which commits of the ledger each test below drives."""
CANCELLED_IMAGES = 40

numbers = itertools.count(1)


def places_of(kind):
    """The places before and after each commit that this kind of batch passes."""
    return [f"ledger.{when}_{commit}" for commit in PASSED_BY[kind] for when in ("before", "after")]


def pictures(world, count=IMAGES):
    """Names of pictures that are in the source store from the start."""
    names = sorted(str(path.relative_to(world.root("source"))) for path in world.root("source").rglob("n0/*"))
    assert len(names) >= count
    return names[:count]


def arm(world, service, place, hit=1):
    """Begin a life that ends at `place`; returns a condition: whether it has ended."""
    victim = world.services[service]
    victim.kill()
    victim.start(f"{place}=kill@{hit}")
    lives = victim.lives
    return lambda: victim.lives > lives


def run_with(world, service, place, hit, operations=None, **other):
    """One batch during which `service` dies at `place`."""
    died = arm(world, service, place, hit)
    batch = f"{place}-{service}-{next(numbers)}"
    sent = {**document(batch, pictures(world), operations), **other}
    world.submit({name: value for name, value in sent.items() if value is not None})
    world.until(lambda: died() or world.ended(batch), f"death at {place}")
    assert died(), f"failpoint not reached: {place} in {service}"
    world.until_ended(batch)
    verdict = world.verdict(batch)
    assert verdict.clean, f"{verdict}\n{world.tails()}"


@pytest.mark.parametrize("service", ["resize-1", "split-1", "blur-1"])
@pytest.mark.parametrize("place", WORKER_PLACES)
def test_a_worker_dies_at(world, place, service):
    later = (seed_of() + len(place) + len(service)) % 2
    in_groups = place.startswith("worker.") or place == "child.before_reply"
    operations = SPLIT_WRITES if service == "split-1" and place.startswith("store.") else None
    run_with(world, service, place, 2 if later and in_groups else LATER_HIT if later else 1, operations)


@pytest.mark.parametrize(
    ("place", "hit"),
    [(place, hit) for place in COORDINATOR_PLACES for hit in (1, 2) if hit == 1 or not place.endswith(ONCE)],
)
def test_the_coordinator_dies_at(world, place, hit):
    run_with(world, "coordinator", place, hit)


@pytest.mark.parametrize("place", places_of("a batch of a few images"))
def test_the_coordinator_dies_with_its_ledger(world, place):
    run_with(world, "coordinator", place, 1)


@pytest.mark.parametrize("place", places_of("a batch of a manifest"))
def test_the_coordinator_dies_while_it_accepts_a_manifest(world, place):
    (world.root("source") / "manifest.txt").write_text("".join(f"{name}\n" for name in pictures(world)))
    run_with(world, "coordinator", place, 1, images=None, manifest="manifest.txt")


@pytest.mark.parametrize(
    ("place", "hit"),
    # The second chunk of images, too; one slice drops them all.
    [(place, hit) for place in places_of("a batch that is refused") for hit in (1, 2) if hit == 1 or "insert" in place],
)
def test_the_coordinator_dies_while_it_refuses_a_batch(world, place, hit):
    """Two chunks of images are kept and dropped again; the id is free for a better batch."""
    batch = f"{place}-{next(numbers)}"
    letters = world.depths()[dead_queue(BATCHES)]
    died = arm(world, "coordinator", place, hit)
    world.submit(document(batch, [*(f"nobody/{n}.png" for n in range(CHUNK + 10)), "nobody/0.jpg"]))
    world.until(lambda: died() and world.depths()[dead_queue(BATCHES)] > letters, "a refusal after a death")
    world.until(lambda: world.coordinator.ready and world.status(batch) is None, "nothing of it")
    world.submit(document(batch, pictures(world)))
    world.until_ended(batch)
    verdict = world.verdict(batch)
    assert verdict.clean, f"{verdict}\n{world.tails()}"


@pytest.mark.parametrize("place", places_of("a batch that is cancelled"))
def test_the_coordinator_dies_while_it_cancels(world, place):
    number = next(numbers)
    batch, images = f"{place}-{number}", pictures(world, CANCELLED_IMAGES)
    turn = number % CANCELLED_IMAGES  # an order of its own: what is known of this batch below is true of no other
    sent = document(batch, [*images[turn:], *images[:turn]])
    # No image is in flight, so that the cancelling itself ends the batch, only after a death between its two parts.
    first = "ledger.after_mark_cancelling" if place.endswith("complete") else place
    died = arm(world, "coordinator", first)
    world.submit(sent)
    world.until(lambda: world.done_images(batch) >= 1, "the first image")
    world.tending = False
    world.command("cancel", batch)
    world.until(lambda: not world.coordinator.running, f"death at {first}")
    world.tending = True
    if first != place:
        world.faults += 1
        died = arm(world, "coordinator", place)
    world.until(died, f"death at {place}")
    world.until_ended(batch)
    world.until_clean()  # what was in flight at the death is cancelled, and may yet be written
    status, truth = world.status(batch), world.truth(sent)
    assert (status.state, status.total, status.failed) == ("cancelled", CANCELLED_IMAGES, 0)
    assert status.cancelled > 0
    assert status.done + status.cancelled == CANCELLED_IMAGES
    found = digests(world.root("output") / batch)
    assert found.items() <= truth.outputs.items()
    assert len(found) >= status.done * len(truth.outputs) // CANCELLED_IMAGES
    world.know(sent, Truth(found, frozenset(), CANCELLED_IMAGES))


@pytest.mark.parametrize("place", places_of("a batch that is opened again"))
def test_the_coordinator_dies_while_it_opens_an_image_again(world, place):
    number = next(numbers)
    batch, late = f"{place}-{number}", world.root("source") / f"late-{number}.png"
    sent = document(batch, [*pictures(world, 3), late.name])
    world.submit(sent)
    world.until_ended(batch)
    assert world.status(batch).state == "partial"
    late.write_bytes((world.root("source") / pictures(world)[-1]).read_bytes())
    died = arm(world, "coordinator", place)
    world.command("reopen", batch)
    world.until(died, f"death at {place}")
    world.until(lambda: (now := world.status(batch)) is not None and now.state == "done", "a whole batch")
    verdict = world.verdict(batch)
    assert verdict.clean, f"{verdict}\n{world.tails()}"


def test_every_commit_of_the_ledger_has_its_death():
    assert sorted(commit for commits in PASSED_BY.values() for commit in commits) == sorted(LEDGER_COMMITS)


@pytest.mark.parametrize("after", ["the batch", "a death of the coordinator"])
def test_what_a_killed_worker_did_not_finish_is_removed(world, after):
    died = arm(world, "blur-1", "store.after_temp_write", LATER_HIT)
    batch = f"unfinished-{next(numbers)}"
    world.submit(document(batch, pictures(world)))
    world.until(died, "death between a file and its name")
    # Where this volume knows files without a name it left nothing; on NFS it would have left this.
    (world.root("output") / batch).mkdir(parents=True, exist_ok=True)
    (world.root("output") / batch / f"{TEMPORARY}left").write_bytes(b"half of it")
    world.until_ended(batch)
    if after == "a death of the coordinator":
        world.coordinator.kill()
    world.until(lambda: not world.unfinished(), "clean outputs")
    verdict = world.verdict(batch)
    assert verdict.clean, f"{verdict}\n{world.tails()}"


def test_afterwards_nothing_is_left(world, capsys):
    world.until_clean()
    verdict = world.verdict()
    with capsys.disabled():
        print(f"\nfailpoints: {verdict}")
    assert verdict.clean
    assert verdict.faults >= world.batches, "a batch saw no death"
    world.until(lambda: not world.unfinished(), "clean outputs")
    assert [service.left() for service in world.services.values()] == [[]] * len(world.services)

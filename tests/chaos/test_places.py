"""SIGKILL at every failpoint of every process: the outputs are those of a run without faults."""

import itertools

import pytest
from tests.chaos.truth import seed_of
from tests.chaos.world import document

from muniflow.failpoints import PLACES

IMAGES = 12
WORKER_PLACES = [place for place in PLACES if place.partition(".")[0] in {"child", "store", "worker"}]
COORDINATOR_PLACES = [place for place in PLACES if place.partition(".")[0] in {"coordinator", "store"}]
SPLIT_WRITES = [["resize", "50%"], ["blur", "median"], ["split", True]]
"""`split` writes nothing between two steps: its tiles are references into what the step before it stored."""
LATER_HIT = 3
ONCE = ("accept", "report", "notice", "end", "write", "rename")
"""Places that one batch passes once."""

numbers = itertools.count(1)


def run_with(world, service, place, hit, operations=None):
    """One batch during which `service` dies at `place`."""
    victim = world.services[service]
    victim.kill()
    victim.start(f"{place}=kill@{hit}")
    batch = f"{place}-{service}-{next(numbers)}"
    images = sorted(path.relative_to(world.root("source")) for path in world.root("source").rglob("*.*"))[:IMAGES]
    lives = victim.lives
    sent = document(batch, map(str, images), operations)
    world.submit(sent)
    world.until(lambda: victim.lives > lives or world.ended(batch), f"death at {place}")
    assert victim.lives > lives, f"failpoint not reached: {place} in {service}"
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


def test_afterwards_nothing_is_left(world):
    world.until_clean()
    verdict = world.verdict()
    print(f"\nfailpoints: {verdict}")
    assert verdict.clean
    assert verdict.faults * IMAGES >= verdict.images, "a batch saw no death"
    assert [service.left() for service in world.services.values()] == [[]] * len(world.services)

"""Batches with one bad image in 20: all end, exactly the bad ones fail, and replaying them changes nothing twice.

Every batch is submitted twice, and the coordinator is killed while they are submitted.
"""

import os
import random
import subprocess
import sys

import pytest
from tests.chaos.faults import installed_in
from tests.chaos.faults.muniflow_trouble import TROUBLES, WHOLE_WORKER_WIDTH_PX
from tests.chaos.harness import OPERATIONS, Harness, document
from tests.chaos.pictures import write_pictures
from tests.chaos.truth import Truth, digests, seed_of
from tests.unit.images import craft
from tests.unit.images.bad_images import bad_images

from muniflow.worker.held import MARK_AFTER, MAX_BEGUN

KILLS = int(os.environ.get("KILLS") or "0")
LONG = 100
BATCHES = 100 if KILLS >= LONG else 60
GOOD = 19
ROUTE = [["trouble", True], ["resize", "50%"], ["split", True], ["blur", "gaussian"]]
COORDINATOR_DIES_AFTER = tuple(BATCHES * percent // 100 for percent in (15, 40, 65, 90))
"""The coordinator is killed when so many batches have been sent."""
MISSING = "bad/nobody-sent-this.jpg"
LIMIT_S = 240.0


@pytest.fixture(scope="module")
def harness(node_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("poison")
    variables = {
        **installed_in(folder / "packages"),
        "MUNIFLOW_COMPUTE_TIMEOUT_S": "1.5",
        "MUNIFLOW_MEMORY_LIMIT_MB": "1536",
    }
    workers = dict.fromkeys(("trouble", *OPERATIONS), 1)
    with Harness(folder, node_settings.settings, node_settings.node, workers, variables) as made:
        made.until_ready()
        yield made


@pytest.fixture(scope="module")
def poisons(harness):
    """The keys of all bad images, each kind once."""
    folder = harness.root("source") / "bad"
    folder.mkdir()
    for bad in bad_images():
        (folder / bad.name).write_bytes(bad.data)
    for width_px, (name, _) in TROUBLES.items():
        (folder / f"{name}.png").write_bytes(craft.png(craft.photo(width_px, 40)))
    return [
        *(f"bad/{bad.name}" for bad in bad_images()),
        *(f"bad/{name}.png" for name, _ in TROUBLES.values()),
        MISSING,
    ]


@pytest.fixture(scope="module")
def batches(harness, poisons):
    """Documents with their truths: what the good images become without any trouble, and which one fails."""
    images = write_pictures(harness.root("source"), GOOD)
    good = harness.truth(document("good", images, ROUTE[1:], "jpg"))
    dice = random.Random(seed_of())
    made = {}
    for number in range(BATCHES):
        poison = poisons[number % len(poisons)]
        mixed = list(images)
        mixed.insert(dice.randrange(GOOD + 1), poison)
        batch = document(f"poison-{number}", mixed, ROUTE, "jpg")
        harness.know(batch, Truth(good.outputs, frozenset({poison}), GOOD + 1))
        made[batch["batch_id"]] = batch
    return made


@pytest.mark.timeout(LIMIT_S + 60)
def test_every_batch_ends_and_exactly_the_poison_fails(harness, batches, poisons, capsys):
    assert len(poisons) <= BATCHES, "each kind is in a batch"
    kills = 0
    for number, batch in enumerate(batches.values()):
        harness.submit(batch, times=2)
        if number in COORDINATOR_DIES_AFTER:
            harness.coordinator.kill()
            kills += 1
        harness.tend()
    harness.until_ended(*batches, limit_s=LIMIT_S)
    harness.until_clean()
    guarantees = harness.guarantees()
    with capsys.disabled():
        print(f"\npoison: {guarantees}; {len(poisons)} kinds in {BATCHES} batches, each submitted twice, kills {kills}")
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"
    assert {status.state for status in map(harness.status, batches)} == {"partial"}
    assert [service.lives for name, service in harness.services.items() if name != "coordinator"] == [1] * 4


@pytest.mark.timeout(LIMIT_S * 2)
def test_replaying_all_dead_letters_twice_changes_nothing_twice(harness, batches, capsys):
    before = {batch: digests(harness.root("output") / batch) for batch in batches}
    replayed = 0
    for _ in range(2):
        # A task that was dispatched again after a kill of the coordinator has failed, and is kept, once more.
        letters = harness.dead_letters()
        assert letters >= BATCHES
        settled = harness.metric("coordinator", SETTLED) + BATCHES
        assert replay(harness) == f"replayed: {letters}\n"
        replayed += letters
        harness.until(lambda settled=settled: harness.metric("coordinator", SETTLED) >= settled, "all to fail again")
        harness.until_clean()
        harness.until_ended(*batches, limit_s=LIMIT_S)
    guarantees = harness.guarantees()
    with capsys.disabled():
        print(f"\nreplayed all dead letters twice, {replayed} in all: {guarantees}")
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"
    assert {batch: digests(harness.root("output") / batch) for batch in batches} == before
    harness.until_clean()


def test_the_letter_of_a_mended_image_makes_its_batch_whole(harness, poisons):
    batch, poison = "poison-0", poisons[0]
    before = digests(harness.root("output") / batch)
    (harness.root("source") / poison).write_bytes(craft.jpeg(craft.photo(64, 48)))
    assert replay(harness, "--batch", batch) == "replayed: 1\n"
    harness.until(lambda: harness.status(batch).state == "done", "a whole batch")
    status, after = harness.status(batch), digests(harness.root("output") / batch)
    assert (status.total, status.done, status.failed) == (GOOD + 1, GOOD + 1, 0)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 4


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.skipif(KILLS < LONG, reason=f"20 ends of a worker take their time: runs where KILLS is at least {LONG}")
def test_an_image_that_takes_the_whole_worker_along_fails_alone(harness, poisons, capsys):
    """It is given up in the end; those that were delivered with it are done."""
    images = write_pictures(harness.root("source"), GOOD)
    good = harness.truth(document("good", images, ROUTE[1:], "jpg"))
    killer = poisons[0].partition("/")[0] + "/whole-worker.png"
    (harness.root("source") / killer).write_bytes(craft.png(craft.photo(WHOLE_WORKER_WIDTH_PX, 40)))
    batch = document("whole-worker", [*images[:9], killer, *images[9:]], ROUTE, "jpg")
    harness.know(batch, Truth(good.outputs, frozenset({killer}), GOOD + 1))
    harness.submit(batch)
    harness.until_ended("whole-worker", limit_s=LIMIT_S)
    guarantees = harness.guarantees("whole-worker")
    with capsys.disabled():
        print(f"\nwhole workers: {guarantees}")
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"
    (failed,) = harness.client.images("whole-worker", state="failed")
    assert f"{MAX_BEGUN} workers ended while they computed it alone" in failed.reasons[0]
    assert MAX_BEGUN < harness.services["trouble-1"].lives <= MARK_AFTER + MAX_BEGUN + 1
    harness.until_clean()


def replay(harness, *arguments):
    """Replay dead letters as a person does; returns what is printed."""
    done = subprocess.run(
        [sys.executable, "-m", "muniflow_cli.main", "dead", "replay", *arguments],
        env={**harness.services["trouble-1"].environment(), "MUNIFLOW_COORDINATOR_URL": harness.client.url},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    return done.stdout


SETTLED = 'muniflow_images_settled_total{state="failed"}'

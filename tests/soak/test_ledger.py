"""A small ledger is filled and asked as a large one: `make large-ledger IMAGES=50000000 OUT=FOLDER`."""

import time
from functools import partial

import pytest
from tests.chaos.harness import Harness
from tests.soak.ledger import __main__ as large
from tests.soak.ledger.fill import batches_of, fill

IMAGES = 30_000


def test_the_batches_hold_all_images_and_are_the_same_each_time():
    wanted = batches_of(IMAGES, 0.0)
    assert sum(each.images for each in wanted) == IMAGES
    assert wanted == batches_of(IMAGES, 0.0)
    assert len({each.images for each in wanted}) == 3


@pytest.mark.timeout(300)
def test_every_question_is_answered_in_time_and_what_was_kept_long_enough_goes(broker_of_tests, tmp_path, monkeypatch):
    wanted = batches_of(IMAGES, time.time())
    url = f"sqlite:///{tmp_path}/state/ledger.sqlite"
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(large, "EXPIRED_DAYS", 40.0)
    *_, half = fill(url, wanted[: len(wanted) // 2])
    *_, rest = fill(url, wanted)
    assert half + rest == IMAGES
    harness_of = partial(Harness, tmp_path, broker_of_tests.settings, broker_of_tests.node, database_url=url)
    answers = large.ask(harness_of, wanted)
    answers += large.ask_archived(harness_of, wanted)
    old = next(each for each in wanted if each.owner == wanted[-1].owner)
    with large.running(harness_of(workers={}, goes_on=True), wanted) as asker:
        assert asker.is_archived(old)
        found = asker.images(old)
        replayed = asker.ask_replay(old)
    assert [(each["image"], each["state"], each["outputs"]) for each in found] == [
        (n, "done", [f"out/{old.id}/photos/2026/district-0/IMG_{n}-0.jpg"]) for n in range(old.images)
    ]
    assert replayed.status_code == 409
    assert "the batch is archived" in replayed.text
    assert [str(each) for each in answers if each.late] == []

"""A worker and what the coordinator signed: what fits runs, all else settles nothing and is kept."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.compute_help import files, picture, spec, task, write_source
from tests.support.worker_help import WorkerHarness, published

from muniflow.errors import Invalid
from muniflow.model.messages import Task
from muniflow.model.settlement import MAX_ATTEMPTS
from muniflow.model.topology import dead_queue, step_queue
from muniflow.runtime.followed_file import LOOK_S
from muniflow.runtime.key_files import drop_key, keys_in, rotate_keys
from muniflow.runtime.settings import GrantSettings
from muniflow.runtime.signing import new_signing_key
from muniflow.testing.virtual_time import VirtualClock
from muniflow.worker.grants import KEPT_BATCHES, GrantCheck
from muniflow.worker.held import BEGUN, MAX_BEGUN

SOURCES = ("",)


def check_of(keys, clock=None, unsigned="refuse"):
    settings = GrantSettings(verify_keys_file=str(keys[1]), unsigned_tasks=unsigned)
    return GrantCheck.of(settings, clock or VirtualClock())


def signed(keys, made: Task, key=None) -> Task:
    return made.model_copy(update={"grant": (key or keys_in(keys[0])[0]).sign(made, SOURCES)})


def test_what_is_signed_runs_and_what_is_forged_is_kept_without_an_event(tmp_path, keys):
    for number in range(3):
        write_source(tmp_path, f"{number}.png", picture(30, 20, number))
    good = [signed(keys, task(f"{n}.png", "smooth", image=n)) for n in range(2)]
    forged = [
        good[0].model_copy(update={"destination": "elsewhere"}),
        task("2.png", "smooth", image=2),
    ]
    harness = WorkerHarness(spec(tmp_path), ("smooth",))
    harness.worker.consumer.grants = check_of(keys)
    dead = dead_queue(step_queue("smooth"))

    def look():
        if len(harness.coverage) == len(good) and harness.broker.depths().get(dead) == len(forged):
            harness.worker.stop()
        else:
            harness.loop.call_later(0.01, look)

    look()
    # Whatever its headers say: a forged task does not fail its image as one that ends workers.
    messages = [replace(message, headers={BEGUN: MAX_BEGUN})
                for message in published(forged)]  # fmt: skip
    harness.run([*messages, *published(good)])

    assert harness.exit_code == 0
    assert sorted(harness.coverage) == [0, 1]
    assert [part.reason for part in harness.settled] == [None, None]
    assert sorted(files(tmp_path / "output")) == ["out/0-0.png", "out/1-0.png"]
    assert {tally.failed for tally in harness.tallies} == {0}
    assert harness.sample("muniflow_failures_total", step="smooth", reason="foreign") == len(forged)
    assert harness.sample("muniflow_tasks_held") == 0


def test_a_worker_without_keys_takes_all_but_cannot_refuse(keys):
    check = GrantCheck.of(GrantSettings())

    assert check.refusal(signed(keys, task("a.png", "smooth"))) is None
    assert check.refusal(task("a.png", "smooth")) is None
    with pytest.raises(Invalid, match="MUNIFLOW_VERIFY_KEYS_FILE"):
        GrantCheck.of(GrantSettings(unsigned_tasks="refuse"))
    keys[1].write_text("no keys")
    with pytest.raises(Invalid, match=r"MUNIFLOW_VERIFY_KEYS_FILE.*PEM"):
        check_of(keys)


def test_unsigned_tasks_are_taken_for_one_release_but_no_false_ones(keys):
    check = check_of(keys, unsigned="accept")
    good = signed(keys, task("a.png", "smooth"))

    assert check.refusal(task("a.png", "smooth")) is None
    assert check.refusal(good.model_copy(update={"decode": "fast"})) is not None


def test_a_key_that_is_not_known_yet_is_waited_for(keys):
    clock = VirtualClock()
    check = check_of(keys, clock)
    other = new_signing_key()
    first, later = signed(keys, task("a.png", "smooth")), signed(keys, task("a.png", "smooth"), other)
    assert check.refusal(first) is None

    waiting = check.refusal(later)
    assert waiting is not None
    assert [(one.disposition, one.kind, one.delay_s) for one in waiting.tasks] == [("retry", "verify key", 5)]
    assert waiting.tallies == waiting.settled == []
    given_up = check.refusal(later.model_copy(update={"attempt": MAX_ATTEMPTS}))
    assert given_up is not None
    assert [(one.disposition, one.code, one.kept) for one in given_up.tasks] == [("failed", "task_foreign", True)]
    assert given_up.settled == []

    rotated = rotate_keys(*keys)
    newer = signed(keys, task("a.png", "smooth"))
    assert newer.grant is not None
    assert newer.grant.key == rotated
    clock.advance_to(clock.monotonic_s() + LOOK_S)
    assert check.refusal(newer) is None
    assert check.refusal(first) is None
    assert first.grant is not None
    drop_key(keys[0], keys[1], first.grant.key)
    clock.advance_to(clock.monotonic_s() + LOOK_S)
    assert check.refusal(first) is not None, "what a dropped key has signed is not known any more"


def test_a_verified_signature_counts_for_nothing_else(keys):
    check = check_of(keys)
    good = signed(keys, task("a.png", "smooth"))
    assert check.refusal(good) is None

    for update in ({"destination": "x"}, {"batch": "c"}, {"route": good.route * 2}, {"profile": "c/0/0/0.icc"}):
        assert check.refusal(good.model_copy(update=update)) is not None
    assert check.refusal(good.model_copy(update={"source": "b.png", "image": 9, "run": 3})) is None


def test_few_batches_are_remembered(keys):
    check = check_of(keys)
    for number in range(KEPT_BATCHES + 2):
        assert check.refusal(signed(keys, task("a.png", "smooth", batch=f"b{number}"))) is None

    assert len(check._known) == KEPT_BATCHES


def test_a_file_of_keys_that_is_spoilt_leaves_them_as_they_were(keys, caplog):
    clock = VirtualClock()
    check = check_of(keys, clock)
    good = signed(keys, task("a.png", "smooth"))
    text = Path(keys[1]).read_text()
    for spoilt in ("", None, text):
        if spoilt is None:
            keys[1].unlink()
        else:
            keys[1].write_text(spoilt)
        clock.advance_to(clock.monotonic_s() + LOOK_S)
        assert check.refusal(good) is None
    assert "stays as it was" in caplog.text


def test_the_key_that_signs_cannot_be_dropped_and_the_private_file_is_for_its_owner(keys):
    (key,) = keys_in(keys[0])
    for wanted, text in ((key.id, "rotate first"), ("none", key.id)):
        with pytest.raises(Invalid, match=text):
            drop_key(keys[0], keys[1], wanted)
    assert keys[0].stat().st_mode & 0o777 == 0o600

import subprocess
import sys

import pytest

from muniflow.errors import Invalid, Unavailable
from muniflow.runtime.failpoints import SYNCS, VARIABLE, Failpoints, nothing


def test_a_place_that_is_not_armed_does_nothing():
    assert Failpoints.from_env({}).at("worker.after_publish") is nothing


def test_a_place_acts_at_its_hit_and_only_then():
    hit = Failpoints.from_env({VARIABLE: "worker.after_ack=fail@2"}).at("worker.after_ack")
    hit()
    with pytest.raises(Unavailable):
        hit()
    hit()


def test_a_star_acts_at_every_hit():
    hit = Failpoints.from_env({VARIABLE: "worker.after_ack=fail@*"}).at("worker.after_ack")
    for _ in range(3):
        with pytest.raises(Unavailable):
            hit()


@pytest.mark.parametrize(("action", "signal_number"), [("kill", 9), ("crash", 6)])
def test_a_process_dies_at_its_place(action, signal_number):
    program = (
        "import os; os.setsid(); from muniflow.runtime.failpoints import Failpoints\n"
        "Failpoints.from_env(os.environ).at('child.after_load')(); print('alive')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={VARIABLE: f"child.after_load={action}"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (-signal_number, b"")


def test_a_sync_is_left_out_and_no_other():
    failpoints = Failpoints.from_env({VARIABLE: "store.sync_file=skip, child.after_load=fail"})
    assert [sync for sync in SYNCS if failpoints.skips(sync)] == ["store.sync_file"]
    with pytest.raises(Unavailable):
        failpoints.at("child.after_load")()


@pytest.mark.parametrize(
    "entry",
    [
        "child.after_load=skip",
        "store.sync_file=kill",
        "nowhere=kill",
        "child.after_load=explode",
        "child.after_load=kill@x",
    ],
)
def test_a_wrong_entry_is_named(entry):
    with pytest.raises(Invalid, match=VARIABLE):
        Failpoints.from_env({VARIABLE: entry})

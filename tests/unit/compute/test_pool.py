"""A real fork server with real children that crash, hang, eat memory and are killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.compute_help import files, picture, spec, task, write_source
from tests.support.pool_help import PoolRun, reasons

from muniflow.forecast.service_time import Sums
from muniflow.model.topology import DELAYS_S

BAD_WIDTH = 40


@pytest.fixture
def root(tmp_path):
    for number in range(8):
        write_source(tmp_path, f"{number}.png", picture(30 + number, 20, seed=number))
    write_source(tmp_path, "bad.png", picture(BAD_WIDTH, 20))
    return tmp_path


def group(op, *, bad_at=None, images=6, **params):
    """Tasks of one operation; the one at `bad_at` has the picture on which it misbehaves."""
    step = (op, {"width_px": BAD_WIDTH, **params})
    return [task("bad.png" if n == bad_at else f"{n}.png", step, image=n) for n in range(images)]


@pytest.mark.parametrize(("shared_cores", "least_s"), [(False, 1.0), (True, 0.0)])
def test_on_shared_cores_the_cpu_time_of_tasks_counts(root, shared_cores, least_s):
    """Tasks that only wait, and what the coordinator learns of them."""
    run = PoolRun(spec(root, shared_cores=shared_cores))
    results = run.run([[task(f"{n}.png", ("nap", {"seconds": 0.5}), image=n) for n in range(2)]])
    (tally,) = (tally for result in results for tally in result.tallies)
    (learned,) = tally.tasks or ()
    sums = Sums.from_list(learned.sums)
    assert sums.n == 2
    assert least_s < sums.seconds < least_s + 0.9, "half a second of each task waited for nothing"
    assert all(taken.seconds >= 0.5 for result in results for taken in result.tasks), "users see the wall clock"


def server_of(run: PoolRun) -> Any:
    return run.pool._server._process


def pids_of(run):
    return [pid for pid in run.pool.pids if pid > 0]


def test_groups_come_back_with_everything_ready_to_publish(root):
    run = PoolRun(spec(root), children=2)
    results = run.run([group("smooth", images=3), group("smooth", images=2)])
    assert [len(result.tasks) for result in results] == [3, 2]
    assert {result.disposition for part in results for result in part.tasks} == {"done"}
    assert run.deaths == []
    assert list(files(root / "output")) == ["out/0-0.png", "out/1-0.png", "out/2-0.png"]
    assert all(taken.pixels > 0 and taken.seconds > 0 and taken.first for taken in results[0].tasks)


def test_a_group_that_takes_too_long_gives_back_what_has_not_begun(root):
    """Also where a child has died before, so that it comes back in parts."""
    run = PoolRun(spec(root, group_stop_s=0.25))
    naps = [task(f"{n}.png", ("nap", {"seconds": 0.1}), image=n) for n in range(1, 8)]
    (result,) = run.run([[*group("abort", bad_at=0, images=1), *naps]])
    began = [task.image for task in result.sources]
    assert began + [task.image for task in result.unbegun] == list(range(8))
    assert 1 < len(began) < 5, "naps of 0.1 s, and 0.25 s for a group"
    assert sorted(reasons([result])) == began
    assert len(files(root / "output")) == len(began) - 1


@pytest.mark.parametrize("bad_at", [0, 3, 5])
def test_a_crash_fails_its_task_alone(root, bad_at):
    run = PoolRun(spec(root))
    results = run.run([group("abort", bad_at=bad_at)])
    expected = dict.fromkeys(range(6)) | {bad_at: "crashed the decoder or the operation (signal 6, SIGABRT)"}
    assert reasons(results) == expected
    assert run.deaths == ["signal 6, SIGABRT"]
    told = [done.reason for result in results for done in result.tasks if done.disposition == "failed"]
    assert told == [expected[bad_at]]


def test_every_task_of_a_group_can_crash(root):
    run = PoolRun(spec(root))
    results = run.run([[task("bad.png", "abort", image=n) for n in range(4)]])
    assert len(reasons(results)) == 4
    assert all(reasons(results).values())


def test_a_task_that_hangs_is_stopped_and_its_neighbours_go_on(root):
    run = PoolRun(spec(root, task_timeout_s=2))
    results = run.run([group("hang", bad_at=2), group("smooth", images=1)])
    assert reasons(results[:1]) == dict.fromkeys(range(6)) | {2: "took longer than 2 s (MUNIFLOW_COMPUTE_TIMEOUT_S)"}
    assert reasons(results[1:]) == {0: None}
    assert run.deaths == ["took longer than 2 s (MUNIFLOW_COMPUTE_TIMEOUT_S)"]


def test_a_task_that_needs_too_much_memory_fails_in_a_child_that_survives(root):
    run = PoolRun(spec(root, memory_limit_bytes=4 * 2**30))
    results = run.run([group("greedy", bad_at=1)])
    assert reasons(results) == dict.fromkeys(range(6)) | {
        1: "the image needs more memory than a compute child may use (MUNIFLOW_MEMORY_LIMIT_MB)"
    }
    assert run.deaths == []


def test_one_kill_from_outside_harms_nobody(root):
    killed: list[int] = []

    def kill_once(run):
        current = [handle.at_work() for handle in run.pool._handles.values()]
        if not killed and any(found is not None and found.place == 2 for found in current):
            killed.extend(pids_of(run))
            os.kill(killed[0], signal.SIGKILL)

    run = PoolRun(spec(root), on_tick=kill_once)
    results = run.run([group("nap", bad_at=2, seconds=0.4)])
    assert len(killed) == 1
    assert reasons(results) == dict.fromkeys(range(6))
    assert run.deaths == ["signal 9, SIGKILL"]


def test_a_task_that_always_gets_its_child_killed_fails_alone(root):
    def kill_at_the_bad_one(run):
        for pid, handle in run.pool._handles.items():
            current = handle.at_work()
            if current is not None and current.assignment.tasks[current.place].task.source == "bad.png":
                os.kill(pid, signal.SIGKILL)

    run = PoolRun(spec(root), children=2, on_tick=kill_at_the_bad_one)
    results = run.run([group("nap", bad_at=2, seconds=0.4)])
    reason = "ended 2 compute children (signal 9, SIGKILL); most likely it needs more memory than there is"
    assert reasons(results) == dict.fromkeys(range(6)) | {2: reason}


def test_a_death_before_the_first_task_is_nobodys_fault(root):
    killed: list[int] = []

    def kill_idle(run):
        if pids_of(run) and not killed:
            (pid,) = pids_of(run)
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    run = PoolRun(spec(root), on_tick=kill_idle, tick_s=0.0005)
    results = run.run([group("smooth")])
    assert killed
    assert reasons(results) == dict.fromkeys(range(6))


def test_children_that_cannot_live_make_the_work_one_to_retry(root):
    # A child dies while it opens its stores.
    run = PoolRun(spec(root, source_url="nowhere://"))
    (result,) = run.run([group("smooth", images=2)])
    assert [taken.disposition for taken in result.tasks] == ["retry", "retry"]
    assert [taken.delay_s for taken in result.tasks] == [DELAYS_S[0]] * 2
    assert all(tally.waiting_for for tally in result.tallies), "the status says what they wait for"


def hands_seen(run: PoolRun) -> list[int]:
    """How many groups a child has in its hands, at each tick."""
    seen: list[int] = []
    run.on_tick = lambda run: seen.extend(len(handle.assignments) for handle in run.pool._handles.values())
    run.tick_s = 0.005
    return seen


@pytest.mark.parametrize("early", [True, False])
def test_a_child_takes_an_early_group_behind_the_one_it_has_and_no_other(root, early):
    run = PoolRun(spec(root))
    seen = hands_seen(run)
    results = run.run([group("nap", bad_at=0, images=2, seconds=0.1) for _ in range(4)], early=early)
    assert [len(result.tasks) for result in results] == [2, 2, 2, 2]
    assert max(seen) == (2 if early else 1)


def test_early_groups_go_to_children_that_have_nothing_first(root):
    run = PoolRun(spec(root), children=2)
    seen = hands_seen(run)
    run.run([group("nap", bad_at=0, images=1, seconds=0.2) for _ in range(2)], early=True)
    assert max(seen) == 1


def test_the_next_group_is_computed_while_the_reply_to_the_last_one_waits(root, monkeypatch):
    monkeypatch.setenv("MUNIFLOW_FAILPOINTS", "child.before_reply=stall:0.5@1")
    both: list[bool] = []

    def look(run):
        for handle in run.pool._handles.values():
            at_work = handle.at_work()
            both.append(
                at_work is not None and len(handle.assignments) == 2 and at_work.assignment is handle.assignments[1]
            )

    run = PoolRun(spec(root), on_tick=look, tick_s=0.005)
    first, second = run.run([group("smooth", images=2), group("nap", bad_at=0, images=1, seconds=0.3)], early=True)
    assert any(both)
    assert [len(result.tasks) for result in (first, second)] == [2, 1], "and the replies come in their order"


def test_a_crash_in_an_early_group_does_not_harm_the_one_that_is_computed_and_not_replied_to(root, monkeypatch):
    monkeypatch.setenv("MUNIFLOW_FAILPOINTS", "child.before_reply=stall:0.5@1")
    run = PoolRun(spec(root))
    ours = group("smooth", images=2)
    theirs = [task("bad.png", ("abort", {"width_px": BAD_WIDTH}), image=7), task("6.png", "smooth", image=6)]
    results = run.run([ours, theirs], early=True)
    assert reasons(results) == {0: None, 1: None, 6: None} | {
        7: "crashed the decoder or the operation (signal 6, SIGABRT)"
    }
    assert run.deaths == ["signal 6, SIGABRT"]


def test_a_reply_that_fails_ends_its_child_and_the_group_is_computed_again(root, monkeypatch, capfd):
    monkeypatch.setenv("MUNIFLOW_FAILPOINTS", "child.before_reply=fail@2")
    run = PoolRun(spec(root))
    results = run.run([group("smooth", images=2), [task("5.png", "smooth", image=5)]], early=True)
    assert reasons(results) == {0: None, 1: None, 5: None}
    assert run.deaths == ["exit code 1"]
    assert "a test asked for it" in capfd.readouterr().err


def test_the_fork_server_is_started_again(root):
    killed: list[int] = []

    def kill_server(run):
        server = server_of(run)
        if pids_of(run) and not killed and any(handle.at_work() for handle in run.pool._handles.values()):
            killed.append(server.pid)
            os.kill(server.pid, signal.SIGKILL)

    run = PoolRun(spec(root), on_tick=kill_server)
    results = run.run([group("nap", bad_at=0, seconds=0.3), group("smooth", images=2)])
    assert killed
    assert run.deaths == ["the fork server ended"]
    assert reasons(results[:1]) == dict.fromkeys(range(6))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"steps": "tests.support.compute_steps:no_steps"}, "ImportError: a step package is broken"),
        ({"preload": ("no_such_module",)}, "No module named 'no_such_module'"),
        ({"operations": ("smooth", "sharpen")}, "sharpen not installed here"),
    ],
)
def test_a_preload_that_fails_is_said_and_not_passed_over(root, fields, problem):
    run = PoolRun(spec(root, **fields))
    assert run.run([group("smooth")]) == []
    assert len(run.failed) == 1
    assert problem in run.failed[0]


def test_a_pool_that_is_stopped_at_work_leaves_nothing_running(root, capfd):
    pids = set()

    def stop_at_work(run):
        pids.update(pids_of(run))
        if any(handle.at_work() for handle in run.pool._handles.values()):
            run.on_tick = lambda _run: None
            os.kill(next(iter(pids)), signal.SIGKILL)  # its exit report is never read
            run.end()

    run = PoolRun(spec(root), children=2, on_tick=stop_at_work)
    assert run.run([group("hang", bad_at=0), group("hang", bad_at=0)]) == []
    assert server_of(run).poll() == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert "Traceback" not in capfd.readouterr().err


def test_nothing_is_left_running(root):
    run = PoolRun(spec(root), children=2)
    pids = set()
    run.on_tick = lambda run: pids.update(pids_of(run))
    run.run([group("nap", bad_at=0, seconds=0.1)])
    assert pids
    assert server_of(run).poll() == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_the_parent_imports_neither_numpy_nor_opencv():
    code = (
        "import sys, muniflow.compute.pool, muniflow.worker.main, muniflow.worker.consumer, muniflow.worker.serve;"
        "print([name for name in ('numpy', 'cv2', 'muniflow_resize') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"

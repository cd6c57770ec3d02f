"""What a worker reports of whole tasks, from which the coordinator learns service times."""

import json
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.compute_help import context, picture, spec, write_source
from tests.support.worker_help import WorkerHarness, run_over_memory_broker

from muniflow.compute.groups import Span, decode_result, encode_result, result_of
from muniflow.compute.outcome import Outcome, failed_whole
from muniflow.compute.process import process
from muniflow.compute.spec import INSTALLED
from muniflow.compute.step import installed_steps
from muniflow.compute.task_sums import Work
from muniflow.forecast.service_time import EARLIER_LENGTH, Sums
from muniflow.forecast.task_class import Reads
from muniflow.model.batch import read_step
from muniflow.model.messages import Encoding, Events, RouteStep, Task
from muniflow.model.settlement import Done, Fail, Retry
from muniflow.worker.outgoing import messages_of

RESIZE, SPLIT, BLUR = ["resize", "50%"], ["split", True], ["blur", "gaussian"]


def steps_of(*route: Any) -> tuple[RouteStep, ...]:
    operations = {name: step.operation for name, step in installed_steps().items()}
    return tuple(read_step(entry, operations, "") for entry in route)


def task_of(source: str, *route: Any, image: int = 0, **fields: Any) -> Task:
    values: dict[str, Any] = {"batch": "b", "destination": "out", "encoding": Encoding(format="jpg")}
    return Task(image=image, source=source, stem=str(image), route=steps_of(*route), **{**values, **fields})


TASK = task_of("a.jpg", RESIZE, SPLIT, BLUR)


works = st.builds(
    Work,
    step=st.integers(0, 1),
    steps=st.integers(1, 2),
    reads=st.sampled_from(["jpg", "raw"]),
    device=st.sampled_from(["cpu", "opencl"]),
    pixels_in=st.sampled_from([0, 1, 262_144, 12_000_000]),
    pixels_out=st.sampled_from([0, 1, 262_144, 12_000_000]),
    outputs=st.sampled_from([0, 1, 16]),
)
ends = st.one_of(works, st.sampled_from([Retry(5, "store"), Fail("torn")]))


@given(st.lists(st.tuples(ends, st.floats(1e-4, 60)), max_size=20))
def test_the_sums_of_a_group_are_those_of_its_done_tasks(group: Sequence[tuple[Work | Retry | Fail, float]]) -> None:
    results = [
        (TASK, Outcome(Done(), work=end) if isinstance(end, Work) else failed_whole(TASK, end)) for end, _ in group
    ]
    made = result_of(results, [Span(1.0, seconds) for _, seconds in group], 1.0)
    result = decode_result(encode_result(made))
    expected: dict[tuple[int, int, Reads, str], Sums] = {}
    for end, seconds in group:
        if isinstance(end, Work):
            key = (end.step, end.steps, end.reads, end.device)
            one = Sums.of(end.pixels_in / 1e6, end.pixels_out / 1e6, seconds, end.outputs)
            expected[key] = expected.get(key, Sums()) + one
    found = {
        (tally.step, sums.steps, sums.reads, sums.device): [*sums.sums, *(sums.outputs or ())]
        for tally in result.tallies
        for sums in tally.tasks or ()
    }
    assert found.keys() == expected.keys()
    for key, sums in expected.items():
        assert found[key] == pytest.approx(sums.as_list(), rel=1e-6)


def test_an_earlier_build_leaves_the_sums_out_and_reads_the_rest() -> None:
    outcome = Outcome(Done(), work=Work(0, 3, "jpg", "cpu", 12_000_000, 3_000_000, 4))
    result = result_of([(TASK, outcome)], [Span(1.0, 0.5)], 1.0)
    result.sources = [TASK]
    (message,) = messages_of(result, now_s=1.0)
    body = json.loads(message.body)
    assert body["v"] == 1
    assert len(message.body) < 550, "reports stay small"
    ((reported,),) = (tally["tasks"] for tally in body["tallies"])
    assert len(reported["sums"]) == EARLIER_LENGTH, "a coordinator that does not know outputs refuses more numbers"
    for tally in body["tallies"]:
        del tally["tasks"]
    assert Events.model_validate(body).tallies[0].tasks is None, "an earlier worker says nothing"


def run_worker(root: Path, tasks: Sequence[Task]) -> dict[tuple[int, int, str, str], Sums]:
    """What a real worker with all operations says of `tasks`, by first step, steps, reads and device."""
    harness: WorkerHarness = run_over_memory_broker(root, tasks, spec(root, steps=INSTALLED))
    found: dict[tuple[int, int, str, str], Sums] = {}
    for tally in harness.tallies:
        for sums in tally.tasks or ():
            key = (tally.step, sums.steps, sums.reads, sums.device)
            found[key] = reduce(add, [found.get(key, Sums()), Sums.from_list((*sums.sums, *(sums.outputs or ())))])
    return found


SIZES = [(400, 200), (120, 80)]
MP = sum(width_px * height_px for width_px, height_px in SIZES) / 1e6


@pytest.mark.parametrize(("suffix", "decode", "route", "mp_out", "outputs"), [
    ("jpg", "exact", (RESIZE,), MP / 4, 1),
    ("jpg", "fast", (RESIZE,), MP / 4, 1),
    ("png", "exact", (SPLIT, BLUR), MP, 4),
    ("webp", "exact", (RESIZE, SPLIT, BLUR), MP / 4, 4),
    ("jpg", "exact", (RESIZE, SPLIT, BLUR, SPLIT), MP / 4, 16),
])  # fmt: skip
def test_a_worker_reports_the_megapixels_and_outputs_of_its_tasks(  # noqa: PLR0917 - a table's columns
    tmp_path: Path, suffix: str, decode: str, route: Sequence[Any], mp_out: float, outputs: int
) -> None:
    for number, size in enumerate(SIZES):
        write_source(tmp_path, f"{number}.{suffix}", picture(*size))
    tasks = [task_of(f"{number}.{suffix}", *route, image=number, decode=decode) for number in range(len(SIZES))]
    ((key, sums),) = run_worker(tmp_path, tasks).items()
    assert key == (0, len(route), suffix, "cpu")
    assert (sums.n, sums.mp_in, sums.mp_out, sums.outputs) == pytest.approx((2, MP, mp_out, 2 * outputs))
    assert 0 < sums.seconds < 60


def test_tasks_that_fail_are_not_reported(tmp_path: Path) -> None:
    write_source(tmp_path, "0.jpg", picture(400, 200))
    (tmp_path / "source/1.jpg").write_bytes(b"no image")
    ((_, sums),) = run_worker(tmp_path, [task_of(f"{n}.jpg", RESIZE, image=n) for n in range(2)]).items()
    assert (sums.n, sums.mp_in) == pytest.approx((1, 0.08))


def test_a_task_between_two_workers_reads_and_writes_raw_pixels(tmp_path: Path) -> None:
    """A source is named by its bytes, whatever its suffix is."""
    write_source(tmp_path, "a.png", picture(400, 200))
    (tmp_path / "source/a.png").rename(tmp_path / "source/a.jpg")
    steps = installed_steps()
    first = process(task_of("a.jpg", RESIZE, BLUR), context(tmp_path, steps={"resize": steps["resize"]}))
    assert first.work == Work(0, 1, "png", "cpu", 80_000, 20_000, 1)
    ((key, sums),) = run_worker(tmp_path, first.follow).items()
    assert key == (1, 1, "raw", "cpu")
    assert (sums.n, sums.mp_in, sums.mp_out) == pytest.approx((1, 0.02, 0.02))

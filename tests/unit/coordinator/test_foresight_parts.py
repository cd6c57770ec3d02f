"""The pure parts of the signal: stages, guesses, remaining work."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.errors import Invalid
from muniflow.forecast.profile import Profile
from muniflow.forecast.route import Path
from muniflow.forecast.sizes import Picture, SizeSample
from muniflow.forecast.stage import Stage, Stages, read_stages, visited, write_stages
from muniflow.forecast.work import BatchWork, seconds_of
from muniflow.model.batch import read_batch
from muniflow.model.messages import Route
from muniflow.model.operation import Size, installed_operations
from muniflow.runtime.settings import read_env
from muniflow_coordinator.foresight.fleet import completed, counted_operation, stages_of
from muniflow_coordinator.foresight.guess import USUAL, guessed
from muniflow_coordinator.foresight.remaining import Position, remaining
from muniflow_coordinator.settings import CoordinatorSettings

OPERATIONS = installed_operations()
STEPS = [["resize", "800x600"], ["split", "2x2"], ["blur", "gaussian"]]
COUNT = 100


def stage(name: str, *operations: str, device: str = "cpu") -> Stage:
    return Stage(name=name, operations=operations or (name,), device=device)


APART = (stage("resize"), stage("split"), stage("blur"))
CHAINED = (stage("front", "resize", "split"), stage("blur"))
SHARED = (stage("cpu", "resize", "split", "blur"), stage("gpu", "blur", device="opencl"))


def route_of(steps: Sequence[Sequence[object]]) -> Route:
    document = {"batch_id": "b", "source": "in", "images": ["1.jpg"], "operations": steps}
    return read_batch(json.dumps(document).encode(), OPERATIONS).route


def work_of(stages: Stages, sample: SizeSample) -> BatchWork:
    document = {"batch_id": "b", "source": "in", "images": ["1.jpg"], "operations": STEPS}
    batch = read_batch(json.dumps(document).encode(), OPERATIONS)
    return BatchWork.of(sample, Path.of(batch, OPERATIONS, stages))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("{", ["MUNIFLOW_STAGES"]),
        ("[]", ["MUNIFLOW_STAGES"]),
        ('[{"name": "a", "operations": ["blur"], "max": 0}]', ["MUNIFLOW_STAGES[0].max"]),
        (
            '[{"name": "a", "operations": ["blur"]}, {"name": "a", "operations": ["blur"]}]',
            ["MUNIFLOW_STAGES[1].name"],
        ),
        (
            '[{"name": "a", "operations": ["blur"]}, {"name": "b", "operations": ["blur"]}]',
            ["MUNIFLOW_STAGES[1].operations[0]"],
        ),
    ],
)
def test_a_wrong_list_of_stages_is_refused_at_start_by_its_places(text: str, places: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        read_env(CoordinatorSettings, {"MUNIFLOW_STAGES": text})
    assert [fault.place for fault in refused.value.faults] == places


def test_an_operation_that_is_not_installed_is_refused_by_its_place() -> None:
    with pytest.raises(Invalid, match=r"MUNIFLOW_STAGES\[1\]\.operations\[0\]: 'sharpen' is not installed"):
        stages_of((stage("resize"), stage("sharpen")), OPERATIONS)


def test_without_a_list_there_is_one_stage_for_each_operation() -> None:
    assert stages_of(read_env(CoordinatorSettings, {}).stages, OPERATIONS) == tuple(map(stage, sorted(OPERATIONS)))


def test_stages_are_read_as_they_are_written() -> None:
    stages = (Stage(name="a", operations=("blur",), min_replicas=2, max_replicas=3, start_s=1.5), stage("resize"))
    assert read_stages(write_stages(stages)) == stages
    assert read_env(CoordinatorSettings, {"MUNIFLOW_STAGES": write_stages(stages)}).stages == stages


@pytest.mark.parametrize(
    ("stages", "counted"),
    [
        (APART, ["resize", "split", "blur"]),
        (CHAINED, ["resize", "blur"]),
        # The queue of blur has the consumers of both: how many are of the second stage cannot be known.
        (SHARED, ["resize", None]),
        ((stage("both", "blur", "resize"), stage("gpu", "blur", device="opencl")), ["resize", None]),
    ],
)
def test_replicas_are_counted_where_nobody_else_consumes(stages: Stages, counted: list[str | None]) -> None:
    assert [counted_operation(one, stages) for one in stages] == counted


def test_an_operation_without_a_stage_takes_no_stage_of_others() -> None:
    stages = completed((stage("blur"),), OPERATIONS)
    assert {operation for one in stages for operation in one.operations} == set(OPERATIONS)
    assert left(stages, Position(COUNT, COUNT, 0, (0, 0, 0))).keys() == {"blur", "no stage: resize", "no stage: split"}
    assert [one.name for one in visited(APART, route_of([["blur", "gaussian"]]))] == ["blur"]


@pytest.mark.parametrize(
    ("known", "pixels"),
    [
        ([], USUAL.size.pixels),
        ([[None, None]], USUAL.size.pixels),
        ([[Picture(Size(100, 100), "jpg"), None], [Picture(Size(100, 300), "png")]], 20_000),
    ],
)
def test_sizes_are_guessed_from_other_batches(known: list[list[Picture | None]], pixels: int) -> None:
    samples = [SizeSample.of(len(pictures), range(len(pictures)), pictures) for pictures in known]
    (entry,) = guessed(7, (one.mean_pixels for one in samples)).entries
    assert entry.picture is not None
    assert entry.picture.size.pixels == pytest.approx(pixels, rel=0.02)
    assert guessed(7, []).count == 7


def left(
    stages: Stages, position: Position, picture: Picture | None = USUAL, profile: Profile | None = None
) -> dict[str, float]:
    sample = SizeSample.of(COUNT, (0,), (picture,))
    work = work_of(stages, sample)
    return seconds_of(remaining(work, route_of(STEPS), position, stages, profile=profile or Profile(), own={}))


def test_work_fades_as_steps_are_done_and_what_is_not_dispatched_counts() -> None:
    begun = left(APART, Position(COUNT, COUNT, 0, (0, 0, 0)))
    half = left(APART, Position(COUNT, COUNT, COUNT, (50, 0, 0)))
    assert half["resize"] == pytest.approx(begun["resize"] / 2)
    assert half["blur"] == begun["blur"]


def test_images_that_are_run_again_are_work_although_they_were_counted_before() -> None:
    begun = left(APART, Position(COUNT, COUNT, 0, (0, 0, 0)))
    assert left(APART, Position(COUNT, COUNT, 0, (COUNT, 0, 0))) == begun


positions = st.builds(
    Position,
    st.just(COUNT),
    st.integers(0, COUNT),
    st.integers(0, COUNT),
    st.tuples(*[st.integers(0, 5 * COUNT)] * 3),
)
pictures = st.none() | st.builds(Picture, st.builds(Size, st.integers(1, 9000), st.integers(1, 9000)), st.just("jpg"))


@given(positions, pictures, st.sampled_from([APART, CHAINED, SHARED]))
def test_no_stage_of_the_route_is_without_work_while_an_image_is_pending(
    position: Position, picture: Picture | None, stages: Stages
) -> None:
    found = left(stages, position, picture)
    if position.pending:
        assert found.keys() == {one.name for one in stages}
        assert all(seconds > 0 for seconds in found.values())
    else:
        assert found == {}

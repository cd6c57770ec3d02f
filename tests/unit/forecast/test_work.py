"""What a batch still needs of each stage."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.forecast_help import LONG_ROUTE, OPERATIONS, batch, chained, one_per_operation, photo, sample, stage

from muniflow.forecast.profile import Profile
from muniflow.forecast.route import Path
from muniflow.forecast.service_time import Sums
from muniflow.forecast.work import PARTS, BatchWork, images_past, seconds_of, total

SMALL, LARGE = photo(512, 512), photo(4096, 3072)
PROFILE = Profile()


def work_of(pictures, *operations, count=None, stages=one_per_operation()):  # noqa: B008 - frozen
    path = Path.of(batch(*(operations or LONG_ROUTE)), OPERATIONS, stages)
    return BatchWork.of(sample(*pictures, count=count), path)


def left(work, *past, own=None):
    return seconds_of(work.left(PROFILE, past, own))


def test_the_work_of_a_batch_is_that_of_its_tasks():
    path = Path.of(batch(*LONG_ROUTE), OPERATIONS, one_per_operation())
    work = BatchWork.of(sample(SMALL, LARGE, None, LARGE), path)
    for stage_name, found in work.left(PROFILE).items():
        each = [
            visit.amount.seconds(PROFILE.service_time(visit.task_class))
            for picture in (SMALL, LARGE, LARGE)
            for visit in path.visits(picture)
            if visit.stage == stage_name
        ]
        assert found.work_s == pytest.approx(sum(each))
        assert found.image_s == pytest.approx(sum(each) / 4)
    assert work.left(PROFILE)["blur"].tasks_per_image == (1 + 4 + 4) / 4


def test_a_sample_stands_for_the_whole_batch():
    few, many = work_of([SMALL, LARGE]), work_of([SMALL, LARGE], count=1_000_000)
    assert left(many) == pytest.approx({stage: seconds * 500_000 for stage, seconds in left(few).items()})
    assert many.left(PROFILE)["blur"].longest_s == few.left(PROFILE)["blur"].longest_s


def test_small_images_before_large_ones_leave_most_of_the_work():
    work = work_of([SMALL] * 50 + [LARGE] * 50)
    half = left(work, 50, 50, 50)
    assert half["resize"] == pytest.approx(left(work_of([LARGE] * 50))["resize"])
    assert half["resize"] > 0.9 * left(work)["resize"]


@given(
    st.lists(st.sampled_from([SMALL, LARGE, None]), min_size=1, max_size=8),
    st.integers(0, 100),
    st.lists(st.floats(0, 100), min_size=2, max_size=5).map(sorted),
)
def test_work_is_monotone_and_ends_at_nothing(pictures, more, pasts):
    count = 100 + more
    work = work_of(pictures, count=count)
    found = [left(work, past, past, past) for past in pasts]
    for one, later in itertools.pairwise(found):
        assert all(one[name] + 1e-9 >= later[name] >= 0 for name in one)
    assert all(seconds == pytest.approx(0, abs=1e-9) for seconds in left(work, count, count, count).values())


def test_work_is_additive():
    parts = [left(work_of([picture])) for picture in (SMALL, LARGE, SMALL)]
    assert total(parts) == pytest.approx(left(work_of([SMALL, LARGE, SMALL])))
    assert total([]) == {}


def test_each_stage_has_its_own_progress():
    work = work_of([SMALL] * 10)
    found = work.left(PROFILE, (10, 5, 0))
    whole = work.left(PROFILE)
    assert [found[name].work_s / whole[name].work_s for name in ("resize", "split", "blur")] == pytest.approx(
        [0, 0.5, 1]
    )


def test_what_a_batch_shows_itself_replaces_what_was_guessed():
    work = work_of([LARGE] * 10, stages=chained())
    (step,) = work.steps
    guessed = left(work)["all"]
    mp_in, mp_out = 4096 * 3072 / 1e6, 4096 * 3072 / 4e6
    slow = 3 * PROFILE.service_time(step.task_class).seconds(mp_in, mp_out)
    few, many = (Sums.of(mp_in, mp_out, slow).decayed(count) for count in (1, 2_000))
    assert left(work, own={step.task_class.key: few})["all"] == pytest.approx(guessed, rel=0.15)
    assert left(work, own={step.task_class.key: many})["all"] == pytest.approx(3 * guessed, rel=0.05)


def test_an_operation_in_two_stages_is_one_work():
    stages = (stage("cpu", "resize,split,blur", max=30), stage("gpu", "blur", device="opencl", max=10))
    found = left(work_of([LARGE] * 4, ["blur", "gaussian"], stages=stages))
    alone = left(work_of([LARGE] * 4, ["blur", "gaussian"], stages=stages[:1]))
    assert found["cpu"] == pytest.approx(0.75 * alone["cpu"])


@pytest.mark.parametrize(("settled", "handled", "past"), [
    (0, (0, 0, 0), (0, 0, 0)),
    (10, (50, 40, 80), (50, 40, 20)),
    (30, (50, 30, 80), (50, 30, 30)),
    (0, (10, 20, 120), (30, 30, 30)),  # reports of a first step that were lost
    (5, (500, 200, 0), (100, 100, 5)),  # redelivered
])  # fmt: skip
def test_images_past_each_step(settled, handled, past):
    assert images_past(batch(*LONG_ROUTE).route, 100, settled, handled) == past


def test_an_empty_batch_has_no_work():
    assert work_of([None]).left(PROFILE) == {}
    path = Path.of(batch(*LONG_ROUTE), OPERATIONS, chained())
    assert BatchWork.of(sample(), path).left(PROFILE) == {}


def seconds_in(parts):
    return sum(part.images * part.image_s for part in parts)


def test_parts_are_the_images_in_order_with_what_each_takes():
    work = work_of([SMALL] * 900 + [LARGE] * 100)
    parts = work.parts(PROFILE)
    assert sum(part.images for part in parts) == pytest.approx(1_000)
    assert seconds_in(parts) == pytest.approx(sum(left(work).values()))
    first, last = parts[0], parts[-1]
    assert last.image_s > 20 * first.image_s
    assert first.image_s == pytest.approx(sum(left(work_of([SMALL])).values()))
    # Each has about as many megapixels, so that the few large images are not one part.
    assert len(parts) == PARTS
    assert max(seconds_in([part]) for part in parts) < 0.3 * seconds_in(parts)


def test_parts_of_what_is_left():
    work = work_of([SMALL] * 50 + [LARGE] * 50, count=1_000)
    rest = work.parts(PROFILE, 500)
    assert sum(part.images for part in rest) == pytest.approx(500)
    assert seconds_in(rest) == pytest.approx(sum(left(work, 500, 500, 500).values()))
    assert work.parts(PROFILE, 1_000) == ()


@given(
    st.lists(st.sampled_from([SMALL, LARGE, None, photo(700, 500, "png")]), min_size=1, max_size=30),
    st.integers(0, 100),
    st.floats(0, 1),
)
def test_no_image_and_no_second_is_lost_between_parts(pictures, more, begun):
    work = work_of(pictures, count=len(pictures) + more)
    settled = begun * work.count
    parts = work.parts(PROFILE, settled)
    if parts:
        assert all(part.images > 0 and part.image_s >= 0 for part in parts)
        assert sum(part.images for part in parts) == pytest.approx(work.count - settled)
    assert seconds_in(parts) == pytest.approx(sum(left(work, settled, settled, settled).values()), abs=1e-9)


def test_a_batch_of_no_known_image_has_no_parts():
    assert work_of([None]).parts(PROFILE) == ()

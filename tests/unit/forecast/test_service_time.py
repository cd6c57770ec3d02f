"""What is learned of service times."""

import random
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.forecast.service_time import EARLIER_LENGTH, HALF_LIFE_S, HALF_LIFE_TASKS, ServiceTime, Sums, fit

PRIOR = ServiceTime(0.002, 0.006, 0.004, 0.0002)
SIZES = st.floats(0.01, 130)
OUTPUTS = st.sampled_from([0, 1, 4, 16, 64])
TASKS = st.builds(Sums.of, SIZES, SIZES, st.floats(1e-5, 100), OUTPUTS)


def total(parts):
    sums = Sums()
    for part in parts:
        sums += part
    return sums


def tasks(count, time, *, seed=1, noise=0.15, shrink=None):
    """Tasks of mixed sizes and noisy times."""
    dice = random.Random(seed)
    for _ in range(count):
        mp_in = dice.uniform(0.5, 5.7) ** 2
        mp_out = mp_in * (shrink if shrink is not None else dice.uniform(0.05, 1))
        yield mp_in, mp_out, time.seconds(mp_in, mp_out) * dice.lognormvariate(0, noise)


def close(one, other):
    return astuple(one) == pytest.approx(astuple(other), rel=1e-9, abs=1e-12)


@given(TASKS, TASKS, TASKS)
def test_sums_are_merged_in_any_order(one, two, three):
    assert close((one + two) + three, one + (two + three))
    assert close(one + two, two + one)
    assert close(one + Sums(), one)


@given(st.lists(TASKS, max_size=5))
def test_sums_travel_as_a_short_list(parts):
    sums = total(parts)
    assert astuple(Sums.from_list(sums.as_list())) == pytest.approx(astuple(sums), rel=1e-8)
    with pytest.raises(ValueError, match="19 numbers, or 13"):
        Sums.from_list([1.0])


@pytest.mark.parametrize("time", [ServiceTime(0.003, 0.02, 0.05), ServiceTime(0.0005, 0.1, 0), ServiceTime(0.02, 0, 0)])
def test_the_parts_are_found_again(time):
    found = fit(total(Sums.of(*task) for task in tasks(5_000, time)), PRIOR)
    for mp_in, mp_out in ((0.26, 0.07), (1.0, 0.25), (4.2, 4.2), (32, 8)):
        assert found.seconds(mp_in, mp_out) == pytest.approx(time.seconds(mp_in, mp_out), rel=0.05)


@given(st.lists(TASKS, max_size=30), st.builds(ServiceTime, *[st.floats(0, 1)] * 4))
def test_no_part_is_ever_negative(parts, prior):
    assert min(fit(total(parts), prior)) >= 0


def test_nothing_observed_is_the_prior():
    assert fit(Sums(), PRIOR) == PRIOR


def test_of_images_of_one_size_only_the_level_is_learned():
    time = PRIOR.scaled(2.5)
    found = fit(total(Sums.of(1.0, 0.25, time.seconds(1.0, 0.25)) for _ in range(500)), PRIOR)
    assert list(found) == pytest.approx(list(time), rel=0.02, abs=3e-5)
    assert found.seconds(32, 8) == pytest.approx(time.seconds(32, 8), rel=0.02)


def test_tasks_of_many_outputs_do_not_change_what_is_expected_of_few():
    """One class, blur of tiles: quarters of a photograph, sixteenths of another, and whole ones."""
    time = ServiceTime(0.0003, 0.005, 0.001, 0.0002)
    kinds = [(0.26, 4), (0.26, 16), (1.0, 8), (2.0, 1)]
    seen = total(Sums.of(mp, mp, time.seconds(mp, mp, outputs=outputs), outputs) for mp, outputs in kinds * 200)
    found = fit(seen, PRIOR)
    for mp, outputs in kinds:
        expected_s = time.seconds(mp, mp, outputs=outputs)
        assert found.seconds(mp, mp, outputs=outputs) == pytest.approx(expected_s, rel=0.02)
        assert seen.expected_s(found) == pytest.approx(seen.seconds, rel=0.02)


def test_sums_of_an_earlier_build_count_one_output_for_each_task():
    seen = total(Sums.of(*task) for task in tasks(50, PRIOR))
    assert close(Sums.from_list(astuple(seen)[:EARLIER_LENGTH]), seen)


def test_a_prior_of_wrong_proportions_gives_way_to_observations():
    time = ServiceTime(0.02, 0.001, 0.03)
    errors = []
    for count in (5, 50, 500):
        found = fit(total(Sums.of(*task) for task in tasks(count, time)), PRIOR)
        errors.append(abs(found.seconds(0.3, 0.3) / time.seconds(0.3, 0.3) - 1))
    assert errors[2] < 0.05
    assert errors[2] < errors[0]


def test_weights_forecast_small_images_after_mixed_ones_better_than_plain_least_squares():
    """Why `Sums` are weighted: of panoramas and thumbnails together, the relative error counts."""
    time = ServiceTime(0.004, 0.012, 0.02)
    weighted: list[float] = []
    plain: list[float] = []
    for seed in range(40):
        seen = list(tasks(60, time, seed=seed, noise=0.3, shrink=0.25))
        fits = (
            (weighted, fit(total(Sums.of(*task) for task in seen), PRIOR)),
            (plain, fit(total(unweighted(*task) for task in seen), PRIOR)),
        )
        for errors, found in fits:
            errors += [abs(found.seconds(mp, mp / 4) / time.seconds(mp, mp / 4) - 1) for mp in (0.26, 1, 4, 32)]
    assert sum(weighted) < 0.8 * sum(plain)


def unweighted(mp_in, mp_out, s):
    products = (mp_in**2, mp_out**2, mp_in * mp_out, mp_in * s, mp_out * s)
    return Sums(1.0, mp_in, mp_out, s, 1.0, mp_in, mp_out, s, *products)


MEASURED_MS_PER_MP = {0.26: 16.6, 1.05: 15.7, 4.19: 17.9, 32.0: 16.6}
"""Of a blur from JPEG to JPEG: it does not grow evenly with the size (docs/research/performance.md)."""


def test_the_work_of_a_mixed_batch_is_right_where_costs_per_megapixel_differ_with_the_size():
    """Each size has as many megapixels, so there are a hundred small images for each of the largest."""
    batch = [
        (mp, mp, mp * cost / 1000)
        for mp, cost in MEASURED_MS_PER_MP.items()
        for _ in range(round(320 / mp))
    ]  # fmt: skip
    spent_s = sum(seconds for _, _, seconds in batch)
    sums = total(Sums.of(*task) for task in batch)
    assert sums.expected_s(fit(sums, PRIOR)) == pytest.approx(spent_s, rel=0.01)


def test_old_observations_fade_by_tasks_and_time_and_not_while_a_class_is_idle():
    old, task = total([Sums.of(1, 1, 0.1)] * 1_000), Sums.of(1, 1, 0.2)
    newer = task.decayed(HALF_LIFE_TASKS)
    assert old.then(newer, HALF_LIFE_S).n == pytest.approx(500 + HALF_LIFE_TASKS)
    assert old.then(newer, 1.0).n == pytest.approx(1_000 + HALF_LIFE_TASKS, rel=0.01)
    assert old.then(task, 7 * 86_400).n == pytest.approx(1_001, rel=0.001)


def test_a_machine_that_became_slow_is_known_after_some_minutes():
    sums = Sums()
    for minute in range(60):
        time = PRIOR if minute < 40 else PRIOR.scaled(2)
        report = total(Sums.of(*task) for task in tasks(300, time, seed=minute))
        sums = sums.then(report, 60)
    assert fit(sums, PRIOR).seconds(4, 1) == pytest.approx(PRIOR.scaled(2).seconds(4, 1), rel=0.25)

"""Numbers are only worth publishing when their arithmetic is right."""

import pytest
from benchmarks.statistics import Run, cpu_ratios, off_median, order_of, percentile, rates, ratios, spread


def run(images_per_s: float, cpu_ms: float = 1.0) -> Run:
    return Run(100, 100 / images_per_s, cpu_ms / 10)


ROUNDS = [
    {"a": run(100, 4), "b": run(200, 2)},
    {"a": run(50, 4), "b": run(50, 4)},
    {"a": run(10, 4), "b": run(15, 3)},
]


def test_ratios_are_taken_within_a_round_and_not_of_medians():
    found = ratios(ROUNDS, "b", "a")
    assert (found.median, found.low, found.high, found.count) == pytest.approx((1.5, 1.0, 2.0, 3))
    assert rates(ROUNDS, "b").median / rates(ROUNDS, "a").median == pytest.approx(1.0)


def test_cpu_is_per_image():
    assert ROUNDS[0]["a"].cpu_ms_per_image == pytest.approx(4)
    assert cpu_ratios(ROUNDS, "b", "a").median == pytest.approx(0.75)


def test_spread_reads_as_median_and_range():
    assert spread([3.0, 1.0, 2.0]).text(1) == "2.0 (1.0 to 3.0)"


def test_no_contender_always_follows_the_same_one():
    names = ["a", "b", "c"]
    orders = [order_of(names, number) for number in range(6)]
    assert all(sorted(order) == names for order in orders)
    before_b = {order[order.index("b") - 1] if order.index("b") else None for order in orders}
    assert before_b == {None, "a", "c"}


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (90, 9), (99, 10), (100, 10), (1, 1)])
def test_percentile_is_the_nearest_rank(percent: int, expected: int):
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected


@pytest.mark.parametrize(
    ("values", "expected"), [([1.0, 1.05, 0.9], (-0.1, 0.05)), ([4.0, 5.0, 4.0], (0.0, 0.25)), ([3.0], (0.0, 0.0))]
)
def test_the_ends_are_given_as_parts_of_the_median(values: list[float], expected: tuple[float, float]):
    assert off_median(values) == pytest.approx(expected)

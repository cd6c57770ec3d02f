"""The list of measurements: what runs, what is left out, what a failure does to the rest."""

from pathlib import Path

import pytest
from benchmarks.budget import run_within
from benchmarks.corpus import SIZES, Corpus
from benchmarks.flat import FLOOR, MUNIFLOW, Load, flatness, table
from benchmarks.scale import ONE, TWO, row
from benchmarks.statistics import Run, together


def test_no_measurement_starts_after_the_time_is_over():
    times, ran = iter([0, 0, 0, 50, 50, 120]), []
    measurements = [(name, lambda name=name: ran.append(name)) for name in ("a", "b", "c")]
    assert run_within(measurements, 100, lambda: next(times)) == ["c"]
    assert ran == ["a", "b"]


def test_a_measurement_that_fails_leaves_the_others_to_run():
    def broken():
        raise SystemExit("no redis here")

    ran = []
    assert run_within([("a", broken), ("b", lambda: ran.append("b"))], 100) == ["a (no redis here)"]
    assert ran == ["b"]


def test_a_signal_ends_all_measurements():
    def stopped():
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        run_within([("a", stopped), ("b", lambda: None)], 100)


def test_several_runs_count_as_one():
    both = together([Run(100, 1.0, 2.0), Run(100, 3.0, 2.0)])
    assert (both.images_per_s, both.cpu_ms_per_image) == (50.0, 20.0)


@pytest.mark.parametrize(
    ("middles", "said"),
    [
        ([5.0, 5.2, 4.8], "all within 10% of their median, -4.0% to +4.0%; the least is 7.7% below the most"),
        ([5.0, 5.6, 5.0], "NOT all within 10% of their median, +0.0% to +12.0%; the least is 10.7% below the most"),
    ],
)
def test_the_sentence_says_whether_it_is_flat(middles, said):
    assert flatness(middles).startswith(said)


def test_the_table_of_costs_divides_by_units_and_holds_each_round_against_its_own_floor():
    pictures = Corpus(Path("/"), "", SIZES["512"], 100)
    loads = {"a": Load(pictures, 2.0), "b": Load(pictures, 4.0)}
    found = {
        "a": [_round(2.0, 1.0), _round(4.0, 2.0)],
        "b": [_round(6.0, 3.0), _round(8.0, 4.0)],
    }
    result = table("Cost", "size", "megapixel", loads, found)
    assert result.rows[0][1:] == (
        "200.0 (200.0 to 200.0)", "15.00 (10.00 to 20.00)", "1.00", "7.50 (5.00 to 10.00)", "2.00 (2.00 to 2.00)"
    )  # fmt: skip
    assert result.rows[1][3:] == ("1.17", "8.75 (7.50 to 10.00)", "2.00 (2.00 to 2.00)")
    assert result.notes[1].startswith("CPU / tuned floor: all within 10% of their median, +0.0% to +0.0%")


def _round(ours_s, floor_s):
    return {MUNIFLOW: Run(100, 1.0, ours_s), FLOOR: Run(100, 1.0, floor_s)}


def test_the_ratio_of_two_workers_is_taken_within_a_round():
    rounds = [{ONE: Run(100, 2.0, 2.4), TWO: Run(100, 1.0, 2.0)}, {ONE: Run(100, 4.0, 4.8), TWO: Run(100, 2.0, 4.0)}]
    cells = row("512", rounds)
    assert cells[3] == "2.00 (2.00 to 2.00)"
    assert cells[5:] == ("1.20", "2.00")

"""The frontier as charts show it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow_cli.planning.frontier import Point, bar, thinned
from muniflow_cli.planning.frontier_svg import frontier_svg, ticks


def point(number, *, chosen=False):
    return Point(f"blur {number}", 100.0 / number, 150.0 / number, number, None, chosen)


def text_of(markup):
    from rich.text import Text

    return Text.from_markup(markup).plain


@pytest.mark.parametrize(
    ("p50_s", "p90_s", "deadline_s", "expected"),
    [
        (5, 10, None, "█████░░░░░"),
        (2.5, 5, None, "██▌░░     "),
        (5, 10, 7, "█████░░┃░░"),
        (2, 4, 8, "██░░    ┃ "),
        (5, 10, 20, "█████░░░░░"),
    ],
)
def test_bars(p50_s, p90_s, deadline_s, expected):
    assert text_of(bar(p50_s, p90_s, 10, deadline_s, chars=10)) == expected


@given(st.integers(1, 60), st.integers(1, 60))
def test_few_points_are_shown_and_the_ends_and_the_chosen_one_stay(count, chosen):
    points = [point(number, chosen=number == chosen) for number in range(1, count + 1)]

    shown = thinned(points, 12)

    assert len(shown) <= 12
    assert (shown[0], shown[-1]) == (points[0], points[-1])
    assert [one for one in points if one.chosen] == [one for one in shown if one.chosen]


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_ticks_are_few_and_span_the_values(one, other):
    least, most = sorted((one, other))

    found = ticks(least, most)

    assert 2 <= len(found) <= 9
    slack = 1e-6 * max(most, 1.0)
    assert found[0] <= least + slack
    assert found[-1] >= most - slack


def test_names_are_escaped():
    assert "<b>" not in frontier_svg("<b>&", [point(1, chosen=True)], 30.0)

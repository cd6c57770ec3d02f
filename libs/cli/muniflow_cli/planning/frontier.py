"""The points of the frontier as charts show them, and the chart in the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf

from muniflow.forecast.planner import Option
from muniflow.planning.plan import Plan

MAX_ROWS = 12
BAR_CHARS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Point:
    """One option."""

    label: str
    """`resize 4, blur 8`."""
    p50_s: float
    p90_s: float
    replicas: int
    """Of all stages."""
    cost: float | None
    chosen: bool


def points_of(plan: Plan) -> list[Point]:
    """The frontier, slowest first; the chosen option is among them."""
    options = [option for option in plan.planner.frontier() if option.finish_s < inf]
    if all(option.replicas != plan.chosen.replicas for option in options):
        options = sorted([*options, plan.chosen], key=lambda option: -option.p50_s)
    return [_point(option, chosen=option.replicas == plan.chosen.replicas) for option in options]


def thinned(points: Sequence[Point], most: int = MAX_ROWS) -> list[Point]:
    """At most `most` of them, evenly spread; the first, the last and the chosen one stay."""
    if len(points) <= most:
        return list(points)
    kept = {round(number * (len(points) - 1) / (most - 2)) for number in range(most - 1)}
    return [point for number, point in enumerate(points) if number in kept or point.chosen]


def bar(p50_s: float, p90_s: float, longest_s: float, deadline_s: float | None, chars: int = BAR_CHARS) -> str:
    """A bar as rich markup: solid to p50, shaded to p90, with a line where the deadline is."""
    full = p50_s / longest_s * chars
    cells = ["█"] * int(full)
    if (rest := _EIGHTHS[int(full % 1 * 8)]) != " ":
        cells.append(rest)
    solid = len(cells)
    cells += ["░"] * (round(p90_s / longest_s * chars) - solid)
    cells += [" "] * (chars - len(cells))
    styles = ["cyan" if place < solid else "dim cyan" for place in range(len(cells))]
    if deadline_s is not None and (place := round(deadline_s / longest_s * chars)) < len(cells):
        cells[place], styles[place] = "┃", "bold red"
    runs = groupby(zip(styles, cells, strict=True), key=lambda pair: pair[0])
    return "".join(f"[{style}]{''.join(cell for _, cell in run)}[/]" for style, run in runs)


def bars(points: Sequence[Point], deadline_s: float | None) -> Iterator[tuple[Point, str]]:
    """Each point with its bar, on one scale."""
    longest_s = max(point.p90_s for point in points)
    for point in points:
        yield point, bar(point.p50_s, point.p90_s, longest_s, deadline_s)


def _point(option: Option, *, chosen: bool) -> Point:
    label = ", ".join(f"{name} {count}" for name, count in option.replicas.items())
    return Point(label, option.p50_s, option.p90_s, sum(option.replicas.values()), option.cost, chosen)

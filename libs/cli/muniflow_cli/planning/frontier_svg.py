"""The frontier as an SVG file: finish time across, cost (or replicas) upwards; readable on light and dark pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from muniflow_cli.planning.frontier import Point

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 76, 28, 64, 60
TICKS = 5
_UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
_STYLE = """
svg { --ink: #1f2933; --soft: #6b7785; --grid: #dde3ea; --paper: #ffffff; --mark: #0b7285; --late: #c92a2a; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --soft: #9aa7b4; --grid: #303a45; --paper: #12181f; --mark: #3bc9db; --late: #ff8787; }
}
text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.paper { fill: var(--paper); } .title { font-weight: 600; font-size: 16px; } .soft { fill: var(--soft); }
.grid { stroke: var(--grid); } .line { stroke: var(--mark); stroke-width: 2; fill: none; opacity: .55; }
.span { stroke: var(--mark); stroke-width: 5; stroke-linecap: round; opacity: .22; }
.dot { fill: var(--mark); } .chosen { fill: var(--paper); stroke: var(--mark); stroke-width: 3; }
.late { stroke: var(--late); stroke-width: 1.5; stroke-dasharray: 5 4; } .latetext { fill: var(--late); }
.bold { font-weight: 600; }
"""


@dataclass(frozen=True)
class _Axes:
    """Where seconds and heights are on the page, with the round numbers beside them."""

    unit_s: float
    unit: str
    columns: Sequence[float]
    """In units."""
    rows: Sequence[float]

    @classmethod
    def of(cls, most_s: float, least: float, most: float) -> "_Axes":
        unit_s, unit = next((each for each in _UNITS if most_s >= 2 * each[0]), _UNITS[-1])
        return cls(unit_s, unit, ticks(0.0, most_s / unit_s), ticks(least, most))

    def across(self, seconds: float) -> float:
        return LEFT + seconds / self.unit_s / self.columns[-1] * (WIDTH - LEFT - RIGHT)

    def up(self, value: float) -> float:
        part = (value - self.rows[0]) / (self.rows[-1] - self.rows[0])
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def frontier_svg(title: str, points: Sequence[Point], deadline_s: float | None) -> str:
    """The chart as a document.

    Args:
        title: of the chart.
        points: the frontier, one at least.
        deadline_s: seconds from now.
    """
    priced = all(point.cost is not None for point in points)
    heights = [float(point.replicas if point.cost is None else point.cost) for point in points]
    most_s = max([point.p90_s for point in points] + ([] if deadline_s is None else [deadline_s]))
    # Costs differ by little where the work is the same, so their axis begins near the least.
    axes = _Axes.of(most_s, min(heights) if priced else 0.0, max(heights))
    places = [(point, axes.across(point.p50_s), axes.up(height)) for point, height in zip(points, heights, strict=True)]
    caption = f"finish, {axes.unit}: the dot as likely as not, the bar nine times in ten"
    line = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in places)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><style>{_STYLE}</style>',
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        f'<text class="title" x="{LEFT}" y="28">{escape(title)}</text>',
        f'<text class="soft" x="{LEFT}" y="48">{"cost" if priced else "replicas of all stages"}</text>',
        f'<text class="soft" x="{WIDTH - RIGHT}" y="{HEIGHT - 14}" text-anchor="end">{caption}</text>',
        *_grid(axes),
        *([] if deadline_s is None else _deadline(axes.across(deadline_s))),
        f'<polyline class="line" points="{line}"/>',
        *(_span(x, axes.across(point.p90_s), y) for point, x, y in places),
        *(_dot(*place) for place in sorted(places, key=lambda place: place[0].chosen)),
        *(_label(*place) for place in places if place[0].chosen),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _deadline(x: float) -> Iterator[str]:
    anchor, gap_px = ("end", -6) if x > WIDTH / 2 else ("start", 6)
    yield f'<line class="late" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{HEIGHT - BOTTOM}"/>'
    yield f'<text class="latetext" x="{x + gap_px:.1f}" y="{TOP}" text-anchor="{anchor}">deadline</text>'


def _span(from_x: float, to_x: float, y: float) -> str:
    return f'<line class="span" x1="{from_x:.1f}" x2="{to_x:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _dot(point: Point, x: float, y: float) -> str:
    kind, radius_px = ("chosen", 7) if point.chosen else ("dot", 4)
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius_px}">{_hint(point)}</circle>'


def _label(point: Point, x: float, y: float) -> str:
    anchor, gap_px = ("end", -2) if x > WIDTH / 2 else ("start", 12)
    text = escape(point.label)
    return f'<text class="bold" x="{x + gap_px:.1f}" y="{y - 14:.1f}" text-anchor="{anchor}">{text}</text>'


def ticks(least: float, most: float) -> list[float]:
    """Two round numbers at least, from `least` or a little below it to `most` or a little above."""
    rough = max(most - least, most * 1e-3, 1e-6) / TICKS
    power = 10.0 ** floor(log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = floor(least / step + 1e-9), ceil(most / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _grid(axes: _Axes) -> Iterator[str]:
    for value in axes.rows:
        y = axes.up(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="soft" x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{value:.10g}</text>'
    for value in axes.columns:
        x = axes.across(value * axes.unit_s)
        yield f'<text class="soft" x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{value:.10g}</text>'


def _hint(point: Point) -> str:
    cost = "" if point.cost is None else f", cost {point.cost:.2f}"
    return f"<title>{escape(point.label)}: {point.p50_s:.1f} s, {point.p90_s:.1f} s at p90{cost}</title>"

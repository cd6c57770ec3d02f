"""A page as a picture, drawn by ourselves from what Prometheus answered: for the README, where no Grafana runs.

Not a screenshot: titles, queries and units are those of the dashboard, the drawing is ours. Plain SVG, light and dark.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from deploy.grafana.generator.panels import Panel

COLUMN, GAP, MARGIN = 46, 10, 16
STAT_HEIGHT, LINES_HEIGHT, TITLE_HEIGHT = 78, 172, 34
COLORS = ("#3274d9", "#e0752d", "#56a64b", "#a352cc", "#e02f44", "#8f8f8f")
STYLE = """
  .page { fill: #f4f5f5 } .panel { fill: #fff; stroke: #e3e5e8 } .title { fill: #24292e; font-weight: 600 }
  .faint { fill: #6e7780; font-size: 10px } .value { fill: #24292e; font-size: 25px; font-weight: 500 }
  .good { fill: #2f8f3a } .bad { fill: #d0263b } .grid { stroke: #e9ebed }
  .row { fill: #24292e; font-size: 14px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #111217 } .panel { fill: #181b1f; stroke: #2b2e34 } .title, .value, .row { fill: #dcdee2 }
    .faint { fill: #9aa0a8 } .good { fill: #73bf69 } .bad { fill: #f2495c } .grid { stroke: #2b2e34 }
  }
"""


@dataclass(frozen=True)
class Series:
    """A line: `(unix seconds, value)`, and what it is called."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Drawn:
    """A panel with its data."""

    panel: Panel
    series: Sequence[Series]


def svg(title: str, rows: Sequence[tuple[str, Sequence[Drawn]]], span: tuple[float, float]) -> str:
    """The picture.

    Args:
        title: what it shows, for those who cannot see it.
        rows: each with its heading and panels.
        span: from and to, as unix seconds.
    """
    width = 24 * COLUMN + 2 * MARGIN
    parts: list[str] = []
    y = MARGIN
    for heading, drawn in rows:
        parts.append(f'<text class="row" x="{MARGIN + 2}" y="{y + 14}">{escape(heading)}</text>')
        y += 24
        x = height = 0
        for each in drawn:
            panel_height = STAT_HEIGHT if each.panel.kind == "stat" else LINES_HEIGHT
            if x + each.panel.width > 24:  # noqa: PLR2004 - Grafana's columns
                x, y = 0, y + height + GAP
            box = (MARGIN + x * COLUMN, y, each.panel.width * COLUMN - GAP, panel_height)
            parts += _panel(each, box, span)
            x, height = x + each.panel.width, panel_height
        y += height + GAP + 4
    place = f'viewBox="0 0 {width} {y + 4}" font-family="system-ui, sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {place}>'
    return "\n".join(
        [head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
         f'<rect class="page" width="{width}" height="{y + 4}"/>', *parts, "</svg>", ""]
    )  # fmt: skip


def _panel(drawn: Drawn, box: tuple[int, int, int, int], span: tuple[float, float]) -> Iterator[str]:
    x, y, width, height = box
    yield f'<rect class="panel" x="{x}" y="{y}" width="{width}" height="{height}" rx="3"/>'
    yield f'<text class="title" x="{x + 10}" y="{y + 20}">{escape(drawn.panel.title)}</text>'
    if drawn.panel.kind == "stat":
        yield from _stat(drawn, x, y)
    elif drawn.panel.kind == "bars":
        yield from _bars(drawn, box)
    else:
        yield from _lines(drawn, box, span)


def _stat(drawn: Drawn, x: int, y: int) -> Iterator[str]:
    told = [series for series in drawn.series if series.points]
    text, look = "-", "value"
    if told:
        series = max(told, key=lambda each: each.points[-1][0])  # what was largest once may be silent now
        value = series.points[-1][1]
        text = series.name if drawn.panel.names else _written(value, drawn.panel.unit)
        if drawn.panel.good_below is not None:
            look = "value good" if value < drawn.panel.good_below else "value bad"
    number, _, unit = text.partition(" ")
    small = f'<tspan class="faint" dx="4">{escape(unit)}</tspan>' if unit else ""
    yield f'<text class="{look}" x="{x + 10}" y="{y + 58}">{escape(number)}{small}</text>'


def _bars(drawn: Drawn, box: tuple[int, int, int, int]) -> Iterator[str]:
    """One bar for each series that is there at the end, by its last value."""
    x, y, width, height = box
    end = max((series.points[-1][0] for series in drawn.series if series.points), default=0.0)
    there = [series for series in drawn.series if series.points and series.points[-1][0] == end]
    told = [(series.name, series.points[-1][1]) for series in there]
    most = _round_up(max((value for _, value in told), default=1.0), drawn.panel.unit)
    left, right = x + 110, x + width - 70
    line = (height - TITLE_HEIGHT - 12) / max(len(told), 3)
    for number, (name, value) in enumerate(told):
        top, thick = y + TITLE_HEIGHT + number * line, line * 0.7
        middle, length = top + thick / 2 + 4, max((right - left) * value / most, 1.0)
        yield f'<text class="faint" x="{left - 8}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{left}" y="{top:.1f}" width="{length:.1f}" height="{thick:.1f}" rx="2" fill="{COLORS[0]}"/>'
        written = escape(_written(value, drawn.panel.unit))
        yield f'<text class="title" x="{left + length + 8:.1f}" y="{middle:.1f}">{written}</text>'


def _lines(drawn: Drawn, box: tuple[int, int, int, int], span: tuple[float, float]) -> Iterator[str]:
    x, y, width, height = box
    left, top, right, bottom = x + 46, y + TITLE_HEIGHT, x + width - 12, y + height - 40
    lines = _stacked(drawn.series) if drawn.panel.kind == "stack" else list(drawn.series)
    values = [value for line in lines for _, value in line.points if math.isfinite(value)]
    most = _round_up(max(values, default=1.0), drawn.panel.unit)
    if not values:
        middle = f'x="{(left + right) / 2}" y="{(top + bottom) / 2 - 8}"'
        yield f'<text class="faint" {middle} text-anchor="middle">none</text>'
    for step in range(3):
        at = bottom - (bottom - top) * step / 2
        yield f'<line class="grid" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        unit = "short" if drawn.panel.unit.startswith("suffix:") else drawn.panel.unit
        label = escape(_written(most * step / 2, unit))
        yield f'<text class="faint" x="{left - 5}" y="{at + 3:.1f}" text-anchor="end">{label}</text>'
    for share, label in _ticks(span, right - left):
        at = left + (right - left) * share
        anchor = "end" if share == 1 else "middle"
        yield f'<text class="faint" x="{at:.1f}" y="{bottom + 13}" text-anchor="{anchor}">{label}</text>'
    for number, line in reversed(list(enumerate(lines))):
        places = [
            (left + (right - left) * (at - span[0]) / (span[1] - span[0]), bottom - (bottom - top) * value / most)
            for at, value in line.points
            if math.isfinite(value)
        ]
        yield from _path(places, bottom, COLORS[number % len(COLORS)], 0.55 if drawn.panel.kind == "stack" else 0.1)
    legend_x = float(left if width > 220 else x + 10)  # noqa: PLR2004 - narrow panels need the room
    for number, series in enumerate(drawn.series):
        color = COLORS[number % len(COLORS)]
        yield f'<rect x="{legend_x:.0f}" y="{y + height - 18}" width="9" height="4" rx="2" fill="{color}"/>'
        yield f'<text class="faint" x="{legend_x + 13:.0f}" y="{y + height - 12}">{escape(series.name)}</text>'
        legend_x += 26 + 5.9 * len(series.name)


def _path(places: Sequence[tuple[float, float]], bottom: float, color: str, fill: float) -> Iterator[str]:
    if places:
        written = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        closed = f"{places[0][0]:.1f},{bottom} {written} {places[-1][0]:.1f},{bottom}"
        yield f'<polygon points="{closed}" fill="{color}" fill-opacity="{fill}"/>'
        yield f'<polyline points="{written}" fill="none" stroke="{color}" stroke-width="1.8" stroke-linejoin="round"/>'


def _stacked(series: Sequence[Series]) -> list[Series]:
    """Each on top of those before it; drawn from the last, the largest, to the first."""
    sums: dict[float, float] = {}
    lines = []
    for each in series:
        points = []
        for at, value in each.points:
            sums[at] = sums.get(at, 0.0) + (value if math.isfinite(value) else 0.0)
            points.append((at, sums[at]))
        lines.append(Series(each.name, points))
    return lines


def _ticks(span: tuple[float, float], width: int) -> Iterator[tuple[float, str]]:
    """Places on the axis of time, 0 to 1, with what is written there."""
    whole = int((span[1] - span[0]) / 60)
    for minutes in range(0, whole + 1, max(1, math.ceil(whole * 90 / max(width, 1)))):
        yield 1 - minutes * 60 / (span[1] - span[0]), f"-{minutes} min" if minutes else "now"


def _round_up(value: float, unit: str) -> float:
    """The next number that reads well on an axis."""
    if value <= 0:
        return 1.0
    if unit == "s" and value >= 60:  # noqa: PLR2004 - from here on, minutes
        return next((whole for whole in (120.0, 240.0, 600.0, 1200.0, 3600.0) if value <= whole), value)
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 4, 6, 8, 10) if value <= power * factor * 1.0001)


SECONDS: Mapping[float, str] = {3600.0: "h", 60.0: "min", 1.0: "s", 0.001: "ms"}


def _written(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "∞"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s" and value:
        size = next((size for size in SECONDS if value >= size * (2 if size >= 60 else 1)), 0.001)  # noqa: PLR2004
        return f"{value / size:.3g} {SECONDS[size]}"
    name = unit.removeprefix("suffix:").strip() if unit.startswith("suffix:") else ""
    number = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004
    return f"{number} {name}".strip()

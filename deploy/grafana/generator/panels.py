"""What a dashboard is, as data: it becomes Grafana's JSON, a test's queries and the picture in the README."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

NAMESPACE = 'namespace=~"$namespace"'
"""In every query; where nothing has that label, `$namespace` is `.*`."""
STEP = f'{NAMESPACE},step="$step"'
RATE = "[$__rate_interval]"

Kind = Literal["stat", "lines", "stack"]


@dataclass(frozen=True)
class Query:
    """A question to Prometheus."""

    expr: str
    legend: str = ""
    """With `{{label}}` for a label's value."""


@dataclass(frozen=True)
class Panel:
    """One panel."""

    title: str
    kind: Kind
    unit: str
    """One of Grafana's: `s`, `percentunit`, `short`, `suffix: images/s`."""
    text: str
    """What it tells, and what to do about it."""
    queries: tuple[Query, ...]
    width: int = 6
    """Of 24."""
    good_below: float | None = None
    """Green below, red from here on."""
    names: bool = False
    """For a stat: show the label, not the value."""
    foreign: bool = False
    """Its series come from kube-state-metrics."""


@dataclass(frozen=True)
class Row:
    """Panels side by side; with `repeat`, once for each value of that variable."""

    title: str
    panels: tuple[Panel, ...]
    repeat: str | None = None


@dataclass(frozen=True)
class Page:
    """One dashboard."""

    name: str
    """Of its file, and the end of its `uid`."""
    title: str
    text: str
    rows: tuple[Row, ...]
    prices: bool = False
    """Whether it asks what a core costs (`$price`)."""

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels."""
        for row in self.rows:
            yield from row.panels


def stat(title: str, unit: str, expr: str, text: str, **more: object) -> Panel:
    """One number."""
    legend = str(more.pop("legend", ""))
    return Panel(title, "stat", unit, text, (Query(expr, legend),), **more)  # type: ignore[arg-type]


def quantiles(metric: str, selector: str = NAMESPACE) -> tuple[Query, ...]:
    """Median and 95th percentile of a histogram."""
    return tuple(
        Query(f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{{selector}}}{RATE})))", legend)
        for q, legend in ((0.5, "median"), (0.95, "95 %"))
    )

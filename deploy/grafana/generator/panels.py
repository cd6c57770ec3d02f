"""What a dashboard is, as data: it becomes Grafana's JSON, a test's queries and the picture in the README."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

NAMESPACE = 'namespace=~"$namespace"'
"""In every query; where nothing has that label, `$namespace` is `.*`."""
STEP = f'{NAMESPACE},step="$step"'
STEPS = f'{NAMESPACE},step=~"$step"'
"""The chosen stages together."""
OWNERS = f'{NAMESPACE},owner=~"$owner"'
"""The chosen municipalities: those who send batches. At most 50 have a name, the others are one."""
THIS_STEP = "${__field.labels.step}"
"""In a link: the stage of the line or bar that is clicked."""
RATE = "[$__rate_interval]"

Kind = Literal["stat", "lines", "stack", "bars"]


@dataclass(frozen=True)
class Query:
    """A question to Prometheus."""

    expr: str
    legend: str = ""
    """With `{{label}}` for a label's value."""


@dataclass(frozen=True)
class Link:
    """Where a click on a line or a bar leads: to another dashboard, of the same time and namespace."""

    title: str
    page: str
    """Its `Page.name`."""
    variables: tuple[tuple[str, str], ...] = ()
    """What is chosen there; `THIS_STEP` for what is clicked."""


def links_of_step(step: str = THIS_STEP) -> tuple[Link, ...]:
    """From a stage to what failed in it, and to who works in it."""
    return tuple(Link(f"{title} of {step}", page, (("step", step),)) for title, page in STAGE_PAGES)


STAGE_PAGES = (("Failures", "failures"), ("Workers", "workers"))


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
    links: tuple[Link, ...] = ()


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
    steps: bool = False
    """Whether it asks for stages (`$step`)."""
    owners: bool = False
    """Whether it asks for municipalities (`$owner`)."""

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

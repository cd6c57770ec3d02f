"""A plan for people: what it needs, when it ends, what it costs, and the frontier."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from muniflow.errors import Unavailable
from muniflow.forecast.plan import stage_plans
from muniflow.planning.plan import Plan
from muniflow_cli.commands.output import clock, console, duration, number, plain, say, show_table
from muniflow_cli.planning.frontier import bars, points_of, thinned
from muniflow_cli.planning.frontier_svg import frontier_svg

HOUR_S = 3600


def show_plan(plan: Plan, batch_id: str, origins: Sequence[str]) -> None:
    """Print a plan."""
    rows = [
        (plain(name), duration(work_s), number(replicas), "[yellow]◀ waits for this[/]" if bottleneck else "")
        for name, work_s, replicas, bottleneck in stage_plans(plan.planner, plan.chosen)
    ]
    show_table(f"Plan for {plain(batch_id)}", ("stage", "work>", "replicas>", "bottleneck"), rows)
    printer = console()
    for label, text in summary(plan):
        printer.print(f"{label:<10}{text}", soft_wrap=True)
    _show_frontier(plan)
    for line in origins:
        click.echo(line)
    if not plan.planner.interval.calibrated:
        click.echo("the range is wide: no forecast was graded here yet")
    for fault in plan.sampling.unreadable:
        say(f"warning: {fault}", err=True)


def summary(plan: Plan) -> Iterator[tuple[str, str]]:
    """The lines below the table: label and rich markup."""
    sample, chosen, now_at = plan.sampling.sample, plan.chosen, plan.now_at
    looked = "all sizes read" if sample.sampled == sample.count else f"{number(sample.sampled)} sizes read"
    unreadable = f", [red]{number(sample.unreadable)} of these unreadable[/]" if sample.unreadable else ""
    yield "images", f"{number(sample.count)} ({looked}{unreadable})"
    yield "finish", f"[bold]{duration(chosen.p50_s)}[/], at {clock(now_at + chosen.p50_s, now_at)} (as likely as not)"
    yield "", f"{duration(chosen.p90_s)}, at {clock(now_at + chosen.p90_s, now_at)} (nine times in ten)"
    core_s = sum(work.work_s for work in plan.planner.load.stages.values())
    yield "work", f"{core_s / HOUR_S:.3g} core-hours"
    if chosen.cost is not None:
        yield "cost", f"{chosen.cost:.2f}"
    if plan.deadline_at is not None:
        yield "deadline", _deadline(plan, plan.deadline_at)


def _deadline(plan: Plan, deadline_at: float) -> str:
    now_at, earliest_s = plan.now_at, plan.planner.fastest.p50_s
    due = clock(deadline_at, now_at)
    earliest = f"the earliest time is {clock(now_at + earliest_s, now_at)}, in {duration(earliest_s)}"
    if now_at + earliest_s > deadline_at:
        return f"{due}: [red]not feasible[/]; {earliest}"
    if now_at + plan.chosen.p90_s <= deadline_at:
        return f"{due}: [green]met nine times in ten[/]; {earliest}"
    if now_at + plan.chosen.p50_s <= deadline_at:
        return f"{due}: [yellow]met as likely as not[/]; {earliest}"
    return f"{due}: [red]missed with these replicas[/]; {earliest}"


def _show_frontier(plan: Plan) -> None:
    points = thinned(points_of(plan))
    deadline_s = None if plan.deadline_at is None else plan.deadline_at - plan.now_at
    priced = any(point.cost is not None for point in points)
    columns = ["", "replicas", "finish: █ as likely as not, ░ nine times in ten", "p50>", "p90>"]
    rows = [
        [
            "[bold green]▶[/]" if point.chosen else "", plain(point.label), picture,
            duration(point.p50_s), duration(point.p90_s),
            *([] if not priced else ["" if point.cost is None else f"{point.cost:.2f}"]),
        ]
        for point, picture in bars(points, deadline_s)
    ]  # fmt: skip
    show_table("Other ways" if len(points) > 1 else "", [*columns, *(["cost>"] if priced else [])], rows)


def write_svg(plan: Plan, batch_id: str, path: Path) -> None:
    """Write the frontier as a picture.

    Raises:
        Unavailable: it cannot be written.
    """
    deadline_s = None if plan.deadline_at is None else plan.deadline_at - plan.now_at
    what = "cost" if plan.chosen.cost is not None else "replicas"
    text = frontier_svg(f"{batch_id}: {what} against finish", points_of(plan), deadline_s)
    try:
        path.write_text(text)
    except OSError as error:
        raise Unavailable("the file of the picture", str(error)) from error

"""`muniflow plan --grades`: how well the forecasts of a running stack did."""

import time

import click

from muniflow.model.api import ForecastList, GradedForecast
from muniflow_cli.commands.output import clock, duration, plain, show_table


def show_grades(listed: ForecastList) -> None:
    """Print the last forecasts beside what came, and how often p90 held."""
    now_at = time.time()
    if not listed.forecasts:
        click.echo("no forecast yet: the coordinator makes one for each batch that it accepts")
        return
    show_table(
        "",
        ("batch", "submitted", "p50>", "p90>", "actual>", "actual/p50>", "within p90"),
        (
            (
                plain(one.batch_id), clock(one.submitted_at, now_at), duration(one.p50_s), duration(one.p90_s),
                duration(one.actual_s), "" if one.ratio is None else f"{one.ratio:.2f}", _within(one),
            )
            for one in listed.forecasts
        ),
    )  # fmt: skip
    if listed.coverage is None:
        click.echo("nothing is graded yet: no batch with a forecast has ended")
    else:
        click.echo(f"{listed.coverage:.0%} of the last {listed.graded} graded batches ended within p90 (90% is right)")
    wide = "" if listed.calibrated else ", a wide guess until more are graded"
    click.echo(f"forecasts are multiplied with {listed.p50_factor:.2f} (p50) and {listed.p90_factor:.2f} (p90){wide}")


def _within(one: GradedForecast) -> str:
    if one.within_p90 is None:
        return ""
    return "yes" if one.within_p90 else "[yellow]no[/]"

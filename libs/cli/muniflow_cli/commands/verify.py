"""`muniflow verify`."""

from typing import TYPE_CHECKING

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, number, plain, show_json, show_table

if TYPE_CHECKING:
    from muniflow_cli.engine.verify import Checked

MAX_SHOWN = 50
"""Faults in the table; --json has the first 10,000."""


class ShareType(click.ParamType):  # type: ignore[type-arg]  # generic only in its stubs
    """`1%` or `0.01`."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As a number from 0 to 1."""
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"{text!r} is no share: write 1% or 0.01", param, ctx)
        return share


@click.command(
    epilog=examples(
        "muniflow verify results/demo",
        "muniflow verify demo --recompute 1%",
        "muniflow verify s3://bucket/results/demo/report.json --source s3://bucket/photographs",
    )
)
@click.argument("report", metavar="REPORT")
@click.option("--source", metavar="STORE", help="Where the sources are; else the store of the stack.")
@click.option("--no-sources", is_flag=True, help="Look at the outputs only.")
@click.option(
    "--recompute", type=ShareType(), default=0.0, metavar="SHARE", help="Make so many images again: 1% or 0.01."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which images --recompute chooses.")
@json_option
def command(report: str, *, source: str | None, no_sources: bool, recompute: float, seed: int, as_json: bool) -> int:
    """Hold all that a report names against its checksums: a flipped bit, a file that is missing, changed or swapped.

    REPORT is a report, its folder, the address of one in a store, or the id of a batch of the stack. The outputs are
    read in the folder of the report. --recompute makes a random share of the images again, at least one, and compares
    every byte. The exit code is 1 when anything is wrong. A batch has checksums with `"checksums": true`.
    """
    from muniflow.errors import Rejected
    from muniflow_cli.commands.run import spec_of
    from muniflow_cli.commands.stored_report import places_of
    from muniflow_cli.commands.target import find_target
    from muniflow_cli.engine.verify import verify

    if no_sources and recompute:
        raise click.UsageError("--recompute reads sources: leave --no-sources out")
    target = find_target()
    places = places_of(report, target, source, sources=not no_sources)
    choice = None
    if recompute:
        from muniflow_cli.engine.recompute import RecomputeChoice

        choice = RecomputeChoice(recompute, seed)
    checked = verify(places, choice.offer) if choice else verify(places)
    if choice:
        from muniflow_cli.engine.recompute import recompute as make_again

        stores = target.stores
        spec = spec_of(stores.model_copy(update={"source_url": source}) if source else stores)
        make_again(choice.result(), places, checked, spec)
    if not checked.header.get("checksums") and not recompute and not checked.faults:
        raise Rejected(
            f"{report} has no checksums, so only the presence of its files was checked: none is missing. Run batches "
            'with "checksums": true (--checksums), or compare with --recompute'
        )
    _show(checked, as_json=as_json)
    return exits.FAILED if checked.faults else exits.OK


def _show(checked: "Checked", *, as_json: bool) -> None:
    if as_json:
        names = ("images", "files", "unknown", "recomputed", "faults")
        document = {"batch_id": checked.header["batch_id"], **{name: getattr(checked, name) for name in names}}
        show_json({**document, "findings": [finding._asdict() for finding in checked.findings]})
        return
    if checked.findings:
        shown = checked.findings[:MAX_SHOWN]
        rows = [(each.kind, each.what, plain(each.key), plain(each.problem)) for each in shown]
        show_table("", ("fault", "of", "file", "what is wrong"), rows)
        if (more := checked.faults - len(shown)) > 0:
            click.echo(f"and {number(more)} more")
    click.echo(
        f"{plain(checked.header['batch_id'])}: {number(checked.images)} images, {number(checked.files)} files read, "
        f"{number(checked.recomputed)} images made again, {number(checked.faults)} faults"
    )
    if checked.unknown:
        click.echo(f"without a checksum in the report, so only known to be there: {number(checked.unknown)} files")

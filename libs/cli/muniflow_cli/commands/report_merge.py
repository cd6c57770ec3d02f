"""`muniflow report merge`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.named_file import FILE_SCHEME, named_file
from muniflow_cli.commands.output import examples, exit_code, json_option, number, show_json

if TYPE_CHECKING:
    from muniflow.model.report_merge import MergedReport, ShareReport

MAX_NAMED = 20
"""Missing shares that are named for people; --json has all."""


@click.command(
    "merge",
    epilog=examples(
        "muniflow report merge results/demo --out results/demo/report.json",
        "muniflow report merge report-1-of-2.json report-2-of-2.json --out report.json",
        "muniflow report merge s3://bucket/results/demo --out s3://bucket/results/demo/report.json",
    ),
)
@click.argument("reports", metavar="REPORT...", nargs=-1, required=True)
@click.option(
    "--out", metavar="FILE", required=True, help="Where the one report is written: a file or s3://…/NAME.json."
)
@json_option
def merge(reports: tuple[str, ...], *, out: str, as_json: bool) -> int:
    """Make one report of the reports of the shares of a batch: that of one run of the whole, except for its times.

    A REPORT is a file, or a folder with files such as report-3-of-20.json; also in a store (s3://…, gs://…, az://…).
    The exit code is 3 when shares are missing: the report says which, and counts their images as cancelled. Else it is
    0 when all of the batch is done, and 1 when it is not.
    """
    from muniflow.model.report import report_of_lines
    from muniflow.model.report_merge import merge_reports

    target = named_file(out)
    merged = merge_reports(list(_read(reports)))
    target.store.write(target.key, report_of_lines(merged.header, merged.lines()), durable=True)
    if as_json:
        names = ("batch_id", "state", "totals", "times")
        document = {name: merged.header[name] for name in names}
        show_json(document | {"of": merged.of, "missing": list(merged.missing), "report": out})
    else:
        _show(merged, out)
    return exits.INCOMPLETE if merged.missing else exit_code(merged.header["state"])


def _read(names: Sequence[str]) -> "Iterator[ShareReport]":
    """The reports that are named.

    Raises:
        Invalid: one is not there, or is not the report of a share.
        Unavailable: its store is away.
    """
    from muniflow.model.report_merge import read_share_report

    for given in names:
        if _is_folder(given):
            yield from _in_folder(given)
        else:
            yield read_share_report(given, named_file(given).read())


def _in_folder(given: str) -> "Iterator[ShareReport]":
    from muniflow.errors import Fault, Invalid
    from muniflow.model.keys import SHARE_REPORT
    from muniflow.model.report_merge import read_share_report
    from muniflow.store.open import open_store

    store = open_store(given)
    found = [blob.key for blob in store.list() if SHARE_REPORT.fullmatch(blob.key)]
    if not found:
        raise Invalid((Fault(given, "no report of a share is here (report-3-of-20.json)"),))
    for key in found:
        yield read_share_report(f"{given.rstrip('/')}/{key}", bytes(store.read(key)))


def _is_folder(given: str) -> bool:
    if "://" in given and not given.startswith(FILE_SCHEME):
        return not given.endswith(".json")
    return Path(given.removeprefix(FILE_SCHEME)).is_dir()


def _show(merged: "MergedReport", out: str) -> None:
    from muniflow_cli.commands.result import show_totals

    show_totals(merged.header)
    if merged.missing:
        named = ", ".join(map(str, merged.missing[:MAX_NAMED]))
        more = len(merged.missing) - MAX_NAMED
        rest = f" and {number(more)} more" if more > 0 else ""
        shares = f"{number(len(merged.missing))} of {number(merged.of)} shares ({named}{rest})"
        images = f"{number(merged.missing_images)} of {number(merged.header['totals']['images'])} images"
        click.echo(f"missing: {shares}, with {images}")
        click.echo(f"run each of them, for example with --shard {merged.missing[0]}/{merged.of}, and merge again")
    click.echo(f"report: {out}")

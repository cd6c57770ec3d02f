"""`muniflow export`."""

from pathlib import Path

import click

from muniflow_cli.commands.output import examples, json_option, number, show_json


@click.group(epilog=examples("muniflow export bagit demo --out demo-bag"))
def command() -> None:
    """Hand a batch over to others: as a bag for an archive.

    With --json a command says what it wrote.
    """


@command.command(
    "bagit",
    epilog=examples(
        "muniflow export bagit demo --out demo-bag", "muniflow export bagit results/demo --out demo-bag --sources"
    ),
)
@click.argument("batch", metavar="BATCH")
@click.option("--out", metavar="FOLDER", required=True, type=click.Path(path_type=Path), help="The bag; a new folder.")
@click.option("--sources", is_flag=True, help="Put the sources of done images into the bag, too.")
@click.option("--source", metavar="STORE", help="Where the sources are; else the store of the stack.")
@json_option
def bagit(batch: str, *, out: Path, sources: bool, source: str | None, as_json: bool) -> int:
    """Write a bag (BagIt, RFC 8493) with the report and the outputs of a batch, and SHA-256 manifests.

    BATCH is the id of a batch of the stack, a report, its folder, or the address of one in a store. Every file is held
    against the checksums of the report while it is copied; one that is missing or changed ends the export, and nothing
    is left in FOLDER.
    """
    from muniflow_cli.commands.stored_report import places_of
    from muniflow_cli.commands.target import find_target
    from muniflow_cli.engine.bag import write_bag

    places = places_of(batch, find_target(), source, sources=sources)
    files, size_bytes = write_bag(places, out)
    if as_json:
        show_json({"bag": str(out), "files": files, "bytes": size_bytes})
    else:
        click.echo(f"bag: {out}, {number(files)} files, {number(size_bytes)} bytes")
    return 0

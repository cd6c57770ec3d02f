"""`muniflow calibrate`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands.output import duration, examples, json_option, plain, show_json, show_table

if TYPE_CHECKING:
    from muniflow_cli.planning.calibration import Calibration


@click.command(epilog=examples("muniflow calibrate", "muniflow calibrate --out profile.json"))
@click.option(
    "--out", "out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Where the profile is written; else among the state of this folder's stack, where `plan` finds it.",
)  # fmt: skip
@json_option
def command(out: Path | None, *, as_json: bool) -> None:
    """Measure every installed operation and format on this machine, for `muniflow plan`.

    Takes some ten seconds, with one process per core, and is best done while nothing else runs.
    """
    from muniflow_cli.planning.calibration import calibrate
    from muniflow_cli.planning.place import write_profile

    found = calibrate(len(os.sched_getaffinity(0)))
    written = write_profile(found.profile, out, os.environ)
    if as_json:
        document = {
            "file": str(written),
            "machine": machine(),
            "seconds": round(found.seconds, 3),
            "profile": found.profile.document(),
        }
        show_json(document)
    else:
        _show(found, written)


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, object]:
    """The processor and the cores that this process may use."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), os.uname().machine
    )
    return {"processor": model, "cores": len(os.sched_getaffinity(0))}


def _show(found: "Calibration", written: Path) -> None:
    costs = found.profile.costs
    here = machine()
    rows = [
        *(("operation", name, cost.s_per_mp_in, cost.s_per_mp_out) for name, cost in costs.operations.items()),
        *_formats("decode", costs.decode_s_per_mp, incoming=True),
        *_formats("encode", costs.encode_s_per_mp, incoming=False),
    ]
    show_table(
        f"Seconds per megapixel, {here['cores']} cores of {here['processor']}",
        ("what", "name", "in>", "out>"),
        [
            (kind, plain(name), _figure(into), _figure(made))
            for kind, name, into, made in rows
            if (kind, name) in found.measured
        ],
    )
    click.echo(f"measured in {duration(found.seconds)}; written to {written}")


def _formats(kind: str, figures: Mapping[str, float], *, incoming: bool) -> list[tuple[str, str, float, float]]:
    return [(kind, name, s if incoming else 0.0, 0.0 if incoming else s) for name, s in sorted(figures.items())]


def _figure(seconds: float) -> str:
    return f"{seconds:.5f}" if seconds else ""

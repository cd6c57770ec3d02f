"""`muniflow run`."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands.output import (
    duration,
    examples,
    exit_code,
    json_option,
    number,
    plain,
    show_json,
    show_table,
    styled_state,
)

if TYPE_CHECKING:
    from muniflow.compute.spec import ChildSpec
    from muniflow.model.batch import Batch
    from muniflow.runtime.settings import StoreSettings
    from muniflow.store.listing import ImageRef
    from muniflow_cli.commands.progress import Display
    from muniflow_cli.engine.account import BatchResult, ImageResult


SCRATCH = ".muniflow-"
"""Hidden, so that it is no part of a source store that holds the folder for temporary files."""


@click.command(
    epilog=examples(
        "muniflow run examples/demo.json --out results",
        "muniflow run examples/demo.json --jobs 1",
        "muniflow run batch.json --source /data/photographs --out s3://bucket/results",
        "muniflow run examples/demo.json --serial-containers",
    )
)
@click.argument("batch_file", metavar="BATCH", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--source", metavar="STORE", help="Where images are read: a folder or s3://…; else the current folder.")
@click.option("--out", metavar="STORE", help="Where outputs are written; else .muniflow/output.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Compute processes; one per core where not given.")
@click.option("--serial-containers", is_flag=True, help="Run each step of each image as a container, one by one.")
@click.option(
    "--image", "image_name", default="muniflow-{op}", show_default=True, help="Container image of an operation."
)
@json_option
def command(
    batch_file: Path,
    source: str | None,
    out: str | None,
    jobs: int | None,
    image_name: str,
    *,
    serial_containers: bool,
    as_json: bool,
) -> int:
    """Run a batch here, without a broker, with the bytes that the broker engine makes.

    One process per core; `--jobs 1` runs in this very process, fully serial, for a debugger. With --serial-containers
    each step reads its task as JSON on stdin and writes its result as JSON on stdout; where no container engine
    answers (or the images are not there) each step is a process. The exit code is 1 when an image failed.
    """
    from muniflow.model.batch import read_batch
    from muniflow.model.operation import installed_operations
    from muniflow_cli.commands.progress import new_display

    batch = read_batch(batch_file.read_bytes(), installed_operations())
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch, new_display(quiet=as_json) as display:
        stores = local_stores(source, out, scratch)
        progress = RunProgress(batch, display)
        if serial_containers:
            result = _in_containers(batch, stores, image_name, progress)
        else:
            result = run_here(batch, stores, jobs, progress.on_start, progress.on_image)
    if as_json:
        show_json(asdict(result) | {"failures": [asdict(image) for image in progress.failures]})
    else:
        _show(result, progress.failures, stores)
    return exit_code(result.state)


@dataclass
class RunProgress:
    """Counts images as they are settled, and shows how far it is."""

    batch: "Batch"
    display: "Display"
    failures: "list[ImageResult]" = field(default_factory=list)
    _total: int = 0
    _settled: int = 0

    def on_start(self, refs: "Sequence[ImageRef]") -> None:
        """Show how many there are."""
        self._total = len(refs)
        self._show()

    def on_image(self, result: "ImageResult") -> None:
        """Count one more."""
        self._settled += 1
        if result.state == "failed":
            self.failures.append(result)
        self._show()

    def _show(self) -> None:
        from muniflow_cli.commands.progress import Bar, Snapshot

        state = "done" if self._settled == self._total else "running"
        images = Bar("images", self._settled, self._total, len(self.failures))
        self.display.show(Snapshot(self.batch.batch_id, state, images))


def local_stores(source: str | None, out: str | None, scratch: str) -> "StoreSettings":
    """The stores of a run: by options, else by variables; intermediates in a folder that is removed at the end."""
    from muniflow.runtime.settings import StoreSettings, read_env, variable

    stores = read_env(StoreSettings, os.environ)
    work = os.environ.get(variable("work_url")) or f"file://{scratch}"
    given = {"source_url": source, "output_url": out, "work_url": work}
    return stores.model_copy(update={name: url for name, url in given.items() if url})


def run_here(
    batch: "Batch",
    stores: "StoreSettings",
    jobs: int | None,
    on_start: "Callable[[Sequence[ImageRef]], None]" = lambda _: None,
    on_image: "Callable[[ImageResult], None]" = lambda _: None,
) -> "BatchResult":
    """Run a batch on the local engine; one compute process per core where `jobs` is not given."""
    from muniflow_cli.engine.local import run_batch

    count = jobs or len(os.sched_getaffinity(0))
    return run_batch(batch, _spec(stores), jobs=count, on_start=on_start, on_image=on_image)


def _spec(stores: "StoreSettings") -> "ChildSpec":
    from muniflow.compute.spec import ChildSpec
    from muniflow.images.limits import ImageLimits
    from muniflow.runtime.settings import DeviceSettings, read_env

    return ChildSpec(
        source_url=stores.source_url,
        work_url=stores.work_url,
        output_url=stores.output_url,
        durable_outputs=stores.durable_outputs,
        limits=read_env(ImageLimits, os.environ).model_dump(mode="json"),
        device=read_env(DeviceSettings, os.environ).device,
    )


def _in_containers(batch: "Batch", stores: "StoreSettings", image_name: str, progress: RunProgress) -> "BatchResult":
    from muniflow_cli.engine.serial_containers import (
        container_command,
        container_engine,
        process_command,
        run_in_containers,
    )

    images = {step.op: image_name.format(op=step.op) for step in batch.route}
    engine = container_engine()
    missing = [name for name in images.values() if engine is None or not _has_image(engine, name)]
    if engine is not None and not missing:
        click.echo(f"each step is a container ({engine})", err=True)
        step = container_command(engine, images.__getitem__, stores)
    else:
        why = "no container engine answers" if engine is None else f"{engine} has no image {', '.join(missing)}"
        click.echo(f"each step is a process: {why}", err=True)
        step = process_command
    return run_in_containers(batch, stores, step, on_start=progress.on_start, on_image=progress.on_image)


def _has_image(engine: str, name: str) -> bool:
    import subprocess

    return not subprocess.run([engine, "image", "inspect", name], capture_output=True, check=False).returncode


def _show(result: "BatchResult", failures: "list[ImageResult]", stores: "StoreSettings") -> None:
    from muniflow_cli.commands.result import show_failures

    show_table(
        "",
        ("batch", "state", "images>", "done>", "failed>", "outputs>", "time>"),
        [
            (
                plain(result.batch_id), styled_state(result.state),
                number(result.done + result.failed + result.cancelled), number(result.done), number(result.failed),
                number(result.outputs), duration(result.seconds),
            )
        ],
    )  # fmt: skip
    if failures:
        show_failures([(image.source, image.reasons) for image in failures])
    folder = result.report.rpartition("/")[0]
    click.echo(f"outputs: {stores.output_url.removeprefix('file://').rstrip('/')}/{folder}")

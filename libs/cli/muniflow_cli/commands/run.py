"""`muniflow run`."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands.batch_options import (
    again_option,
    checksums_option,
    deadline_option,
    priority_option,
    replace_option,
    strict_option,
    with_options,
)
from muniflow_cli.commands.named_file import existing_file, read_named_file
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
    from muniflow.model.share import Share
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
        "muniflow run examples/demo.json --shard 3/20",
    )
)
@click.argument("batch_file", metavar="BATCH", type=existing_file)
@click.option("--source", metavar="STORE", help="Where images are read: a folder or s3://…; else the current folder.")
@click.option("--out", metavar="STORE", help="Where outputs are written; else .muniflow/output.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Compute processes; one per core where not given.")
@click.option("--serial-containers", is_flag=True, help="Run each step of each image as a container, one by one.")
@click.option(
    "--image", "image_name", default="muniflow-{op}", show_default=True, help="Container image of an operation."
)
@click.option("--shard", metavar="N/OF", help="Run only this share, such as 3/20; or `auto`, in an indexed job.")
@deadline_option("Checked, and without effect here")
@priority_option
@strict_option
@replace_option
@again_option
@checksums_option
@json_option
def command(
    batch_file: str,
    source: str | None,
    out: str | None,
    jobs: int | None,
    image_name: str,
    *,
    shard: str | None,
    deadline: str | None,
    priority: str | None,
    strict: bool | None,
    replace: bool | None,
    again: str | None,
    checksums: bool | None,
    serial_containers: bool,
    as_json: bool,
) -> int:
    """Run a batch here, a file or s3://…, without a broker; the outputs are those of the broker engine, byte for byte.

    One process per core; `--jobs 1` runs in this very process, fully serial, for a debugger. With --serial-containers
    each step reads its task as JSON on stdin and writes its result as JSON on stdout; where no container engine
    answers (or the images are not there) each step is a process. The exit code is 1 when an image failed. A batch here
    is alone: its deadline and priority are checked, and change nothing.

    --shard 3/20 runs one share of twenty, with the names and bytes of the whole batch and a report of its own; `auto`
    takes the share from the variables of a Kubernetes Indexed Job, an AWS Batch array job or a Cloud Run job.
    `muniflow report merge` makes one report of all shares.
    """
    from muniflow.model.share import read_share
    from muniflow_cli.commands.progress import new_display

    share = None if shard is None else read_share(shard, os.environ)
    options = {"strict": strict, "replace": replace, "again": again, "checksums": checksums}
    batch = _read(with_options(read_named_file(batch_file), deadline=deadline, priority=priority, **options))
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch, new_display(quiet=as_json) as display:
        stores = local_stores(source, out, scratch)
        progress = RunProgress(batch, display)
        if serial_containers:
            result = _in_containers(batch, stores, image_name, progress, share)
        else:
            result = run_here(batch, stores, jobs, progress.on_start, progress.on_image, share=share)
    if as_json:
        show_json(asdict(result) | {"failures": [asdict(image) for image in progress.failures]})
    else:
        _show(result, progress.failures, stores)
    return exit_code(result.state)


def _read(document: bytes) -> "Batch":
    from muniflow.errors import Invalid
    from muniflow.model.batch import read_batch
    from muniflow.model.deadline import past_faults
    from muniflow.model.operation import installed_operations

    batch = read_batch(document, installed_operations())
    if faults := past_faults(batch.deadline_at, time.time()):
        raise Invalid(faults)
    return batch


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
    *,
    share: "Share | None" = None,
) -> "BatchResult":
    """Run a batch, or a share of it, on the local engine; one compute process per core where `jobs` is not given."""
    from muniflow_cli.engine.local import run_batch

    count = jobs or len(os.sched_getaffinity(0))
    return run_batch(batch, spec_of(stores), jobs=count, share=share, on_start=on_start, on_image=on_image)


def spec_of(stores: "StoreSettings") -> "ChildSpec":
    """How tasks are computed here, by the variables of this process."""
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


def _in_containers(
    batch: "Batch", stores: "StoreSettings", image_name: str, progress: RunProgress, share: "Share | None"
) -> "BatchResult":
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
    return run_in_containers(batch, stores, step, share=share, on_start=progress.on_start, on_image=progress.on_image)


def _has_image(engine: str, name: str) -> bool:
    import subprocess

    return not subprocess.run([engine, "image", "inspect", name], capture_output=True, check=False).returncode


def _show(result: "BatchResult", failures: "list[ImageResult]", stores: "StoreSettings") -> None:
    from muniflow_cli.commands.result import show_changes, show_failures, show_replaced, show_skipped

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
    show_changes(result.kept, result.gone)
    show_replaced(result.replaced)
    show_skipped(result.skipped, result.skipped_reasons)
    folder = result.report.rpartition("/")[0]
    if result.shard is not None:
        click.echo(f"shard: {result.shard}; its report: {result.report}")
    click.echo(f"outputs: {stores.output_url.removeprefix('file://').rstrip('/')}/{folder}")

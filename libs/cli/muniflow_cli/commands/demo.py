"""`muniflow demo`."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, number, plain, show_json, show_table, size, styled_state

if TYPE_CHECKING:
    from muniflow.model.api import BatchStatus, ImageStatus
    from muniflow.model.batch import Batch
    from muniflow.store.types import Store
    from muniflow_cli.stack.state import StackState

ANSWER_S = 30.0
OWN = ("MUNIFLOW_COORDINATOR_URL", "MUNIFLOW_DATABASE_URL")
"""Variables that name parts of another stack: the demo has its own."""


@dataclass(frozen=True)
class Comparison:
    """The outputs of two engines."""

    identical: int
    different: tuple[str, ...]
    """Keys that are missing on one side, or whose bytes differ."""

    @property
    def total(self) -> int:
        """All outputs that either engine has."""
        return self.identical + len(self.different)


def compare(left: "Store", right: "Store", prefix: str) -> Comparison:
    """Compare every blob below `prefix` but the report, which holds times."""
    from muniflow.model.keys import REPORT

    report = f"{prefix}{REPORT}"
    keys = {blob.key for store in (left, right) for blob in store.list(prefix)} - {report}
    same = {
        key
        for key in keys
        if left.size(key) is not None and right.size(key) is not None and left.read(key) == right.read(key)
    }
    return Comparison(len(same), tuple(sorted(keys - same)))


@click.command(epilog=examples("muniflow demo", "muniflow demo my-batch.json --workers blur=2"))
@click.argument(
    "batch_file",
    metavar="[BATCH]",
    default="examples/demo.json",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--workers", default="", metavar="OP=N,…", help="Worker processes of each operation.")
@json_option
def command(batch_file: Path, workers: str, *, as_json: bool) -> int:
    """Run a batch through a private RabbitMQ and the workers, and again without a broker; compare every byte.

    Everything is started for the demo and stopped at its end; outputs are in .muniflow/demo/, made anew each time.
    The exit code is 0 when every image is done and every output is the same on both engines.
    """
    from muniflow.model.batch import read_batch
    from muniflow.model.operation import installed_operations
    from muniflow.runtime.state_folder import state_folder
    from muniflow_cli.stack.detach import start_detached
    from muniflow_cli.stack.place import data_folder, demo_folder
    from muniflow_cli.stack.stop import stop_stack

    document = batch_file.read_bytes()
    batch = read_batch(document, installed_operations())
    folder, data = demo_folder(state_folder(os.environ)), data_folder(os.environ) / "demo"
    stop_stack(folder)
    for made in (folder, data):
        shutil.rmtree(made, ignore_errors=True)
    say = _sayer(quiet=as_json)
    say("starting RabbitMQ, the coordinator and the workers")
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
    environment |= {"MUNIFLOW_OUTPUT_URL": f"{data.absolute()}/output", "MUNIFLOW_WORK_URL": f"{data.absolute()}/work"}
    try:
        stack = start_detached(folder, ["--workers", workers, "--no-gateway"], environment)
        say(", ".join(dict.fromkeys(process.name for process in stack.processes)) + " are ready")
        status = _over_the_broker(stack, document, batch, say, quiet=as_json)
        images = _images(stack, batch)
        say("running the same batch on the local engine")
        comparison = _on_the_local_engine(stack, batch, data / "local")
    finally:
        say("draining and stopping everything")
        stop_stack(folder)
    root = data / "output"
    outputs = root / batch.destination
    if as_json:
        show_json(_document(status, comparison, outputs))
    else:
        _show(images, comparison, root)
        click.echo(f"outputs: {outputs}")
    return exits.OK if status.state == "done" and not comparison.different else exits.FAILED


def _sayer(*, quiet: bool) -> Callable[[str], None]:
    started_s = time.monotonic()

    def say(text: str) -> None:
        if not quiet:
            click.echo(f"[{time.monotonic() - started_s:5.1f} s] {text}")

    return say


def _over_the_broker(
    stack: "StackState", document: bytes, batch: "Batch", say: Callable[[str], None], *, quiet: bool
) -> "BatchStatus":
    """Publish the batch to the coordinator's queue and follow it to its end."""
    from muniflow.errors import Fault, Invalid, Unavailable
    from muniflow.model.topology import BATCHES
    from muniflow.runtime.settings import BrokerSettings
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.follow import follow
    from muniflow_cli.commands.progress import new_display
    from muniflow_cli.commands.submit_session import SubmitSession

    with SubmitSession(BrokerSettings(amqp_url=stack.amqp_url)) as session:
        message_id = session.submit(document)
        notice = session.answer_to(message_id, ANSWER_S)
    if notice is None:
        raise Unavailable("the coordinator", f"it did not answer within {ANSWER_S:.0f} s")
    if notice.state == "rejected":
        raise Invalid(tuple(Fault(fault.get("place", ""), fault.get("problem", "")) for fault in notice.faults))
    say(f"published to {BATCHES}; batch {batch.batch_id} is accepted")
    with new_display(quiet=quiet) as display:
        return follow(CoordinatorApi(stack.coordinator_url), batch.batch_id, display)


def _images(stack: "StackState", batch: "Batch") -> "list[ImageStatus]":
    from muniflow_cli.commands.client import CoordinatorApi

    return list(CoordinatorApi(stack.coordinator_url).images(batch.batch_id))


def _show(images: "list[ImageStatus]", comparison: Comparison, root: Path) -> None:
    show_table(
        "",
        ("image", "state", "outputs>", "size>", "first output", "reason"),
        [
            (
                plain(image.source), styled_state(image.state), number(len(image.outputs)),
                size(sum((root / key).stat().st_size for key in image.outputs)),
                plain(image.outputs[0] if image.outputs else ""), plain("; ".join(image.reasons)),
            )
            for image in images
        ],
    )  # fmt: skip
    click.echo(f"{comparison.identical} of {comparison.total} outputs are byte-identical on both engines")
    for key in comparison.different:
        click.echo(f"  not the same: {key}")


def _document(status: "BatchStatus", comparison: Comparison, outputs: Path) -> dict[str, object]:
    return {
        "batch": status.model_dump(mode="json"),
        "identical": comparison.identical,
        "different": list(comparison.different),
        "outputs": str(outputs),
    }


def _on_the_local_engine(stack: "StackState", batch: "Batch", folder: Path) -> Comparison:
    """Run the same batch without a broker, into another folder, and compare every output."""
    from muniflow.store.open import open_store
    from muniflow_cli.commands.run import run_here

    urls = {"output_url": f"file://{folder.resolve()}", "work_url": f"file://{folder.resolve()}-work"}
    stores = stack.stores.model_copy(update=urls)
    run_here(batch, stores, jobs=None)
    return compare(open_store(stack.stores.output_url), open_store(stores.output_url), f"{batch.destination}/")

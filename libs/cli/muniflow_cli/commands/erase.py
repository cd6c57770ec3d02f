"""`muniflow erase`."""

from typing import TYPE_CHECKING

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, show_json

if TYPE_CHECKING:
    from muniflow_cli.commands.client import CoordinatorApi

LONGEST_WAIT_S = 3600.0


@click.command(epilog=examples("muniflow erase demo", "muniflow erase demo --image 3 --yes --wait"))
@click.argument("batch", metavar="ID")
@click.option("--image", type=click.IntRange(0), help="Only this image, by its number, of a batch that has ended.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.option("--wait", is_flag=True, help="Wait until it is erased.")
@json_option
def command(batch: str, *, image: int | None, yes: bool, wait: bool, as_json: bool) -> int:
    """Remove every byte of a batch: outputs, reports, uploaded images, intermediates, dead letters, its ledger entry.

    One that runs is cancelled first. Images that the batch names in the source store stay, and so does a row of the
    audit trail. There is no way back.
    """
    from muniflow.errors import Rejected
    from muniflow.model.messages import TERMINAL, Command
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.control import send_command
    from muniflow_cli.commands.target import find_target

    target = find_target()
    coordinator = CoordinatorApi(target.require_coordinator())
    state = _state(coordinator, batch)
    if image is not None and state not in TERMINAL:
        raise Rejected(f"batch {batch!r} is {state}: an image is erased once its batch has ended; cancel it first")
    what = f"batch {batch}" if image is None else f"image {image} of batch {batch}"
    if not yes:
        click.confirm(f"Erase {what} for good?", abort=True)
    send_command(target.require_broker(), Command(action="erase", batch=batch, image=image))
    if wait:
        _wait(coordinator, batch, image)
    if as_json:
        show_json({"batch": batch, "image": image, "erased": wait})
    else:
        click.echo(f"{what}: {'erased' if wait else 'the coordinator was asked to erase it'}")
    return exits.OK


def _state(coordinator: "CoordinatorApi", batch: str) -> str:
    from muniflow.errors import NotFound

    try:
        return coordinator.batch(batch).state
    except NotFound:
        if not coordinator.rejections(1, batch):
            raise
        return "rejected"


def _wait(coordinator: "CoordinatorApi", batch: str, image: int | None) -> None:
    from muniflow.errors import Unavailable
    from muniflow_cli.stack.waiting import wait_until

    if not wait_until(lambda: _is_erased(coordinator, batch, image), LONGEST_WAIT_S, every_s=0.25):
        raise Unavailable("the coordinator", f"{batch} is not erased yet; it goes on, see `muniflow audit`")


def _is_erased(coordinator: "CoordinatorApi", batch: str, image: int | None) -> bool:
    from muniflow.errors import NotFound
    from muniflow.model.report_redacted import erased_name

    try:
        if image is not None:
            return coordinator.image(batch, image).source.endswith(erased_name(image))
        _state(coordinator, batch)
    except NotFound:
        return True
    return False

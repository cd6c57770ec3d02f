"""`muniflow submit`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, exit_code, json_option, show_json

if TYPE_CHECKING:
    from muniflow.model.batch import Batch
    from muniflow.model.messages import Notice
    from muniflow_cli.commands.submit_session import SubmitSession
    from muniflow_cli.commands.target import Target

ANSWER_S = 15.0
"""How long to wait for the coordinator's first word."""


@click.command(epilog=examples("muniflow submit examples/demo.json", "muniflow submit examples/demo.json --wait"))
@click.argument("batch_file", metavar="BATCH", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--wait", is_flag=True, help="Follow the batch until its end; the exit code is 1 if not all is done.")
@json_option
def command(batch_file: Path, *, wait: bool, as_json: bool) -> int:
    """Send a batch to the coordinator, and print what it says of it.

    The batch is checked here first, when the step packages are installed. Once the broker has it, it is not lost: a
    coordinator that is away takes it when it is back. Sent twice, the same batch is run once.
    """
    from muniflow_cli.commands.submit_session import SubmitSession
    from muniflow_cli.commands.target import find_target

    document = batch_file.read_bytes()
    batch = _checked(document)
    target = find_target()
    with SubmitSession(target.require_broker()) as session:
        message_id = session.submit(document)
        notice = session.answer_to(message_id, ANSWER_S)
        if notice is None and not wait:
            return _queued(None, batch, as_json=as_json)
        if notice is None:
            click.echo("the broker has the batch; no coordinator has answered yet", err=True)
        while notice is None:  # it is not lost: a coordinator that comes back takes it
            notice = session.answer_to(message_id, ANSWER_S)
        if notice.state == "rejected":
            return _rejected(notice, as_json=as_json)
        if not wait:
            return _queued(notice, batch, as_json=as_json)
        if target.coordinator_url is None:
            return _wait_for_end(session, notice, as_json=as_json)
    return _watch(target, notice.batch, as_json=as_json)


def _checked(document: bytes) -> "Batch | None":
    from muniflow.model.batch import read_batch
    from muniflow.model.operation import installed_operations

    operations = installed_operations()
    return read_batch(document, operations) if operations else None


def _rejected(notice: "Notice", *, as_json: bool) -> int:
    if as_json:
        show_json(notice)
    else:
        click.echo(f"the coordinator refuses the batch: {len(notice.faults)} faults", err=True)
        for fault in notice.faults:
            place, problem = fault.get("place", ""), fault.get("problem", "")
            click.echo(f"  {place}: {problem}" if place else f"  {problem}", err=True)
    return exits.USAGE


def _queued(notice: "Notice | None", batch: "Batch | None", *, as_json: bool) -> int:
    name = notice.batch if notice else batch.batch_id if batch else ""
    if as_json:
        show_json({"batch": name, "state": notice.state if notice else "queued"})
    elif notice is None:
        click.echo(f"{name}: the broker has it; no coordinator has answered within {ANSWER_S:.0f} s")
    else:
        click.echo(f"{name}: {notice.state}; follow it: muniflow watch {name}")
    return exits.OK


def _watch(target: "Target", name: str, *, as_json: bool) -> int:
    from muniflow_cli.commands.client import Coordinator
    from muniflow_cli.commands.follow import follow
    from muniflow_cli.commands.progress import new_display
    from muniflow_cli.commands.result import show_end

    coordinator = Coordinator(target.require_coordinator())
    with new_display(quiet=as_json) as display:
        status = follow(coordinator, name, display)
    if as_json:
        show_json(status)
    else:
        show_end(status, coordinator)
    return exit_code(status.state)


def _wait_for_end(session: "SubmitSession", notice: "Notice", *, as_json: bool) -> int:
    """Wait without the coordinator's HTTP interface: its notices say when the accepted batch ends."""
    from muniflow.model.messages import TERMINAL

    while notice.state not in TERMINAL:
        for heard in session.heard(timeout_s=60):
            # A refusal is of something else that was sent under the same id.
            if heard.batch == notice.batch and heard.state != "rejected":
                notice = heard
                if not as_json:
                    click.echo(f"{notice.batch}: {notice.state} · {notice.done + notice.failed}/{notice.total} images")
    if as_json:
        show_json(notice)
    return exit_code(notice.state)

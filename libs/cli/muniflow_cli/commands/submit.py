"""`muniflow submit`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muniflow.model.deadline import EXAMPLE
from muniflow_cli.commands import exits
from muniflow_cli.commands.batch_options import (
    again_option,
    checksums_option,
    deadline_option,
    priority_option,
    replace_option,
    strict_option,
    with_options,
)
from muniflow_cli.commands.output import examples, exit_code, json_option, say, show_json
from muniflow_cli.commands.turns import deadline_text

if TYPE_CHECKING:
    from muniflow.model.batch import Batch
    from muniflow.model.messages import Notice
    from muniflow_cli.commands.submit_session import SubmitSession
    from muniflow_cli.commands.target import Target

ANSWER_S = 15.0
"""How long to wait for the coordinator's first answer."""


@click.command(
    epilog=examples(
        "muniflow submit examples/demo.json",
        "muniflow submit examples/demo.json --wait",
        f"muniflow submit batch.json --deadline {EXAMPLE} --priority high",
    )
)
@click.argument("batch_file", metavar="BATCH", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--wait", is_flag=True, help="Follow the batch until its end; the exit code is 1 if not all is done.")
@deadline_option("When it should have ended")
@priority_option
@strict_option
@replace_option
@again_option
@checksums_option
@json_option
def command(
    batch_file: Path,
    deadline: str | None,
    priority: str | None,
    *,
    wait: bool,
    strict: bool | None,
    replace: bool | None,
    again: str | None,
    checksums: bool | None,
    as_json: bool,
) -> int:
    """Send a batch to the coordinator and print its answer.

    The batch is checked here first, when the step packages are installed. Once the broker has it, it is not lost: a
    coordinator that is away takes it when it is back. Sent twice, the same batch is run once.
    """
    from muniflow_cli.commands.submit_session import SubmitSession
    from muniflow_cli.commands.target import find_target

    options = {"strict": strict, "replace": replace, "again": again, "checksums": checksums}
    document = with_options(batch_file.read_bytes(), deadline=deadline, priority=priority, **options)
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
        _say_already_run(notice)
        if not wait:
            return _queued(notice, batch, as_json=as_json)
        if target.coordinator_url is None:
            return _wait_for_end(session, notice, as_json=as_json)
    return _watch(target, notice.batch, as_json=as_json)


def _say_already_run(notice: "Notice") -> None:
    """Say on stderr that nothing was run: a script that reads the result must not take it for that of today."""
    from muniflow_cli.commands.output import clock

    if notice.already_run_at is not None:
        text = f"already run at {clock(notice.already_run_at, time.time())}; nothing was run now"
        say(f"{notice.batch}: {text}. --again changed runs what changed, --again all all of it", err=True)


def _checked(document: bytes) -> "Batch | None":
    from muniflow.model.batch import read_batch
    from muniflow.model.deadline import past_faults, stated_at
    from muniflow.model.operation import installed_operations

    if not (operations := installed_operations()):
        return None
    # A batch that is valid by itself may be known already, so that its deadline may have passed.
    return read_batch(document, operations, also=lambda read: past_faults(stated_at(read.deadline), time.time()))


def _rejected(notice: "Notice", *, as_json: bool) -> int:
    if as_json:
        show_json(notice)
    else:
        click.echo(f"the coordinator refuses the batch: {len(notice.faults)} faults", err=True)
        for fault in notice.faults:
            place, problem = fault.get("place", ""), fault.get("problem", "")
            say(f"  {place}: {problem}" if place else f"  {problem}", err=True)
    return exits.USAGE


def _queued(notice: "Notice | None", batch: "Batch | None", *, as_json: bool) -> int:
    from muniflow_cli.commands.result import show_changes, show_skipped

    name = notice.batch if notice else batch.batch_id if batch else ""
    if as_json:
        judged = {
            field: getattr(notice, field, None)
            for field in ("deadline_at", "feasible", "earliest_at", "already_run_at")
        }
        show_json({"batch": name, "state": notice.state if notice else "queued", **judged})
    elif notice is None:
        say(f"{name}: the broker has it; no coordinator has answered within {ANSWER_S:.0f} s")
    else:
        say(f"{name}: {notice.state}; follow it: muniflow watch {name}")
        if text := deadline_text(notice):
            click.echo(f"{name}: {text}")
        show_changes(notice.kept or 0, notice.gone or 0)
        show_skipped(notice.skipped or 0, notice.skipped_reasons or {})
    return exits.OK


def _watch(target: "Target", name: str, *, as_json: bool) -> int:
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.watch import watch

    return watch(CoordinatorApi(target.require_coordinator()), name, as_json=as_json)


def _wait_for_end(session: "SubmitSession", notice: "Notice", *, as_json: bool) -> int:
    """Wait without the coordinator's HTTP interface: its notices say when the accepted batch ends."""
    from muniflow.model.messages import TERMINAL
    from muniflow_cli.commands.result import show_changes, show_skipped

    while notice.state not in TERMINAL:
        for heard in session.heard(timeout_s=60):
            # A rejection answers other content that was sent under the same id.
            if heard.batch == notice.batch and heard.state != "rejected":
                notice = heard
                if not as_json:
                    say(f"{notice.batch}: {notice.state} · {notice.done + notice.failed}/{notice.total} images")
    if as_json:
        show_json(notice)
    else:
        show_changes(notice.kept or 0, notice.gone or 0)
        show_skipped(notice.skipped or 0, notice.skipped_reasons or {})
    return exit_code(notice.state)

"""`muniflow dead`: list, count, show, replay and drop what failed for good. All of it from the ledger."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import duration, examples, json_option, number, plain, show_json, show_table

if TYPE_CHECKING:
    from muniflow.model.api import Answer
    from muniflow.model.api_failures import StrayLetter
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.dead_letters import FailureChoice, Treatment

Function = TypeVar("Function", bound=Callable[..., Any])


def choice_options(function: Function) -> Function:
    """The options that choose; the command gets them as one `FailureChoice`."""
    for option in (
        click.option("--letter", type=click.IntRange(1), metavar="N", help="Only this message that is no task."),
        click.option("--image", type=click.IntRange(0), metavar="N", help="Only this image of --batch, by its number."),
        click.option("--reason-code", metavar="CODE", help="Only failures for this reason: docs/reference/report.md."),
        click.option(
            "--stage", "--queue", "stage", metavar="NAME",
            help="Only failures of this operation; or messages of batches, events or control.",
        ),
        click.option("--owner", metavar="NAME", help="Only failures of batches of this owner."),
        click.option("--batch", metavar="ID", help="Only failures of this batch."),
    ):  # fmt: skip
        function = option(function)
    return json_option(function)


@click.group(epilog=examples("muniflow dead list", "muniflow dead reasons", "muniflow dead replay --batch demo"))
def command() -> None:
    """Images and messages that failed for good, with their reasons; kept until replayed or dropped."""


@command.command("list", epilog=examples("muniflow dead list", "muniflow dead list --stage blur --limit 20 --json"))
@choice_options
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many to list.")
def list_failures(*, limit: int, as_json: bool, **given: Any) -> None:
    """List failed images, by batch and reason code, and messages that are no task."""
    choice, coordinator = _choice(given), _coordinator()
    failures = list(coordinator.failures(limit, **choice.query())) if choice.has_failures else []
    letters = list(_letters(coordinator, choice, limit)) if choice.has_letters else []
    if as_json:
        show_json({"failures": _documents(failures), "letters": _documents(letters)})
        return
    if not failures and not letters:
        click.echo("no dead letters")
    now = time.time()
    if failures:
        columns = ("batch", "image>", "stage", "reason code", "age>", "reason")
        rows = [
            (
                plain(each.batch_id), number(each.image), plain(each.operation), plain(each.reason_code),
                duration(None if each.failed_at is None else max(now - each.failed_at, 0.0)),
                plain(each.reasons[0] if each.reasons else ""),
            )
            for each in failures
        ]  # fmt: skip
        show_table("", columns, rows)
    if letters:
        lines = [
            (number(each.number), plain(each.queue), plain(each.batch_id or ""), duration(max(now - each.at, 0.0)),
             plain(each.reason))
            for each in letters
        ]  # fmt: skip
        show_table("messages that are no task", ("letter>", "queue", "batch", "age>", "reason"), lines)
    if max(len(failures), len(letters)) == limit:
        click.echo(f"the first {number(limit)}; more: --limit; all, counted: muniflow dead reasons")


@command.command("reasons", epilog=examples("muniflow dead reasons", "muniflow dead reasons --batch demo --json"))
@choice_options
def count_reasons(*, as_json: bool, **given: Any) -> None:
    """Count failed images by reason code and stage. --json counts them by batch, too."""
    groups = _coordinator().failure_counts(**_choice(given).query()).groups
    if as_json:
        show_json([group.model_dump() for group in groups])
        return
    sums: dict[tuple[str, str], list[int]] = {}
    for group in groups:
        sums.setdefault((group.reason_code, group.operation), []).append(group.images)
    if not sums:
        click.echo("no dead letters")
        return
    rows = [
        (plain(code), plain(stage), number(sum(images)), number(len(images)))
        for (code, stage), images in sorted(sums.items(), key=lambda each: -sum(each[1]))
    ]
    show_table("", ("reason code", "stage", "images>", "batches>"), rows)


@command.command("show", epilog=examples("muniflow dead show --batch demo --image 3", "muniflow dead show --letter 1"))
@choice_options
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many to show.")
def show_failures(*, limit: int, as_json: bool, **given: Any) -> None:
    """Show failures with all their reasons, and messages whole."""
    choice, coordinator = _choice(given), _coordinator()
    failures = list(coordinator.failures(limit, **choice.query())) if choice.has_failures else []
    letters = _letters(coordinator, choice, limit) if choice.has_letters else iter(())
    documents = [*failures, *(coordinator.letter(each.number) for each in letters)]
    if as_json or documents:
        show_json(_documents(documents))
    else:
        click.echo("no dead letters")


@command.command("replay", epilog=examples("muniflow dead replay --batch demo", "muniflow dead replay --stage blur"))
@choice_options
def replay_failures(*, as_json: bool, **given: Any) -> int:
    """Run again what failed: each image is opened again in its batch and runs from its source.

    It answers at once; the coordinator dispatches the images as their batches' windows allow. Safe to repeat: an image
    that is done by now is not run again.
    """
    return _treat("replay", _choice(given), "replayed", as_json=as_json)


@command.command("drop", epilog=examples("muniflow dead drop --batch demo", "muniflow dead drop --all --yes"))
@choice_options
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop_failures(*, everything: bool, yes: bool, as_json: bool, **given: Any) -> int:
    """List failures no more, for good. Their images stay failed in the ledger and in the report."""
    choice = _choice(given)
    if not everything and choice.everything:
        raise click.UsageError("say which: --batch, --owner, --stage, --reason-code, --image, --letter, or --all")
    if not yes and not as_json:
        click.confirm("Remove them for good?", abort=True)
    return _treat("drop", choice, "dropped", as_json=as_json)


def _treat(treatment: "Treatment", choice: "FailureChoice", done: str, *, as_json: bool) -> int:
    """Ask the coordinator to treat what is chosen; print how much that is now."""
    from muniflow_cli.commands.control import send_commands
    from muniflow_cli.commands.dead_letters import commands_for
    from muniflow_cli.commands.target import find_target

    coordinator = _coordinator()
    groups = coordinator.failure_counts(**choice.query()).groups if choice.has_failures else ()
    letters = list(_letters(coordinator, choice, None)) if choice.has_letters else []
    send_commands(find_target().require_broker(), commands_for(treatment, choice, groups, letters))
    treated = sum(group.images for group in groups) + len(letters)
    if as_json:
        show_json({done: treated})
    else:
        click.echo(f"{done}: {number(treated)}")
    return exits.OK


def _letters(coordinator: "CoordinatorApi", choice: "FailureChoice", limit: int | None) -> "Iterator[StrayLetter]":
    if choice.letter is not None:
        yield coordinator.letter(choice.letter)
    else:
        yield from coordinator.letters(limit, queue=choice.queue)


def _documents(found: "Iterable[Answer]") -> list[dict[str, Any]]:
    return [each.model_dump(mode="json", exclude_none=True) for each in found]


def _coordinator() -> "CoordinatorApi":
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.target import find_target

    return CoordinatorApi(find_target().require_coordinator())


def _choice(given: dict[str, Any]) -> "FailureChoice":
    """The options as a choice.

    Raises:
        UsageError: they do not go together.
    """
    from muniflow_cli.commands.dead_letters import FailureChoice

    choice = FailureChoice(**given)
    if choice.image is not None and choice.batch is None:
        raise click.UsageError("--image needs --batch: images are numbered within their batch")
    if choice.owner is not None and (choice.letter is not None or choice.queue is not None):
        raise click.UsageError("--owner goes with failed images: messages that are no task have no owner")
    return choice

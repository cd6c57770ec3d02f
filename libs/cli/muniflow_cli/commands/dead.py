"""`muniflow dead`: list, show, replay and drop dead letters."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import duration, examples, json_option, number, plain, show_json, show_table

if TYPE_CHECKING:
    from muniflow.runtime.settings import BrokerSettings
    from muniflow.transport.admin import BrowsedMessage
    from muniflow.transport.types import OutgoingMessage
    from muniflow_cli.commands.dead_letters import DeadLetter

Function = TypeVar("Function", bound=Callable[..., Any])


def choice(function: Function) -> Function:
    """The options that choose letters."""
    for option in (
        click.option("--image", type=click.IntRange(0), metavar="N", help="Only those of this image, by its number."),
        click.option("--batch", metavar="ID", help="Only those of this batch."),
        click.option("--queue", metavar="NAME", help="Only this queue: an operation, batches, events or control."),
    ):
        function = option(function)
    return json_option(function)


@click.group(epilog=examples("muniflow dead list", "muniflow dead replay --batch demo"))
def command() -> None:
    """What failed for good, with its reason: kept until it is replayed or dropped."""


@command.command("list", epilog=examples("muniflow dead list", "muniflow dead list --queue blur --json"))
@choice
def list_letters(queue: str | None, batch: str | None, image: int | None, *, as_json: bool) -> None:
    """List dead letters, oldest first in each queue."""
    letters = _look(queue, batch, image)
    if as_json:
        show_json([letter.document(whole=False) for letter in letters])
    elif not letters:
        click.echo("no dead letters")
    else:
        show_table(
            "",
            ("queue", "batch", "image>", "step>", "age>", "reason"),
            [
                (
                    plain(letter.queue), plain(letter.batch or ""), number(letter.image), number(letter.step),
                    duration(letter.age_s), plain(letter.reason),
                )
                for letter in letters
            ],
        )  # fmt: skip


@command.command("show", epilog=examples("muniflow dead show --batch demo --image 3"))
@choice
def show_letters(queue: str | None, batch: str | None, image: int | None, *, as_json: bool) -> None:
    """Show dead letters whole, with the message itself."""
    documents = [letter.document(whole=True) for letter in _look(queue, batch, image)]
    if as_json or documents:
        show_json(documents)
    else:
        click.echo("no dead letters")


@command.command("replay", epilog=examples("muniflow dead replay --batch demo", "muniflow dead replay --queue blur"))
@choice
def replay_letters(queue: str | None, batch: str | None, image: int | None, *, as_json: bool) -> int:
    """Run again what failed: each image is opened again in its batch and runs from its source.

    Safe to repeat: an image that is done by now is not run again. The letter is removed once the coordinator's queue
    has the command.
    """
    from muniflow.transport.types import OutgoingMessage
    from muniflow_cli.commands.control import control_message
    from muniflow_cli.commands.dead_letters import replay_of

    def replay(letter: "DeadLetter", publish: "Callable[[OutgoingMessage], None]") -> bool:
        match replay_of(letter):
            case "keep":
                return False
            case "again":
                publish(OutgoingMessage(letter.origin, letter.body))
            case command:
                publish(control_message(command))
        return True

    return _treat(queue, batch, image, replay, "replayed", as_json=as_json)


@command.command("drop", epilog=examples("muniflow dead drop --batch demo", "muniflow dead drop --all --yes"))
@choice
@click.option("--all", "everything", is_flag=True, help="Every dead letter there is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop_letters(
    queue: str | None, batch: str | None, image: int | None, *, everything: bool, yes: bool, as_json: bool
) -> int:
    """Remove dead letters for good. Their images stay failed in the ledger and in the report."""
    if not everything and all(given is None for given in (queue, batch, image)):
        raise click.UsageError("say which: --queue, --batch, --image, or --all")
    if not yes and not as_json:
        click.confirm("Remove them for good?", abort=True)
    return _treat(queue, batch, image, lambda letter, publish: True, "dropped", as_json=as_json)  # noqa: ARG005


def _treat(
    queue: str | None,
    batch: str | None,
    image: int | None,
    act: "Callable[[DeadLetter, Callable[[OutgoingMessage], None]], bool]",
    done: str,
    *,
    as_json: bool,
) -> int:
    """Act on every letter that is meant; those for which `act` says so are removed."""
    from muniflow_cli.commands.dead_letters import is_meant, read_dead_letter
    from muniflow_cli.commands.target import find_target

    treated = 0

    def decide(message: "BrowsedMessage", publish: "Callable[[OutgoingMessage], None]") -> Any:
        nonlocal treated
        letter = read_dead_letter(message)
        if not is_meant(letter, batch, image) or not act(letter, publish):
            return "keep"
        treated += 1
        return "remove"

    settings = find_target().require_broker()
    _browse(settings, queue, decide)
    if as_json:
        show_json({done: treated})
    else:
        click.echo(f"{done}: {number(treated)}")
    return exits.OK


def _look(queue: str | None, batch: str | None, image: int | None) -> "list[DeadLetter]":
    from muniflow_cli.commands.dead_letters import is_meant, read_dead_letter
    from muniflow_cli.commands.target import find_target

    found: list[DeadLetter] = []

    def decide(message: "BrowsedMessage", publish: object) -> Any:
        del publish
        letter = read_dead_letter(message)
        if is_meant(letter, batch, image):
            found.append(letter)
        return "keep"

    _browse(find_target().require_broker(), queue, decide)
    return found


def _browse(settings: "BrokerSettings", queue: str | None, decide: Any) -> None:
    from muniflow.transport.admin import browse, queue_depths

    for name, depth in queue_depths(settings, _queues(queue)).items():
        if depth.ready:
            browse(settings, name, decide)


def _queues(queue: str | None) -> list[str]:
    """The dead-letter queues that are meant.

    Raises:
        Invalid: there is no such queue.
    """
    from muniflow.errors import Fault, Invalid
    from muniflow.model.operation import installed_operations
    from muniflow.model.topology import BATCHES, CONTROL, EVENTS, dead_queue, step_queue

    known = {name.removeprefix("muniflow."): dead_queue(name) for name in (BATCHES, EVENTS, CONTROL)}
    known |= {operation: dead_queue(step_queue(operation)) for operation in installed_operations()}
    if queue is None:
        return list(known.values())
    for short, full in known.items():
        if queue in {short, full, full.removesuffix(".dead")}:
            return [full]
    raise Invalid((Fault("--queue", f"unknown queue {queue!r}; known: {', '.join(known)}"),))

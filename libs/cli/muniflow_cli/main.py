"""`muniflow`: finds the command, runs it, and turns errors into sentences and exit codes."""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple

import click

from muniflow import __version__
from muniflow.errors import Invalid, MuniflowError, Unavailable
from muniflow_cli.commands import exits


class CommandEntry(NamedTuple):
    """Where a command is, and its line in the overview: the overview imports no command."""

    module: str
    summary: str


COMMANDS = {
    "run": CommandEntry("run", "Run a batch here, without a broker."),
    "plan": CommandEntry("plan", "Say when a batch ends, with how many replicas, for how much."),
    "calibrate": CommandEntry("calibrate", "Measure operations and formats here, for plans."),
    "up": CommandEntry("up", "Start the whole stack on this machine."),
    "down": CommandEntry("down", "Stop the stack that runs on this machine."),
    "url": CommandEntry("url", "Print the AMQP URL of the stack, for programs."),
    "demo": CommandEntry("demo", "Run a batch on both engines and compare every byte."),
    "submit": CommandEntry("submit", "Send a batch to the coordinator."),
    "watch": CommandEntry("watch", "Follow a batch until its end."),
    "status": CommandEntry("status", "Show a batch, or the newest ones."),
    "cancel": CommandEntry("cancel", "Stop dispatching a batch."),
    "erase": CommandEntry("erase", "Remove every byte of a batch, or of one image."),
    "report": CommandEntry("report", "Show the report of a batch that ended."),
    "verify": CommandEntry("verify", "Hold outputs and sources against the checksums of a report."),
    "export": CommandEntry("export", "Hand a batch over to an archive, as a bag."),
    "dead": CommandEntry("dead", "List, show, replay or drop dead letters."),
    "stages": CommandEntry("stages", "Show each step's backlog, workers and rate."),
    "audit": CommandEntry("audit", "Show who did what: batches, downloads, keys."),
    "webhooks": CommandEntry("webhooks", "Show webhooks that no receiver has taken."),
    "recover": CommandEntry("recover", "After the loss of the ledger: move queued tasks to the dead letters."),
    "doctor": CommandEntry("doctor", "Check broker, stores and coordinator, and say what to do."),
    "schema": CommandEntry("schema", "Print the JSON Schema of a batch."),
    "console": CommandEntry("console", "Open a Python console with the stack's settings."),
}


class Commands(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the overview."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"muniflow_cli.commands.{COMMANDS[cmd_name].module}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview without importing the commands."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExamples:\n  muniflow run examples/demo.json --out results\n  muniflow up --workers blur=2\n"
    "  muniflow submit examples/demo.json --wait\n  muniflow doctor",
)
@click.version_option(__version__, prog_name="muniflow")
def cli() -> None:
    """Run batches of municipal imagery: here, or over RabbitMQ.

    Commands find the stack of `muniflow up` by themselves, below the current folder; MUNIFLOW_AMQP_URL,
    MUNIFLOW_COORDINATOR_URL and the store variables name another one. Every command takes --json.
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit code. Bad input ends in sentences, never in a traceback."""
    as_json = "--json" in arguments
    try:
        code = cli.main(args=list(arguments), prog_name="muniflow", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return exits.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return exits.INTERRUPTED
    except MuniflowError as error:
        _show(error, as_json=as_json)
        return exits.UNAVAILABLE if isinstance(error, Unavailable) else exits.USAGE
    except BrokenPipeError:
        # The reader went away (`| head`). Nothing more can be written, not even by the interpreter's own flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except Exception:  # noqa: BLE001  # the last resort of a program is here
        traceback.print_exc()
        click.echo("this is an error of muniflow itself; please report it with the lines above", err=True)
        return exits.BUG
    return code if isinstance(code, int) else exits.OK


def main() -> None:
    """The script `muniflow`."""
    sys.exit(run(sys.argv[1:]))


def _show(error: MuniflowError, *, as_json: bool) -> None:
    from muniflow.runtime.logs import in_lines, one_line

    faults = error.faults if isinstance(error, Invalid) else ()
    if as_json:
        document = {
            "error": str(error),
            "faults": [{"place": fault.place, "problem": fault.problem} for fault in faults],
        }
        click.echo(json.dumps(document), err=True)
    elif len(faults) > 1:
        click.echo(f"error: {len(faults)} faults", err=True)
        for fault in faults:
            click.echo(f"  {one_line(str(fault))}", err=True)
    else:
        click.echo(f"error: {in_lines(str(error))}", err=True)


if __name__ == "__main__":
    main()

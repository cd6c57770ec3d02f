"""Options of commands that say anew what a batch file says: `--deadline`, `--priority`, `--strict` and others."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from muniflow.model.deadline import EXAMPLE

AGAIN = ("all", "changed")
"""As `muniflow.model.batch_document.Again`, which is not imported here: `--help` must not wait for pydantic."""
Function = TypeVar("Function", bound=Callable[..., Any])


def deadline_option(text: str) -> Callable[[Function], Function]:
    """`--deadline` of a command, with its help."""
    return click.option("--deadline", metavar="TIME", help=f"{text}: {EXAMPLE}.")


def priority_option(function: Function) -> Function:
    """`--priority` of a command."""
    return click.option("--priority", metavar="PRIORITY", help="Turns beside other batches: low, normal or high.")(
        function
    )


def strict_option(function: Function) -> Function:
    """`--strict` of a command."""
    text = "Refuse the batch where files below its source are no images, instead of skipping them."
    return click.option("--strict", is_flag=True, default=None, help=text)(function)


def replace_option(function: Function) -> Function:
    """`--replace` of a command."""
    text = "Remove the outputs of an earlier run in the destination first."
    return click.option("--replace", is_flag=True, default=None, help=text)(function)


def again_option(function: Function) -> Function:
    """`--again` of a command."""
    text = "Run a batch that has ended before anew, under the next revision: all of it, or what changed."
    return click.option("--again", type=click.Choice(AGAIN), help=text)(function)


def checksums_option(function: Function) -> Function:
    """`--checksums` of a command."""
    text = "Put the SHA-256 of every source and output into the report, for `muniflow verify`."
    return click.option("--checksums", is_flag=True, default=None, help=text)(function)


def with_options(document: bytes, **options: str | bool | None) -> bytes:
    """A batch document with these fields in the place of its own; those that are `None` are left.

    One that is no object is left as it is.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return document
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        return document
    return json.dumps({**content, **given}).encode() if isinstance(content, dict) else document

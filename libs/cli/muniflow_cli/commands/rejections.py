"""How rejected batches are shown."""

import time
from collections.abc import Sequence

from muniflow.model.api_failures import Rejection
from muniflow_cli.commands.output import duration, number, plain, say, show_table


def show_rejections(rejected: Sequence[Rejection]) -> None:
    """Show a list of rejected batches, each with its first fault; nothing where there is none."""
    now = time.time()
    rows = []
    for each in rejected:
        first = each.faults[0] if each.faults else None
        fault = f"{first.place}: {first.problem}" if first is not None and first.place else first and first.problem
        age, faults = duration(max(now - each.at, 0.0)), number(len(each.faults))
        named = (plain(each.batch_id), plain(each.name), plain(each.municipality))
        rows.append((*named, age, faults, plain(fault or "")))
    if rows:
        show_table("rejected batches", ("batch", "name", "municipality", "age>", "faults>", "first fault"), rows)


def show_faults(rejection: Rejection) -> None:
    """Show all faults of a rejected batch."""
    name = f" ({plain(rejection.name)})" if rejection.name else ""
    say(f"{rejection.batch_id}{name}: rejected {duration(max(time.time() - rejection.at, 0.0))} ago")
    show_table("", ("place", "problem"), [(plain(fault.place), plain(fault.problem)) for fault in rejection.faults])

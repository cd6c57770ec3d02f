"""What a process was doing, by the innermost function of its stacks that tells."""

from collections import Counter
from collections.abc import Iterable, Mapping

KINDS = ("client", "ledger", "codec", "operation", "store", "Python")
"""Columns of a table: pika and what is around it; SQL; JPEG and the like; pixels; files and their syncs; the rest."""
_PLACES = (
    ("(pika/", "client"),
    ("(muniflow/transport/", "client"),
    ("(sqlalchemy/", "ledger"),
    ("(muniflow_coordinator/state/", "ledger"),
    ("(muniflow/images/", "codec"),
    ("(muniflow_resize/", "operation"),
    ("(muniflow_split/", "operation"),
    ("(muniflow_blur/", "operation"),
    ("(muniflow/store/", "store"),
    ("(muniflow/compute/durable.py", "store"),
    ("(muniflow", "Python"),
)


def kind_of(stack: Iterable[str]) -> str:
    """The kind of a stack, outermost function first: of JSON, say, it is that of whoever wanted it."""
    for function in reversed(list(stack)):
        for place, kind in _PLACES:
            if place in function:
                return kind
    return "Python"


def shares_by_kind(stacks: Iterable[tuple[list[str], int]]) -> Mapping[str, float]:
    """The part of each kind of all samples, 0 to 1."""
    counted: Counter[str] = Counter()
    for stack, samples in stacks:
        counted[kind_of(stack)] += samples
    return {kind: counted[kind] / counted.total() if counted else 0.0 for kind in KINDS}

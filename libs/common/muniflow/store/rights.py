"""What each service does in each store: the one table that all policies are made of.

`muniflow.store.policies` writes the policies, `tools/store-policies` prints them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from muniflow.model.keys import UPLOADS

Root = Literal["source", "work", "output"]
Right = Literal["read", "absent", "list", "write", "delete"]
ROOTS: Final[tuple[Root, ...]] = ("source", "work", "output")
NOT_BY_STEPS: Final = ".json"
"""Steps write images; what ends so are reports and marks of the coordinator and the gateway."""


@dataclass(frozen=True)
class RootRights:
    """What a service may do in one store."""

    root: Root
    rights: tuple[Right, ...]
    """`read` also asks for the size. `absent` is to be told that a blob is not there: Amazon and Google tell that only
    to whoever may list (403 otherwise), and a missing image would be tried again and again; `list` has it, too.
    `write` replaces what is there."""
    below: str = ""
    """Only keys that begin so; empty: all."""
    but: str = ""
    """Not keys that end so."""


RIGHTS: Final[Mapping[str, tuple[RootRights, ...]]] = {
    "coordinator": (
        RootRights("source", ("read", "list")),
        RootRights("source", ("delete",), below=f"{UPLOADS}/"),  # of an erased batch
        RootRights("work", ("list", "delete")),
        RootRights(
            "output", ("read", "list", "write", "delete")
        ),  # reports; outputs of an earlier run, of erased batches
    ),
    "gateway": (
        RootRights("source", ("read", "list")),
        RootRights("source", ("write", "delete"), below=f"{UPLOADS}/"),  # of a request that is given up
        RootRights("output", ("read", "list")),
    ),
    # Which step is the first and which the last is up to the route of a batch, so all have the same rights. None looks
    # around: names of uploads and of intermediates are known only to whoever has a task of their batch.
    "step": (
        RootRights("source", ("read", "absent")),
        RootRights("work", ("read", "absent", "write")),
        RootRights("output", ("write",), but=NOT_BY_STEPS),
    ),
    "test": (
        RootRights("source", ("read", "list", "write", "delete"), below="helm-test-"),
        RootRights("output", ("read", "list")),
    ),
}
"""By service: the gateway does nothing in the work store; no step lists, deletes, reads outputs or writes sources."""

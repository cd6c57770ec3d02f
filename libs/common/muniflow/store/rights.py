"""What each service does in each store: the one table that all policies are made of.

`muniflow.store.policies` writes the policies, `tools/store-policies` prints them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from muniflow.model.keys import UPLOADS

Root = Literal["source", "work", "output"]
Right = Literal["read", "list", "write", "delete"]
ROOTS: Final[tuple[Root, ...]] = ("source", "work", "output")
NOT_BY_STEPS: Final = ".json"
"""Steps write images; what ends so are reports and marks of the coordinator and the gateway."""


@dataclass(frozen=True)
class RootRights:
    """What a service may do in one store."""

    root: Root
    rights: tuple[Right, ...]
    """`read` also asks for the size. `list` is more than listing: without it S3 answers 403, not 404, for a blob that
    is not there, and a missing image would be tried again and again. `write` replaces what is there, too."""
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
    # Which step is the first and which the last is up to the route of a batch, so all have the same rights.
    "step": (
        RootRights("source", ("read", "list")),
        RootRights("work", ("read", "list", "write")),
        RootRights("output", ("write",), but=NOT_BY_STEPS),
    ),
    "test": (
        RootRights("source", ("read", "list", "write", "delete"), below="helm-test-"),
        RootRights("output", ("read", "list")),
    ),
}
"""By service: the gateway has no business in the work store, and no step deletes, reads outputs or writes sources."""

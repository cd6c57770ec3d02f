"""Which run of its batch an image was run in, told by its number."""

from typing import Final

RUNS_OF_REVISION: Final = 2**16
"""Runs of an image in one revision of its batch: late events of an earlier revision are of none of its runs."""


def first_run(revision: int) -> int:
    """Return the run in which images of a revision begin."""
    return (revision - 1) * RUNS_OF_REVISION


def revision_of(run: int) -> int:
    """Return the revision that a run of an image belongs to."""
    return run // RUNS_OF_REVISION + 1

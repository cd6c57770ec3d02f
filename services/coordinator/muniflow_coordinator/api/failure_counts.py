"""What the ledger counts as failed, counted beside the loop every few seconds: for stages, metrics and alerts."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from muniflow.errors import MuniflowError
from muniflow.runtime.executor import Repeater
from muniflow_coordinator.state.failure_types import ANY, FailureState

log = logging.getLogger(__name__)

POLL_S = 10.0
"""A count of a million failures takes a third of a second of one connection."""


@dataclass(frozen=True)
class Counted:
    """Failures and letters at one time."""

    failures: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By operation and reason code."""
    letters: Mapping[str, int] = field(default_factory=dict)
    """By the dead-letter queue that they were in."""


class CountedFailures:
    """The last count."""

    def __init__(self, state: FailureState, repeater: Repeater) -> None:
        """Count by `repeater`, every `POLL_S` seconds once started."""
        self._state = state
        self._repeater = repeater
        self.last: Counted | None = None
        """`None`: not known."""

    def start(self) -> None:
        """Begin to count."""
        self._repeater.start(self.poll)

    def stop(self) -> None:
        """Stop counting."""
        self._repeater.stop()

    def of(self, operation: str) -> int | None:
        """Return how many failures of an operation there are; `None` if it is not known."""
        if (last := self.last) is None:
            return None
        return sum(count for (each, _), count in last.failures.items() if each == operation)

    def poll(self) -> float:
        """Count once. Returns the pause until the next count, in seconds."""
        try:
            failures: Counter[tuple[str, str]] = Counter()
            for group in self._state.failure_groups(ANY):
                failures[group.operation, group.reason_code] += group.images
            self.last = Counted(failures, self._state.letter_counts())
        except MuniflowError as error:
            if self.last is not None:
                log.warning("cannot count failures: %s", error)
            self.last = None
        return POLL_S

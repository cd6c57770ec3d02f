"""The interface of a pool of compute children, and whom it tells of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from muniflow.compute.groups import GroupResult
from muniflow.compute.pending import PendingTask


@dataclass(frozen=True)
class PoolEvents:
    """Whom to tell."""

    on_ready: Callable[[], None] = lambda: None
    """The first child can take a group; once."""
    on_idle: Callable[[], None] = lambda: None
    """A child can take a group."""
    on_failed: Callable[[str], None] = lambda _reason: None
    """The first start failed: a step package cannot be imported, or there is no device. Nothing more comes."""
    on_death: Callable[[str], None] = lambda _cause: None
    """A child died in the middle of its work; for a log and a counter."""


class Pool(Protocol):
    """Computes groups of tasks beside the loop. All methods are called on the loop."""

    events: PoolEvents

    @property
    def device(self) -> str:
        """What it computes on, for people; known from `on_ready` on."""
        ...

    @property
    def idle(self) -> int:
        """How many groups could start now."""
        ...

    @property
    def room(self) -> int:
        """How many early groups could be taken now."""
        ...

    def start(self) -> None:
        """Start; `on_ready` follows."""
        ...

    def submit(
        self, tasks: Sequence[PendingTask], on_done: Callable[[GroupResult], None], *, early: bool = False
    ) -> None:
        """Run a group; `on_done` is called once, and its `unbegun` did not run. `early`: it may wait behind another."""
        ...

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """End all work now; its groups are forgotten."""
        ...

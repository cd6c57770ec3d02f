"""Erases or archives batches that were kept for as long as they may be, and forgets rejections and letters."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Every, Loop
from muniflow_coordinator.cleanup.archiver import Archiver
from muniflow_coordinator.cleanup.eraser import Eraser
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Runs
from muniflow_coordinator.state.erasure_types import Erasure
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)
EVERY_S = 600.0
AT_ONCE = 20
"""Batches that are begun at a time; the next ones as soon as these are erased."""
PAUSE_S = 1.0
"""Between two looks whether they are."""
BY = "keep_days"
"""Who erased it, in the audit trail."""


@dataclass(eq=False)
class Retention:
    """Looks again and again for batches whose time has come."""

    loop: Loop
    clock: Clock
    state: State
    retry_queue: RetryQueue
    runs: Runs
    eraser: Eraser
    archiver: Archiver
    keep_days: Mapping[str, float]
    """Days by owner."""
    kept_s: float
    """How long rejections and letters are kept, in seconds."""
    _looks: Every = field(init=False)
    _begun: tuple[str, ...] = field(init=False, default=())
    """Those of the last look, while there may be more."""

    def __post_init__(self) -> None:
        """Look from `start` on."""
        self._looks = Every(self.loop, EVERY_S, partial(self.retry_queue.run, self._look))

    def start(self) -> None:
        """Go on with what is being erased, look now, and from then on."""
        self.retry_queue.run(self.eraser.resume)
        self.retry_queue.run(self.archiver.resume)
        self._looks.turn()
        self._looks.start()

    def stop(self) -> None:
        """Look no more."""
        self._looks.stop()

    def _look(self) -> None:
        self.state.forget_before(self.clock.now_s() - self.kept_s)
        if self._begun:
            return  # it goes on by itself
        found = [
            each
            for each in self.state.expired(self.clock.now_s(), self.keep_days, AT_ONCE)
            if self.runs.get(each.batch) is None and not self.eraser.has(each.batch)
        ]
        for batch, owner, days in found:
            log.info("kept for %g days", days, extra={"batch": batch})
            self.eraser.begin(Erasure(batch, None, owner, BY, f"{days:g} days", self.clock.now_s()))
        if len(found) == AT_ONCE:
            self._begun = tuple(each.batch for each in found)
            self.loop.call_later(PAUSE_S, self._go_on)
        else:
            self.archiver.look()  # after all that is to be erased: of that nothing is kept as a report

    def _go_on(self) -> None:
        if self._looks.stopped:
            return
        if any(map(self.eraser.has, self._begun)):
            self.loop.call_later(PAUSE_S, self._go_on)
        else:
            self._begun = ()
            self.retry_queue.run(self._look)

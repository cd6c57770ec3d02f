"""Prices new batches before they are accepted, and holds them against the budgets of batches and owners."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from muniflow.errors import Fault, Unavailable
from muniflow.forecast.price import PriceList
from muniflow.forecast.sizes import dice_of, sample_places
from muniflow.model.batch import Batch
from muniflow.model.budget import Amounts, day_of
from muniflow.model.messages import leaf_count
from muniflow.model.operation import Operations
from muniflow.planning.budgets import Budgets, Needed
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Loop
from muniflow.store.types import Store
from muniflow_coordinator.foresight.sampler import Blobs, ReadPictures, read_sizes
from muniflow_coordinator.handlers.list_reader import Intake
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.state.charge_types import Charge
from muniflow_coordinator.state.types import ImageRow, State

log = logging.getLogger(__name__)

RETRY_DELAY_S = 2.0
"""Pause before sizes are read again after the source store was not available."""
FEW_OUTPUTS = 64
"""Of one image: up to so many, the price of a route is worked out on the loop, within a few milliseconds."""

OnPriced = Callable[[Needed], None]


@dataclass(eq=False)
class Pricer:
    """Reads sizes only where they decide, so that by default a batch of a million images waits for none."""

    loop: Loop
    clock: Clock
    executor: Executor
    state: State
    source: Store
    retry_queue: RetryQueue
    operations: Operations
    budgets: Budgets
    read_pictures: ReadPictures

    def is_free(self, batch: Batch) -> bool:
        """Return whether nothing but the number of its images counts for a batch."""
        if self.budgets.is_charged(batch.owner) or leaf_count(batch.route) > FEW_OUTPUTS:
            return False
        return not self.budgets.asks_sizes(batch, PriceList.of(batch, self.operations))

    def list_faults(self, batch: Batch, count: int) -> tuple[Fault, ...]:
        """Return why a batch has too many images, or outputs."""
        return self.budgets.list_faults(batch, count)

    def price(self, intake: Intake, total: int, rows: Sequence[ImageRow], on_priced: OnPriced) -> None:
        """Price a batch of `total` images, then call `on_priced` in the retry queue.

        Args:
            intake: of the batch.
            total: its images.
            rows: all of them, or nothing where they are recorded.
            on_priced: told what it needs.
        """
        work = partial(self._price, intake, total, rows)
        self.executor.submit(work, partial(self._on_done, intake, total, rows, on_priced))

    def day_faults(self, batch: Batch, needed: Amounts) -> tuple[Fault, ...]:
        """Return why the owner of a batch has not enough left for it today."""
        if not self.budgets.is_charged(batch.owner):
            return ()
        spent = self.state.spent(batch.owner, day_of(self.clock.now_s()))
        return self.budgets.day_faults(batch.owner, needed, spent)

    def charge(self, batch: Batch, needed: Amounts) -> Charge | None:
        """Return what a batch is charged; `None`: its owner's days are not counted."""
        if not self.budgets.is_charged(batch.owner):
            return None
        return Charge(batch.owner, day_of(self.clock.now_s()), needed)

    def _price(self, intake: Intake, total: int, rows: Sequence[ImageRow]) -> Needed:
        batch = intake.batch
        prices = PriceList.of(batch, self.operations)
        if not self.budgets.asks_sizes(batch, prices):
            return Needed(Amounts(images=total, outputs=total * leaf_count(batch.route)))
        places = sample_places(total, dice_of(batch.batch_id))
        chosen = [rows[place] for place in places] if rows else self._recorded(intake.number, places)
        sample = read_sizes(total, chosen, batch.source, Blobs(self.source, self.executor), self.read_pictures)
        return self.budgets.needed(batch, prices, sample)

    def _recorded(self, number: int, places: Sequence[int]) -> list[ImageRow]:
        return [row for row, _ in self.state.opened(number, places)]

    def _on_done(
        self, intake: Intake, total: int, rows: Sequence[ImageRow], on_priced: OnPriced, done: Future[Needed]
    ) -> None:
        batch_id = intake.batch.batch_id
        try:
            needed = done.result()
        except Unavailable as error:
            if intake.waiting_for is None:
                log.warning("cannot read the sizes of images, retrying: %s", error, extra={"batch": batch_id})
            intake.waiting_for = str(error)
            self.loop.call_later(RETRY_DELAY_S, partial(self.price, intake, total, rows, on_priced))
            return
        except Exception as error:
            log.exception("pricing the batch failed", extra={"batch": batch_id})
            needed = Needed(Amounts(), (Fault("", f"internal error: {type(error).__name__}: {error}"),))
        self.retry_queue.run(lambda: on_priced(needed))

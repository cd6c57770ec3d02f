"""What owners have left today, from the database: a standby answers it, too."""

from collections.abc import Mapping

from muniflow.model.api_budgets import BUDGETS, BudgetStatus
from muniflow.model.budget import day_ends_in_s, day_of
from muniflow.model.owners import DEFAULT_OWNER
from muniflow.runtime.budgets import BudgetSettings
from muniflow.runtime.clock import Clock
from muniflow.runtime.http import Query, Route
from muniflow_coordinator.state.charge_types import ChargeState


class BudgetAnswers:
    """Tells the budgets of an owner."""

    def __init__(self, state: ChargeState, settings: BudgetSettings, clock: Clock) -> None:
        """Answer from the database, with the limits of this process."""
        self._state = state
        self._settings = settings
        self._clock = clock

    def routes(self) -> Mapping[str, Route]:
        """Return all routes by path."""
        return {BUDGETS: lambda query, _parts: self.budgets(query)}

    def budgets(self, query: Query) -> BudgetStatus:
        """Return the limits of an owner, and what it was charged today."""
        owner, now = query.get("owner", DEFAULT_OWNER), self._clock.now_s()
        return BudgetStatus(
            owner=owner,
            batch=self._settings.of_batch(owner),
            day=self._settings.of_day(owner),
            spent=self._state.spent(owner, day_of(now)),
            resets_at=now + day_ends_in_s(now),
        )

"""What the coordinator answers about budgets; beside `muniflow.model.api`.

| path | answer |
| --- | --- |
| `/v1/budgets?owner=` | `BudgetStatus` |
"""

from muniflow.model.api import Answer
from muniflow.model.budget import Amounts, Budget

BUDGETS = "/v1/budgets"


class BudgetStatus(Answer):
    """What one owner may still ask for today."""

    owner: str
    batch: Budget
    """The most of one batch; 0: no limit."""
    day: Budget
    """The most of one day; 0: no limit."""
    spent: Amounts
    """Of the batches that were accepted today; counted only where a day has limits."""
    resets_at: float
    """Unix time, seconds: midnight UTC."""

"""The settings of budgets: JSON in the environment. The coordinator and the gateways have the same."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, PlainSerializer, TypeAdapter, ValidationError

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import faults_of
from muniflow.model.budget import BatchBudget, Budget, OwnerBudgets
from muniflow.model.owners import owner_problem
from muniflow.runtime.settings import Settings, variable

_EXAMPLES = {
    "batch_budget": '{"images": 2000000}',
    "day_budget": '{"megapixels": 1000000}',
    "owner_budgets": '{"utrecht": {"batch": {"images": 10000}, "day": {"megapixels": 100000}}}',
}


def _json(field: str, model: Any) -> BeforeValidator:
    adapter: TypeAdapter[Any] = TypeAdapter(model)

    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return adapter.validate_python(json.loads(value))
        except ValidationError as error:
            raise Invalid(tuple(faults_of(error, variable(field)))) from None
        except (ValueError, RecursionError):
            raise Invalid((Fault(variable(field), f"write JSON such as {_EXAMPLES[field]}"),)) from None

    return BeforeValidator(read)


def _read_owners(value: Any) -> Any:
    faults = [Fault(variable("owner_budgets"), text) for owner in value if (text := owner_problem(owner))]
    if faults:
        raise Invalid(tuple(faults))
    return value


def _written(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json(exclude_unset=True)
    return json.dumps({name: each.model_dump(exclude_unset=True) for name, each in value.items()})


_WRITTEN = PlainSerializer(_written, return_type=str)


class BudgetSettings(Settings):
    """The most that a batch, and each owner on one day, may ask for. 0, or what is left out: no limit."""

    batch_budget: Annotated[BatchBudget, _json("batch_budget", BatchBudget), _WRITTEN] = BatchBudget()
    """Of one batch. An image count above 2,000,000 needs this."""
    day_budget: Annotated[Budget, _json("day_budget", Budget), _WRITTEN] = Budget()
    """Of all batches of one owner that are accepted on one day of UTC."""
    owner_budgets: Annotated[
        Mapping[str, OwnerBudgets],
        BeforeValidator(_read_owners),
        _json("owner_budgets", dict[str, OwnerBudgets]),
        _WRITTEN,
    ] = {}
    """What is otherwise for some owners."""

    def of_batch(self, owner: str) -> Budget:
        """The budget of one batch of an owner."""
        return self.batch_budget.other_than(self._own(owner).batch)

    def of_day(self, owner: str) -> Budget:
        """The budget of one day of an owner."""
        return self.day_budget.other_than(self._own(owner).day)

    def named(self, owner: str, kind: str) -> str:
        """The setting that limits an owner's `batch` or `day`."""
        own = self.owner_budgets.get(owner)
        differs = own is not None and getattr(own, kind).model_fields_set
        return variable("owner_budgets" if differs else f"{kind}_budget")

    def _own(self, owner: str) -> OwnerBudgets:
        return self.owner_budgets.get(owner, OwnerBudgets())

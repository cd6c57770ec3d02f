"""What a plan costs, from a table of prices by node pool."""

from collections import defaultdict
from collections.abc import Mapping
from math import ceil
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from muniflow.errors import Fault, Invalid
from muniflow.forecast.stage import Stage, Stages
from muniflow.model.batch import faults_of
from muniflow.model.json_text import read_json

DEFAULT_POOL = "default"
"""The pool of stages that name none."""
_ROUNDING = 1e-9

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PoolPrice(BaseModel):
    """The price of one pool: per replica or per node, in a currency that all pools share."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True)

    per_replica_hour: Amount | None = None
    per_node_hour: Amount | None = None
    replicas_per_node: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """For stages that do not say it themselves."""
    start_s: Amount = 0.0
    """Paid before a replica works."""
    cool_down_s: Amount = 0.0
    """Paid after the work is done, until the node is gone."""

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if (self.per_replica_hour is None) == (self.per_node_hour is None):
            raise ValueError("give `per_replica_hour` or `per_node_hour`")
        return self

    def of(self, replicas: Mapping[Stage, int], duration_s: float) -> float:
        """The price of these replicas of one pool for so long, rounded up to whole nodes."""
        hours = (self.start_s + duration_s + self.cool_down_s) / 3600
        if self.per_node_hour is None:
            return sum(replicas.values()) * (self.per_replica_hour or 0.0) * hours
        shares = (count / (stage.replicas_per_node or self.replicas_per_node) for stage, count in replicas.items())
        return ceil(sum(shares) - _ROUNDING) * self.per_node_hour * hours


Prices = Mapping[str, PoolPrice]
"""By pool."""

_PRICES: TypeAdapter[dict[str, PoolPrice]] = TypeAdapter(dict[str, PoolPrice])


def read_prices(text: str | bytes, stages: Stages) -> Prices:
    """Read a price file: `{"spot": {"per_node_hour": 0.12, "replicas_per_node": 4}, "default": …}`.

    Raises:
        Invalid: with every fault, each named by its place; a pool of a stage that has no price, too.
    """
    try:
        prices = _PRICES.validate_python(read_json(text))
    except ValidationError as error:
        raise Invalid(tuple(faults_of(error, "prices"))) from None
    except (ValueError, RecursionError) as error:
        raise Invalid((Fault("prices", f"not JSON: {error}"),)) from None
    require_prices(prices, stages)
    return prices


def require_prices(prices: Prices, stages: Stages) -> None:
    """Check that each pool of these stages has a price.

    Raises:
        Invalid: with every pool that has none.
    """
    missing = {pool_of(stage): stage.name for stage in reversed(stages) if pool_of(stage) not in prices}
    if missing:
        faults = (Fault(f"prices.{pool}", f"no price; stage {stage!r} runs there") for pool, stage in missing.items())
        raise Invalid(tuple(faults))


def pool_of(stage: Stage) -> str:
    """The pool that a stage's price is looked up under."""
    return stage.pool or DEFAULT_POOL


def cost_of(replicas: Mapping[str, int], duration_s: float, stages: Stages, prices: Prices) -> float:
    """The price of running so many replicas of each stage for so long."""
    pools: dict[str, dict[Stage, int]] = defaultdict(dict)
    for stage in stages:
        if count := replicas.get(stage.name, 0):
            pools[pool_of(stage)][stage] = count
    return sum(prices[pool].of(counts, duration_s) for pool, counts in pools.items())

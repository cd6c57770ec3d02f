"""All that is known of service times here: what was observed by class, and costs for classes that were not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, log
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from muniflow.errors import Fault, Invalid
from muniflow.forecast.defaults import MESSAGE_S, OUTPUT_S, Costs, OperationCost
from muniflow.forecast.service_time import EARLIER_LENGTH, ServiceTime, Sums, fit
from muniflow.forecast.task_class import TaskClass
from muniflow.model.batch import faults_of
from muniflow.model.json_text import read_json

ENOUGH_TASKS = 100.0
"""A class counts no more for the speed of a device, however often it was seen."""
DOCUMENTED_CLASSES = 0.03
"""As so many classes that were seen documented costs count for it: a device may be several times as fast."""
MEASURED_CLASSES = 3.0
"""The same, of costs that were measured here. Classes differ by a quarter from them, and not all in one direction:
after the first one alone, the first large images were forecast a third too short (docs/research/performance.md)."""


@dataclass(frozen=True)
class Profile:
    """Service times by class."""

    costs: Costs = field(default_factory=Costs)
    """Documented ones, or those of a calibration."""
    observed: Mapping[TaskClass, Sums] = field(default_factory=dict)
    _times: dict[TaskClass, ServiceTime] = field(default_factory=dict, compare=False, repr=False)
    """Worked out before."""

    def service_time(self, task_class: TaskClass) -> ServiceTime:
        """The service time of a class; of one that was never observed, from its costs and the speed of its device."""
        if task_class not in self._times:
            sums = self.observed.get(task_class, Sums())
            prior = self.costs.of(task_class)
            if sums.n == 0:
                prior = prior.scaled(self.slowness(task_class.device))
            self._times[task_class] = fit(sums, prior)
        return self._times[task_class]

    def slowness(self, device: str) -> float:
        """How many times the costs the classes took that were observed on a device; 1 where none was."""
        weights, logs = DOCUMENTED_CLASSES if self.costs == Costs() else MEASURED_CLASSES, 0.0
        for task_class, sums in self.observed.items():
            expected_s = sums.expected_s(self.costs.of(task_class))
            if task_class.device == device and sums.seconds > 0 and expected_s > 0:
                weight = min(sums.n, ENOUGH_TASKS) / ENOUGH_TASKS
                weights += weight
                logs += weight * log(sums.seconds / expected_s)
        return exp(logs / weights)

    def document(self, *, outputs: bool = True) -> dict[str, Any]:
        """Ready for JSON: what `read_profile` reads; without `outputs`, also that of an earlier build."""
        length = None if outputs else EARLIER_LENGTH
        return {
            "operations": {name: list(cost) for name, cost in self.costs.operations.items()},
            "decode_s_per_mp": dict(self.costs.decode_s_per_mp),
            "encode_s_per_mp": dict(self.costs.encode_s_per_mp),
            "message_s": self.costs.message_s,
            **({"output_s": self.costs.output_s} if outputs else {}),
            "observed": [
                {"class": task_class.model_dump(mode="json"), "sums": sums.as_list()[:length]}
                for task_class, sums in self.observed.items()
            ],
        }

    def to_json(self) -> str:
        """For a file."""
        return json.dumps(self.document())


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Observed(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    task_class: TaskClass = Field(alias="class")
    sums: list[Annotated[float, Field(allow_inf_nan=False)]]

    @field_validator("sums")
    @classmethod
    def _known_length(cls, sums: list[float]) -> list[float]:
        Sums.from_list(sums)
        return sums


class _ProfileDocument(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    operations: dict[str, tuple[Seconds, Seconds, bool, bool]] = {}
    decode_s_per_mp: dict[str, Seconds] = {}
    encode_s_per_mp: dict[str, Seconds] = {}
    message_s: Seconds = MESSAGE_S
    output_s: Seconds = OUTPUT_S
    observed: list[_Observed] = []


def read_profile(text: str | bytes) -> Profile:
    """Read what `Profile.to_json` wrote; figures that it lacks are the documented ones.

    Raises:
        Invalid: with every fault, each named by its place.
    """
    try:
        document: Any = read_json(text)
    except (ValueError, RecursionError) as error:
        raise Invalid((Fault("", f"not JSON: {error}"),)) from None
    try:
        read = _ProfileDocument.model_validate(document)
    except ValidationError as error:
        raise Invalid(tuple(faults_of(error))) from None
    operations = {name: OperationCost(*values) for name, values in read.operations.items()}
    costs = Costs(message_s=read.message_s, output_s=read.output_s)
    costs = costs.calibrated(operations, read.decode_s_per_mp, read.encode_s_per_mp)
    return Profile(costs, {one.task_class: Sums.from_list(one.sums) for one in read.observed})

"""Parameters of route steps, parsed once for each distinct step and not once for each of a million tasks."""

from dataclasses import dataclass, field

from pydantic import ValidationError

from muniflow.compute.step import Steps
from muniflow.errors import Rejected
from muniflow.messages import RouteStep
from muniflow.operation import Params, Size, read_params

MAX_KEPT = 1024


@dataclass
class ParamsCache:
    """The parsed parameters of the steps seen last."""

    steps: Steps
    _kept: dict[tuple[str, str], Params] = field(default_factory=dict)

    def of(self, step: RouteStep) -> Params:
        """The parameters of a route step.

        Raises:
            Rejected: the operation is not here, or its parameters are wrong.
        """
        key = (step.op, repr(step.params))  # five times as fast as JSON; in another order it is parsed once more
        if key not in self._kept:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = self._parse(step)
        return self._kept[key]

    @staticmethod
    def check_sizes(op: str, sizes: tuple[Size, ...], max_pixels: int) -> None:
        """Refuse what a step would make before it is computed, when it is too large.

        Raises:
            Rejected: one of the sizes is beyond the limit.
        """
        for size in sizes:
            if size.pixels > max_pixels:
                raise Rejected(f"{op} would make {size} px, {size.pixels} in all; the limit is {max_pixels} pixels")

    def _parse(self, step: RouteStep) -> Params:
        if step.op not in self.steps:
            raise Rejected(f"operation {step.op!r} is not installed here; installed: {', '.join(self.steps)}")
        try:
            return read_params(self.steps[step.op].operation, step.params)
        except ValidationError as error:
            problems = "; ".join(item["msg"] for item in error.errors(include_url=False))
            raise Rejected(f"parameters of {step.op}: {problems}") from None

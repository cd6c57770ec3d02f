"""Service times where nothing was observed: documented figures per operation and format, or those of a calibration.

From docs/performance.md and its lab notes (2 cores, Intel Xeon, one thread, JPEG at quality 90 and 95). They are good
to a factor of two or so from machine to machine; a few observed tasks replace them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from muniflow.forecast.service_time import ServiceTime
from muniflow.forecast.task_class import RAW, ClassStep, TaskClass

MESSAGE_S = 0.0002
"""Of each task, whatever it does: message, group, and Python in the child."""
SOURCE_S = 0.0001
"""Opening a source and reading its header."""
OUTPUT_S = 0.0002
"""Making and writing one file, whatever is in it: an output, or a tile for the next step."""
REFERENCE_S = 0.00004
"""Making one tile that is a view of pixels that lie there already."""
FAST_DECODE = 0.6
"""What a reduced decode takes of an exact one."""
DECODE_S_PER_MP: Mapping[str, float] = {
    "jpg": 0.0045,
    "png": 0.013,
    "webp": 0.016,
    "tiff": 0.008,
    "heif": 0.03,
    "avif": 0.02,
    RAW: 0.0007,
}
ENCODE_S_PER_MP: Mapping[str, float] = {"jpg": 0.004, "png": 0.030, "webp": 0.085, RAW: 0.0015}
"""With writing it."""


class OperationCost(NamedTuple):
    """Seconds of one operation's pixel function per megapixel that goes in and that comes out."""

    s_per_mp_in: float
    s_per_mp_out: float = 0.0
    resizes: bool = False
    """Whether what comes out has another number of pixels than what went in."""
    by_reference: bool = False
    """Whether it only makes views: alone in a process, nothing is read or written for it."""


UNKNOWN_OPERATION = OperationCost(0.010)
OPERATIONS: Mapping[str, OperationCost] = {
    "resize": OperationCost(0.0003, 0.0010, resizes=True),
    "split": OperationCost(0.0, by_reference=True),
    "blur:gaussian": OperationCost(0.0025),
    "blur:updownsampling": OperationCost(0.0020),
    "blur:bilateral": OperationCost(0.070),
    "blur:median": OperationCost(0.0022),
}
"""By name, or by name and method."""


def _no_operations() -> Mapping[str, OperationCost]:
    return OPERATIONS


@dataclass(frozen=True)
class Costs:
    """Figures that compose to the service time of any class."""

    operations: Mapping[str, OperationCost] = field(default_factory=_no_operations)
    decode_s_per_mp: Mapping[str, float] = field(default_factory=lambda: DECODE_S_PER_MP)
    encode_s_per_mp: Mapping[str, float] = field(default_factory=lambda: ENCODE_S_PER_MP)
    message_s: float = MESSAGE_S
    output_s: float = OUTPUT_S

    def calibrated(
        self,
        operations: Mapping[str, OperationCost],
        decode_s_per_mp: Mapping[str, float],
        encode_s_per_mp: Mapping[str, float],
        output_s: float | None = None,
        message_s: float | None = None,
    ) -> "Costs":
        """These costs, with what was measured here in place of what is documented."""
        return replace(
            self,
            operations={**self.operations, **operations},
            decode_s_per_mp={**self.decode_s_per_mp, **decode_s_per_mp},
            encode_s_per_mp={**self.encode_s_per_mp, **encode_s_per_mp},
            output_s=self.output_s if output_s is None else output_s,
            message_s=self.message_s if message_s is None else message_s,
        )

    def operation(self, step: ClassStep) -> OperationCost:
        """The cost of an operation: its own figures, or those of an operation that is not known."""
        values = step.param_values
        found = self.operations.get(f"{step.op}:{values.get('method')}") or self.operations.get(step.op)
        return UNKNOWN_OPERATION if found is None else _with_window(found, values)

    def of(self, task_class: TaskClass) -> ServiceTime:
        """The sum of everything that a task of this class does.

        What comes after the first change of size is counted for pixels that come out, what comes before it for those
        that go in.
        """
        a_s, into_s, out_s, output_s = self.message_s, 0.0, 0.0, REFERENCE_S
        resized = False
        costs = [self.operation(step) for step in task_class.steps]
        for cost in costs:
            if cost.resizes and not resized:
                into_s, out_s, resized = into_s + cost.s_per_mp_in, out_s + cost.s_per_mp_out, True
            elif resized:
                out_s += cost.s_per_mp_in + cost.s_per_mp_out
            else:
                into_s += cost.s_per_mp_in + cost.s_per_mp_out
        moves = not all(cost.by_reference for cost in costs)
        if task_class.reads != RAW:
            a_s += SOURCE_S
            fast = FAST_DECODE if task_class.decode == "fast" else 1.0
            into_s += self.decode_s_per_mp[task_class.reads] * fast
        elif moves or task_class.writes != RAW:
            into_s += self.decode_s_per_mp[RAW]
        if task_class.writes != RAW or moves or task_class.reads != RAW:
            output_s = self.output_s
            out_s += self.encode_s_per_mp[task_class.writes]
        return ServiceTime(a_s, into_s, out_s, output_s)


def _with_window(cost: OperationCost, params: Mapping[str, Any]) -> OperationCost:
    """The cost with another window than the default one: bilateral grows with its area, gaussian with its side."""
    factor = 1.0
    if params.get("method") == "bilateral":
        factor = (params.get("diameter", 9) / 9) ** 2
    elif params.get("method") == "gaussian":
        factor = max(params.get("kernel", 5) / 5, 1.0)
    return cost._replace(s_per_mp_in=cost.s_per_mp_in * factor)

"""Measure all installed operations and formats in this process, through the compute path of every task.

`python -m muniflow_cli.planning.readings SPEC SIDES` prints the readings as JSON. `muniflow_cli.planning.calibration`
starts it once for each core, in the environment of a compute child.
"""

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Literal, NamedTuple

from muniflow.compute.context import Context
from muniflow.compute.outcome import Outcome
from muniflow.compute.process import process
from muniflow.compute.setup import open_context, preload
from muniflow.compute.spec import ChildSpec
from muniflow.errors import Rejected
from muniflow.forecast.defaults import Costs, OperationCost
from muniflow.forecast.route import PIXELS_PER_MP
from muniflow.forecast.task_class import RAW, ClassStep
from muniflow.model.batch import read_step
from muniflow.model.messages import IMAGE_FORMATS, Encoding, RouteStep, Task
from muniflow.model.operation import Operations, Size, read_params

MEASURED_READS = (*IMAGE_FORMATS, "tiff")
"""Formats of sources that can be made here. HEIC cannot, an AVIF takes seconds: these keep their documented costs."""
ROUNDS = 3
ENOUGH_S = 6.0
"""No further round begins after it."""
Kind = Literal["decode", "operation", "encode", "output"]


class Reading(NamedTuple):
    """One thing that was measured once."""

    kind: Kind
    name: str
    """A format, or an operation (with its method) as `Costs` names it."""
    mp_in: float
    mp_out: float
    seconds: float
    outputs: int = 1


class Example(NamedTuple):
    """An example of an operation to measure."""

    name: str
    step: RouteStep
    factor: float
    """How many times the cost of the default window its parameters take."""


def source_key(side_px: int, suffix: str) -> str:
    """The key of the generated source."""
    return f"{side_px}.{suffix}"


def cost_name(step: RouteStep) -> str:
    """The name of a step's cost: its operation, with the method where it has one."""
    method = step.params.get("method")
    return step.op if method is None else f"{step.op}:{method}"


def made_of(step: RouteStep, operations: Operations, source: Size) -> int:
    """Pixels that a step makes of an image; 0 where it refuses it."""
    try:
        return sum(size.pixels for size in read_params(operations[step.op], step.params).sizes(source))
    except Rejected:
        return 0


def examples_of(operations: Operations, source: Size) -> list[Example]:
    """The examples to measure: the first one of each method, and all that change the number of pixels."""
    found: list[Example] = []
    for operation in operations.values():
        for entry in operation.examples:
            step = read_step(entry, operations, operation.name)
            name, made = cost_name(step), made_of(step, operations, source)
            known = any(example.name == name for example in found)
            if made and (made != source.pixels or not known):
                unit = Costs(operations={name: OperationCost(1.0)})
                cost = unit.operation(ClassStep(op=step.op, params=json.dumps(step.params)))
                found.append(Example(name, step, cost.s_per_mp_in))
    return found


def take_readings(context: Context, sides_px: tuple[int, ...]) -> list[Reading]:
    """Measure everything in rounds; of each thing and size the middle reading counts.

    The fastest one would be that of a moment when the other cores idle, which they do not while a batch runs.

    Args:
        context: its source store holds a square image of each side in each format.
        sides_px: of these images.

    Raises:
        RuntimeError: a task failed, with its reason.
    """
    operations = {name: step.operation for name, step in context.steps.items()}
    for _warm_up in _round(context, operations, sides_px[:1]):
        pass
    found: dict[Reading, list[float]] = defaultdict(list)
    started_s = time.monotonic()
    for number in range(ROUNDS):
        if number and time.monotonic() - started_s > ENOUGH_S:
            break
        for reading in _round(context, operations, sides_px):
            found[reading._replace(seconds=0.0)].append(reading.seconds)
    return [what._replace(seconds=median(seconds)) for what, seconds in found.items()]


def _round(context: Context, operations: Operations, sides_px: tuple[int, ...]) -> Iterator[Reading]:
    for side_px in sides_px:
        source = Size(side_px, side_px)
        mp = source.pixels / PIXELS_PER_MP
        examples = examples_of(operations, source)
        for example in examples:
            (one,) = _run(context, side_px, (example.step,)).measures
            made_mp = made_of(example.step, operations, source) / PIXELS_PER_MP
            yield Reading("operation", example.name, mp, made_mp, one.compute_s / example.factor)
        plain = next((example.step for example in examples if not _shrinks(example, operations, source)), None)
        if plain is None:
            continue
        for suffix in MEASURED_READS:
            (one,) = _run(context, side_px, (plain,), suffix=suffix).measures
            yield Reading("decode", suffix, mp, 0.0, one.load_s)
        for written in IMAGE_FORMATS:
            (one,) = _run(context, side_px, (plain,), output=Encoding(format=written)).measures
            yield Reading("encode", written, 0.0, mp, one.store_s)
        yield from _raw(context, examples, plain, side_px)
        yield from _outputs(context, examples, plain, side_px)


def _raw(context: Context, examples: list[Example], first: RouteStep, side_px: int) -> Iterator[Reading]:
    """Pixels between two processes: written by one, read by the next."""
    second = next(
        (one.step for one in examples if one.step.op != first.op and not context.steps[one.step.op].by_reference), None
    )
    if second is None:
        return
    mp = side_px * side_px / PIXELS_PER_MP
    before = _run(_carrying(context, first.op), side_px, (first, second))
    yield Reading("encode", RAW, 0.0, mp, before.measures[-1].store_s)
    loads_s = [_checked(process(task, _carrying(context, second.op))).measures[0].load_s for task in before.follow]
    yield Reading("decode", RAW, mp, 0.0, sum(loads_s))


def _outputs(context: Context, examples: list[Example], whole: RouteStep, side_px: int) -> Iterator[Reading]:
    """The same pixels, written in one file and in several."""
    apart = next((one.step for one in examples if one.step.fan_out > 1), None)
    for step in (whole, apart) if apart else ():
        (one,) = _run(context, side_px, (step,)).measures
        yield Reading("output", "jpg", 0.0, side_px * side_px / PIXELS_PER_MP, one.store_s, step.fan_out)


def _shrinks(example: Example, operations: Operations, source: Size) -> bool:
    return made_of(example.step, operations, source) != source.pixels


def _carrying(context: Context, op: str) -> Context:
    return replace(context, steps={op: context.steps[op]})


def _run(
    context: Context, side_px: int, route: tuple[RouteStep, ...], suffix: str = "jpg", output: Encoding | None = None
) -> Outcome:
    encoding = output or Encoding(format="jpg")
    source = source_key(side_px, suffix)
    task = Task(
        batch="calibration", image=0, source=source, stem="made", destination="made", encoding=encoding, route=route
    )
    return _checked(process(task, context))


def _checked(outcome: Outcome) -> Outcome:
    reason = getattr(outcome.disposition, "reason", None)
    if reason is not None:
        raise RuntimeError(reason)
    return outcome


def _main() -> None:
    spec = ChildSpec.from_json(sys.argv[1])
    context = open_context(spec, preload(spec), os.environ)
    json.dump(take_readings(context, tuple(json.loads(sys.argv[2]))), sys.stdout)


if __name__ == "__main__":
    _main()

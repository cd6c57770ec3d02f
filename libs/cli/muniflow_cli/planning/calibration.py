"""Service times measured on this machine: one process for each core, all at once, because that is how batches run."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import NamedTuple

from muniflow.compute.spec import ALLOCATOR_ENV, ONE_THREAD_ENV, ChildSpec
from muniflow.compute.step import installed_steps
from muniflow.errors import Unavailable
from muniflow.forecast.defaults import (
    DECODE_S_PER_MP,
    ENCODE_S_PER_MP,
    MESSAGE_S,
    OPERATIONS,
    OUTPUT_S,
    SOURCE_S,
    UNKNOWN_OPERATION,
    Costs,
    OperationCost,
)
from muniflow.forecast.profile import Profile
from muniflow.forecast.service_time import ServiceTime, Sums, fit
from muniflow.model.operation import Size
from muniflow.model.source_formats import FORMAT_NAMES
from muniflow_cli.planning.pictures import write_sources
from muniflow_cli.planning.readings import Kind, Reading, examples_of, made_of

SIDES_PX = (512, 1536)
MAX_PROCESSES = 8
TIMEOUT_S = 55.0
TASKS_PER_READING = 100.0
"""A reading counts for so many tasks, so that documented figures decide only what it leaves open."""

FIXED_S: Mapping[Kind, float] = {"decode": SOURCE_S, "operation": 0.0, "encode": OUTPUT_S, "output": 0.0}
"""What each takes whatever the size: counted by itself in every plan. Left out here, so that noise cannot move the
seconds per megapixel into it."""


class Traits(NamedTuple):
    """What no measurement shows of an operation."""

    resizes: bool = False
    by_reference: bool = False


@dataclass(frozen=True)
class Calibration:
    """What was measured here."""

    profile: Profile
    measured: frozenset[tuple[Kind, str]]
    """Kind and name of each figure."""
    processes: int
    seconds: float


def calibrate(processes: int) -> Calibration:
    """Measure all installed operations and formats.

    Raises:
        Unavailable: a measuring process failed or did not end in time.
    """
    started_s = time.monotonic()
    count = min(processes, MAX_PROCESSES)
    with tempfile.TemporaryDirectory(prefix="muniflow-calibrate-") as folder:
        write_sources(Path(folder) / "source", SIDES_PX)
        readings = _measure(Path(folder), count)
    costs = costs_of(readings, _traits())
    measured = frozenset((reading.kind, reading.name) for reading in readings)
    return Calibration(Profile(costs), measured, count, time.monotonic() - started_s)


def costs_of(readings: Iterable[Reading], traits: Mapping[str, Traits]) -> Costs:
    """Costs that fit the readings: by the same estimator as tasks that workers report.

    Args:
        readings: of any number of rounds and processes.
        traits: by the name of the operation, without its method.
    """
    sums: dict[tuple[Kind, str], Sums] = defaultdict(Sums)
    for kind, name, mp_in, mp_out, seconds, outputs in readings:
        one = Sums.of(mp_in, mp_out, max(seconds - FIXED_S[kind], 0.0), outputs)
        sums[kind, name] += one.decayed(TASKS_PER_READING)
    operations, decode, encode, output_s = {}, {}, {}, None
    for (kind, name), found in sums.items():
        if kind == "output":
            output_s = fit(found, ServiceTime(0.0, 0.0, ENCODE_S_PER_MP[name], OUTPUT_S)).d_s_per_output
        elif kind == "decode":
            decode[name] = found.w_in_s / found.w_in2
        elif kind == "encode":
            encode[name] = found.w_out_s / found.w_out2
        else:
            operations[name] = _operation(found, name, _of(traits, name))
    slowness = _slowness(decode, encode, operations)
    return Costs().calibrated(operations, decode, encode, output_s, slowness * MESSAGE_S)


def _slowness(
    decode: Mapping[str, float], encode: Mapping[str, float], operations: Mapping[str, OperationCost]
) -> float:
    """How many times the documented seconds this machine takes: of messages, too, which are not measured."""
    pairs = (decode, DECODE_S_PER_MP), (encode, ENCODE_S_PER_MP), (_s_per_mp(operations), _s_per_mp(OPERATIONS))
    ratios = [
        seconds / documented[name]
        for found, documented in pairs
        for name, seconds in found.items()
        if seconds > 0 and documented.get(name)
    ]
    return geometric_mean(ratios) if ratios else 1.0


def _s_per_mp(operations: Mapping[str, OperationCost]) -> Mapping[str, float]:
    return {name: cost.s_per_mp_in for name, cost in operations.items()}


def _of(traits: Mapping[str, Traits], name: str) -> Traits:
    return traits.get(name.partition(":")[0], Traits())


def _operation(found: Sums, name: str, traits: Traits) -> OperationCost:
    if not traits.resizes:
        # As much comes out as goes in, so all of it is counted for what goes in.
        return OperationCost(found.w_in_s / found.w_in2, by_reference=traits.by_reference)
    prior = OPERATIONS.get(name, UNKNOWN_OPERATION)
    guess = ServiceTime(0.0, prior.s_per_mp_in, prior.s_per_mp_out or prior.s_per_mp_in)
    time = fit(found, guess)
    return OperationCost(time.b_s_per_mp_in, time.c_s_per_mp_out, resizes=True, by_reference=traits.by_reference)


def _traits() -> dict[str, Traits]:
    steps = installed_steps()
    operations = {name: step.operation for name, step in steps.items()}
    source = Size(1024, 1024)
    resizing = {
        example.step.op
        for example in examples_of(operations, source)
        if made_of(example.step, operations, source) != source.pixels
    }
    return {name: Traits(name in resizing, step.by_reference) for name, step in steps.items()}


def _measure(folder: Path, processes: int) -> list[Reading]:
    env = {**os.environ, **ALLOCATOR_ENV, **ONE_THREAD_ENV}
    command = (sys.executable, "-m", "muniflow_cli.planning.readings")
    deadline_s = time.monotonic() + TIMEOUT_S
    readings: list[Reading] = []
    with ExitStack() as stack:
        children = []
        for number in range(processes):
            own = folder / str(number)
            stores = (f"file://{folder}/source", f"file://{own}/work", f"file://{own}/output")
            spec = ChildSpec(*stores, limits={"formats": ",".join(FORMAT_NAMES)})
            child = subprocess.Popen(
                [*command, spec.to_json(), json.dumps(SIDES_PX)],
                env=env,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            stack.callback(child.wait)
            stack.callback(child.kill)
            children.append(child)
        for child in children:
            readings += _readings_of(child, deadline_s)
    return readings


def _readings_of(child: "subprocess.Popen[str]", deadline_s: float) -> list[Reading]:
    try:
        out, err = child.communicate(timeout=max(deadline_s - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        raise Unavailable("the calibration", f"it did not end within {TIMEOUT_S:.0f} s") from None
    if child.returncode:
        reason = (err.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise Unavailable("the calibration", reason)
    return [Reading(*values) for values in json.loads(out)]

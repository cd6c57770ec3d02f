"""One task as a filter: JSON on stdin, JSON on stdout. For debuggers, shells, and the local engine's containers.

The task may be short: `{"route": [["resize", "50%"]], "source": "a.jpg"}`. What is left out has a default; a step may
be written as in a batch, short or long, or as a task carries it (`{"op": …, "params": …, "fan_out": …}`), which also
names operations that are not installed here.
"""

import json
from collections.abc import Mapping
from typing import IO, Any

from pydantic import ValidationError

from muniflow.compute.outcome import Outcome
from muniflow.errors import Fault, Invalid
from muniflow.model.batch import faults_of, read_step
from muniflow.model.keys import key_problem, stem_of, stored_key_problem
from muniflow.model.messages import Task
from muniflow.model.operation import Operation
from muniflow.model.output_form import FORMATS, unknown_format
from muniflow.model.settlement import Fail, Retry
from muniflow.runtime.settings import StoreSettings, read_env

DONE, FAILED, BAD_INPUT, TRANSIENT = 0, 1, 2, 75
MAX_INPUT_BYTES = 8 * 2**20
DEFAULT_BATCH = "once"


def once(
    default_operations: tuple[str, ...],
    env: Mapping[str, str],
    stdin: IO[bytes],
    stdout: IO[bytes],
    stderr: IO[str],
) -> int:
    """Run the task on `stdin` with the stores of `env`.

    Writes `{"follow": [Task…], "settled": […], "outputs": [keys]}` to `stdout`. Returns 0 when it is done, 1 when any
    part failed (with its reason), 2 for bad input (every fault by its place), 75 when it is worth trying again.

    Raises:
        Invalid: the input or a setting is wrong.
    """
    from muniflow.compute.durable import make_durable
    from muniflow.compute.process import process
    from muniflow.compute.setup import load_steps, open_context
    from muniflow.compute.spec import INSTALLED
    from muniflow.images.limits import ImageLimits
    from muniflow.worker.serve import known_operations
    from muniflow.worker.settings import WorkerSettings, child_spec

    settings = read_env(WorkerSettings, env)
    operations = known_operations(settings.operations or default_operations)
    steps = load_steps(INSTALLED, operations)
    task = read_input(stdin.read(MAX_INPUT_BYTES + 1), {name: step.operation for name, step in steps.items()})
    spec = child_spec(settings, read_env(StoreSettings, env), read_env(ImageLimits, env), operations)
    context = open_context(spec, steps, env)
    outcome = make_durable(task, process(task, context), context)
    stdout.write(json.dumps(result_document(outcome), ensure_ascii=False).encode() + b"\n")
    stdout.flush()
    match outcome.disposition:
        case Fail(reason):
            stderr.write(f"failed: {reason}\n")
            return FAILED
        case Retry(_, reason):
            stderr.write(f"try again later: {reason}\n")
            return TRANSIENT
        case _:
            return DONE


def result_document(outcome: Outcome) -> dict[str, Any]:
    """An outcome as `once` prints it."""
    return {
        "follow": [task.model_dump(mode="json", exclude_none=True) for task in outcome.follow],
        "settled": [settled.model_dump(mode="json", exclude_none=True) for settled in outcome.settled],
        "outputs": list(outcome.outputs),
    }


def read_input(body: bytes, operations: Mapping[str, Operation]) -> Task:
    """Read a task in its short or full form.

    Raises:
        Invalid: with every fault, by its place.
    """
    if len(body) > MAX_INPUT_BYTES:
        raise Invalid((Fault("", f"more than {MAX_INPUT_BYTES} bytes on stdin"),))
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid((Fault("", f"not JSON: {error}"),)) from None
    if not isinstance(document, dict):
        raise Invalid((Fault("", "a task is a JSON object"),))
    faults: list[Fault] = []
    values = _with_defaults(document, faults)
    route = values.get("route")
    if isinstance(route, list):
        values["route"] = [_route_step(entry, operations, f"route[{n}]", faults) for n, entry in enumerate(route)]
    try:
        task = Task.model_validate_json(json.dumps(values), extra="forbid") if not faults else None
    except ValidationError as error:
        faults += faults_of(error)
        task = None
    if task is not None:
        faults += _task_faults(task, operations)
    if faults or task is None:
        raise Invalid(tuple(faults))
    return task


def _with_defaults(document: dict[str, Any], faults: list[Fault]) -> dict[str, Any]:
    source = document.get("source")
    values = {
        "batch": DEFAULT_BATCH,
        "image": 0,
        "stem": stem_of(source) if isinstance(source, str) else "",
        "destination": document.get("batch", DEFAULT_BATCH),
        "encoding": {"format": "jpg"},
        **document,
    }
    output = values.pop("output", None)
    if isinstance(output, str):
        if output not in FORMATS:
            faults.append(Fault("output", unknown_format(output)))
        values["encoding"] = {"format": FORMATS.get(output, "jpg")}
    elif output is not None:
        values["encoding"] = output
    return values


def _route_step(
    entry: object, operations: Mapping[str, Operation], place: str, faults: list[Fault]
) -> dict[str, Any] | None:
    if isinstance(entry, dict) and "params" in entry:
        return entry
    try:
        return read_step(entry, operations, place).model_dump(mode="json")
    except Invalid as invalid:
        faults += invalid.faults
        return None


def _task_faults(task: Task, operations: Mapping[str, Operation]) -> list[Fault]:
    faults = []
    problems = {
        "batch": key_problem(task.batch),
        "source": stored_key_problem(task.source),
        "stem": key_problem(task.stem),
        "destination": key_problem(task.destination),
    }
    faults += [Fault(place, problem) for place, problem in problems.items() if problem]
    if not task.route:
        faults.append(Fault("route", "name at least one step"))
    elif task.step >= len(task.route):
        faults.append(Fault("step", f"the route has {len(task.route)} steps, numbered from 0"))
    elif task.op not in operations:
        faults.append(Fault(f"route[{task.step}]", f"{task.op!r} is not carried here: {', '.join(operations)} is"))
    return faults

"""The stages that the coordinator counts on, and which consumers are replicas of which stage. Pure."""

from collections.abc import Iterable

from muniflow.errors import Fault, Invalid
from muniflow.forecast.stage import Stage, Stages
from muniflow.runtime.settings import variable


def stages_of(given: Stages, operations: Iterable[str]) -> Stages:
    """Return the given stages; where none is given, one for each installed operation, with the defaults.

    Raises:
        Invalid: a stage carries an operation that is not installed here.
    """
    installed = tuple(operations)
    faults = [
        Fault(f"{variable('stages')}[{number}].operations[{place}]", f"{operation!r} is not installed here")
        for number, stage in enumerate(given)
        for place, operation in enumerate(stage.operations)
        if operation not in installed
    ]
    if faults:
        raise Invalid(tuple(faults))
    return given or tuple(Stage(name=operation, operations=(operation,)) for operation in installed)


def completed(stages: Stages, operations: Iterable[str]) -> Stages:
    """Return the stages, and a stand-in for each operation that none carries.

    So the other stages of a batch's route are forecast although nobody runs this one; nobody is told what it wants.
    """
    known = carried(stages)
    missing = (operation for operation in operations if operation not in known)
    # A `Stage` that is read cannot have such a name.
    return (*stages, *(Stage.model_construct(name=f"no stage: {name}", operations=(name,)) for name in missing))


def carried(stages: Iterable[Stage]) -> set[str]:
    """Return all operations that these stages carry."""
    return {operation for stage in stages for operation in stage.operations}


def counted_operation(stage: Stage, stages: Stages) -> str | None:
    """Return the operation whose consumers are the replicas of a stage; `None` if others consume all its queues, too.

    Each replica consumes the queue of each operation that it carries, so the first one will do that nobody shares.
    """
    others = carried(other for other in stages if other is not stage)
    return next((operation for operation in stage.operations if operation not in others), None)

"""What is wrong with a batch that has the id or the destination of another one. Pure."""

from muniflow.errors import Fault
from muniflow.model.batch import Batch
from muniflow_coordinator.state.types import BatchRow


def by_another_owner(batch: Batch) -> Fault:
    """Return the fault of an id that another owner has; nothing is said of its batch."""
    return Fault("batch_id", f"{batch.batch_id} is taken; choose another one")


def by_other_content(known: BatchRow) -> Fault:
    """Return the fault of an id that a batch of the same owner has, which has nothing to do with this one."""
    text = (
        f"{known.id} is the id of another batch with other content, which stays as it is ({known.state}): give this "
        "one another `batch_id`, or leave it out, and it is made from the content"
    )
    return Fault("batch_id", text)


def destination(batch: Batch, first: BatchRow) -> Fault:
    """Return the fault of a destination that meets the one of an earlier batch."""
    whose = f"batch {first.id}" if first.owner == batch.owner else "another owner's batch"
    text = f"{batch.destination} is, holds or lies in the destination of {whose}; choose another one"
    return Fault("destination", text)

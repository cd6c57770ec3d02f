"""Why images fail, and batches are too large: every reason code, declared once.

Stable: a code is never renamed and never changes its meaning.

The text of a reason is for people and may change; programs, reports, lists of failures and replays go by the code.
"""

from typing import Literal, NamedTuple

FailKind = Literal["rejected", "missing", "away", "memory", "timeout", "crash", "bug", "foreign"]
"""Few groups of codes, for metrics."""

ReasonCode = Literal[
    "file_empty", "not_an_image", "image_unsupported", "image_damaged", "image_too_large", "source_missing",
    "source_unreadable", "operation_refused", "output_too_large", "too_much_work", "output_failed", "operation_unknown",
    "intermediate_missing", "part_away", "out_of_memory", "timed_out", "crashed", "internal_error", "refused",
    "task_unreadable", "worker_outdated", "deliveries_exhausted", "lost", "unknown", "task_foreign",
]  # fmt: skip


class Reason(NamedTuple):
    """One reason code."""

    kind: FailKind
    meaning: str
    """For the documentation, and for people who read a list of codes."""


REASONS: dict[ReasonCode, Reason] = {
    "file_empty": Reason("rejected", "the source has no bytes"),
    "not_an_image": Reason("rejected", "the source is no image of an allowed format"),
    "image_unsupported": Reason("rejected", "an image of an allowed format, of a variant that is not supported"),
    "image_damaged": Reason("rejected", "the image breaks the rules of its format, or is cut off"),
    "image_too_large": Reason("rejected", "the image passes a limit on bytes, pixels, scans or parts"),
    "source_missing": Reason("missing", "the source is not in the store"),
    "source_unreadable": Reason("rejected", "the store refuses the key of a blob, or it is no file"),
    "operation_refused": Reason("rejected", "the operation cannot be applied to an image of this size"),
    "output_too_large": Reason("rejected", "an operation or the output format would pass a limit on pixels"),
    "too_much_work": Reason("rejected", "the image would take more compute time than one image may"),
    "output_failed": Reason("rejected", "the output could not be encoded"),
    "operation_unknown": Reason("rejected", "the worker has no such operation, or not with these parameters"),
    "intermediate_missing": Reason("missing", "pixels between two steps are gone: a late copy of a settled task"),
    "part_away": Reason("away", "a part that the work needs (a store) stayed away for all attempts"),
    "out_of_memory": Reason("memory", "the image needs more memory than a compute child may use"),
    "timed_out": Reason("timeout", "the task took longer than MUNIFLOW_COMPUTE_TIMEOUT_S"),
    "crashed": Reason("crash", "the decoder or the operation crashed on this image"),
    "internal_error": Reason("bug", "a bug in muniflow or in an operation"),
    "refused": Reason("rejected", "refused for a reason of its own; its text says which"),
    "task_unreadable": Reason("bug", "no worker could read the task"),
    "worker_outdated": Reason("rejected", "a worker of an earlier build refused the task: update the workers"),
    "deliveries_exhausted": Reason("crash", "the broker gave the task up after too many deliveries"),
    "lost": Reason("bug", "no event came after all dispatches"),
    "unknown": Reason("bug", "failed in an earlier build, which recorded no code"),
    "task_foreign": Reason("foreign", "the coordinator did not make this task so; it settles no image"),
}
"""All codes with their meanings."""

UNKNOWN: ReasonCode = "unknown"

RefusalCode = Literal["output_too_large", "too_much_work", "batch_budget", "day_budget"]
REFUSALS: dict[RefusalCode, str] = {
    "output_too_large": "each of its images would be made into more pixels than one may",
    "too_much_work": "each of its images would take more compute time than one may",
    "batch_budget": "the batch needs more than one batch may",
    "day_budget": "the batch needs more than its owner has left today; it is taken tomorrow",
}
"""Why a batch is refused that has no mistake: all codes with their meanings."""

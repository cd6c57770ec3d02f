"""What a worker logs of the results of its groups."""

import logging
from dataclasses import dataclass

from muniflow.compute.groups import GroupResult
from muniflow.runtime.logs import task_fields

log = logging.getLogger(__name__)


@dataclass
class ResultLog:
    """A line for each failure, and one for each change between waiting and going on."""

    _waiting_for: str = ""

    def add(self, result: GroupResult) -> None:
        """Log what is new; `logs` thins failures out."""
        for task, done in zip(result.sources, result.tasks, strict=True):
            if done.disposition == "failed":
                log.warning("task failed: %s", done.reason, extra=task_fields(task))
        reason = next((task.reason for task in result.tasks if task.disposition == "retry"), "")
        if reason and reason != self._waiting_for:
            log.warning("tasks wait and are tried again: %s", reason)
        elif self._waiting_for and not reason:
            log.info("tasks go on", extra={"waited_for": self._waiting_for})
        self._waiting_for = reason

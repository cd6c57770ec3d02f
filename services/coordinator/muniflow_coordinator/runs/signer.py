"""Signs what batches allow, with the key of today, and tells whether a task that came back is one of ours."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from muniflow.model.allowed import Foreign, readable, require_inside
from muniflow.model.messages import Task
from muniflow.model.owners import Grants
from muniflow.runtime.clock import SYSTEM_CLOCK, Clock
from muniflow.runtime.followed_file import FollowedFile
from muniflow.runtime.key_files import followed_keys
from muniflow.runtime.settings import GrantSettings, Unsigned
from muniflow.runtime.signing import SigningKey, read_signing_keys, verified
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.runs.spec import example_task, task_writer
from muniflow_coordinator.state.types import ImageRow

log = logging.getLogger(__name__)


@dataclass
class Signer:
    """Signs each running batch once."""

    keys: FollowedFile[tuple[SigningKey, ...]] | None = None
    """`None`: nothing is signed."""
    unsigned: Unsigned = "accept"
    grants: Grants = field(default_factory=dict)
    """What owners may read."""

    @classmethod
    def of(cls, settings: GrantSettings, grants: Grants, clock: Clock = SYSTEM_CLOCK) -> "Signer":
        """Return one as the settings say.

        Raises:
            Invalid: the keys cannot be read, or unsigned tasks are refused and there are no keys.
        """
        keys = followed_keys(settings, "signing_key_file", read_signing_keys, clock)
        return cls(keys, settings.unsigned_tasks, grants)

    def prepare(self, run: Run, rows: Sequence[ImageRow]) -> None:
        """Let a batch write the tasks of these images as the key of today has signed them."""
        if self.keys is None:
            return
        key, batch = self.keys.now()[0], run.batch
        sources = readable(batch.owner, batch.source, self.grants) if run.signed is None else run.signed[1]
        if sources != (batch.source,) and not all(
            f"{batch.source}{row.stem}{row.suffix}".startswith(sources) for row in rows
        ):
            # It was accepted all the same, as from a gateway with other grants: its images must come to an end.
            log.warning("images beyond what the owner may read; all of `source` is signed", extra={"batch": run.id})
            sources = (batch.source,)
        if (key.id, sources) != run.signed:
            # As a worker reads it: numbers and texts that went through JSON once more.
            example = Task.from_bytes(example_task(batch).to_bytes())
            run.write_task, run.signed = task_writer(batch, key.sign(example, sources)), (key.id, sources)

    def vouches(self, body: bytes) -> bool:
        """Return whether a task that came back was signed here.

        Anybody who may publish could send one back, and each fails its image.
        """
        try:
            task = Task.from_bytes(body)
        except ValidationError:
            return self.unsigned == "accept"  # of a later build; it cannot be held against anything
        if self.keys is None or task.grant is None:
            return self.unsigned == "accept"
        key = next((key for key in self.keys.now() if key.id == task.grant.key), None)
        try:
            require_inside(task, task.grant.sources)
        except Foreign:
            return False
        return key is not None and verified(task, task.grant, key.private.public_key())

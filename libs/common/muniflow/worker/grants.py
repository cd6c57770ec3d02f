"""Holds tasks against what the coordinator signed: a signature once for its batch, each task by comparing.

What does not fit goes to the dead letters and settles nothing: whoever made it up must not be able to fail an image,
either (docs/adr/0049-signed-grants.md). A key that is not known here may be one that is on its way: such a task is
tried again later.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from muniflow.compute.groups import GroupResult, TaskResult
from muniflow.errors import MuniflowError, Unavailable
from muniflow.model.allowed import Foreign, Shared, require_inside, shared_of
from muniflow.model.grant import Grant
from muniflow.model.messages import Task
from muniflow.model.settlement import Fail, Retry, settle
from muniflow.runtime.clock import SYSTEM_CLOCK, Clock
from muniflow.runtime.followed_file import FollowedFile
from muniflow.runtime.key_files import followed_keys
from muniflow.runtime.settings import GrantSettings, Unsigned, variable
from muniflow.runtime.signing import VerifyKeys, read_verify_keys, verified

KEPT_BATCHES: Final = 1024
"""Batches whose signatures are known to be good; of more, the oldest is verified again: a tenth of a millisecond."""


@dataclass
class GrantCheck:
    """What a worker believes."""

    keys: FollowedFile[VerifyKeys] | None = None
    """`None`: nothing is verified."""
    unsigned: Unsigned = "accept"
    _known: OrderedDict[tuple[str, str], Shared] = field(default_factory=OrderedDict)
    """What was verified, by batch and signature."""
    _known_by: VerifyKeys | None = None
    """The keys by which it was."""

    @classmethod
    def of(cls, settings: GrantSettings, clock: Clock = SYSTEM_CLOCK) -> "GrantCheck":
        """As the settings say.

        Raises:
            Invalid: the keys cannot be read, or all tasks would be refused because there is no key.
        """
        return cls(followed_keys(settings, "verify_keys_file", read_verify_keys, clock), settings.unsigned_tasks)

    def refusal(self, task: Task) -> GroupResult | None:
        """What becomes of a task that must not run; `None` for one that may."""
        try:
            self._require(task)
        except MuniflowError as error:
            return _turned_away(task, error)
        return None

    def _require(self, task: Task) -> None:
        """Check a task.

        Raises:
            Foreign: the coordinator did not make it so.
            Unavailable: its key is not known here.
        """
        grant = task.grant
        if self.keys is None or grant is None:
            if grant is None and self.unsigned == "refuse":
                raise Foreign(f"the task is not signed, and {variable('unsigned_tasks')} is `refuse`")
            return
        keys = self.keys.now()
        if keys is not self._known_by:
            self._known.clear()
            self._known_by = keys
        shared = shared_of(task, grant.sources)
        known = self._known.get((task.batch, grant.signature))
        if known is None:
            self._verify(task, grant, keys)
            self._known[task.batch, grant.signature] = shared
            if len(self._known) > KEPT_BATCHES:
                self._known.popitem(last=False)
        elif known != shared:
            raise Foreign("the task is not what was signed for its batch")
        require_inside(task, grant.sources)

    def _verify(self, task: Task, grant: Grant, keys: VerifyKeys) -> None:
        key = keys.get(grant.key)
        if key is None:
            raise Unavailable("verify key", f"{grant.key!r} is not in {variable('verify_keys_file')}")
        if not verified(task, grant, key):
            raise Foreign("the task is not what was signed for its batch")


def _turned_away(task: Task, error: MuniflowError) -> GroupResult:
    """The result of a task that does not run: tried again or kept as a dead letter, and without any event."""
    disposition = settle(error, task.attempt)
    if isinstance(disposition, Retry):
        again = TaskResult(
            task.op, "retry", reason=disposition.reason, kind=disposition.what, delay_s=disposition.delay_s
        )
        return GroupResult([again], sources=[task])
    failed = Fail(disposition.reason if isinstance(disposition, Fail) else str(error), Foreign.reason_code)
    letter = TaskResult(
        task.op,
        "failed",
        reason=failed.reason,
        kind=failed.kind,
        kept=True,
        failed_step=task.step,
        code=failed.code,
    )
    return GroupResult([letter], sources=[task])

"""What a batch allows its tasks (docs/adr/0049-signed-grants.md): the coordinator signs it, workers check it.

Signed are the fields that all tasks of a batch share, and where they may read. A field that changes pixels or places
joins `signed_text` with the build that brings it, and adds nothing while it has its default: so builds before and after
it agree on the text of all other batches. Pure; keys and signatures are in `muniflow.runtime.signing`.
"""

import json
from typing import Any, Final

from muniflow.errors import Rejected
from muniflow.model.keys import work_prefix
from muniflow.model.messages import Task
from muniflow.model.owners import Grants, granted

DOMAIN: Final = "muniflow grant 1\n"
"""What every signed text begins with: a signature of a grant counts for nothing else."""

Shared = tuple[Any, ...]
"""What all tasks of a batch share."""


class Foreign(Rejected):
    """A task that the coordinator did not make so: it is kept as a dead letter, and settles nothing."""

    reason_code = "task_foreign"


def readable(owner: str, source: str, grants: Grants) -> tuple[str, ...]:
    """The prefixes below which the tasks of a batch read.

    Args:
        owner: whose batch it is.
        source: prefix of all its keys; empty or ending in `/`.
        grants: of all owners.

    Returns:
        The batch's own prefix; of one that is wider than what its owner may read, as with a list of whole keys, the
        granted parts.
    """
    allowed = granted(owner, grants)
    if source.startswith(allowed):
        return (source,)
    # Nothing below it is granted: the gateway has checked it, as it does for uploads.
    return tuple(prefix for prefix in allowed if prefix.startswith(source)) or (source,)


def shared_of(task: Task, sources: tuple[str, ...]) -> Shared:
    """What a task has in common with all others of its batch: equal for these, and quick to compare."""
    batch = (task.batch, task.route, task.destination, task.encoding)
    return (*batch, task.decode, task.rendering, task.checksums, sources)


def signed_text(task: Task, sources: tuple[str, ...]) -> bytes:
    """The same as bytes, which both sides make alike."""
    content = {
        "batch": task.batch,
        "route": [[step.op, step.params, step.fan_out] for step in task.route],
        "destination": task.destination,
        "encoding": [task.encoding.format, task.encoding.quality],
        "decode": task.decode,
        "rendering": {} if task.rendering is None else task.rendering.chosen(),
        "checksums": task.checksums is True,
        "sources": sources,
    }
    return f"{DOMAIN}{json.dumps(content, sort_keys=True)}".encode()


def require_inside(task: Task, sources: tuple[str, ...]) -> None:
    """Refuse a task of a verified batch that reads elsewhere. Where it writes follows from what is signed.

    Args:
        task: the task.
        sources: prefixes that its batch may read.

    Raises:
        Foreign: its source, a tile, the profile or the metadata lies outside.
    """
    if not task.source.startswith(sources):
        raise Foreign(f"source {task.source[:200]!r} is not below {', '.join(map(repr, sources)) or 'any prefix'}")
    own = work_prefix(task.batch, task.image)
    keys = (*(tile.pixels.key for tile in task.tiles), task.profile, task.metadata)
    for key in keys:
        if key is not None and not key.startswith(own):
            raise Foreign(f"{key[:200]!r} is not below {own!r}, the intermediates of its image")

"""What a worker holds, and which of it may be what ends workers.

The broker counts each delivery that comes to nothing: a task that took its worker along, and as well each task that lay
beside it, was handed back, or was held by a worker whose node went. So its count says nothing about a task. What says
something is a worker that ended *while it computed this task and no other*. So a task that was delivered in vain
`MARK_AFTER` times is published once more before each further beginning, with the number of its beginnings: a mark.
Only `MAX_BEGUN` marks without an end fail a task; the broker's own limit is not reached, as a copy has no deliveries.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from muniflow.compute.groups import GroupResult, Span, result_of
from muniflow.compute.outcome import failed_whole
from muniflow.compute.pending import PendingTask
from muniflow.model.messages import Task
from muniflow.model.settlement import Fail
from muniflow.model.topology import DELIVERY_LIMIT, TASKS_EXCHANGE
from muniflow.runtime.loop import Loop
from muniflow.transport.types import Delivery, OutgoingMessage
from muniflow.worker.grouping import Kind

SUSPECT_AFTER = 2
"""Deliveries in vain from which on a task runs in a group of its own. An image may take the whole worker along (where
the kernel ends a container as a group): those that were delivered with it must not share its end."""
EXCLUSIVE_AFTER = 4
"""Deliveries in vain from which on a task runs while nothing else does."""
MARK_AFTER = 10
"""Deliveries in vain from which on each beginning of a task is marked."""
RENEW_AFTER = 15
"""Deliveries in vain from which on a task is published anew as soon as it comes, ahead of the broker's limit."""
MAX_BEGUN = 10
"""Workers that may end while they compute one task alone. An accident of the same place so often is none."""
MARK_PAUSE_S = 0.2
"""Between two marks of one worker: a mark that is not soon followed by its beginning blames a task that only waits."""
BEGUN, MARKED = "begun", "marked"
"""Headers of a task: how often it began alone, and 1 on the copy that is to begin."""

assert SUSPECT_AFTER < EXCLUSIVE_AFTER < MARK_AFTER < RENEW_AFTER < DELIVERY_LIMIT  # noqa: S101 - constants


class Doubt(NamedTuple):
    """What the deliveries of a task say about it."""

    alone: bool = False
    """It runs in a group of its own."""
    exclusive: bool = False
    """It runs while nothing else does: what runs beside it in another child would share its end, too."""
    begun: int = 0
    """How often it began alone, and did not end, as its marks say."""
    marked: bool = False
    """It is the marked copy, on its first delivery: it begins now."""
    unclear: bool = False
    """It begins only once it is marked."""
    worn: bool = False
    """It is published anew before the broker gives it up."""

    @property
    def ends_workers(self) -> bool:
        """Whether it began so often in vain that it is given up."""
        return self.begun >= MAX_BEGUN


class Held(NamedTuple):
    """A delivery that is a task."""

    pending: PendingTask
    delivery: Delivery
    kind: Kind
    pixels: int | None
    doubt: Doubt = Doubt()


def parted(group: Sequence[Held], unbegun: Sequence[Task]) -> tuple[list[Held], list[Held]]:
    """Those of a group that ran, and those that did not."""
    left = set(map(id, unbegun))
    return (
        [held for held in group if id(held.pending.task) not in left],
        [held for held in group if id(held.pending.task) in left],
    )


def deliveries_before(delivery: Delivery) -> int:
    """How often the broker has delivered it in vain; quorum queues count."""
    return _number(delivery, "x-delivery-count")


def doubt_of(delivery: Delivery) -> Doubt:
    """What to think of a task that is delivered."""
    vain, known = deliveries_before(delivery), BEGUN in delivery.headers
    marked = vain == 0 and _number(delivery, MARKED) == 1
    return Doubt(
        alone=known or vain >= SUSPECT_AFTER,
        exclusive=known or vain >= EXCLUSIVE_AFTER,
        begun=_number(delivery, BEGUN),
        marked=marked,
        unclear=not marked and (known or vain >= MARK_AFTER),
        worn=vain >= RENEW_AFTER,
    )


def renewed(held: Held, begun: int, *, marked: bool = False) -> OutgoingMessage:
    """The same task as a message of its own, without deliveries; it stays in its queue."""
    carried = {
        name: value
        for name, value in held.delivery.headers.items()
        if isinstance(value, str | int) and name != MARKED and not name.startswith("x-")
    }
    headers = {**carried, BEGUN: begun, **({MARKED: 1} if marked else {})}
    return OutgoingMessage(held.delivery.queue, held.delivery.body, TASKS_EXCHANGE, headers)


def given_up(task: Task, now_at: float) -> GroupResult:
    """The result of a task that ends workers."""
    reason = f"{MAX_BEGUN} workers ended while they computed it alone"
    result = result_of([(task, failed_whole(task, Fail(reason, "crashed")))], [Span()], now_at)
    result.sources = [task]
    return result


@dataclass
class Unclear:
    """Tasks that wait for their mark: one at a time, so that a mark means a beginning."""

    loop: Loop
    mark: Callable[[Held], None]
    """Marks one, or gives it up."""
    free: Callable[[], bool]
    """Whether a child can begin now; `look` when that changes."""
    chance: Callable[[], float] = random.random
    """From 0 to 1, and never 1."""
    pause_s: float = MARK_PAUSE_S
    _waiting: list[Held] = field(default_factory=list)
    _marked: int = 0
    """Marked tasks that this worker holds."""
    _pausing: bool = False

    def add(self, held: Held) -> None:
        """One more."""
        self._waiting.append(held)
        self.look()

    def came(self) -> None:
        """A marked task is here, and begins next."""
        self._marked += 1

    def ended(self) -> None:
        """It ended."""
        self._marked -= 1
        self.look()

    def clear(self) -> list[Held]:
        """Forget all; returns what waited."""
        waiting, self._waiting, self._marked = self._waiting, [], 0
        return waiting

    def look(self) -> None:
        """Mark the next one, where it would begin at once."""
        if self._waiting and not self._marked and not self._pausing and self.free():
            # In no order: no task is in the way of the others for ever.
            held = self._waiting.pop(int(self.chance() * len(self._waiting)))
            self._pausing = True
            self.loop.call_later(self.pause_s, self._over)
            self.mark(held)

    def _over(self) -> None:
        self._pausing = False
        self.look()


def _number(delivery: Delivery, name: str) -> int:
    found = delivery.headers.get(name, 0)
    return found if isinstance(found, int) else 0

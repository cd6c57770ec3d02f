"""Every exchange and queue, declared once.

The arguments are what RabbitMQ 3.10 to 4.x all take: durable quorum queues. Dead-lettering is at-least-once, which
needs `reject-publish` and, in return, keeps a message in its source queue until its dead-letter queue has it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from muniflow.model.owners import DEFAULT_OWNER

EXCHANGE = "muniflow"
"""Direct, as those below where it is not said: the routing key is the name of the queue. What users, the command line
and gateways send to the coordinator."""
TASKS_EXCHANGE = "muniflow.tasks"
"""Tasks: from the coordinator and workers to workers."""
EVENTS_EXCHANGE = "muniflow.events"
"""Events and permanent failures: from workers to the coordinator."""
DEAD_EXCHANGE = "muniflow.dead"
"""What the broker itself gives up on; its key is the name of the dead-letter queue."""
NOTIFY_EXCHANGE = "muniflow.notify"
"""Topic: see `notice_key`."""

BATCHES = "muniflow.batches"
EVENTS = "muniflow.events"
CONTROL = "muniflow.control"
AUDIT = "muniflow.audit"
"""What gateways tell of the audit trail."""
COORDINATOR_QUEUES = (BATCHES, EVENTS, CONTROL, AUDIT)
"""Of messages to the coordinator; each has a dead-letter queue."""
DELAY_PREFIX = "muniflow.retry."
"""Of the exchanges, and of their queues, in which a task waits for its next attempt."""
GATEWAY_PREFIX = "muniflow.gateway."
"""Of the queues of gateways, one for each process."""
LOST = "muniflow.lost"
"""A copy of each task that the broker dead-letters, so that the coordinator can settle its image."""

DELAYS_S = (5, 30, 120)
"""What a task waits before its second, third and every later attempt, on average: see `delay_lanes`."""
LANES_PER_DELAY = 3
DELAY_SPREAD = 5
"""The lanes of a delay are a fifth of it apart."""

EVERY_NOTICE = "batch.#"
ACCEPTED, PROGRESS, SKIPPED = "accepted", "progress", "skipped"
"""Events of notices that are no state of a batch."""
CHANGES = (ACCEPTED, "running", "done", "partial", "failed", "cancelled", "rejected")
"""Rare events of a batch: it began, was re-opened, ended, or was refused."""
ONGOING = (PROGRESS, SKIPPED)
"""Events of notices about a batch that goes on."""

NOTICES_EXPIRE_MS = 300_000
"""The queue of a gateway that is gone for longer is removed by the broker."""
MAX_NOTICES = 10_000
"""Notices that wait for one gateway; the oldest go first."""

DELIVERY_LIMIT = 20
"""Deliveries before the broker dead-letters a message; 4.x has this default, older versions have none."""
CONSUMER_TIMEOUT_MS = 7 * 24 * 3_600_000
"""How long a consumer of ours may hold a message: longer than an alarm of the broker, during which workers keep what
they have (`BrokerSettings.blocked_timeout_s`). RabbitMQ's default is 30 minutes; then it takes back what is held and
counts a delivery. An argument of a queue is the one way that needs no administrator; 3.10 and 3.11 do not know it and
go by their configuration. Tasks that hang are ended by the worker, not by this."""
EXPRESS_TURNS = 3
"""Seconds of express work for which a worker does one of others: express tasks have three quarters of it at most."""
EXPRESS_WAIT_S = 30
"""A task that nobody takes from an express queue for so long goes to the normal queue of its operation: after a
rollback there may be only workers that do not know the express queue."""
NO_LIMIT = 1_000_000_000
"""A delivery limit for queues that people browse; -1 is not understood by every version."""

DEAD_LETTER_PATTERN = r"^muniflow\..+\.dead$"
DEAD_LETTER_POLICY: Mapping[str, str | int] = {
    "max-length": 100_000,
    "max-length-bytes": 256 << 20,
    "overflow": "reject-publish",
}
"""The limits of each dead-letter queue, as a policy of the broker: an argument would be refused where the queue is
there already. What is full refuses, and so loses nothing: at-least-once dead-lettering keeps a message in the queue
that it comes from, and a worker that is refused publishes again (docs/adr/0052-limits-of-dead-letters.md)."""


def step_queue(operation: str) -> str:
    """The work queue of an operation."""
    return f"muniflow.step.{operation}"


def express_queue(operation: str) -> str:
    """The second work queue of an operation, whose tasks workers take first (docs/adr/0031-express-lane.md)."""
    return f"muniflow.express.{operation}"


def lane_queue(operation: str, *, express: bool) -> str:
    """The work queue of an operation in one of its two lanes."""
    return express_queue(operation) if express else step_queue(operation)


def work_queues(operation: str) -> tuple[str, str]:
    """Both work queues of an operation: one backlog, with one dead-letter queue."""
    return step_queue(operation), express_queue(operation)


def operation_of(queue: str) -> str | None:
    """The operation whose tasks are in this work queue; `None` where it is none."""
    name = queue.rpartition(".")[2]
    return name if queue in work_queues(name) else None


def dead_queue(queue: str) -> str:
    """Where the permanent failures of `queue` are kept."""
    return f"{queue}.dead"


LETTER_QUEUES = tuple(map(dead_queue, COORDINATOR_QUEUES))
"""Dead-letter queues of messages that are no tasks."""


def origin_of(queue: str) -> str | None:
    """The queue that this one is the dead-letter queue of; `None` where it is none."""
    origin = queue.removesuffix(".dead")
    return origin if origin != queue else None


def delay_exchange(delay_s: int) -> str:
    """A message published here comes back to `TASKS_EXCHANGE` under its own routing key after `delay_s`."""
    return f"{DELAY_PREFIX}{delay_s}s"


def delay_lanes(delay_s: int) -> tuple[int, ...]:
    """The waits, in seconds, among which the tasks of one delay are dealt out: the delay and a fifth less or more.

    One queue each, with one time to live for all in it. A time to live for each message would give no jitter: a queue
    looks at its head only, so a thousand messages that come at once leave in about seven clumps, half of them with the
    longest (docs/adr/0003-transport.md).
    """
    apart_s = delay_s // DELAY_SPREAD
    return tuple(delay_s + apart_s * lane for lane in range(-(LANES_PER_DELAY // 2), LANES_PER_DELAY // 2 + 1))


def all_delays_s() -> tuple[int, ...]:
    """The waits of all delay queues, in seconds."""
    return tuple(lane_s for delay_s in DELAYS_S for lane_s in delay_lanes(delay_s))


@dataclass(frozen=True)
class Exchange:
    """An exchange to declare; durable."""

    name: str
    kind: str


@dataclass(frozen=True)
class Queue:
    """A queue to declare; durable, quorum, with its bindings as (exchange, routing key)."""

    name: str
    arguments: dict[str, str | int]
    bindings: tuple[tuple[str, str], ...]

    @property
    def lasting(self) -> bool:
        """Whether what it holds must outlive a crash; the queue of one process expires with it."""
        return "x-expires" not in self.arguments


@dataclass(frozen=True)
class Topology:
    """Everything that one process declares, or waits for."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...] = field(default=())
    awaited: bool = False
    """Whether somebody else declares it: then nothing of it is declared, and the process waits until it is there."""
    instead: "Instead | None" = None
    """Of one that is awaited: what serves as well where it is not there."""


@dataclass(frozen=True)
class Instead:
    """What an earlier build has declared."""

    topology: Topology
    exchanges: Mapping[str, str]
    """Where messages go, by the exchange that they are meant for."""


def topology(operations: Iterable[str]) -> Topology:
    """The exchanges and queues for these operations. Declaring it again, or a part of it, changes nothing."""
    exchanges = [
        *(Exchange(name, "direct") for name in (EXCHANGE, TASKS_EXCHANGE, EVENTS_EXCHANGE, DEAD_EXCHANGE)),
        Exchange(NOTIFY_EXCHANGE, "topic"),
        *map(_delay_exchange, all_delays_s()),
    ]
    queues = [_delay_queue(delay_s) for delay_s in all_delays_s()]
    names = sorted(operations)
    for name in COORDINATOR_QUEUES:
        bound = (exchange_to(name), name)
        queues += [_work_queue(name, bound), _browsed_queue(dead_queue(name))]
    for operation in names:
        queues += _step_queues(operation)
    # By the broker alone: whoever could publish here could fail any image.
    lost = ((DEAD_EXCHANGE, dead_queue(step_queue(operation))) for operation in names)
    queues.append(_work_queue(LOST, *lost))
    return Topology(tuple(exchanges), tuple(queues))


def worker_topology(operations: Iterable[str], instead: Instead | None = None) -> Topology:
    """What a worker of these operations needs. The coordinator declares it, so a worker's user needs no right to."""
    names = sorted(operations)
    queues = tuple(queue for operation in names for queue in _step_queues(operation)[:2])
    exchanges = (Exchange(TASKS_EXCHANGE, "direct"), Exchange(EVENTS_EXCHANGE, "direct"))
    return Topology((*exchanges, *map(_delay_exchange, all_delays_s())), queues, awaited=True, instead=instead)


def exchange_to(queue: str) -> str:
    """The exchange by which messages come to this queue."""
    if operation_of(queue) is not None:
        return TASKS_EXCHANGE
    if queue == EVENTS or operation_of(origin_of(queue) or "") is not None:
        return EVENTS_EXCHANGE
    return DEAD_EXCHANGE if queue == LOST or queue in LETTER_QUEUES else EXCHANGE


def gateway_queue(name: str) -> Queue:
    """Where one gateway process hears notices. A quorum queue, as newer versions refuse transient ones."""
    arguments: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-expires": NOTICES_EXPIRE_MS,
        "x-max-length": MAX_NOTICES,
    }
    return Queue(f"{GATEWAY_PREFIX}{name}", arguments, ((NOTIFY_EXCHANGE, EVERY_NOTICE),))


def notice_key(event: str, owner: str) -> str:
    """The routing key of a notice: `batch.done.utrecht`, and `batch.done` for the owner `default`.

    So topic permissions of the broker can keep owners apart.

    Args:
        event: one of `CHANGES` or `ONGOING`; a `*` stands for any.
        owner: of the batch.
    """
    return f"batch.{event}" if owner == DEFAULT_OWNER else f"batch.{event}.{owner}"


_CONSUMED: dict[str, str | int] = {"x-delivery-limit": DELIVERY_LIMIT, "x-consumer-timeout": CONSUMER_TIMEOUT_MS}
"""Arguments of a queue that services take from."""


def _step_queues(operation: str) -> tuple[Queue, Queue, Queue]:
    name = step_queue(operation)
    dead = _browsed_queue(dead_queue(name), (EVENTS_EXCHANGE, dead_queue(name)))  # workers publish permanent failures
    return _work_queue(name, (TASKS_EXCHANGE, name)), _express_queue(operation), dead


def _express_queue(operation: str) -> Queue:
    """Of what it gives up, all goes to the normal queue, which has the dead letters of both."""
    name = express_queue(operation)
    return Queue(
        name,
        {
            **_CONSUMED,
            **_handing_on_to(TASKS_EXCHANGE),
            "x-message-ttl": EXPRESS_WAIT_S * 1000,
            "x-dead-letter-routing-key": step_queue(operation),
        },
        ((TASKS_EXCHANGE, name),),
    )


def _work_queue(name: str, *bindings: tuple[str, str]) -> Queue:
    return Queue(
        name,
        {**_CONSUMED, **_handing_on_to(DEAD_EXCHANGE), "x-dead-letter-routing-key": dead_queue(name)},
        bindings,
    )


def _browsed_queue(name: str, *bindings: tuple[str, str]) -> Queue:
    return Queue(name, {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}, (*bindings, (DEAD_EXCHANGE, name)))


def _delay_exchange(delay_s: int) -> Exchange:
    return Exchange(delay_exchange(delay_s), "fanout")


def _delay_queue(delay_s: int) -> Queue:
    name = delay_exchange(delay_s)
    return Queue(name, {**_handing_on_to(TASKS_EXCHANGE), "x-message-ttl": delay_s * 1000}, ((name, ""),))


def _handing_on_to(exchange: str) -> dict[str, str | int]:
    """Arguments of a quorum queue that publishes its dead letters to `exchange` without losing one."""
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }

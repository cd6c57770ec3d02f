"""From the result of a group to the messages that a worker publishes before it acks the group. Pure."""

from collections.abc import Mapping, Sequence

from muniflow.compute.groups import GroupResult, TaskResult
from muniflow.model.lineage import label
from muniflow.model.messages import Events, Settled, Tally, Task
from muniflow.model.settlement import jittered, shorten
from muniflow.model.topology import (
    EVENTS,
    EVENTS_EXCHANGE,
    TASKS_EXCHANGE,
    dead_queue,
    delay_exchange,
    lane_queue,
    step_queue,
)
from muniflow.transport.types import OutgoingMessage

SETTLED_PER_MESSAGE = 1000
DIGESTS_PER_MESSAGE = 4096
"""Together about 500 KB; an image can have thousands of outputs, and brokers refuse messages that are too large."""
REASON, REASON_CODE, FAILED_AT = "reason", "reason_code", "failed_at"
"""Headers of a dead letter: why, for people and for programs, and the unix time in seconds; beside them `step`, as an
index into the route."""

Headers = Mapping[str, str | int]


def messages_of(
    result: GroupResult, now_s: float, headers: Sequence[Headers] = (), *, express: bool = False
) -> list[OutgoingMessage]:
    """Everything to publish for a group.

    Args:
        result: of the group, with its `sources`.
        now_s: unix time, seconds.
        headers: of each task, for the tasks that follow from it; empty: none.
        express: whether the group came over the express lane, in which its images stay.
    """
    carried: Sequence[Headers] = headers or [{}] * len(result.tasks)
    messages = [
        OutgoingMessage(lane_queue(follow.op, express=express), follow.body, TASKS_EXCHANGE, carried[follow.of])
        for follow in result.following
    ]
    for task, done, kept in zip(result.sources, result.tasks, carried, strict=True):
        if done.disposition == "retry":
            messages.append(_again(task, done, now_s, kept, express=express))
        elif done.kept:  # what events tell of is in the ledger by them, and a full queue must not hold its group up
            messages.append(_dead(task, done, now_s, kept))
    # Last, so that a coordinator that sees the end of an image has seen all that came before it.
    return messages + _events(result.settled, result.tallies, now_s)


def next_attempt(task: Task, published_at: float = 0.0) -> Task:
    """The task once more."""
    return task.model_copy(update={"attempt": task.attempt + 1, "published_at": published_at})


def _again(task: Task, done: TaskResult, now_s: float, headers: Headers, *, express: bool) -> OutgoingMessage:
    name = f"{task.batch} {task.image} {task.run} {task.step} {label(task.lineages[0])} {task.attempt + 1}"
    delay_s = jittered(done.delay_s, name)
    # The wait in the delay queue is no wait for a worker.
    body = next_attempt(task, now_s + delay_s).to_bytes()
    key = lane_queue(task.op, express=express)
    return OutgoingMessage(key, body, exchange=delay_exchange(delay_s), headers=headers)


def _dead(task: Task, done: TaskResult, now_s: float, headers: Headers) -> OutgoingMessage:
    why: Headers = {
        REASON: shorten(done.reason),
        REASON_CODE: done.code,
        "step": done.failed_step,
        FAILED_AT: int(now_s),
    }
    return OutgoingMessage(dead_queue(step_queue(task.op)), task.to_bytes(), EVENTS_EXCHANGE, {**headers, **why})


def _events(settled: Sequence[Settled], tallies: Sequence[Tally], now_s: float) -> list[OutgoingMessage]:
    if not settled and not tallies:
        return []
    parts: list[list[Settled]] = [[]]
    digests = 0
    for event in settled:
        more = len(event.outputs_sha256 or ())
        if parts[-1] and (len(parts[-1]) >= SETTLED_PER_MESSAGE or digests + more > DIGESTS_PER_MESSAGE):
            parts.append([])
            digests = 0
        parts[-1].append(event)
        digests += more
    events = (
        Events(settled=tuple(part), tallies=() if number else tuple(tallies), published_at=now_s)
        for number, part in enumerate(parts)
    )
    return [OutgoingMessage(EVENTS, each.to_bytes(), EVENTS_EXCHANGE) for each in events]

"""From outcomes to the messages that follow from them. Pure; the time is an argument."""

from collections.abc import Iterable, Sequence

from muniflow.compute.outcome import Outcome, Tallies
from muniflow.model.lineage import label
from muniflow.model.messages import Events, Settled, Tally, Task
from muniflow.model.settlement import Fail, Retry, jittered, shorten
from muniflow.model.topology import EVENTS, dead_queue, delay_exchange, step_queue
from muniflow.transport.types import OutgoingMessage

SETTLED_PER_MESSAGE = 1000
"""About 200 KB; an image can have thousands of outputs, and brokers refuse messages that are too large."""
REASON, FAILED_AT = "reason", "failed_at"
"""Headers of a dead letter: why, and the unix time in seconds; beside them `step`, as an index into the route."""

Result = tuple[Task, Outcome]


def messages_of(results: Sequence[Result], now_s: float) -> list[OutgoingMessage]:
    """Everything to publish for a group of tasks, before the group is acked.

    Args:
        results: each task with its outcome.
        now_s: unix time, seconds.
    """
    tallies = Tallies()
    settled: list[Settled] = []
    messages: list[OutgoingMessage] = []
    for task, outcome in results:
        tallies.add(task.batch, outcome)
        settled += outcome.settled
        messages += [_follow(follow, now_s) for follow in outcome.follow]
        match outcome.disposition:
            case Retry() as retry:
                messages.append(_again(task, retry, now_s))
            case Fail(reason) if outcome.dead_letter:
                messages.append(_dead(task, reason, outcome.failed_step, now_s))
    # Last, so that a coordinator that sees the end of an image has seen all that came before it.
    return messages + _events(settled, tallies.all(), now_s)


def _follow(task: Task, now_s: float) -> OutgoingMessage:
    body = task.model_copy(update={"published_at": now_s}).to_bytes()
    return OutgoingMessage(step_queue(task.op), body)


def _again(task: Task, retry: Retry, now_s: float) -> OutgoingMessage:
    attempt = task.attempt + 1
    name = f"{task.batch} {task.image} {task.run} {task.step} {label(task.lineages[0])} {attempt}"
    delay_s = jittered(retry.delay_s, name)
    # The wait in the delay queue is no wait for a worker.
    body = task.model_copy(update={"attempt": attempt, "published_at": now_s + delay_s}).to_bytes()
    return OutgoingMessage(step_queue(task.op), body, exchange=delay_exchange(delay_s))


def _dead(task: Task, reason: str, step: int, now_s: float) -> OutgoingMessage:
    headers: dict[str, str | int] = {REASON: shorten(reason), "step": step, FAILED_AT: int(now_s)}
    return OutgoingMessage(dead_queue(step_queue(task.op)), task.to_bytes(), headers=headers)


def _events(settled: Sequence[Settled], tallies: Iterable[Tally], now_s: float) -> list[OutgoingMessage]:
    rest = tuple(tallies)
    if not settled and not rest:
        return []
    bodies = []
    for start in range(0, max(len(settled), 1), SETTLED_PER_MESSAGE):
        part = tuple(settled[start : start + SETTLED_PER_MESSAGE])
        events = Events(settled=part, tallies=rest if start == 0 else (), published_at=now_s)
        bodies.append(events.to_bytes())
    return [OutgoingMessage(EVENTS, body) for body in bodies]

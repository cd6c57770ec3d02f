"""Exchanges and queues in memory: routing, delivery limits, time to live, dead letters. No consumers here."""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from muniflow.model.topology import Exchange, Queue, Topology
from muniflow.runtime.clock import Clock
from muniflow.transport.types import OutgoingMessage


@dataclass(eq=False)
class QueuedMessage:
    """A message in a queue."""

    exchange: str
    routing_key: str
    body: bytes
    headers: dict[str, object]
    message_id: str
    sent_at: int | None = None
    user_id: str | None = None
    mandatory: bool = True
    delivery_count: int = 0
    """How often it came back."""
    place: int = 0
    """Its place in its queue; it goes back to there."""


def copies_of(messages: Sequence[OutgoingMessage], sender: str, user: str | None) -> list[QueuedMessage]:
    """A group that is published; `sender` makes their ids, `user` is whom they name where they name nobody."""
    return [
        QueuedMessage(
            out.exchange, out.routing_key, out.body, dict(out.headers), out.message_id or f"{sender}.{index}",
            out.sent_at, out.user_id or user, out.mandatory,
        )
        for index, out in enumerate(messages)
    ]  # fmt: skip


@dataclass
class QueueState:
    """A queue and what is ready in it."""

    declared: Queue
    ready: deque[QueuedMessage] = field(default_factory=deque)


class Exchanges:
    """All exchanges and queues of a broker."""

    def __init__(
        self, call_later: Callable[[float, Callable[[], None]], None], delay_scale: float, clock: Clock
    ) -> None:
        """Make none yet; `call_later(seconds, callback)` ends times to live, all multiplied by `delay_scale`."""
        self._clock = clock
        self.queues: dict[str, QueueState] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._call_later = call_later
        self._delay_scale = delay_scale
        self._places = itertools.count(1)

    def declare(self, topology: Topology) -> str | None:
        """Declare what is missing; returns what is wrong, or `None`. What is awaited is only looked for."""
        if topology.awaited:
            return self._missing(topology)
        for exchange in topology.exchanges:
            if self._exchanges.setdefault(exchange.name, exchange) != exchange:
                return f"exchange {exchange.name!r} exists with other settings"
        for queue in topology.queues:
            state = self.queues.setdefault(queue.name, QueueState(queue))
            if state.declared.arguments != queue.arguments:
                return f"queue {queue.name!r} exists with other settings"
            bindings = dict.fromkeys((*state.declared.bindings, *queue.bindings))
            state.declared = replace(queue, bindings=tuple(bindings))
        return None

    def _missing(self, topology: Topology) -> str | None:
        kinds = (("exchange", self._exchanges, topology.exchanges), ("queue", self.queues, topology.queues))
        missing = (
            f"{kind} {each.name!r}" for kind, there, wanted in kinds for each in wanted if each.name not in there
        )
        what = next(missing, None)
        return None if what is None else f"waiting for {what}: the coordinator declares it"

    def delete(self, name: str) -> None:
        """Delete the exchange and the queue of this name, with all bindings and messages, as an administrator may."""
        self._exchanges.pop(name, None)
        self.queues.pop(name, None)
        for state in self.queues.values():
            kept = tuple((source, key) for source, key in state.declared.bindings if source != name)
            state.declared = replace(state.declared, bindings=kept)

    def route(self, message: QueuedMessage) -> int:
        """Put a copy into every queue that its exchange and key lead to; returns how many."""
        if not message.exchange:  # the broker's own: straight to the queue of this name
            return self._put_into(message.routing_key, message)
        exchange = self._exchanges.get(message.exchange)
        if exchange is None:
            return 0
        count = 0
        for state in self.queues.values():
            if any(
                source == exchange.name and matches(exchange.kind, pattern, message.routing_key)
                for source, pattern in state.declared.bindings
            ):
                count += self._put_into(state.declared.name, message)
        return count

    def give_back(self, queue: str, messages: Sequence[QueuedMessage]) -> None:
        """Put messages back to their old places, or give up on those that came back too often."""
        if (state := self.queues.get(queue)) is None:
            return
        limit = state.declared.arguments.get("x-delivery-limit")
        for message in messages:
            message.delivery_count += 1
            if isinstance(limit, int) and message.delivery_count > limit:
                self.dead_letter(queue, message, "delivery_limit")
            else:
                behind = (at for at, other in enumerate(state.ready) if other.place > message.place)
                state.ready.insert(next(behind, len(state.ready)), message)

    def dead_letter(self, queue: str, message: QueuedMessage, reason: str) -> None:
        """Send a message where its queue sends dead letters, or drop it when that is nowhere."""
        arguments = self.queues[queue].declared.arguments
        target = arguments.get("x-dead-letter-exchange")
        if target is None:
            return
        key = str(arguments.get("x-dead-letter-routing-key", message.routing_key))
        headers = with_death(message, queue, reason, self._clock.now_s())
        self.route(replace(message, exchange=str(target), routing_key=key, headers=headers))

    def _put_into(self, name: str, message: QueuedMessage) -> int:
        if (state := self.queues.get(name)) is None:
            return 0
        self._put(state, replace(message, delivery_count=0, place=next(self._places)))
        return 1

    def _put(self, state: QueueState, message: QueuedMessage) -> None:
        state.ready.append(message)
        time_to_live_ms = state.declared.arguments.get("x-message-ttl")
        if isinstance(time_to_live_ms, int):
            self._call_later(time_to_live_ms / 1000 * self._delay_scale, partial(self._expire, state, message))

    def _expire(self, state: QueueState, message: QueuedMessage) -> None:
        if message in state.ready:  # otherwise a consumer has it
            state.ready.remove(message)
            self.dead_letter(state.declared.name, message, "expired")


def with_death(message: QueuedMessage, queue: str, reason: str, now: float) -> dict[str, object]:
    """The headers of a dead letter, as RabbitMQ writes them: the newest death first in `x-death`."""
    before = message.headers.get("x-death")
    deaths = [dict(death) for death in before] if isinstance(before, list) else []
    same = [death for death in deaths if (death["queue"], death["reason"]) == (queue, reason)]
    others = [death for death in deaths if death not in same]
    count = same[0]["count"] + 1 if same else 1
    death = {
        "queue": queue,
        "reason": reason,
        "count": count,
        "exchange": message.exchange,
        "routing-keys": [message.routing_key],
        "time": now,
    }
    first = {"x-first-death-queue": queue, "x-first-death-reason": reason, "x-first-death-exchange": message.exchange}
    return {**first, **message.headers, "x-death": [death, *others]}


def matches(kind: str, pattern: str, key: str) -> bool:
    """Whether an exchange of this kind sends `key` to a binding with `pattern`."""
    match kind:
        case "fanout":
            return True
        case "topic":
            return _topic_matches(pattern.split("."), key.split("."))
        case _:
            return pattern == key


def _topic_matches(pattern: list[str], words: list[str]) -> bool:
    """`*` is one word, `#` any number of them."""
    match pattern:
        case []:
            return not words
        case ["#", *rest]:
            return any(_topic_matches(rest, words[skipped:]) for skipped in range(len(words) + 1))
        case [word, *rest]:
            return bool(words) and word in {"*", words[0]} and _topic_matches(rest, words[1:])
    return False

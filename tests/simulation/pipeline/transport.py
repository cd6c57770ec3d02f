"""A `Transport` to the simulated broker, with what `RabbitTransport` promises."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.pipeline.broker import SimBroker
from tests.simulation.pipeline.lines import Line
from tests.simulation.pipeline.simulation import Process, Simulation

from muniflow.model.topology import Topology
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.settings import BrokerSettings
from muniflow.testing.memory_queues import QueuedMessage, copies_of
from muniflow.transport.confirms import LOST
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem, size_problem

FIRST_PAUSE_S = 0.2
BLOCKED_LOOK_S = 0.5
OnSettled = Callable[[PublishProblem | None], None]


class SimTransport:
    """One process's connection, made again whenever it is lost."""

    def __init__(
        self, sim: Simulation, broker: SimBroker, process: Process, loop: Any, *, settings: BrokerSettings, user: str
    ) -> None:
        self._sim, self._broker, self._process, self._loop = sim, broker, process, loop
        self._user = user
        self._settings = settings
        self._wanted: dict[str, tuple[int | None, Callable[[Delivery], None], int]] = {}
        self._topology = Topology((), ())
        self._on_ready: Callable[[], None] = lambda: None
        self._on_lost: Callable[[str], None] = lambda _reason: None
        self._in_flight: dict[int, OnSettled] = {}
        self._unsettled: set[int] = set()
        self.line: Line | None = None
        self._generation = 0
        self._numbers = 0
        self._attempt = 0
        self._stopped = False
        self._since_s = 0.0
        self._blocked_s: float | None = None
        """Since when the broker holds what is published here."""
        self.disconnect_reason: str | None = "not started"

    @property
    def connected(self) -> bool:
        return self.line is not None

    @property
    def whole_s(self) -> float:
        """For how long it has been connected, in seconds; 0 where its line is cut, although it does not know it."""
        whole = self.line is not None and self.line.open_there
        return self._sim.monotonic_s() - self._since_s if whole else 0.0

    @property
    def blocked(self) -> str | None:
        """The broker says so at the first publish that it holds."""
        return self._broker.alarm if self.line is not None and self.line.blocked else None

    def start(self, topology: Topology, on_ready: Callable[[], None], on_lost: Callable[[str], None]) -> None:
        self._topology, self._on_ready, self._on_lost = topology, on_ready, on_lost
        self._connect_in(0.0)

    def consume(self, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]) -> None:
        self._number()
        self._wanted[queue] = (prefetch, on_delivery, self._numbers)
        self._want(queue)

    def cancel(self, queue: str) -> None:
        if queue in self._wanted:
            self._number()
            self._wanted[queue] = (None, self._wanted[queue][1], self._numbers)
            self._want(queue)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._sim.reach("ack", self._process)
        self._settle(deliveries, "ack")

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries, "requeue")

    def reject(self, delivery: Delivery) -> None:
        self._settle([delivery], "reject")

    def publish(self, messages: Sequence[OutgoingMessage], on_settled: OnSettled) -> None:
        self._sim.reach("publish", self._process)
        problem = size_problem(messages)
        line = self.line
        if line is None or not messages or problem is not None:
            problem = problem or (PublishProblem(LOST) if messages else None)
            self._loop.add_callback_threadsafe(lambda: on_settled(problem))
            return
        number = self._number()
        self._sim.detail(self._process.name, f"publishes {', '.join(out.routing_key for out in messages)}")
        self._in_flight[number] = on_settled
        copies = copies_of(messages, f"{self._process.name}.{number}", self._user)
        self._broker.send(
            line, lambda: self._broker.publish(line, copies, lambda found: self._confirmed(number, found))
        )
        if (hit := self._process.on_publish) is not None:
            self._process.on_publish = None
            hit()

    def redeclare(self, on_done: Callable[[str | None], None]) -> None:
        problem = LOST if self.line is None else self._broker.exchanges.declare(self._topology)
        self._loop.add_callback_threadsafe(lambda: on_done(problem))

    def stop(self, on_stopped: Callable[[], None]) -> None:
        self._stopped = True
        self.disconnect_reason = "stopped"
        if self.line is not None:
            line = self.line
            for on_settled in self._forget():
                on_settled(PublishProblem(LOST))
            # What was sent before arrives before the line is closed.
            self._broker.send(line, lambda: self._broker.close(line))
        self._loop.add_callback_threadsafe(on_stopped)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # The connection

    def _connect_in(self, delay_s: float) -> None:
        self._loop.call_later(delay_s, self._connect)

    def _connect(self) -> None:
        if self._stopped:
            return
        line = Line(self._process, self._lost, self._delivered)
        delay_s = 2 * self._broker.travel_s()
        self._sim.after(delay_s, lambda: self._answered(line, self._broker.connect(line, self._topology)))

    def _answered(self, line: Line, problem: str | None) -> None:
        def here() -> None:
            if problem is not None or self._stopped or not line.open_there:
                self._attempt += 1
                self.disconnect_reason = problem or "cut"
                if self._stopped:
                    self._broker.close(line)
                else:
                    self._connect_in(doubling_s(self._attempt, FIRST_PAUSE_S, self._settings.reconnect_max_s))
                return
            self._attempt = 0
            self._since_s = self._sim.monotonic_s()
            self.line, self.disconnect_reason = line, None
            self._generation += 1
            self._blocked_s = None
            for queue in self._wanted:
                self._want(queue)
            self._loop.call_later(BLOCKED_LOOK_S, lambda: self._look(line))
            self._sim.say(self._process.name, "connected")
            self._on_ready()

        self._sim.after(0.0, here, self._process)

    def _look(self, line: Line) -> None:
        """Close a connection that the broker blocks for too long."""
        if self.line is not line:
            return
        now_s = self._sim.monotonic_s()
        if not line.blocked:
            self._blocked_s = None
        elif self._blocked_s is None:
            self._blocked_s = now_s
        elif now_s - self._blocked_s > self._settings.blocked_timeout_s:
            self._broker.close(line)
            self._lost("blocked for too long")
            return
        self._loop.call_later(BLOCKED_LOOK_S, lambda: self._look(line))

    def _lost(self, reason: str) -> None:
        if self.line is None:
            return
        self._sim.say(self._process.name, f"lost its connection: {reason}")
        self.disconnect_reason = reason
        in_flight = self._forget()
        for on_settled in in_flight:
            on_settled(PublishProblem(LOST))
        self._on_lost(reason)
        self._attempt += 1
        self._connect_in(doubling_s(self._attempt, FIRST_PAUSE_S, self._settings.reconnect_max_s))

    def _forget(self) -> list[OnSettled]:
        if self.line is not None and self.disconnect_reason != "stopped":
            self.line.open_here = False
        self.line = None
        self._unsettled.clear()
        in_flight, self._in_flight = list(self._in_flight.values()), {}
        return in_flight

    # What comes and goes over it

    def _want(self, queue: str) -> None:
        prefetch, _, number = self._wanted[queue]
        if (line := self.line) is not None:
            self._broker.send(line, lambda: self._broker.consume(line, queue, prefetch, number))

    def _delivered(self, consumer: int, queue: str, tag: int, message: QueuedMessage) -> None:
        if self.line is None or self._stopped:
            return
        self._unsettled.add(tag)
        redelivered = message.delivery_count > 0
        headers = {**message.headers, **({"x-delivery-count": message.delivery_count} if redelivered else {})}
        delivery = Delivery(
            queue,
            message.body,
            tag,
            self._generation,
            redelivered,
            headers,
            message.message_id,
            message.sent_at,
            message.user_id,
        )
        _, on_delivery, number = self._wanted[queue]
        if number != consumer:
            self.requeue([delivery])  # it was on its way while the prefetch changed
        else:
            on_delivery(delivery)

    def _settle(self, deliveries: Sequence[Delivery], how: str) -> None:
        tags = [each.tag for each in deliveries if each.generation == self._generation and each.tag in self._unsettled]
        self._unsettled.difference_update(tags)
        if tags and (line := self.line) is not None:
            self._sim.detail(self._process.name, f"{how}s {len(tags)} of {deliveries[0].queue}")
            self._broker.send(line, lambda: self._broker.settle(line, tags, how))

    def _confirmed(self, number: int, problem: PublishProblem | None) -> None:
        if on_settled := self._in_flight.pop(number, None):
            on_settled(problem)

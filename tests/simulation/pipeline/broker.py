"""A simulated broker: it is slow, it restarts and forgets what it has not confirmed, it blocks, its lines are cut.

Queues, exchanges, delivery limits, times to live and dead letters are those of `muniflow.testing`, which passes the
suite of transports. Here are the disk and the network between them and the processes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.pipeline.lines import Consumer, Line
from tests.simulation.pipeline.simulation import Event, Process, Simulation, Work

from muniflow.model.topology import Topology
from muniflow.testing.memory_queues import Exchanges, QueuedMessage, QueueState
from muniflow.transport.types import PublishProblem

WRITE_S = 0.004
"""Mean time until the broker's disk has a message."""
LINE_S = 0.002
"""Mean time on the line, each way."""
SLOW_CHANCE, SLOW_S = 0.01, 1.0
"""Some messages take much longer."""


class SimBroker:
    """The broker. Clients come through `Line`s; `transport.SimTransport` is one."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.exchanges = Exchanges(self._later, 1.0, sim)
        self.lines: list[Line] = []
        self.up = True
        self.alarm: str | None = None
        self.doomed_s: float | None = None
        """It is killed at the next publish, and away for so long."""
        self.on_routed: Callable[[QueuedMessage, int], None] = lambda _message, _taken: None
        self._writing: dict[int, tuple[Event, Work, Work]] = {}
        """What is on its way to the disk, by number: the event, and what happens if it got there, and if it did not."""
        self._numbers = 0
        self._pumping = False

    @property
    def queues(self) -> dict[str, QueueState]:
        return self.exchanges.queues

    def held(self) -> int:
        """Deliveries that nobody has settled."""
        return sum(len(consumer.unsettled) for line in self.lines for consumer in self._consumers(line))

    # The lines

    def travel_s(self) -> float:
        dice = self.sim.dice
        slow_s = dice.random() * SLOW_S if dice.random() < SLOW_CHANCE else 0.0
        return dice.expovariate(1 / LINE_S) + slow_s

    def send(self, line: Line, work: Work) -> None:
        """From the client to the broker."""
        if line.open_here:
            line.there_s = max(line.there_s, self.sim.monotonic_s() + self.travel_s())
            delay_s = line.there_s - self.sim.monotonic_s()
            self.sim.after(delay_s, lambda: work() if line.open_there and self.up else None)

    def answer(self, line: Line, work: Work) -> None:
        """From the broker to the client."""
        if line.open_there:
            line.here_s = max(line.here_s, self.sim.monotonic_s() + self.travel_s())
            delay_s = line.here_s - self.sim.monotonic_s()
            self.sim.after(delay_s, lambda: work() if line.open_here else None, line.process)

    def connect(self, line: Line, topology: Topology) -> str | None:
        """At the broker: declare, and open the line; returns what is wrong, or `None`."""
        if not self.up or not line.process.alive:
            return "the broker does not answer"
        if problem := self.exchanges.declare(topology):
            return problem
        self.lines.append(line)
        return None

    def cut(self, line: Line, reason: str, notice_s: float = 0.0) -> None:
        """Cut a line; its client learns it after `notice_s`."""
        self._hang_up(line)
        self.sim.after(notice_s, lambda: self._lost(line, reason), line.process)

    def died(self, process: Process) -> None:
        """The lines of a dead process are cut a moment later; what it has sent before may arrive."""
        for line in [line for line in self.lines if line.process is process]:
            self.sim.after(self.travel_s(), lambda line=line: self._hang_up(line))  # type: ignore[misc]

    def close(self, line: Line) -> None:
        """The client closes its line."""
        line.open_here = False
        self._hang_up(line)

    def _lost(self, line: Line, reason: str) -> None:
        if line.open_here:
            line.open_here = False
            line.on_lost(reason)

    def _hang_up(self, line: Line) -> None:
        if not line.open_there:
            return
        line.open_there = False
        line.held.clear()
        if line in self.lines:
            self.lines.remove(line)
        for consumer in self._consumers(line):
            messages = [consumer.unsettled[tag] for tag in sorted(consumer.unsettled, reverse=True)]
            consumer.unsettled.clear()
            self.exchanges.give_back(consumer.queue, messages)
        self.pump()

    # What clients ask for, at the broker

    def consume(self, line: Line, queue: str, prefetch: int | None, number: int) -> None:
        """Take from a queue; `None` takes no more."""
        before = line.consumers.pop(queue, None)
        if before is not None:
            before.cancelled = True
            line.old = [one for one in line.old if one.unsettled] + [before]
        if prefetch is None:
            return
        if queue not in self.queues:
            self.sim.violated(f"{line.process.name} consumes from {queue}, which nobody declared")
            self.cut(line, f"no queue {queue!r}")
            return
        line.consumers[queue] = Consumer(line, queue, prefetch, number)
        self.pump()

    def publish(
        self, line: Line, messages: Sequence[QueuedMessage], on_settled: Callable[[PublishProblem | None], None]
    ) -> None:
        """Take a group; `on_settled` comes at the client once all of it is on the disk."""
        if self.alarm is not None:
            line.blocked = True
            line.held.append(lambda: self.publish(line, messages, on_settled))
            return
        if self.doomed_s is not None:
            down_s, self.doomed_s = self.doomed_s, None
            self.sim.after(self.sim.dice.expovariate(1 / WRITE_S), lambda: self.crash(down_s) if self.up else None)
        left = len(messages)
        problems: list[PublishProblem] = []

        def written(message: QueuedMessage) -> None:
            nonlocal left
            if problem := self._route(message):
                problems.append(problem)
            left -= 1
            if not left:
                self.answer(line, lambda: on_settled(problems[0] if problems else None))

        for message in messages:
            self._write(lambda message=message: written(message), line=line)  # type: ignore[misc]

    def settle(self, line: Line, tags: Sequence[int], how: str) -> None:
        """`ack`, `requeue` or `reject` deliveries."""
        for tag in tags:
            for consumer in self._consumers(line):
                if (message := consumer.unsettled.pop(tag, None)) is not None:
                    self._settle_one(consumer.queue, message, how)
        self.pump()

    def _settle_one(self, queue: str, message: QueuedMessage, how: str) -> None:
        if how == "requeue":
            self.exchanges.give_back(queue, [message])
        elif how == "reject":
            self.exchanges.dead_letter(queue, message, "rejected")
        else:  # an ack that is not on the disk yet may be forgotten
            self._write(lambda: None, lambda: self.exchanges.give_back(queue, [message]))

    def _route(self, message: QueuedMessage) -> PublishProblem | None:
        taken = self.exchanges.route(message)
        self.on_routed(message, taken)
        self.pump()
        if not taken and message.mandatory:
            return PublishProblem(f'returned: no queue for "{message.routing_key}"')
        return None

    # The disk, and what goes wrong with it

    def _write(self, done: Work, forgotten: Work = lambda: None, line: Line | None = None) -> None:
        """Call `done` when it is on the disk; where the broker dies before, that or `forgotten`.

        What comes over one line stays in its order.
        """
        self._numbers += 1
        number = self._numbers

        def written() -> None:
            del self._writing[number]
            done()

        now_s = self.sim.monotonic_s()
        due_s = now_s + self.sim.dice.expovariate(1 / WRITE_S)
        if line is not None:
            due_s = line.disk_s = max(line.disk_s, due_s)
        event = self.sim.after(due_s - now_s, written)
        self._writing[number] = event, done, forgotten

    def crash(self, down_s: float) -> None:
        """SIGKILL and a restart: all lines are cut, of what was not on the disk some is there."""
        self.sim.say("broker", f"is killed, for {down_s:.1f} s")
        writing, self._writing = self._writing, {}
        self.up = False
        for event, done, forgotten in writing.values():
            event.work = None
            (done if self.sim.dice.random() < 0.5 else forgotten)()
        for line in list(self.lines):
            self.cut(line, "the broker was killed", self.travel_s())
        self.sim.after(down_s, self._start)

    def _start(self) -> None:
        self.up = True
        self.sim.say("broker", "is back")
        self.pump()

    def block(self, reason: str) -> None:
        """Take no more messages."""
        self.sim.say("broker", f"alarm: {reason}")
        self.alarm = reason

    def unblock(self) -> None:
        """Take messages again, first those that waited."""
        self.sim.say("broker", "alarm ended")
        self.alarm = None
        for line in list(self.lines):
            line.blocked = False
            held, line.held = line.held, []
            for publish in held:
                publish()

    # Deliveries

    def pump(self) -> None:
        """Deliver soon."""
        if not self._pumping:
            self._pumping = True
            self.sim.after(0.0, self._deliver)

    def _deliver(self) -> None:
        self._pumping = False
        if not self.up:
            return
        for name, queue in self.queues.items():
            while queue.ready:
                takers = [
                    consumer
                    for line in self.lines
                    if (consumer := line.consumers.get(name)) and len(consumer.unsettled) < consumer.prefetch
                ]
                if not takers:
                    break
                self._give(takers[int(self.sim.dice.random() * len(takers))], queue.ready.popleft())

    def _give(self, consumer: Consumer, message: QueuedMessage) -> None:
        self._numbers += 1
        tag, line = self._numbers, consumer.line
        consumer.unsettled[tag] = message
        self.answer(line, lambda: line.on_delivery(consumer.number, consumer.queue, tag, message))

    @staticmethod
    def _consumers(line: Line) -> list[Consumer]:
        return [*line.consumers.values(), *line.old]

    def _later(self, delay_s: float, callback: Work) -> None:
        def expire() -> Any:
            callback()
            self.pump()

        self.sim.after(delay_s, expire)

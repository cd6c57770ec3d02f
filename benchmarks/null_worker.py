"""A worker that computes nothing: it answers every task as settled, over the real transport.

It is what the coordinator is measured with: `python -m benchmarks.null_worker <operation> [<log>]`. With a log it
writes the batch of each task there, one a line, in the order in which they came.
"""

import json
import os
import signal
import sys
from typing import TextIO

from muniflow.model.topology import EVENTS, EVENTS_EXCHANGE, step_queue, topology
from muniflow.runtime.loop import new_loop
from muniflow.runtime.settings import BrokerSettings, read_env
from muniflow.transport.rabbitmq import RabbitTransport
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem

PREFETCH = 512
GROUP = 32
"""Tasks that one message of events answers, at most: what a real worker hands to a compute child at once."""
RETRY_S = 0.1


class NullWorker:
    """Collects the deliveries of one turn of the loop, answers them in groups, acks what is confirmed."""

    def __init__(self, operation: str, log: TextIO | None) -> None:
        """Prepare; `run` serves."""
        self._loop = new_loop()
        self._transport = RabbitTransport(read_env(BrokerSettings, os.environ), self._loop, "null worker")
        self._operation, self._log = operation, log
        self._held: list[Delivery] = []
        self._answering = self._stopping = False

    def run(self) -> None:
        """Serve until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self._loop.add_callback_threadsafe(self._stop))
        self._transport.consume(step_queue(self._operation), PREFETCH, self._take)
        self._transport.start(topology([self._operation]), lambda: None, lambda _: self._held.clear())
        self._loop.start()

    def _stop(self) -> None:
        self._stopping = True
        if self._log is not None:
            self._log.flush()
        self._transport.stop(self._loop.stop)

    def _take(self, delivery: Delivery) -> None:
        self._held.append(delivery)
        if not self._answering:
            self._answering = True
            self._loop.add_callback_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answering = False
        held, self._held = self._held, []
        for first in range(0, len(held), GROUP):
            self._publish(held[first : first + GROUP])

    def _publish(self, group: list[Delivery]) -> None:
        # By hand and not with pydantic: this process stands for work that other machines do.
        tasks = [json.loads(delivery.body) for delivery in group]
        if self._log is not None:
            self._log.writelines(f"{task['batch']}\n" for task in tasks)
        settled = [
            {"batch": task["batch"], "image": task["image"], "run": task["run"], "lineage": [], "step": 0}
            for task in tasks
        ]
        tallies: dict[str, int] = {}
        for task in tasks:
            tallies[task["batch"]] = tallies.get(task["batch"], 0) + 1
        counted = [{"batch": batch, "step": 0, "done": done} for batch, done in tallies.items()]
        body = json.dumps({"v": 1, "settled": settled, "tallies": counted}, separators=(",", ":")).encode()

        def on_settled(problem: PublishProblem | None) -> None:
            if problem is None:
                self._transport.ack(group)
            elif not self._stopping:
                self._loop.call_later(RETRY_S, lambda: self._publish(group))

        self._transport.publish([OutgoingMessage(EVENTS, body, EVENTS_EXCHANGE)], on_settled)


def main() -> None:
    """Serve one operation."""
    operation, *log = sys.argv[1:]
    if log:
        with open(log[0], "w") as file:  # noqa: PTH123 - open for the life of the process
            NullWorker(operation, file).run()
    else:
        NullWorker(operation, None).run()


if __name__ == "__main__":
    main()

"""The pipeline that one writes first: RabbitMQ and one worker process per operation, everything one by one.

`BlockingConnection`, prefetch 1, a confirm awaited for each message, JPEG between the steps, four messages after a
split. It says what muniflow's design is worth, not what anybody ships.
"""

import json
import shutil
import time
from pathlib import Path

import pika

from benchmarks import proc
from benchmarks.corpus import Corpus
from benchmarks.harness import expect_outputs
from benchmarks.processes import Processes
from benchmarks.routes import BenchRoute
from benchmarks.statistics import Run
from muniflow_cli.stack.broker import PrivateBroker

DONE = "naive.done"
WORKERS_PER_OPERATION = {"split": 1}
"""Two where pixels are computed, as the contenders with one operation per worker have."""
TIMEOUT_S = 1800.0


def step_queue(operation: str) -> str:
    """Where the tasks of an operation wait."""
    return f"naive.{operation}"


def declare(channel: pika.adapters.blocking_connection.BlockingChannel) -> None:
    """All durable quorum queues, as muniflow has them."""
    for queue in (step_queue("resize"), step_queue("split"), step_queue("blur"), DONE):
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()


def publish(channel: pika.adapters.blocking_connection.BlockingChannel, queue: str, message: object) -> None:
    """Publish one persistent message and wait for its confirm."""
    properties = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish("", queue, json.dumps(message).encode(), properties, mandatory=True)


class Naive:
    """A broker of its own and one or two worker processes per operation."""

    name = "naive"

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._processes: Processes | None = None
        self._broker: PrivateBroker | None = None

    def prepare(self, corpus: Corpus, route: BenchRoute, folder: Path) -> None:
        """Start broker and workers, and wait until every worker consumes."""
        self._corpus, self._route, self._folder = corpus, route, folder
        self._broker = PrivateBroker(folder / "broker")
        self._broker.start()
        self._connection = pika.BlockingConnection(pika.URLParameters(f"{self._broker.amqp_url}?heartbeat=0"))
        self._channel = self._connection.channel()
        declare(self._channel)
        self._processes = Processes(folder)
        expected = {}
        for operation in route.names:
            expected[operation] = WORKERS_PER_OPERATION.get(operation, 2)
            for number in range(expected[operation]):
                self._processes.python(
                    f"{operation}-{number}", "benchmarks.contenders.naive_worker", operation, self._broker.amqp_url
                )
        self._processes.wait_for("the consumers", lambda: self._consumers(list(expected)) == list(expected.values()))

    def run(self) -> Run:
        """All images; the clock runs from the first task published to the last word on the queue of results."""
        assert self._processes is not None  # noqa: S101 - prepare came first
        assert self._broker is not None  # noqa: S101 - prepare came first
        output, work = self._folder / "output", self._folder / "work"
        output.mkdir()
        work.mkdir()
        roots = [*self._processes.pids, *self._broker.pids]
        spent_s, mine_s, started = proc.cpu_s(roots), time.process_time(), time.perf_counter()
        task = {"operations": self._route.document(), "step": 0, "output": str(output), "work": str(work)}
        for path in self._corpus.paths:
            publish(self._channel, step_queue(self._route.operations[0][0]), {**task, "input": path, "tile": ""})
        self._await(self._corpus.count * self._route.outputs_per_image)
        seconds = time.perf_counter() - started
        run = Run(self._corpus.count, seconds, proc.cpu_s(roots) - spent_s + time.process_time() - mine_s)
        expect_outputs(output, self._corpus.count * self._route.outputs_per_image)
        shutil.rmtree(output)
        shutil.rmtree(work)
        return run

    def close(self) -> None:
        """End workers, then the broker."""
        if self._processes is not None:
            self._processes.close()
        if self._broker is not None:
            self._broker.stop()

    def _consumers(self, operations: list[str]) -> list[int]:
        declared = [self._channel.queue_declare(step_queue(name), passive=True) for name in operations]
        return [int(one.method.consumer_count) for one in declared]

    def _await(self, count: int) -> None:
        for method, _, _ in self._channel.consume(DONE, inactivity_timeout=TIMEOUT_S):
            if method is None or method.delivery_tag is None:
                raise SystemExit(f"naive: no result for {TIMEOUT_S:.0f} s; see the logs in {self._folder}")
            self._channel.basic_ack(method.delivery_tag)
            count -= 1
            if not count:
                break
        self._channel.cancel()

"""The other side of a worker process: publishes tasks and collects events, as a coordinator does."""

import time

import pika
from tests.support.declared import declared

from muniflow.model.lineage import Coverage
from muniflow.model.messages import Events
from muniflow.model.operation import installed_operations
from muniflow.model.topology import EVENTS, TASKS_EXCHANGE, step_queue, topology

LIMIT_S = 60.0


class WorkerClient:
    """The other side of a worker, with a plain client."""

    def __init__(self, settings):
        declared(settings, topology(installed_operations()))
        self.connection = pika.BlockingConnection(pika.URLParameters(settings.amqp_url))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.coverage = {}
        self.reasons = {}

    def publish(self, tasks):
        for task in tasks:
            self.channel.basic_publish(TASKS_EXCHANGE, step_queue(task.op), task.to_bytes(), mandatory=True)

    def collect(self, until, limit_s=LIMIT_S):
        """Take events until `until()` holds."""
        end_s = time.monotonic() + limit_s
        for method, _, body in self.channel.consume(EVENTS, inactivity_timeout=0.05):
            if method is not None and body is not None:
                for part in Events.from_bytes(body).settled:
                    self.coverage.setdefault(part.image, Coverage()).add(part.lineage)
                    self.reasons.setdefault(part.image, part.reason)
                self.channel.basic_ack(method.delivery_tag or 0)
            if until():
                break
            assert time.monotonic() < end_s, f"{len(self.coverage)} images after {limit_s} s"
        self.channel.cancel()

    def close(self):
        self.connection.close()

    def depth(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

"""A user of muniflow: publishes batches to the coordinator's queue and waits for their notices."""

import json
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from muniflow.model.messages import TERMINAL, Notice
from muniflow.model.topology import BATCHES, EXCHANGE, NOTIFY_EXCHANGE


def consumers(amqp_url: str, queue: str) -> int:
    """How many consumers a queue has now, over a connection of its own; 0 when it is not declared yet."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    try:
        return _consumers(connection, queue)
    finally:
        connection.close()


def _consumers(connection: pika.BlockingConnection, queue: str) -> int:
    channel = connection.channel()
    try:
        declared: Any = channel.queue_declare(queue, passive=True)
    except ChannelClosedByBroker:
        return 0
    channel.close()
    return int(declared.method.consumer_count)


class Client(AbstractContextManager["Client"]):
    """One connection; every notice since it was opened is seen once."""

    def __init__(self, amqp_url: str) -> None:
        """Connect; the coordinator must have declared its exchanges before."""
        separator = "&" if "?" in amqp_url else "?"
        # No heartbeats: nobody pumps this connection while a contender's outputs are counted and removed.
        self._connection = pika.BlockingConnection(pika.URLParameters(f"{amqp_url}{separator}heartbeat=0"))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        declared: Any = self._channel.queue_declare("", exclusive=True)
        self._queue: str = declared.method.queue
        self._channel.queue_bind(self._queue, NOTIFY_EXCHANGE, "batch.#")
        self._seen: dict[str, tuple[Notice, float]] = {}

    def submit(self, document: dict[str, Any]) -> None:
        """Publish a batch; returns when the broker has confirmed it."""
        properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
        self._channel.basic_publish(EXCHANGE, BATCHES, json.dumps(document).encode(), properties, mandatory=True)

    def wait(self, batch_ids: Iterable[str], timeout_s: float) -> dict[str, tuple[Notice, float]]:
        """Wait until all of these are terminal.

        Returns:
            For each its notice and when it came, as `time.perf_counter()`.
        """
        wanted = set(batch_ids)
        deadline = time.perf_counter() + timeout_s
        for method, _, body in self._channel.consume(self._queue, auto_ack=True, inactivity_timeout=1.0):
            if method is not None and body is not None:
                notice = Notice.from_bytes(body)
                if notice.state in TERMINAL:
                    self._seen[notice.batch] = (notice, time.perf_counter())
            if wanted <= self._seen.keys():
                break
            if time.perf_counter() > deadline:
                missing = sorted(wanted - self._seen.keys())
                raise SystemExit(f"{len(missing)} batches not finished in {timeout_s:.0f} s, such as {missing[0]}")
        return {batch: self._seen.pop(batch) for batch in wanted}

    def consumers(self, queue: str) -> int:
        """How many consumers a queue has now; 0 when it is not declared yet."""
        return _consumers(self._connection, queue)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __exit__(self, *_: object) -> None:
        self.close()

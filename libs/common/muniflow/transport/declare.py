"""A topology as AMQP calls, on a channel that waits for the broker or on one that does not."""

import re
from collections.abc import Callable
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker

from muniflow.model.topology import Instead, Topology
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.loop import Loop
from muniflow.transport.connection import NOT_FOUND, GroupedConnection

FIRST_LOOK_S, LONGEST_LOOK_S = 0.1, 2.0
"""Pauses between two looks for what somebody else declares."""
BACK_S = 5.0
"""Between two looks for the topology itself, while another one serves instead of it."""
OnTried = Callable[[BaseException | None], None]


def declare(channel: BlockingChannel | Channel, topology: Topology) -> None:
    """Declare exchanges, queues and bindings; of one that is awaited, ask whether it is there, which needs no right."""
    make(channel, topology)
    bind(channel, topology)


def make(channel: BlockingChannel | Channel, topology: Topology) -> None:
    """Declare exchanges and queues only: nobody reaches a new queue yet."""
    for exchange in topology.exchanges:
        channel.exchange_declare(exchange.name, exchange.kind, durable=True, passive=topology.awaited)
    for queue in topology.queues:
        channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments), passive=topology.awaited)


def bind(channel: BlockingChannel | Channel, topology: Topology) -> None:
    """Declare the bindings of queues that are there."""
    for queue in () if topology.awaited else topology.queues:
        for source, key in queue.bindings:
            channel.queue_bind(queue.name, source, routing_key=key)


class Declaring:
    """Declares a topology on channels of its own, once; a new queue takes no message before it would outlive its node.

    RabbitMQ has the list of its quorum queues in memory for up to a second before it is on disk. A node that is killed
    in that time forgets a queue with all that it has confirmed. So it asks first whether every lasting queue is there,
    and where one is not, it binds queues a while after they were made. A message that no binding leads to a queue is
    returned instead of confirmed, so that its publisher tries again.
    """

    def __init__(
        self,
        loop: Loop,
        connection: GroupedConnection,
        topology: Topology,
        on_tried: OnTried,
        *,
        new_queue_wait_s: float,
    ) -> None:
        """Begin.

        Args:
            loop: of the connection.
            connection: open.
            topology: what is declared, or asked for.
            on_tried: called once, with the answer of a broker that refuses.
            new_queue_wait_s: the age of a new queue when it is bound.
        """
        self._loop = loop
        self._connection = connection
        self._topology = topology
        self._on_tried: OnTried | None = on_tried
        self._wait_s = 0.0 if topology.awaited else new_queue_wait_s
        self._some_missing = False
        self._open()

    def _open(self) -> None:
        self._connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._closed)
        with self._connection.one_write():
            # Without waiting for each: the broker works them off in order, and closes the channel at the first wrong
            # one, whose name it says.
            if self._some_missing:
                make(channel, self._topology)
                channel.basic_qos(callback=lambda _frame: self._later(channel))
            else:
                for queue in self._topology.queues if self._wait_s else ():
                    if queue.lasting:
                        channel.queue_declare(queue.name, passive=True)
                declare(channel, self._topology)
                channel.basic_qos(callback=lambda _frame: self._done(channel))

    def _later(self, channel: Channel) -> None:
        self._loop.call_later(self._wait_s, lambda: self._bind(channel))

    def _bind(self, channel: Channel) -> None:
        if channel.is_open:
            with self._connection.one_write():
                bind(channel, self._topology)
                channel.basic_qos(callback=lambda _frame: self._done(channel))

    def _done(self, channel: Channel) -> None:
        if channel.is_open:
            channel.close()
        self._tell(None)

    def _closed(self, _channel: Channel, reason: BaseException) -> None:
        missing = isinstance(reason, ChannelClosedByBroker) and reason.reply_code == NOT_FOUND
        if missing and self._wait_s and not self._some_missing and self._connection.is_open:
            self._some_missing = True
            self._open()
        else:
            self._tell(reason)

    def _tell(self, problem: BaseException | None) -> None:
        on_tried, self._on_tried = self._on_tried, None
        if on_tried is not None:
            on_tried(problem)


class Waiting:
    """Looks again and again until an awaited topology is there, or what serves instead of it."""

    def __init__(
        self,
        loop: Loop,
        connection: GroupedConnection,
        topology: Topology,
        *,
        on_there: Callable[[Instead | None], None],
        on_missing: Callable[[str], None],
        on_refused: OnTried,
    ) -> None:
        """Begin to look.

        Args:
            loop: for the pauses.
            connection: open, until `stop`.
            topology: what is awaited.
            on_there: called at once when it is there, with what serves instead of it, if that is so; once more with
                `None` when it is there after all.
            on_missing: called after each look in vain, with a line for a person.
            on_refused: called when the broker answers something else.
        """
        self._loop = loop
        self._connection = connection
        self._topology = topology
        self._on_there = on_there
        self._on_missing = on_missing
        self._on_refused = on_refused
        self._looks = 0
        self._timer: Any = None
        self._stopped = False
        self._look()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        self._looks += 1
        self._try(self._topology, lambda: self._on_there(None), self._missing)

    def _try(self, topology: Topology, there: Callable[[], None], missing: Callable[[str], None]) -> None:
        def tried(problem: BaseException | None) -> None:
            if self._stopped:
                return
            if problem is None:
                there()
            elif isinstance(problem, ChannelClosedByBroker) and problem.reply_code == NOT_FOUND:
                missing(f"waiting for {_named(problem.reply_text)}: the coordinator declares it")
            else:
                self._on_refused(problem)

        Declaring(self._loop, self._connection, topology, tried, new_queue_wait_s=0.0)

    def _missing(self, what: str) -> None:
        instead = self._topology.instead
        # At the second look: the first one may have come while a coordinator was declaring.
        if instead is None or self._looks == 1:
            self._again(what)
        else:
            self._try(instead.topology, lambda: self._serve(instead), lambda _what: self._again(what))

    def _serve(self, instead: Instead) -> None:
        self._on_there(instead)
        self._later(BACK_S, self._come_back)

    def _come_back(self) -> None:
        self._timer = None
        self._try(self._topology, lambda: self._on_there(None), lambda _what: self._later(BACK_S, self._come_back))

    def _again(self, what: str) -> None:
        self._on_missing(what)
        self._later(doubling_s(self._looks, FIRST_LOOK_S, LONGEST_LOOK_S), self._look)

    def _later(self, pause_s: float, then: Callable[[], None]) -> None:
        if not self._stopped:
            self._timer = self._loop.call_later(pause_s, then)


def _named(text: str) -> str:
    """From `NOT_FOUND - no queue 'muniflow.step.blur' in vhost '/'`."""
    found = re.search(r"(queue|exchange) '[^']*'", text)
    return found[0] if found else text

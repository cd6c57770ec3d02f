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
from muniflow.transport.connection import GroupedConnection

NOT_FOUND = 404
FIRST_LOOK_S, LONGEST_LOOK_S = 0.1, 2.0
"""Pauses between two looks for what somebody else declares."""
BACK_S = 5.0
"""Between two looks for the topology itself, while another one serves instead of it."""
OnTried = Callable[[BaseException | None], None]


def declare(channel: BlockingChannel | Channel, topology: Topology) -> None:
    """Declare exchanges, queues and bindings; of one that is awaited, ask whether it is there, which needs no right."""
    for exchange in topology.exchanges:
        channel.exchange_declare(exchange.name, exchange.kind, durable=True, passive=topology.awaited)
    for queue in topology.queues:
        channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments), passive=topology.awaited)
        for source, key in () if topology.awaited else queue.bindings:
            channel.queue_bind(queue.name, source, routing_key=key)


def try_to_declare(connection: GroupedConnection, topology: Topology, on_tried: OnTried) -> None:
    """Declare on a channel of its own; call `on_tried` once, with the answer of a broker that refuses."""
    tried = False

    def tell(problem: BaseException | None) -> None:
        nonlocal tried
        if not tried:
            tried = True
            on_tried(problem)

    def opened(channel: Channel) -> None:
        channel.add_on_close_callback(lambda _channel, reason: tell(reason))
        with connection.one_write():
            # Without waiting for each: the broker works them off in order, and closes the channel at the first wrong
            # one, whose name it says.
            declare(channel, topology)
            channel.basic_qos(callback=lambda _frame: done(channel))

    def done(channel: Channel) -> None:
        if channel.is_open:
            channel.close()
        tell(None)

    connection.channel(on_open_callback=opened)


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

        try_to_declare(self._connection, topology, tried)

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

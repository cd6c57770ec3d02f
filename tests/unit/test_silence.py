"""When a broker that says nothing any more is given up."""

from dataclasses import dataclass

import pytest

from muniflow.testing.virtual_time import VirtualClock, VirtualLoop
from muniflow.transport.silence import GRACE_BEATS, SilenceWatch

HEARTBEAT_S = 30
LONG_S = 600.0


@dataclass
class _Connection:
    heartbeat_s: float
    received_bytes: int = 0


class _Broker:
    """Two connections over which it sends heartbeats until it freezes."""

    def __init__(self, heartbeat_s: int = HEARTBEAT_S) -> None:
        self.clock = VirtualClock()
        self.loop = VirtualLoop(self.clock)
        self.both = [_Connection(heartbeat_s) for _ in range(2)]
        self.given_up_s: list[float] = []
        self.watch = SilenceWatch(self.loop, self.both, lambda: self.given_up_s.append(self.clock.monotonic_s()))

    def talk(self, place: int, until_s: float, every_s: float = HEARTBEAT_S / 2) -> None:
        self.both[place].received_bytes += 8
        if self.clock.monotonic_s() + every_s < until_s:
            self.loop.call_later(every_s, lambda: self.talk(place, until_s, every_s))

    def run(self) -> list[float]:
        """Returns when it was given up."""
        self.watch.start()
        self.loop.call_later(LONG_S, self.loop.stop)
        self.loop.start()
        return self.given_up_s


@pytest.mark.parametrize("silent", [0, 1])
def test_two_missed_heartbeats_on_one_connection_are_enough(silent: int) -> None:
    broker = _Broker()
    broker.talk(silent, until_s=100.0)
    broker.talk(1 - silent, until_s=LONG_S)
    [given_up_s] = broker.run()
    assert 90.0 + HEARTBEAT_S < given_up_s <= 90.0 + HEARTBEAT_S + GRACE_BEATS + 1


@pytest.mark.parametrize(
    ("every_s", "heartbeat_s"), [(HEARTBEAT_S / 2, HEARTBEAT_S), (HEARTBEAT_S, HEARTBEAT_S), (LONG_S, 0)]
)
def test_a_slow_broker_is_not_given_up_nor_one_without_heartbeats(every_s: float, heartbeat_s: int) -> None:
    broker = _Broker(heartbeat_s)
    for place in (0, 1):
        broker.talk(place, LONG_S, every_s)
    assert broker.run() == []


def test_a_process_that_did_not_run_itself_has_heard_nothing_either() -> None:
    broker = _Broker()
    for place in (0, 1):
        broker.talk(place, LONG_S)
    broker.loop.call_later(50.5, lambda: broker.clock.advance_to(300.0))
    assert broker.run() == []


def test_nothing_is_looked_at_after_the_end() -> None:
    broker = _Broker()
    broker.loop.call_later(5.0, broker.watch.stop)
    assert broker.run() == []

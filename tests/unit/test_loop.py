"""What repeats on the loop."""

from muniflow.runtime.loop import Every
from muniflow.testing.virtual_time import VirtualClock, VirtualLoop


def test_a_turn_comes_after_each_pause_until_the_stop() -> None:
    clock = VirtualClock()
    loop, turns = VirtualLoop(clock), []

    def turn() -> None:
        turns.append(clock.monotonic_s() - began_s)
        if len(turns) == 3:
            every.stop()

    every = Every(loop, 2.0, turn)
    began_s = clock.monotonic_s()
    every.start()
    loop.call_later(60, loop.stop)
    loop.start()
    assert turns == [2.0, 4.0, 6.0]

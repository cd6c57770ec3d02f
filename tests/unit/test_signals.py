import os
import signal

from muniflow.runtime.loop import new_loop
from muniflow.runtime.signals import signals_on


def test_a_signal_is_an_event_of_the_loop():
    loop = new_loop()
    heard = []

    def on_signal():
        heard.append("signal")
        if len(heard) == 2:
            loop.stop()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with signals_on(loop, [signal.SIGTERM, signal.SIGUSR1], on_signal):
        loop.call_later(0, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        loop.call_later(20, loop.stop)
        loop.start()
    loop.close()

    assert heard == ["signal", "signal"]
    assert signal.getsignal(signal.SIGTERM) is before

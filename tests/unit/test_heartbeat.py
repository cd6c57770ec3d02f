from muniflow.runtime.heartbeat import Heartbeat
from muniflow.runtime.loop import new_loop


def test_a_loop_that_does_not_turn_is_not_alive():
    loop, beats = new_loop(), []
    heartbeat = Heartbeat(loop, limit_s=0.0, on_beat=lambda: beats.append(1))
    patient = Heartbeat(loop, limit_s=60.0)
    try:
        assert not heartbeat.alive()
        assert patient.alive()
        heartbeat.start()
        assert beats == [1]
    finally:
        loop.close()

"""What only workers of the build before need of a broker goes, and no task of theirs with it."""

import pytest
from tests.support.declared import declared
from tests.support.waiting import eventually

from muniflow.errors import NotFound
from muniflow.model import earlier
from muniflow.model.topology import EVENTS, TASKS_EXCHANGE, dead_queue, step_queue, topology
from muniflow.runtime.executor import ThreadRepeater
from muniflow.transport.admin import delete_queues, open_channel, queue_depths, republish
from muniflow.transport.types import OutgoingMessage
from muniflow_coordinator.farewell import PAUSE_S, Farewell

OPERATIONS = ("blur",)
BEFORE = earlier.queues(OPERATIONS)


def test_old_bindings_and_queues_go_once_the_queues_are_empty(broker):
    delete_queues(broker, BEFORE)  # those of a test that ran the build before
    declared(broker, earlier.with_earlier(topology(OPERATIONS), OPERATIONS))
    step = step_queue("blur")
    with open_channel(broker) as channel:
        for name in BEFORE:
            channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        republish(channel, OutgoingMessage(BEFORE[0], b"a task that is retried", exchange=""))
        for key in (step, dead_queue(step), EVENTS):
            republish(channel, OutgoingMessage(key, b"of a worker of the build before"))
    farewell = Farewell(broker, OPERATIONS, ThreadRepeater("farewell"))
    assert [farewell.turn() for _ in range(3)] == [PAUSE_S] * 3
    with open_channel(broker) as channel:
        channel.queue_purge(BEFORE[0])
    eventually(lambda: not queue_depths(broker, BEFORE[:1])[BEFORE[0]].ready)
    assert [farewell.turn(), farewell.turn()] == [PAUSE_S, None]
    assert queue_depths(broker, BEFORE) == {}
    with open_channel(broker) as channel:
        for key in (step, dead_queue(step), EVENTS):
            with pytest.raises(NotFound):
                republish(channel, OutgoingMessage(key, b"forged"))
        republish(channel, OutgoingMessage(step, b"a task", TASKS_EXCHANGE))

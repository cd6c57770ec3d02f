"""The names and settings of exchanges and queues: what every supported RabbitMQ takes."""

import pytest

from muniflow.model.earlier import bindings as earlier_bindings
from muniflow.model.earlier import with_earlier
from muniflow.model.topology import (
    AUDIT,
    BATCHES,
    CONTROL,
    DEAD_EXCHANGE,
    DELAY_PREFIX,
    DELAYS_S,
    EVENTS,
    EVENTS_EXCHANGE,
    EXCHANGE,
    LETTER_QUEUES,
    LOST,
    TASKS_EXCHANGE,
    all_delays_s,
    dead_queue,
    delay_exchange,
    delay_lanes,
    exchange_to,
    express_queue,
    gateway_queue,
    operation_of,
    step_queue,
    topology,
    work_queues,
    worker_topology,
)  # fmt: skip

WHOLE = topology(["resize", "blur"])
QUEUES = {queue.name: queue for queue in WHOLE.queues}
ALLOWED = {
    "x-queue-type", "x-delivery-limit", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy",
    "x-overflow", "x-message-ttl", "x-consumer-timeout",
}  # fmt: skip


def test_every_queue_is_there_once():
    expected = {LOST, *(delay_exchange(delay_s) for delay_s in all_delays_s())}
    for name in (BATCHES, EVENTS, CONTROL, AUDIT, step_queue("blur"), step_queue("resize")):
        expected |= {name, dead_queue(name)}
    expected |= {"muniflow.express.blur", "muniflow.express.resize"}
    assert set(QUEUES) == expected
    assert len(WHOLE.queues) == len(expected)


def test_the_order_and_repetition_of_operations_do_not_matter():
    assert topology(["blur", "resize"]) == WHOLE
    assert topology(iter(["resize", "blur"])) == WHOLE


def test_part_of_the_operations_declares_a_part():
    part = topology(["blur"])
    assert set(part.exchanges) == set(WHOLE.exchanges)
    for queue in part.queues:
        if queue.name != LOST:  # its bindings grow with the operations
            assert queue in WHOLE.queues
        assert QUEUES[queue.name].arguments == queue.arguments


@pytest.mark.parametrize("queue", WHOLE.queues, ids=lambda queue: queue.name)
def test_a_queue_holds_only_what_3_10_to_4_x_take(queue):
    assert queue.arguments["x-queue-type"] == "quorum"
    assert set(queue.arguments) <= ALLOWED
    if "x-dead-letter-strategy" in queue.arguments:
        assert queue.arguments["x-overflow"] == "reject-publish", "at-least-once needs it"
        assert "x-dead-letter-exchange" in queue.arguments


@pytest.mark.parametrize("queue", WHOLE.queues, ids=lambda queue: queue.name)
def test_a_queue_is_bound_to_declared_exchanges(queue):
    declared = {exchange.name for exchange in WHOLE.exchanges}
    assert queue.bindings
    assert {source for source, _ in queue.bindings} <= declared


@pytest.mark.parametrize("name", [BATCHES, EVENTS, CONTROL, AUDIT, step_queue("blur")])
def test_what_the_broker_gives_up_on_has_a_place(name):
    arguments = QUEUES[name].arguments
    assert (arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"]) == (
        DEAD_EXCHANGE, dead_queue(name),
    )  # fmt: skip
    assert (DEAD_EXCHANGE, dead_queue(name)) in QUEUES[dead_queue(name)].bindings
    assert "x-dead-letter-exchange" not in QUEUES[dead_queue(name)].arguments


def test_what_leaves_an_express_queue_unsettled_goes_to_the_normal_one():
    arguments = QUEUES[express_queue("blur")].arguments
    target = (arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"])
    assert target == (TASKS_EXCHANGE, "muniflow.step.blur")
    assert target in QUEUES[step_queue("blur")].bindings
    assert arguments["x-message-ttl"] == 30_000
    assert dead_queue(express_queue("blur")) not in QUEUES


def test_a_worker_declares_nothing_and_waits_for_what_it_needs():
    needed = worker_topology(["blur"])
    assert needed.awaited is True
    assert {queue.name for queue in needed.queues} == set(work_queues("blur"))
    assert set(needed.exchanges) < set(WHOLE.exchanges)
    assert {TASKS_EXCHANGE, EVENTS_EXCHANGE} < {exchange.name for exchange in needed.exchanges}


def test_what_users_may_publish_to_leads_to_the_coordinator_alone():
    assert {queue.name for queue in WHOLE.queues if EXCHANGE in dict(queue.bindings)} == {BATCHES, CONTROL, AUDIT}


@pytest.mark.parametrize("queue", WHOLE.queues, ids=lambda queue: queue.name)
def test_messages_come_to_a_queue_by_one_exchange(queue):
    """And by the broker itself, where it gives a message up."""
    by = {source for source, _ in queue.bindings}
    if queue.name == LOST or queue.name in LETTER_QUEUES:
        assert by == {DEAD_EXCHANGE} == {exchange_to(queue.name)}
    elif not queue.name.startswith(DELAY_PREFIX):
        assert by - {DEAD_EXCHANGE} == {exchange_to(queue.name)}


def test_workers_of_the_build_before_publish_to_the_exchange_that_they_know():
    both = with_earlier(WHOLE, ["resize", "blur"])
    added = {queue.name: set(queue.bindings) - set(QUEUES[queue.name].bindings) for queue in both.queues}
    keys = {EVENTS, *(name for each in ("resize", "blur") for name in (step_queue(each), dead_queue(step_queue(each))))}
    assert {name: bound for name, bound in added.items() if bound} == {key: {(EXCHANGE, key)} for key in keys}
    assert keys < set(earlier_bindings(["resize", "blur"]))


@pytest.mark.parametrize(("queue", "operation"), [
    ("muniflow.step.blur", "blur"), ("muniflow.express.blur", "blur"), ("muniflow.step.blur.dead", None),
    ("muniflow.events", None), ("muniflow.lost", None), ("express", None),
])  # fmt: skip
def test_the_operation_of_a_work_queue(queue, operation):
    assert operation_of(queue) == operation


def test_the_coordinator_gets_a_copy_of_each_task_that_is_lost():
    assert set(QUEUES[LOST].bindings) == {
        (DEAD_EXCHANGE, dead_queue(step_queue("blur"))),
        (DEAD_EXCHANGE, dead_queue(step_queue("resize"))),
    }


@pytest.mark.parametrize(("delay_s", "lanes"), [(5, (4, 5, 6)), (30, (24, 30, 36)), (120, (96, 120, 144))])
def test_a_delay_has_three_lanes_a_fifth_apart(delay_s, lanes):
    assert delay_s in DELAYS_S
    assert delay_lanes(delay_s) == lanes


def test_no_two_delays_share_a_queue():
    assert sorted(set(all_delays_s())) == sorted(all_delays_s())


@pytest.mark.parametrize("delay_s", all_delays_s())
def test_a_delay_leads_back_under_the_own_key(delay_s):
    arguments = QUEUES[delay_exchange(delay_s)].arguments
    assert arguments["x-message-ttl"] == delay_s * 1000
    assert arguments["x-dead-letter-exchange"] == TASKS_EXCHANGE
    assert "x-dead-letter-routing-key" not in arguments


def test_the_queue_of_a_gateway_is_its_own_and_goes_by_itself():
    queue = gateway_queue("pod-1.7")

    assert queue.name == "muniflow.gateway.pod-1.7"
    assert queue.arguments == {"x-queue-type": "quorum", "x-expires": 300_000, "x-max-length": 10_000}
    assert queue.bindings == (("muniflow.notify", "batch.#"),)

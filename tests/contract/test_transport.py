"""What every transport promises; RabbitMQ's own troubles are below."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.transport_harness import (
    DELAY_MS,
    DELIVERY_LIMIT,
    REFUSAL_PAUSE_S,
    REFUSALS,
    MemoryHarness,
    Peer,
    RabbitHarness,
    TransportHarness,
    delay_exchange,
    other_queue,
    rabbit_harness,
    run_for,
    run_until,
    small_topology,
    stop_all,
    work_queue,
)  # fmt: skip
from tests.support.declared import declared
from tests.support.inside_broker import TOO_LITTLE_MEMORY, set_memory_limit

from muniflow.model.settlement import jittered
from muniflow.model.topology import (
    DELAYS_S,
    EXCHANGE,
    TASKS_EXCHANGE,
    Exchange,
    Instead,
    Queue,
    Topology,
    dead_queue,
    delay_lanes,
)
from muniflow.model.topology import delay_exchange as delay_lane
from muniflow.model.topology import topology as muniflow_topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import OutgoingMessage, PublishProblem, declare
from muniflow.transport.admin import delete_queues, open_channel
from muniflow_cli.stack.broker import PrivateBroker

NewPeer = Callable[[], Peer]


class TransportContract:
    """Each test runs against each backend."""

    def delete(self, harness: Any, queue: str) -> None:
        """Delete a queue, as an administrator may."""
        raise NotImplementedError

    @pytest.fixture
    def topology(self, harness: TransportHarness) -> Topology:
        return small_topology(harness.name)

    @pytest.fixture
    def new_peer(self, harness: TransportHarness, topology: Topology) -> Iterator[NewPeer]:
        peers: list[Peer] = []

        def make() -> Peer:
            peers.append(Peer(harness, topology, f"peer-{len(peers)}"))
            return peers[-1]

        yield make
        stop_all(harness, peers)

    @pytest.fixture
    def peer(self, new_peer: NewPeer) -> Peer:
        return new_peer().ready()

    @pytest.fixture
    def work(self, harness: TransportHarness) -> str:
        return work_queue(harness.name)

    def test_a_message_arrives_as_it_was_published(self, peer: Peer, work: str) -> None:
        peer.consume(work)
        assert peer.publish_and_wait(OutgoingMessage(work, b"\x00body\xff", headers={"step": "blur", "n": 3})) is None
        (delivery,) = peer.wait_for(1)
        assert (delivery.queue, delivery.body, delivery.redelivered) == (work, b"\x00body\xff", False)
        assert delivery.headers == {"step": "blur", "n": 3}
        assert delivery.message_id

    def test_a_message_keeps_the_id_that_it_was_given(self, peer: Peer, work: str) -> None:
        missing = f"{work}.missing"
        named, lost = (OutgoingMessage(queue, b"x", message_id="an id.of-ours") for queue in (work, missing))
        assert peer.publish_and_wait(named) is None
        assert peer.publish_and_wait(lost) == PublishProblem(f'returned: no queue for "{missing}"')
        peer.consume(work)
        (delivery,) = peer.wait_for(1)
        assert delivery.message_id == "an id.of-ours"

    def test_a_message_says_when_it_was_sent(self, peer: Peer, work: str) -> None:
        messages = (OutgoingMessage(work, b"x", sent_at=1_906_556_400), OutgoingMessage(work, b"y"))
        assert peer.publish_and_wait(*messages) is None
        peer.consume(work)
        assert [delivery.sent_at for delivery in peer.wait_for(2)] == [1_906_556_400, None]

    def test_a_queue_keeps_the_order(self, peer: Peer, work: str) -> None:
        bodies = [b"%d" % number for number in range(200)]
        assert peer.publish_and_wait(*[OutgoingMessage(work, body) for body in bodies]) is None
        peer.consume(work, 500)
        peer.wait_for(200)
        assert peer.bodies() == bodies

    def test_an_empty_group_is_safe_and_told_so_later(self, peer: Peer) -> None:
        peer.publish()
        assert peer.settled == []
        run_until(peer.harness, lambda: bool(peer.settled), "told")
        assert peer.settled == [None]

    def test_a_group_is_told_once_that_it_is_safe(self, peer: Peer, work: str) -> None:
        for _ in range(5):
            peer.publish(*[OutgoingMessage(work, b"x")] * 20)
        assert peer.settled == [], "never from within publish"
        run_until(peer.harness, lambda: len(peer.settled) == 5, "five groups are settled")
        run_for(peer.harness)
        assert peer.settled == [None] * 5

    def test_a_message_for_a_missing_queue_is_a_problem_of_its_group_alone(self, peer: Peer, work: str) -> None:
        missing = "no.such.queue"
        peer.publish(OutgoingMessage(work, b"a"), OutgoingMessage(missing, b"b"), OutgoingMessage(missing, b"c"))
        peer.publish(OutgoingMessage(work, b"d"))
        run_until(peer.harness, lambda: len(peer.settled) == 2, "both groups are settled")
        run_for(peer.harness)
        assert set(peer.settled) == {PublishProblem(f'returned: no queue for "{missing}"'), None}
        assert len(peer.settled) == 2

    def test_a_topic_needs_no_listener(self, peer: Peer, harness: TransportHarness) -> None:
        notice = OutgoingMessage("node.up", b"{}", exchange=f"{harness.name}.notify", mandatory=False)
        assert peer.publish_and_wait(notice) is None

    def test_a_topic_reaches_who_listens(self, peer: Peer, harness: TransportHarness) -> None:
        peer.consume(other_queue(harness.name))
        peer.publish(OutgoingMessage("batch.done", b"yes", exchange=f"{harness.name}.notify", mandatory=False))
        peer.publish(OutgoingMessage("node.up", b"no", exchange=f"{harness.name}.notify", mandatory=False))
        peer.wait_for(1)
        run_for(peer.harness)
        assert peer.bodies() == [b"yes"]

    def test_no_more_than_the_prefetch_is_unsettled(self, peer: Peer, work: str) -> None:
        assert peer.publish_and_wait(*[OutgoingMessage(work, b"%d" % number) for number in range(9)]) is None
        peer.consume(work, 2)
        peer.wait_for(2)
        run_for(peer.harness)
        assert peer.bodies() == [b"0", b"1"]
        peer.transport.ack(peer.got[:1])
        peer.wait_for(3)
        run_for(peer.harness)
        assert peer.bodies() == [b"0", b"1", b"2"]

    def test_the_prefetch_can_be_raised(self, peer: Peer, work: str) -> None:
        assert peer.publish_and_wait(*[OutgoingMessage(work, b"%d" % number) for number in range(9)]) is None
        peer.consume(work, 2)
        peer.wait_for(2)
        peer.consume(work, 5)
        peer.wait_for(5)
        run_for(peer.harness)
        assert len(peer.got) <= 2 + 5
        assert peer.bodies() == [b"%d" % number for number in range(len(peer.got))]
        peer.transport.ack(peer.got)
        peer.wait_for(9)

    def test_the_prefetch_can_be_lowered(self, peer: Peer, work: str) -> None:
        assert peer.publish_and_wait(*[OutgoingMessage(work, b"%d" % number) for number in range(9)]) is None
        peer.consume(work, 4)
        peer.wait_for(4)
        peer.consume(work, 1)
        run_for(peer.harness)
        peer.transport.ack(peer.got[:4])
        peer.wait_for(5)
        run_for(peer.harness)
        assert len(peer.got) == 5

    def test_changing_the_prefetch_all_the_time_loses_and_doubles_nothing(
        self, peer: Peer, harness: TransportHarness
    ) -> None:
        queue = other_queue(harness.name)
        count = 400
        done: list[bytes] = []

        def change() -> None:
            fresh = [delivery for delivery in peer.got if delivery.body not in done]
            done.extend(delivery.body for delivery in fresh)
            peer.transport.ack(fresh)
            peer.consume(queue, 1 + len(done) % 7)

        assert peer.publish_and_wait(*[OutgoingMessage(queue, b"%d" % number) for number in range(count)]) is None
        peer.consume(queue, 3)
        run_until(harness, lambda: (change(), len(done) == count)[1], f"{count} are done")  # type: ignore[func-returns-value]
        assert sorted(peer.bodies()) == sorted(set(done))

    def test_after_a_cancel_nothing_comes_and_what_came_can_be_settled(self, peer: Peer, work: str) -> None:
        peer.consume(work, 1)
        assert peer.publish_and_wait(*[OutgoingMessage(work, b"%d" % number) for number in range(3)]) is None
        peer.wait_for(1)
        peer.transport.cancel(work)
        run_for(peer.harness)
        peer.transport.ack(peer.got)
        run_for(peer.harness)
        assert peer.bodies() == [b"0"]
        peer.consume(work, 10)
        peer.wait_for(3)
        assert peer.bodies() == [b"0", b"1", b"2"]

    def test_acks_in_any_order_settle_exactly_those(self, new_peer: NewPeer, work: str) -> None:
        first = new_peer().ready()
        assert first.publish_and_wait(*[OutgoingMessage(work, b"%d" % number) for number in range(8)]) is None
        first.consume(work, 8)
        got = first.wait_for(8)
        for chosen in ([5], [1, 0], [2, 7], [5]):  # 5 twice: the second is ignored
            first.transport.ack([got[index] for index in chosen])
        run_for(first.harness)
        assert first.transport.connected
        stop_all(first.harness, [first])
        second = new_peer().ready()
        second.consume(work, 8)
        second.wait_for(3)
        run_for(second.harness)
        assert sorted(second.bodies()) == [b"3", b"4", b"6"]

    def test_what_is_handed_back_comes_again_in_its_old_order(self, peer: Peer, work: str) -> None:
        assert peer.publish_and_wait(*[OutgoingMessage(work, b"%d" % number) for number in range(4)]) is None
        peer.consume(work, 4)
        peer.wait_for(4)
        peer.transport.cancel(work)
        run_for(peer.harness)
        peer.transport.requeue(peer.got)
        peer.consume(work, 4)
        peer.wait_for(8)
        assert peer.bodies()[4:] == [b"0", b"1", b"2", b"3"]
        assert all(delivery.redelivered for delivery in peer.got[4:])

    def test_a_rejected_message_is_in_the_dead_letter_queue(self, peer: Peer, work: str) -> None:
        peer.consume(work)
        assert peer.publish_and_wait(OutgoingMessage(work, b"bad", headers={"n": 1})) is None
        (delivery,) = peer.wait_for(1)
        peer.transport.reject(delivery)
        peer.consume(dead_queue(work))
        dead = peer.wait_for(2)[1]
        assert (dead.queue, dead.body, dead.headers["n"]) == (dead_queue(work), b"bad", 1)
        (death,) = dead.headers["x-death"]  # type: ignore[misc]
        assert (death["queue"], death["reason"], death["count"]) == (work, "rejected", 1)  # type: ignore[has-type]
        assert dead.headers["x-first-death-queue"] == work

    def test_a_message_that_comes_back_too_often_is_in_the_dead_letter_queue(
        self, peer: Peer, harness: TransportHarness, work: str
    ) -> None:
        peer.consume(work)
        peer.consume(dead_queue(work))
        assert peer.publish_and_wait(OutgoingMessage(work, b"poison")) is None
        for deliveries in range(1, DELIVERY_LIMIT + 2):
            peer.wait_for(deliveries)
            harness.drop()  # as a consumer that dies of it; one that hands it back is not counted from 4.3 on
        dead = peer.wait_for(DELIVERY_LIMIT + 2)[-1]
        assert [delivery.queue for delivery in peer.got] == [work] * (DELIVERY_LIMIT + 1) + [dead_queue(work)]
        assert dead.headers["x-death"][0]["reason"] == "delivery_limit"  # type: ignore[index]

    def test_a_delayed_message_comes_back_under_its_own_key(
        self, peer: Peer, harness: TransportHarness, work: str
    ) -> None:
        peer.consume(work)
        delayed = OutgoingMessage(work, b"later", exchange=delay_exchange(harness.name), headers={"n": 2})
        assert peer.publish_and_wait(delayed) is None
        run_for(harness, DELAY_MS / 1000 / 2)
        assert peer.got == []
        (delivery,) = peer.wait_for(1)
        assert (delivery.queue, delivery.body, delivery.headers["n"]) == (work, b"later", 2)

    def test_what_is_delayed_together_comes_back_in_parts(self, harness: TransportHarness, work: str) -> None:
        lanes_s = delay_lanes(DELAYS_S[0])
        names = {TASKS_EXCHANGE, *(delay_lane(lane_s) for lane_s in lanes_s)}
        whole, small = muniflow_topology(()), small_topology(harness.name)
        exchanges = tuple(exchange for exchange in whole.exchanges if exchange.name in names)
        queues = tuple(queue for queue in whole.queues if queue.name in names)
        back = Queue(work, small.queues[0].arguments, ((TASKS_EXCHANGE, work),))
        peer = Peer(harness, Topology((*small.exchanges, *exchanges), (*small.queues, *queues, back))).ready()
        peer.consume(work, 100)
        waits_s = sorted((jittered(DELAYS_S[0], f"task {number}") for number in range(30)), reverse=True)
        began_s = time.monotonic()
        again = [OutgoingMessage(work, b"%d" % wait_s, delay_lane(wait_s)) for wait_s in waits_s]
        assert peer.publish_and_wait(*again) is None
        for lane_s in lanes_s:  # though the longest were published first
            peer.wait_for(sum(wait_s <= lane_s for wait_s in waits_s))
            assert {int(body) for body in peer.bodies()} == {wait_s for wait_s in lanes_s if wait_s <= lane_s}
            assert time.monotonic() - began_s >= lane_s
        assert len(peer.got) == len(waits_s)
        stop_all(harness, [peer])

    def test_two_consumers_share_a_queue(self, new_peer: NewPeer, work: str) -> None:
        first, second = new_peer().ready(), new_peer().ready()
        for each in (first, second):
            each.consume(work, 3)
        run_for(first.harness)
        assert first.publish_and_wait(*[OutgoingMessage(work, b"%d" % number) for number in range(6)]) is None
        first.wait_for(3)
        second.wait_for(3)
        assert sorted(first.bodies() + second.bodies()) == [b"%d" % number for number in range(6)]

    def test_declaring_the_topology_again_changes_nothing(self, new_peer: NewPeer, work: str) -> None:
        first = new_peer().ready()
        assert first.publish_and_wait(OutgoingMessage(work, b"kept")) is None
        second = new_peer().ready()
        second.consume(work)
        assert second.wait_for(1)[0].body == b"kept"

    def test_what_is_awaited_is_not_declared_and_used_as_soon_as_it_is_there(
        self, harness: TransportHarness, work: str
    ) -> None:
        late = Queue(f"{work}.late", {"x-queue-type": "quorum"}, ((EXCHANGE, f"{work}.late"),))
        waiting = Peer(harness, Topology((), (late,), awaited=True)).start()
        waiting.consume(late.name)
        try:
            missing = f"waiting for queue '{late.name}': the coordinator declares it"
            run_until(harness, lambda: waiting.transport.disconnect_reason == missing, "it says what is missing")
            other = Peer(harness, Topology((Exchange(EXCHANGE, "direct"),), (late,))).ready()
            run_until(harness, lambda: waiting.transport.connected, "there")
            assert other.publish_and_wait(OutgoingMessage(late.name, b"x")) is None
            assert waiting.wait_for(1)[0].body == b"x"
            assert (waiting.story, waiting.lost_reasons) == (["ready", "delivery"], [])
            stop_all(harness, [other])
        finally:
            stop_all(harness, [waiting])
            self.delete(harness, late.name)

    def test_what_somebody_deleted_is_there_again_and_the_connection_stays(
        self, peer: Peer, harness: TransportHarness, work: str
    ) -> None:
        self.delete(harness, work)
        assert peer.publish_and_wait(OutgoingMessage(work, b"a")) == PublishProblem(f'returned: no queue for "{work}"')
        for _ in range(REFUSALS):
            if peer.publish_and_wait(OutgoingMessage(work, b"b")) is None:
                break  # the one before has led to it
            run_for(harness, REFUSAL_PAUSE_S)
        self.delete(harness, work)
        told: list[str | None] = []
        peer.transport.redeclare(told.append)
        run_until(harness, lambda: bool(told), "declared")
        peer.consume(work)
        assert peer.publish_and_wait(OutgoingMessage(work, b"c")) is None
        assert (peer.wait_for(1)[0].body, told, peer.lost_reasons) == (b"c", [None], [])

    def test_a_message_names_the_user_of_its_connection(self, peer: Peer, harness: TransportHarness, work: str) -> None:
        peer.consume(work)
        assert peer.publish_and_wait(OutgoingMessage(work, b"x")) is None
        assert peer.wait_for(1)[0].user_id == harness.user

    def test_a_stopped_peer_gives_back_what_it_holds(self, new_peer: NewPeer, work: str) -> None:
        first, second = new_peer().ready(), new_peer().ready()
        first.consume(work)
        assert first.publish_and_wait(OutgoingMessage(work, b"a"), OutgoingMessage(work, b"b")) is None
        first.wait_for(2)
        first.transport.ack(first.got[:1])
        stop_all(first.harness, [first])
        second.consume(work)
        (delivery,) = second.wait_for(1)
        assert (delivery.body, delivery.redelivered) == (b"b", True)
        assert first.story.count("lost") == 0
        assert not first.transport.connected

    def test_a_lost_connection_is_told_once_and_consumers_work_again(
        self, peer: Peer, harness: TransportHarness, work: str
    ) -> None:
        peer.consume(work)
        assert peer.publish_and_wait(OutgoingMessage(work, b"a")) is None
        peer.wait_for(1)
        harness.drop()
        run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
        peer.wait_for(2)
        stale, fresh = peer.got
        assert (fresh.body, fresh.redelivered) == (b"a", True)
        assert fresh.generation != stale.generation
        assert [word for word in peer.story if word != "settled"] == ["ready", "delivery", "lost", "ready", "delivery"]
        peer.transport.ack([stale, fresh])
        assert peer.publish_and_wait(OutgoingMessage(work, b"b")) is None
        assert peer.wait_for(3)[2].body == b"b"

    def test_settling_a_stale_delivery_is_ignored(self, peer: Peer, harness: TransportHarness, work: str) -> None:
        peer.consume(work)
        assert peer.publish_and_wait(OutgoingMessage(work, b"a")) is None
        (stale,) = peer.wait_for(1)
        harness.drop()
        run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
        peer.wait_for(2)
        peer.transport.ack([stale])
        peer.transport.requeue([stale])
        peer.transport.reject(stale)
        run_for(harness)
        assert peer.transport.connected
        assert len(peer.got) == 2
        stop_all(harness, [peer])

    def test_a_publish_in_flight_is_told_once_of_the_loss_and_before_it(
        self, peer: Peer, harness: TransportHarness, work: str
    ) -> None:
        peer.publish(*[OutgoingMessage(work, b"x" * 1000)] * 50)
        harness.drop()
        run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
        run_for(harness)
        assert len(peer.settled) == 1
        assert peer.settled[0] in {None, PublishProblem("connection lost")}
        if peer.settled[0] is not None:
            assert peer.story.index("settled") < peer.story.index("lost")

    def test_a_publish_without_a_connection_is_a_problem_told_later(self, new_peer: NewPeer, work: str) -> None:
        peer = new_peer()
        peer.publish(OutgoingMessage(work, b"x"))
        assert peer.settled == []
        run_until(peer.harness, lambda: bool(peer.settled), "told")
        assert peer.settled == [PublishProblem("connection lost")]


class TestMemory(TransportContract):
    @pytest.fixture
    def harness(self) -> Iterator[MemoryHarness]:
        harness = MemoryHarness()
        yield harness
        harness.loop.close()

    def delete(self, harness: MemoryHarness, queue: str) -> None:
        harness.broker.delete(queue)

    def test_a_blocked_broker_takes_nothing_and_goes_on(self, peer: Peer, harness: MemoryHarness, work: str) -> None:
        harness.broker.block("low on memory")
        peer.publish(OutgoingMessage(work, b"x"))
        run_for(harness)
        assert (peer.transport.blocked, peer.settled) == ("low on memory", [])
        harness.broker.unblock()
        run_until(harness, lambda: bool(peer.settled), "taken")
        assert (peer.transport.blocked, peer.settled) == (None, [None])

    def test_time_can_be_scaled(self) -> None:
        harness = MemoryHarness(delay_scale=0.001)
        peer = Peer(harness, small_topology(harness.name)).ready()
        peer.consume(work_queue(harness.name))
        peer.publish(OutgoingMessage(work_queue(harness.name), b"x", exchange=delay_exchange(harness.name)))
        run_until(harness, lambda: bool(peer.got), "back at once", timeout_s=DELAY_MS / 1000 / 2)
        stop_all(harness, [peer])
        harness.loop.close()


class TestRabbitMQ(TransportContract):
    @pytest.fixture
    def harness(self, broker: BrokerSettings) -> Iterator[RabbitHarness]:
        with rabbit_harness(broker) as harness:
            yield harness

    def delete(self, harness: RabbitHarness, queue: str) -> None:
        delete_queues(harness.direct, [queue])

    def test_what_an_earlier_build_has_declared_serves_until_the_rest_is_there(
        self, harness: RabbitHarness, work: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(declare, "BACK_S", 0.1)
        new, fast = f"{work}.tasks", f"{work}.fast"
        own, express = Queue(work, {}, ()), Queue(fast, {"x-queue-type": "quorum"}, ((new, fast),))
        instead = Instead(Topology((Exchange(EXCHANGE, "direct"),), (own,), awaited=True), {new: EXCHANGE})
        needed = Topology((Exchange(new, "direct"),), (own, express), awaited=True, instead=instead)
        worker = Peer(harness, needed)
        for queue in (work, fast):
            worker.consume(queue)
        worker.ready()
        assert worker.publish_and_wait(OutgoingMessage(work, b"by the old one", new)) is None
        worker.wait_for(1)
        worker.transport.ack(worker.got)
        coordinator = Peer(harness, Topology((Exchange(new, "direct"),), (express,))).ready()
        run_until(harness, lambda: worker.story.count("ready") == 2, "by the new one")
        assert worker.publish_and_wait(OutgoingMessage(fast, b"by the new one", new)) is None
        assert [delivery.queue for delivery in worker.wait_for(2)] == [work, fast]
        assert worker.lost_reasons == ["a coordinator of this build has come: connecting anew"]
        stop_all(harness, [worker, coordinator])
        delete_queues(harness.direct, [fast])
        with open_channel(harness.direct) as channel:
            channel.exchange_delete(new)

    def test_a_memory_alarm_blocks_and_unblocks(
        self, peer: Peer, harness: RabbitHarness, work: str, private_broker: PrivateBroker
    ) -> None:
        assert peer.publish_and_wait(OutgoingMessage(work, b"before")) is None
        set_memory_limit(private_broker, TOO_LITTLE_MEMORY)
        try:
            peer.publish(OutgoingMessage(work, b"held"))
            run_until(harness, lambda: peer.transport.blocked is not None, "blocked")
            assert "memory" in (peer.transport.blocked or "")
            assert len(peer.settled) == 1
        finally:
            set_memory_limit(private_broker, "0.6")
        run_until(harness, lambda: len(peer.settled) == 2, "the held message is confirmed")
        assert (peer.settled[1], peer.transport.blocked, peer.lost_reasons) == (None, None, [])

    def test_a_killed_node_comes_back_with_every_confirmed_message(
        self, new_peer: NewPeer, harness: RabbitHarness, topology: Topology, work: str, private_broker: PrivateBroker
    ) -> None:
        """Also if it is killed at once after the first confirm of a queue that it has just made."""
        delete_queues(harness.direct, [queue.name for queue in topology.queues])
        peer = new_peer().ready()
        assert peer.publish_and_wait(*[OutgoingMessage(work, b"%d" % number) for number in range(50)]) is None
        private_broker.kill()
        run_until(harness, lambda: bool(peer.lost_reasons), "the loss is seen")
        private_broker.start()
        run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
        assert peer.story.count("lost") == 1, "attempts that fail are not losses"
        peer.consume(work, 100)
        peer.wait_for(50)
        assert sorted(peer.bodies()) == sorted(b"%d" % number for number in range(50))
        declared(harness.direct, topology, probed=True)

    def test_a_deleted_queue_that_is_declared_once_more_takes_no_message_at_once(
        self, peer: Peer, harness: RabbitHarness, work: str
    ) -> None:
        """Its node might forget it with the message, as `test_a_killed_node_comes_back_…` tries it."""
        self.delete(harness, work)
        began_s = time.monotonic()
        told: list[str | None] = []
        peer.transport.redeclare(told.append)
        while peer.publish_and_wait(OutgoingMessage(work, b"x")) is not None:
            run_for(harness, 0.1)
        assert time.monotonic() - began_s >= harness.settings.new_queue_wait_s
        run_until(harness, lambda: told == [None], "declared")

    def test_a_deleted_queue_ends_its_consumer_and_is_made_again(
        self, peer: Peer, harness: RabbitHarness, work: str
    ) -> None:
        peer.consume(work)
        assert peer.publish_and_wait(OutgoingMessage(work, b"a")) is None
        peer.wait_for(1)
        delete_queues(harness.direct, [work])
        run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
        assert "queue was deleted" in peer.lost_reasons[0]
        assert work in peer.lost_reasons[0]
        assert peer.publish_and_wait(OutgoingMessage(work, b"b")) is None
        assert peer.wait_for(2)[1].body == b"b"

    def test_a_queue_with_other_settings_is_named(self, peer: Peer, harness: RabbitHarness, topology: Topology) -> None:
        assert peer.transport.connected
        wrong = replace(topology.queues[0], arguments={**topology.queues[0].arguments, "x-delivery-limit": 7})
        other = Peer(harness, replace(topology, queues=(wrong, *topology.queues[1:]))).start()
        run_until(harness, lambda: bool(other.lost_reasons), "told")
        run_for(harness, 1.0)
        (reason,) = other.lost_reasons  # told once, though it tries again
        assert wrong.name in reason
        assert "exists with other settings" in reason
        assert "x-delivery-limit" in reason
        assert "ready" not in other.story
        stop_all(harness, [other])

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("amqp://muniflow:wrong@{place}/%2F", "refused the user 'muniflow' or its password"),
            ("amqp://{user}@{place}/nowhere", "no access to the virtual host 'nowhere'"),
            ("amqp://{user}@127.0.0.1:1/%2F", "cannot connect to RabbitMQ at 127.0.0.1:1: Connection refused"),
        ],
    )
    def test_why_it_cannot_connect_is_one_clear_line(
        self, harness: RabbitHarness, url: str, expected: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        user, _, place = harness.direct.amqp_url.removeprefix("amqp://").removesuffix("/%2F").rpartition("@")
        settings = harness.settings.model_copy(update={"amqp_url": url.format(user=user, place=place)})
        harness.settings = settings
        with caplog.at_level("WARNING", "muniflow"):
            peer = Peer(harness, Topology((), ())).start()
            run_until(
                harness, lambda: "muniflow.transport.rabbitmq" in {line.name for line in caplog.records}, "logged"
            )
        (line,) = [line.getMessage() for line in caplog.records if line.name.startswith("muniflow")]
        assert expected in line
        assert "\n" not in line
        assert user.partition(":")[2] not in line, "never the password"
        stop_all(harness, [peer])

    def test_a_message_that_cannot_be_encoded_is_the_callers_bug_and_harms_no_other(
        self, peer: Peer, harness: RabbitHarness, work: str
    ) -> None:
        good, bad = OutgoingMessage(work, b"x"), OutgoingMessage("k" * 300, b"x")
        for group in ([bad], [good, bad]):
            with pytest.raises(Exception, match="kkk"):
                peer.publish(*group)
        assert peer.publish_and_wait(good) is None
        harness.drop()
        run_until(harness, lambda: peer.story.count("ready") == 2, "ready again")
        assert peer.settled == [None]

    def test_stop_is_bounded_while_the_broker_is_away(self, harness: RabbitHarness, topology: Topology) -> None:
        harness.proxy.close()
        peer = Peer(harness, topology).start()
        run_for(harness)
        stop_all(harness, [peer])

"""The users: they send batches until the broker has them, read notices, cancel, mend and run again."""

import json
from collections.abc import Callable

from tests.simulation.pipeline.compute import BAD, KILLER
from tests.simulation.pipeline.plan import BatchPlan
from tests.simulation.pipeline.processes import USER, Site
from tests.simulation.pipeline.simulation import Process, SimLoop
from tests.simulation.pipeline.transport import SimTransport

from muniflow.model.messages import TERMINAL, Command, Notice
from muniflow.model.topology import BATCHES, CONTROL, NOTIFY_EXCHANGE, Exchange, Queue, Topology
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem

INBOX = "users.notices"
RETRY_DELAY_S = 1.0


class Users:
    """All users, over one connection."""

    def __init__(self, site: Site, plans: tuple[BatchPlan, ...], on_notice: Callable[[Notice], None]) -> None:
        self.site, self.plans, self._on_notice = site, {plan.id: plan for plan in plans}, on_notice
        self.process = Process("users")
        self.mended: set[str] = set()
        self.busy = 0
        """Messages that are still to be sent or confirmed."""
        loop = SimLoop(site.sim, self.process)
        self.transport = SimTransport(
            site.sim, site.broker, self.process, loop, settings=site.broker_settings, user=USER
        )
        inbox = Queue(INBOX, {"x-queue-type": "quorum"}, ((NOTIFY_EXCHANGE, "#"),))
        topology = Topology((Exchange(NOTIFY_EXCHANGE, "topic"),), (inbox,))
        self.transport.consume(INBOX, 100, self._on_delivery)
        self.transport.start(topology, lambda: None, lambda _reason: None)
        for plan in plans:
            self._write_sources(plan)
            self._after(plan.at_s, OutgoingMessage(BATCHES, json.dumps(document(plan)).encode(), user_id=USER))
            if plan.twice:
                self._after(
                    plan.at_s + site.sim.dice.random() * 20,
                    OutgoingMessage(BATCHES, json.dumps(document(plan)).encode(), user_id=USER),
                )
            if plan.cancel_after_s is not None:
                self._after(plan.at_s + plan.cancel_after_s, self._command("cancel", plan.id))

    def _write_sources(self, plan: BatchPlan) -> None:
        source = self.site.stores.source
        names = []
        for number, kind in enumerate(plan.images):
            names.append(f"{number:03}.jpg")
            if kind != "missing":
                source.blobs[f"{plan.id}/{names[-1]}"] = source_bytes(plan, number)
        if plan.named == "manifest":
            source.blobs[f"{plan.id}/list.txt"] = "\n".join(names).encode()

    def _command(self, action: str, batch: str) -> OutgoingMessage:
        return OutgoingMessage(CONTROL, Command(action=action, batch=batch).to_bytes(), user_id=USER)

    def _after(self, delay_s: float, message: OutgoingMessage) -> None:
        self.busy += 1
        self.site.sim.after(delay_s, lambda: self._send(message), self.process)

    def _send(self, message: OutgoingMessage) -> None:
        def settled(problem: PublishProblem | None) -> None:
            if problem is None:
                self.busy -= 1
                self.site.sim.say("users", f"sent to {message.routing_key}: {message.body.decode()[:70]}")
            else:
                self.site.sim.after(RETRY_DELAY_S, lambda: self._send(message), self.process)

        self.transport.publish((message,), settled)

    def _on_delivery(self, delivery: Delivery) -> None:
        notice = Notice.from_bytes(delivery.body)
        self.site.sim.say("users", f"read: {notice.batch} {notice.state}")
        self._on_notice(notice)
        self.transport.ack([delivery])
        plan = self.plans.get(notice.batch)
        if plan is not None and plan.mend and notice.state in TERMINAL and notice.failed and plan.id not in self.mended:
            self._mend(plan)

    def _mend(self, plan: BatchPlan) -> None:
        """Replace what was bad, and run what failed again."""
        self.mended.add(plan.id)
        for number, kind in enumerate(plan.images):
            if kind != "good":
                key = f"{plan.id}/{number:03}.jpg"
                self.site.stores.source.blobs[key] = mended_bytes(plan, number)
        self._after(0.0, self._command("reopen", plan.id))


def source_bytes(plan: BatchPlan, number: int) -> bytes:
    """What an image is before anybody mends it."""
    start = {"bad": BAD, "killer": KILLER}.get(plan.images[number], b"")
    return start + mended_bytes(plan, number)


def mended_bytes(plan: BatchPlan, number: int) -> bytes:
    return f"{plan.id} {number}".encode()


def document(plan: BatchPlan) -> dict[str, object]:
    """The batch document."""
    made: dict[str, object] = {
        "batch_id": plan.id,
        "source": plan.id,
        "operations": [[operation, fan_out] for operation, fan_out in plan.route],
        "weight": plan.weight,
        "priority": plan.priority,
    }
    if plan.named == "list":
        made["images"] = [f"{number:03}.jpg" for number in range(len(plan.images))]
    elif plan.named == "manifest":
        made["manifest"] = f"{plan.id}/list.txt"
    return made

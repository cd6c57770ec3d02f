"""What must hold at every step, and the account at the end."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from typing import Any

from tests.simulation.pipeline.compute import OPERATIONS, expected
from tests.simulation.pipeline.plan import BatchPlan
from tests.simulation.pipeline.processes import Site
from tests.simulation.pipeline.transport import SimTransport
from tests.simulation.pipeline.users import Users, document, mended_bytes

from muniflow.model.batch import read_batch
from muniflow.model.lineage import leaf_index
from muniflow.model.messages import TERMINAL, Notice, Task, output_name
from muniflow.testing.memory_queues import QueuedMessage
from muniflow_coordinator.coordinator import Coordinator

ALARM_SHOWN_S = 12.0
"""Within so long an alarm is known."""
MAX_GIVEN_UP = 1
GIVEN_UP = "the broker gave this task up"
CHANGES = {("pending", "done"), ("pending", "failed"), ("pending", "cancelled")}


@dataclass
class Account:
    """The counts of `docs/research/reliability.md`."""

    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    unsettled: int = 0

    def __str__(self) -> str:
        return f"lost {self.lost}, doubled {self.doubled}, wrong {self.wrong}, unsettled {self.unsettled}"

    def __add__(self, other: "Account") -> "Account":
        mine, others = astuple(self), astuple(other)
        return Account(*(one + another for one, another in zip(mine, others, strict=True)))

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.unsettled)


@dataclass(eq=False)
class Checks:
    """Looks at every commit and every message of a site."""

    site: Site
    plans: tuple[BatchPlan, ...]
    account: Account = field(default_factory=Account)
    notices: dict[str, list[Notice]] = field(default_factory=dict)
    _changes: list[tuple[Any, ...]] = field(default_factory=list)
    _given_up: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        site = self.site
        site.database.watch = lambda *change: self._changes.append(change)
        site.database.on_commit = self._on_commit
        site.database.on_rollback = self._changes.clear
        site.broker.on_routed = self._on_routed
        self._expected = {plan.id: self._outputs_of(plan) for plan in self.plans}
        """By batch and image: the bytes of each output."""

    def _outputs_of(self, plan: BatchPlan) -> dict[int, dict[str, bytes]]:
        batch = read_batch(json.dumps(document(plan)).encode(), OPERATIONS)
        found = {}
        for number in range(len(plan.images)):
            leaves = expected(mended_bytes(plan, number), batch.route)
            found[number] = {
                f"{batch.destination}/{output_name(f'{number:03}', leaf_index(lineage), batch.encoding)}": data
                for lineage, data in leaves.items()
            }
        return found

    def on_alarm_ends(self, coordinators: Iterable[Coordinator | None], lasted_s: float) -> None:
        """While the broker blocks, whoever asks a leader with batches is told so."""
        for one in coordinators:
            if one is None or lasted_s < ALARM_SHOWN_S:
                continue
            if not isinstance(one.transport, SimTransport) or one.transport.whole_s < ALARM_SHOWN_S:
                continue
            now = self.site.sim.now_s()
            if one.transport.blocked is None and any(run.submitted_at < now - ALARM_SHOWN_S for run in one.view.runs):
                self.site.sim.violated(f"the broker blocks for {lasted_s:.1f} s, and the coordinator does not know it")

    def on_notice(self, notice: Notice) -> None:
        self.notices.setdefault(notice.batch, []).append(notice)
        if notice.state == "rejected":
            self.account.wrong += 1
            self.site.sim.violated(f"{notice.batch} is rejected: {notice.faults}")

    def _on_routed(self, message: QueuedMessage, taken: int) -> None:
        to_nobody = message.exchange == "muniflow" and not taken and message.routing_key != "muniflow.probe"
        if to_nobody and not (message.message_id or "").startswith("users."):
            self.site.sim.violated(f"{message.message_id} to {message.routing_key}, which nobody declared")

    def _on_commit(self) -> None:
        changes, self._changes[:] = list(self._changes), []
        for number in {change[0]: None for change in changes}:
            ((batch_id, *counts),) = self.site.database.rows(
                "select id, done, failed, cancelled from batches where number = ?", number
            )
            found = self.site.database.rows("select state, count(*) from images where batch = ? group by state", number)
            states: Counter[str] = Counter(dict(found))
            real = [states[name] for name in ("done", "failed", "cancelled")]
            if counts != real:
                self.account.doubled += 1
                self.site.sim.violated(f"{batch_id} counts {counts} done, failed and cancelled images; it has {real}")
            for _, image, *change in (change for change in changes if change[0] == number):
                self._check_image(batch_id, image, change)

    def _check_image(self, batch_id: str, image: int, change: list[Any]) -> None:
        old, new, old_run, new_run = change
        self.site.sim.detail("ledger", f"{batch_id} image {image}, run {new_run}: {new}")
        again = (old, new) == ("failed", "pending") and new_run == old_run + 1
        if not again and ((old, new) not in CHANGES or old_run != new_run):
            self.account.doubled += 1
            self.site.sim.violated(f"{batch_id} image {image} becomes {new} after {old}, run {old_run} to {new_run}")
        if new == "done":
            synced = self.site.stores.output.synced
            for key, data in self._expected[batch_id][image].items():
                if synced.get(key) != data:
                    self.account.lost += 1
                    self.site.sim.violated(
                        f"{batch_id} image {image} is done, and {key} is not safe: {synced.get(key)!r}"
                    )

    # The end

    def ended(self, plan: BatchPlan) -> bool:
        """Whether a batch has come to its end, and its user has read so."""
        found = self.site.database.rows("select state from batches where id = ?", plan.id)
        notices = self.notices.get(plan.id, [])
        return bool(found and notices) and found[0][0] in TERMINAL and notices[-1].state == found[0][0]

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way any more."""
        waiting = (queue.ready for name, queue in self.site.broker.queues.items() if not name.endswith(".dead"))
        return not any(waiting) and not self.site.broker.held() and not self.site.stores.work.blobs

    def conclude(self, users: Users) -> Account:
        """Compare everything with what must be there."""
        for plan in self.plans:
            self._conclude_batch(plan, users)
        left = sorted(self.site.stores.work.blobs)
        if left:
            self.site.sim.violated(f"intermediates are left: {left[:5]} and {max(len(left) - 5, 0)} more")
        waiting = {name: len(queue.ready) for name, queue in self.site.broker.queues.items() if queue.ready}
        for name, count in waiting.items():
            if not name.endswith(".dead"):
                self.site.sim.violated(f"{count} messages are left in {name}")
        self._check_letters()
        for line in self.site.broker.lines:
            for consumer in (*line.consumers.values(), *line.old):
                if count := len(consumer.unsettled):
                    who = line.process.name
                    self.site.sim.violated(f"{count} deliveries of {consumer.queue} are not settled by {who}")
        if self.account.clean:
            self.account.wrong += len(self.site.sim.wrong)
        return self.account

    def _may_be_given_up(self, batch: str, image: int) -> bool:
        """Beside an image that ends its worker 20 times, one other may be unlucky as often (docs/reliability.md)."""
        if any("killer" in plan.images for plan in self.plans):
            self._given_up.add((batch, image))
        return 0 < len(self._given_up) <= MAX_GIVEN_UP

    def _check_letters(self) -> None:
        """Only what is bad becomes a dead letter."""
        kinds = {plan.id: plan.images for plan in self.plans}
        for name, queue in self.site.broker.queues.items():
            for message in queue.ready if name.endswith(".dead") else ():
                task = Task.from_bytes(message.body)
                if kinds[task.batch][task.image] == "good" and not self._may_be_given_up(task.batch, task.image):
                    self.site.sim.violated(f"dead letter of {task.batch} image {task.image} in {name}")

    def _conclude_batch(self, plan: BatchPlan, users: Users) -> None:
        database, output = self.site.database, self.site.stores.output
        rows = database.rows(
            "select n, state, reasons from images where batch = (select number from batches where id = ?)", plan.id
        )
        if not self.ended(plan):
            pending = sum(state == "pending" for _, state, _ in rows) if rows else len(plan.images)
            self.account.unsettled += max(pending, 1)
            found = database.rows("select state, total, done, failed, cancelled from batches where id = ?", plan.id)
            self.site.sim.violated(f"{plan.id} did not end: {found}, {pending} images pending")
            return
        report = json.loads(output.blobs[f"{plan.id}/report.json"])
        reported = {entry["image"]: entry for entry in report["images"]}
        there = {key for key in output.blobs if key.startswith(f"{plan.id}/")} - {f"{plan.id}/report.json"}
        if len(rows) != len(plan.images) or sorted(reported) != list(range(len(rows))):
            self.account.lost += abs(len(rows) - len(plan.images)) or 1
            self.site.sim.violated(f"{plan.id} has {len(rows)} images, its report {len(reported)}")
            return
        for row in rows:
            self._conclude_image(plan, row, reported[row[0]], users)
            there -= self._expected[plan.id][row[0]].keys() if row[1] in {"done", "cancelled"} else set()
        if there:
            self.account.doubled += len(there)
            self.site.sim.violated(f"outputs without need: {sorted(there)[:5]}")

    def _conclude_image(self, plan: BatchPlan, row: tuple[Any, ...], entry: dict[str, Any], users: Users) -> None:
        number, state, reasons = row
        wanted = self._expected[plan.id][number]
        blobs, name = self.site.stores.output.blobs, f"{plan.id} image {number}"
        if entry["state"] != state or entry["outputs"] != (list(wanted) if state == "done" else []):
            self.account.wrong += 1
            self.site.sim.violated(f"{name} is {state}, and its report says {entry}")
        good = plan.images[number] == "good" or plan.id in users.mended
        allowed = {"done" if good else "failed"} | (
            {"cancelled", "failed"} if plan.cancel_after_s is not None else set()
        )
        if plan.cancel_after_s is not None and plan.images[number] == "good":
            allowed = {"done", "cancelled"}
        given_up = GIVEN_UP in (reasons or "") and self._may_be_given_up(plan.id, number)
        if state not in allowed and not given_up:
            self.account.wrong += 1
            self.site.sim.violated(f"{name}, {plan.images[number]}, is {state}: {reasons}")
        if state == "done":
            for key, data in wanted.items():
                self.account.lost += key not in blobs
                self.account.wrong += blobs.get(key, data) != data
                if blobs.get(key) != data:
                    self.site.sim.violated(f"{name} is done, and {key} is {blobs.get(key)!r}")

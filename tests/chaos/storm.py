"""Random SIGKILLs during one batch: of workers, the coordinator, single processes of them, and the broker."""

import random
import time
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.chaos.harness import LIMIT_S, Harness, document
from tests.chaos.truth import GuaranteeReport

Target = Literal["worker", "worker parent", "worker child", "coordinator", "broker"]
WEIGHTS: dict[Target, int] = {"worker": 8, "worker parent": 3, "worker child": 3, "coordinator": 5, "broker": 1}
NEXT_KILL_S = 1.5
"""The next kill comes when the batch has gone on by its share, or after this."""
COORDINATOR = "muniflow_coordinator"
"""The module of each coordinator."""
KILLED_SHARE = 0.75
"""The kills are spread over so much of a batch: one that goes on while the last ones strike is still there."""
FIRST_BROKER_KILL_S = 3.0
"""RabbitMQ 3.10 may forget a quorum queue that it made less than a second before it is killed."""
VARIABLES = {"MUNIFLOW_WINDOW_IMAGES": "16", "MUNIFLOW_GROUP_TASKS": "4", "MUNIFLOW_UNFINISHED_AFTER_S": "5"}
"""A small window and small groups: the batch lasts about as long as the storm."""


@dataclass(frozen=True)
class Storm:
    """What is killed, in which order; the moments depend on the machine."""

    kills: int
    images: int
    seed: int
    targets: tuple[Target, ...] = field(init=False)

    def __post_init__(self) -> None:
        chosen = random.Random(self.seed).choices(list(WEIGHTS), list(WEIGHTS.values()), k=self.kills)
        if "broker" not in chosen:
            chosen[self.kills // 2] = "broker"
        object.__setattr__(self, "targets", tuple(chosen))


def rage(harness: Harness, storm: Storm, images: list[str]) -> GuaranteeReport:
    """Run a batch through a storm; another one with the same images follows where it ends before the last kill."""
    dice = random.Random(f"{storm.seed} who")
    started_s = time.monotonic()
    batches = [_submit(harness, storm, images, number=1)]
    first = 0
    for number, target in enumerate(storm.targets):
        share = (number - first) / storm.kills * storm.images * KILLED_SHARE
        _wait_for(harness, batches[-1], share)
        if harness.ended(batches[-1]):
            batches.append(_submit(harness, storm, images, number=len(batches) + 1))
            first = number
        if target == "broker":
            harness.until(lambda: time.monotonic() - started_s > FIRST_BROKER_KILL_S, "an older queue")
        harness.until(lambda: strike(harness, target, dice), "something to kill")  # noqa: B023 - called at once
    harness.until_ended(*batches, limit_s=LIMIT_S * 2)
    harness.until_clean()
    harness.until(lambda: not harness.unfinished(), "outputs without unfinished files")
    return replace(harness.guarantees(*batches), faults=storm.kills, seed=storm.seed)


def _submit(harness: Harness, storm: Storm, images: list[str], number: int) -> str:
    sent = document(f"storm-{storm.seed}-{storm.kills}-{number}", images)
    harness.submit(sent)
    return str(sent["batch_id"])


def _wait_for(harness: Harness, batch: str, share: float) -> None:
    end_s = time.monotonic() + NEXT_KILL_S
    harness.until(lambda: time.monotonic() > end_s or harness.done_images(batch) >= share, "the next kill")


def strike(harness: Harness, target: Target, dice: random.Random) -> bool:
    """Kill it; returns whether there was something to kill: a victim may be dead already."""
    if target == "broker":
        assert harness.node is not None, "the broker is somebody else's"
        harness.node.kill()
        harness.node.start()
        return True
    leading = target == "coordinator"
    names = [name for name, service in harness.services.items() if leading == (service.module == COORDINATOR)]
    service = harness.services[dice.choice(sorted(names))]
    if not service.running:
        return False
    if target == "worker child":
        return service.kill_a_child()
    service.kill(whole_group=target != "worker parent")
    return True

"""Mixed traffic with restarts: what people do all day, on one stack."""

import random
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.chaos.harness import Harness, document
from tests.chaos.truth import GuaranteeReport
from tests.unit.images import craft

ROUTES = (
    ([["resize", "50%"], ["split", True], ["blur", "gaussian"]], "png"),
    ([["blur", "median"], ["resize", "40x30"]], "jpg"),
    ([["split", "3x2"], ["blur", "bilateral"], ["resize", "200%"]], "webp"),
)
LATE = "late.jpg"
"""An image that is not there when its batch is sent; then it is, and runs again."""
CANCEL_EVERY, LATE_EVERY = 6, 3

END_S = 600.0
"""A batch takes seconds; the machine may be busy with other work for an hour."""


@dataclass
class Traffic:
    """Batches one after the other; each is erased at its end."""

    harness: Harness
    images: list[str]
    seed: int
    batches: int = 0
    restarts: int = 0
    guarantees: GuaranteeReport = field(default_factory=GuaranteeReport)

    def leg(self, number: int, seconds: float) -> None:
        """Batches for so long, with a restart in the middle; at rest afterwards."""
        dice = random.Random(f"{self.seed} {number}")
        began_s, restarted, count = time.monotonic(), False, 0
        while not restarted or time.monotonic() - began_s < seconds:
            batch = f"soak-{self.seed}-{number}-{count}"
            self._begin(batch, count)
            if not restarted and time.monotonic() - began_s >= seconds / 2:
                self._restart(number, dice)
                restarted = True
            self._end(batch, count)
            count += 1
        self.harness.until_clean()

    def _begin(self, batch: str, count: int) -> None:
        operations, output = ROUTES[count % len(ROUTES)]
        images = [*self.images, LATE] if count % LATE_EVERY == 1 else self.images
        self._late.unlink(missing_ok=True)
        self.harness.submit(document(batch, images, operations, output))
        self.batches += 1

    @property
    def _late(self) -> Path:
        return self.harness.root("source") / LATE

    def _end(self, batch: str, count: int) -> None:
        """Wait for it, run again what failed, judge it, erase it."""
        if count % CANCEL_EVERY == 2:
            self.harness.command("cancel", batch)
        self.harness.until_ended(batch, limit_s=END_S)
        if count % LATE_EVERY == 1:
            self._late.write_bytes(craft.jpeg(craft.photo(60, 44)))
            self.harness.command("reopen", batch)
            self.harness.until(partial(self._is_done, batch), f"{batch} ran again")
        if count % CANCEL_EVERY != 2:
            self.guarantees += self.harness.guarantees(batch)
        self.harness.command("erase", batch)
        self.harness.until(lambda: self.harness.gone(batch), f"{batch} is gone")

    def _is_done(self, batch: str) -> bool:
        status = self.harness.status(batch)
        return status is not None and status.state == "done"

    def _restart(self, number: int, dice: random.Random) -> None:
        """One process, by turns; by SIGTERM or SIGKILL."""
        names = [*self.harness.services, "broker"]
        name = names[number % len(names)]
        self.restarts += 1
        if name == "broker":
            assert self.harness.node is not None
            self.harness.node.kill()
            self.harness.node.start()
            return
        service = self.harness.services[name]
        lives = service.lives
        service.process.send_signal(dice.choice((signal.SIGTERM, signal.SIGKILL)))
        self.harness.until(lambda: service.lives > lives and service.ready, f"{name} again")

"""Releases that a scaler runs, and the bounds that their replicas keep."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.cluster.batches import Batch, wanted
from tests.cluster.bench import STAGES, Bench, values
from tests.cluster.recording import Recording, picture
from tests.cluster.supplies import KEDA, Supplies
from tests.deploy.chart import ROOT
from tests.support.waiting import eventually

from muniflow.forecast.replicas import MARGIN
from muniflow.forecast.stage import EFFICIENCY

PICTURES = ROOT / "docs" / "images"
START_S = 5
SIGNAL_S = 45
"""How old the numbers are on which a scaler decides: as the guide says."""
HORIZON_S = 4 * (SIGNAL_S + START_S)
"""The shortest that the guide allows."""
SCALE_DOWN = {"stabilizationSeconds": 60, "percent": 50, "periodSeconds": 15}
POLLING_S = 5
"""Between two looks of KEDA: the chart's default."""
COOLDOWN_S = 20
"""Shorter than the chart's, so that a stage is at zero again soon."""
LOOKS = {"pollingSeconds": POLLING_S, "cooldownSeconds": COOLDOWN_S}
MESSAGES = 40
"""Of one replica, for the signal `messages`: the chart's default."""
NAPS_S = {"shrink": 0.8, "cut": 0.8, "soften": 0.8}
"""`soften` has two tasks of each image: twice the work."""
HPA_S = 15
"""Between two looks of the HPA controller."""
UP_S = 240.0
"""From an install to a pod of each stage, on a busy machine."""
DOWN_S = 240.0
"""From the end of a batch to the fewest: the signal's delay, the window, three halvings, drains."""


@dataclass(frozen=True)
class Scaled:
    """A release on the bench, scaled by an HPA or by KEDA."""

    supplies: Supplies
    signal: str = "forecast"
    most: int = 6
    horizon_s: int = HORIZON_S

    @property
    def bench(self) -> Bench:
        return self.supplies.bench

    @property
    def fewest(self) -> int:
        """An HPA needs one pod at least."""
        return 0 if self.supplies.scaler == KEDA else 1

    def install(self, **more: Any) -> None:
        """Install or upgrade."""
        scaling = {
            "max": self.most,
            "horizonSeconds": self.horizon_s,
            "startSeconds": START_S,
            "messagesPerReplica": MESSAGES,
        }
        autoscaling = {"mode": self.supplies.scaler, "signal": self.signal, "scaleDown": SCALE_DOWN, "keda": LOOKS}
        external = {"managementUrl": self.supplies.broker.management_url, "monitoringSecret": "broker"}
        broker = {"vhost": "/", "external": external}  # RabbitMQ's own vhost, as in the broker's URL
        defaults = {"scaling": scaling, **more.pop("stepDefaults", {})}
        settings = values(autoscaling=autoscaling, stepDefaults=defaults, broker=broker, **more)
        self.bench.install(settings)

    def until_fewest(self, limit_s: float = DOWN_S) -> None:
        fewest = dict.fromkeys(STAGES, (self.fewest, self.fewest))
        bench = self.bench
        eventually(lambda: bench.scaled() == fewest, limit_s, lambda: f"the fewest: {bench.scaled()}", every_s=0.5)

    def warm_up(self, name: str = "few", naps_s: Mapping[str, float] = NAPS_S) -> None:
        """A few images, so that the coordinator knows how long a task takes; then the fewest again."""
        few = Batch(self.supplies, name, 8, naps_s)
        few.send()
        until_ended([few], UP_S)
        self.until_fewest()

    def finish(self, recording: Recording, batches: Sequence[Batch], limit_s: float, down_s: float = DOWN_S) -> None:
        """Wait for the end of all batches, and for the fewest replicas."""
        until_ended(batches, limit_s)
        recording.mark("ended")
        self.until_fewest(down_s)
        recording.mark("fewest again" if self.fewest else "none again")

    def recording(self) -> Recording:
        """Of its replicas, and of what the coordinator wants."""
        bench = self.bench
        return Recording(bench.scaled, lambda: wanted(bench) if self.signal == "forecast" else {})


@contextmanager
def installed(supplies: Supplies, **options: Any) -> Iterator[Scaled]:
    """A release with these options of `Scaled`; afterwards it is gone, with all that it left behind."""
    made = Scaled(supplies, **options)
    made.install()
    yield made
    supplies.bench.uninstall()
    supplies.empty()


def draw(title: str, recording: Recording, name: str) -> None:
    """A picture of a run for the documents."""
    (PICTURES / f"{name}.svg").write_text(picture("Replicas on the bench", {title: recording}, STAGES))


def until_ended(batches: Sequence[Batch], limit_s: float) -> None:
    """Wait for the end of all of them."""
    for batch in batches:
        eventually(lambda batch=batch: batch.ended, limit_s, lambda batch=batch: f"{batch.status()}", every_s=0.5)  # type: ignore[misc]


@dataclass(frozen=True)
class Bounds:
    """What a run from the fewest replicas to the fewest again may take."""

    end_s: float
    """From `sent` to `ended`."""
    most: int
    """Replicas of any stage."""
    turns: int
    """Changes of direction of any stage; up and then down is one."""
    cost: float
    """Replica-seconds for each second of tasks."""

    def judge(self, recording: Recording, batches: Sequence[Batch]) -> str:
        """Assert them, and that no image is lost or doubled; returns the figures."""
        naps_s = sum(batch.work_s for batch in batches)
        work_s = sum(batch.spent_s for batch in batches)
        images = sum(batch.images for batch in batches)
        for batch in batches:
            batch.judge()
        took_s = recording.marks["ended"] - recording.marks["sent"]
        figures = (
            f"{images} images in {len(batches)} batches done, 0 lost, 0 doubled, after {took_s:.0f} s; "
            f"naps {naps_s:.0f} s, tasks {work_s:.0f} s, {cost_of(recording, work_s):.2f} replica-seconds for each; "
            f"{recording.figures(STAGES)}"
        )
        assert not self.broken(recording, work_s), figures
        return figures

    def broken(self, recording: Recording, work_s: float) -> list[str]:
        """Which of them a run did not keep."""
        took_s = recording.marks["ended"] - recording.marks["sent"]
        kept = {
            "end_s": took_s <= self.end_s,
            "most": max(map(recording.most, STAGES)) <= self.most,
            "turns": max(map(recording.turns, STAGES)) <= self.turns,
            "cost": cost_of(recording, work_s) <= self.cost,
        }
        return [name for name, is_kept in kept.items() if not is_kept]


def cost_of(recording: Recording, work_s: float) -> float:
    """Replica-seconds for each second of tasks."""
    return sum(map(recording.replica_seconds, STAGES)) / work_s


def bounds(signal: str, images: int, most: int, nap_s: float = NAPS_S["soften"]) -> Bounds:
    """Of one batch that is due after `HORIZON_S`; a signal that is held at one replica breaks them.

    `nap_s`: of a task in `soften`, which has two of each image.
    """
    if signal == "forecast":
        return Bounds(end_s=HORIZON_S + SIGNAL_S, most=most, turns=1, cost=cost(HORIZON_S))
    # Each stage waits for its own queue, so the delays add up along the route.
    end_s = len(STAGES) * (SIGNAL_S + START_S) + largest_s(images, most, nap_s)
    return Bounds(end_s=end_s, most=most, turns=3, cost=2.5)


def largest_s(images: int, most: int, nap_s: float = NAPS_S["soften"]) -> float:
    """Seconds that the most replicas of `soften`, the stage with most work, need."""
    return 2 * images * nap_s / (most * EFFICIENCY)


def cost(horizon_s: float) -> float:
    """What the forecast pays for: its margin, and the window of `scaleDown` with one look of the HPA."""
    return MARGIN / EFFICIENCY * (1 + (SCALE_DOWN["stabilizationSeconds"] + HPA_S) / horizon_s)

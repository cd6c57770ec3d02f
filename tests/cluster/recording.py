"""Replicas over time: sampled once a second, summed up, drawn."""

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import urllib3
from deploy.grafana.generator.panels import Panel
from deploy.grafana.generator.picture import Drawn, Series, svg
from tests.cluster.api import Refused

EVERY_S = 1.0
Replicas = Mapping[str, tuple[int, int]]
"""Asked for by the scaler, and ready, of each stage."""
Sample = tuple[float, Replicas, Mapping[str, float]]


@dataclass
class Recording:
    """`with Recording(bench.replicas, bench.wanted) as recording: ...`"""

    replicas: Callable[[], Replicas]
    wanted: Callable[[], Mapping[str, float]]
    samples: list[Sample] = field(default_factory=list)
    """Seconds since the start, replicas, what the coordinator wants."""
    every_s: float = EVERY_S
    marks: dict[str, float] = field(default_factory=dict)
    """When something happened."""

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._began_s = time.monotonic()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)
        self._look()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began_s

    def mark(self, what: str) -> None:
        """Remember when this happened."""
        self.marks[what] = self.now_s

    def first(self, stage: str, *, ready: int = 0, asked: int = 0) -> float | None:
        """When a stage first had so many replicas, in seconds."""
        for at_s, replicas, _ in self.samples:
            have = replicas.get(stage, (0, 0))
            if have[0] >= asked and have[1] >= ready:
                return at_s
        return None

    def most(self, stage: str) -> int:
        return max(replicas.get(stage, (0, 0))[0] for _, replicas, _ in self.samples)

    def turns(self, stage: str) -> int:
        """How often the scaler changed its direction."""
        asked = [replicas[stage][0] for _, replicas, _ in self.samples if stage in replicas]
        steps = [after - before for before, after in itertools.pairwise(asked) if after != before]
        return sum(1 for before, after in itertools.pairwise(steps) if (before > 0) != (after > 0))

    def replica_seconds(self, stage: str) -> float:
        """What was paid for: replicas that the scaler asked for, times seconds."""
        total = 0.0
        for (at_s, replicas, _), (next_s, _, _) in zip(self.samples, self.samples[1:], strict=False):
            total += replicas.get(stage, (0, 0))[0] * (next_s - at_s)
        return total

    def asked_between(self, stage: str, begin_s: float, end_s: float) -> list[int]:
        """What the scaler asked for, at each look within this time."""
        return [
            replicas[stage][0] for at_s, replicas, _ in self.samples if begin_s <= at_s <= end_s and stage in replicas
        ]

    def figures(self, stages: Sequence[str]) -> str:
        """For people: when what happened, and what it cost."""
        marks = ", ".join(f"{what} {at_s:.0f} s" for what, at_s in self.marks.items())
        lines = [
            f"{stage}: first ready at {told(self.first(stage, ready=1))}, "
            f"second asked for at {told(self.first(stage, asked=2))}, "
            f"ready at {told(self.first(stage, ready=2))}, "
            f"most {self.most(stage)}, turns {self.turns(stage)}, replica-seconds {self.replica_seconds(stage):.0f}"
            for stage in stages
        ]
        return "\n  ".join([marks, *lines])

    def _record(self) -> None:
        while not self._stopping.is_set():
            self._look()
            self._stopping.wait(self.every_s)

    def _look(self) -> None:
        with suppress(Refused, urllib3.exceptions.HTTPError):
            replicas, wanted = self.replicas(), self.wanted()
            self.samples.append((self.now_s, replicas, wanted))


def told(at_s: float | None) -> str:
    """A moment, for people."""
    return "no time" if at_s is None else f"{at_s:.0f} s"


def picture(title: str, rows: Mapping[str, "Recording"], stages: Sequence[str]) -> str:
    """SVG: for each recording a row, with a panel for each stage."""
    longest_s = max(recording.samples[-1][0] for recording in rows.values())
    drawn = []
    for heading, recording in rows.items():
        panels = []
        for stage in stages:
            lines = [
                Series(
                    "ready",
                    [(at_s, replicas[stage][1]) for at_s, replicas, _ in recording.samples if stage in replicas],
                ),
                Series(
                    "asked for",
                    [(at_s, replicas[stage][0]) for at_s, replicas, _ in recording.samples if stage in replicas],
                ),
            ]
            told = [(at_s, wanted[stage]) for at_s, _, wanted in recording.samples if stage in wanted]
            if told:
                lines.append(Series("wanted by the forecast", told))
            panels.append(Drawn(Panel(stage, "lines", "short", "", (), width=8), lines))
        drawn.append((heading, panels))
    return svg(title, drawn, (0.0, longest_s))

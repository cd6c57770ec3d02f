"""The rules of the HorizontalPodAutoscaler and of KEDA's scale to zero, in virtual time.

Sources: Kubernetes 1.33 `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go`; KEDA 2.17
`pkg/scaling/executor/scale_scaledobjects.go`. The metric is external, its target an `AverageValue`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from tests.deploy.chart import Document

TOLERANCE = 0.1
"""`--horizontal-pod-autoscaler-tolerance`."""
SYNC_S = 15.0
"""`--horizontal-pod-autoscaler-sync-period`; the chart's `pollingSeconds` is shorter."""


@dataclass(frozen=True)
class Policy:
    """One `policies` entry of a behavior."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float

    def most(self, replicas: int) -> int:
        """The replicas allowed when there were so many at the start of the period."""
        return replicas + self.value if self.kind == "Pods" else math.ceil(replicas * (1 + self.value / 100))

    def least(self, replicas: int) -> int:
        """The same on the way down."""
        return replicas - self.value if self.kind == "Pods" else int(replicas * (1 - self.value / 100))


@dataclass(frozen=True)
class Behavior:
    """`behavior.scaleUp` or `behavior.scaleDown`; of several policies the one that changes most counts."""

    stabilization_s: float
    policies: tuple[Policy, ...]

    @classmethod
    def read(cls, document: Document) -> Self:
        """As the chart renders it."""
        policies = (Policy(item["type"], item["value"], item["periodSeconds"]) for item in document["policies"])
        return cls(document["stabilizationWindowSeconds"], tuple(policies))


@dataclass(frozen=True)
class Rules:
    """What the chart says about one stage."""

    up: Behavior
    down: Behavior
    least: int
    """0 scales to zero."""
    most: int
    cooldown_s: float
    """Without work for so long, the last replica goes (KEDA)."""
    target: float = 1.0


@dataclass
class Autoscaler:
    """One stage's scaler: call `replicas` every `SYNC_S` seconds."""

    rules: Rules
    _recommendations: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)
    """Time and pods added (negative: removed)."""
    _active_s: float = -math.inf

    def replicas(self, now_s: float, metric: float | None, current: int) -> int:
        """The replicas from now on, given the metric (`None`: it cannot be read) and those that are asked for now."""
        if metric is None:
            return current
        if metric > 0:
            self._active_s = now_s
        if current == 0:
            return max(1, self.rules.least) if metric > 0 else self.rules.least
        if metric <= 0 and self.rules.least == 0 and current == 1 and now_s - self._active_s >= self.rules.cooldown_s:
            return 0
        decided = self._horizontal(now_s, metric, current)
        if decided != current:
            self._changes.append((now_s, decided - current))
        return decided

    def _horizontal(self, now_s: float, metric: float, current: int) -> int:
        target = self.rules.target
        within = abs(metric / (target * current) - 1) <= TOLERANCE
        wish = current if within else math.ceil(metric / target)
        wish = min(self.rules.most, max(1, self.rules.least, wish))
        self._recommendations = [*self._recent(self._recommendations, now_s), (now_s, wish)]
        up_from_s = min(now_s - self.rules.up.stabilization_s, now_s - SYNC_S / 2)
        up = min(n for at_s, n in self._recommendations if at_s > up_from_s)
        down = max(n for at_s, n in self._recommendations if at_s > now_s - self.rules.down.stabilization_s)
        if up > current:
            return min(up, max(policy.most(current - self._changed(now_s, policy.period_s, up=True))
                               for policy in self.rules.up.policies))  # fmt: skip
        if down < current:
            return max(down, min(policy.least(current + self._changed(now_s, policy.period_s, up=False))
                                 for policy in self.rules.down.policies))  # fmt: skip
        return current

    def _recent(self, entries: Sequence[tuple[float, int]], now_s: float) -> list[tuple[float, int]]:
        longest_s = max(self.rules.up.stabilization_s, self.rules.down.stabilization_s)
        return [entry for entry in entries if entry[0] > now_s - longest_s]

    def _changed(self, now_s: float, period_s: float, *, up: bool) -> int:
        """How many pods were added (or removed) within the period."""
        self._changes = [entry for entry in self._changes if entry[0] > now_s - 3600]
        recent = (n for at_s, n in self._changes if at_s > now_s - period_s)
        return sum(n for n in recent if n > 0) if up else sum(-n for n in recent if n < 0)

"""One simulated installation: stages, pools, scalers and the batches of a week, in steps of the autoscaler's period."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.simulation.scaling.autoscaler import SYNC_S, Autoscaler, Rules
from tests.simulation.scaling.cluster import Nodes, Pods, Pool
from tests.simulation.scaling.dispatcher import Dispatcher
from tests.simulation.scaling.forecaster import Answer
from tests.simulation.scaling.pipeline import Flow
from tests.simulation.scaling.workload import Job

from muniflow.forecast.stage import Stage

Turn = Callable[[float, Sequence[Flow], Mapping[str, int], float], Answer]
"""`(now, batches that run or ended since, running replicas, pace) -> wanted replicas of each stage, and windows`."""
NOISE = 0.05
"""Deviation of the pace of all machines: it changes every `NOISE_S`."""
NOISE_S = 600.0


@dataclass
class City:
    """An installation; `run` lets a week pass."""

    stages: Sequence[Stage]
    rules: Mapping[str, Rules]
    pools: Mapping[str, Pool]
    turn: Turn
    seed: int = 0
    """Of the noise."""
    noise: float = NOISE
    scalers: dict[str, Autoscaler] = field(init=False)
    pods: dict[str, Pods] = field(init=False)
    nodes: dict[str, Nodes] = field(init=False)
    replicas: dict[str, int] = field(init=False)
    history: dict[str, list[tuple[float, int]]] = field(init=False)
    """Each change of what is asked for, by stage: time and replicas."""
    dispatcher: Dispatcher = field(init=False, default_factory=Dispatcher)

    def __post_init__(self) -> None:
        self.scalers = {name: Autoscaler(rules) for name, rules in self.rules.items()}
        self.pods = {stage.name: Pods(stage.start_s) for stage in self.stages}
        self.nodes = {name: Nodes(pool) for name, pool in self.pools.items()}
        self.replicas = {stage.name: stage.min_replicas for stage in self.stages}
        self.history = {stage.name: [] for stage in self.stages}

    def run(self, jobs: Sequence[Job], until_s: float) -> list[Flow]:
        """Send the batches at their times; returns them all with their ends."""
        flows: list[Flow] = []
        active: list[Flow] = []
        coming = list(reversed(jobs))
        now_s = 0.0
        while now_s < until_s:
            while coming and coming[-1].at_s <= now_s:
                flows.append(Flow(coming.pop(), len(flows)))
                active.append(flows[-1])
            ended = [flow for flow in active if flow.ended_s is not None]
            self._step(now_s, active)
            # Who ended is seen once more, so that it is graded.
            active = [flow for flow in active if flow not in ended]
            now_s += SYNC_S
            if (
                not active
                and coming
                and not any(self.replicas.values())
                and not any(node.ready or node.starting_s for node in self.nodes.values())
            ):
                now_s = max(now_s, coming[-1].at_s // SYNC_S * SYNC_S)
        return flows

    def pace(self, now_s: float) -> float:
        """How fast all machines are at this time, about 1."""
        return 1 + self.noise * random.Random(f"{self.seed} {now_s // NOISE_S}").uniform(-1.7, 1.7)

    def _step(self, now_s: float, active: Sequence[Flow]) -> None:
        running = {name: pods.running for name, pods in self.pods.items()}
        pace = self.pace(now_s)
        answer = self.turn(now_s, active, running, pace)
        self.dispatcher.follow([flow for flow in active if flow.ended_s is None], answer.windows)
        capacity_s = {stage.name: stage.rate(running[stage.name]) * SYNC_S * pace for stage in self.stages}
        self.dispatcher.advance(capacity_s, now_s, SYNC_S)
        wanted = answer.wanted
        for stage in self.stages:
            before = self.replicas[stage.name]
            after = self.scalers[stage.name].replicas(now_s, wanted[stage.name], before)
            if after != before:
                self.replicas[stage.name] = after
                self.history[stage.name].append((now_s, after))
        for name, nodes in self.nodes.items():
            placed = [stage for stage in self.stages if stage.pool == name]
            room = nodes.step(now_s, SYNC_S, sum(self.replicas[stage.name] for stage in placed))
            for stage in placed:
                on_nodes = min(self.replicas[stage.name], room)
                room -= on_nodes
                self.pods[stage.name].step(now_s, SYNC_S, on_nodes)

    @property
    def replica_seconds(self) -> float:
        """What all stages used."""
        return sum(pods.replica_seconds for pods in self.pods.values())

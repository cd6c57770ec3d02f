"""Pods and nodes in virtual time: what is asked for starts later, and nothing exists beyond a pool's limit."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pool:
    """A node pool."""

    name: str
    pods_per_node: int
    most_nodes: int
    node_start_s: float
    """From a pending pod to a node that is ready."""
    idle_s: float = 600.0
    """An empty node goes after so long."""


@dataclass
class Nodes:
    """The nodes of one pool, shared by the stages that are placed there."""

    pool: Pool
    ready: int = 0
    starting_s: list[float] = field(default_factory=list)
    """When each node that was bought is ready."""
    node_seconds: float = 0.0
    _empty_since_s: float | None = None

    def step(self, now_s: float, step_s: float, pods: int) -> int:
        """Let time pass with so many pods wanted; returns how many of them have a node."""
        self.ready += sum(at_s <= now_s for at_s in self.starting_s)
        self.starting_s = [at_s for at_s in self.starting_s if at_s > now_s]
        needed = min(self.pool.most_nodes, math.ceil(pods / self.pool.pods_per_node))
        for _ in range(needed - self.ready - len(self.starting_s)):
            self.starting_s.append(now_s + self.pool.node_start_s)
        if needed >= self.ready:
            self._empty_since_s = None
        elif self._empty_since_s is None:
            self._empty_since_s = now_s
        elif now_s - self._empty_since_s >= self.pool.idle_s:
            self.ready, self._empty_since_s = needed, None
        self.node_seconds += (self.ready + len(self.starting_s)) * step_s
        return min(pods, self.ready * self.pool.pods_per_node)


@dataclass
class Pods:
    """The pods of one stage."""

    start_s: float
    """From a node to the first task."""
    placed: int = 0
    starting_s: list[float] = field(default_factory=list)
    """When each placed pod that does not consume yet does so."""
    replica_seconds: float = 0.0

    @property
    def running(self) -> int:
        """Pods that consume."""
        return self.placed - len(self.starting_s)

    def step(self, now_s: float, step_s: float, placed: int) -> None:
        """Let time pass with so many pods that have a node; the youngest go first."""
        self.starting_s = [at_s for at_s in self.starting_s if at_s > now_s]
        if placed > self.placed:
            self.starting_s += [now_s + self.start_s] * (placed - self.placed)
        elif placed < self.placed:
            gone = min(self.placed - placed, len(self.starting_s))
            self.starting_s = self.starting_s[: len(self.starting_s) - gone]
        self.placed = placed
        self.replica_seconds += placed * step_s

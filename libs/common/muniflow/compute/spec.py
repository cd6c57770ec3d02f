"""What a compute child needs to know, as data that travels from the parent to the fork server."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, Self

from muniflow.runtime.settings import CPU, Device

INSTALLED = "muniflow.compute.step:installed_steps"
ALLOCATOR_ENV = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    "MALLOC_ARENA_MAX": "1",
}
"""glibc gives pixel buffers back to the system after each image and takes page faults to get them again; this keeps
them (docs/adr/0005-compute-children.md). glibc reads it at exec, so it is in the fork server's environment."""
ONE_THREAD_ENV = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
"""One child is one core's work; and no thread may run in a process that forks."""


@dataclass(frozen=True)
class ChildSpec:
    """How a compute child is set up."""

    source_url: str
    work_url: str
    output_url: str
    operations: tuple[str, ...] | None = None
    """The operations to carry; `None`: all that `steps` gives."""
    steps: str = INSTALLED
    """`module:function` that returns the `Steps`; imported in the fork server, once for all children."""
    preload: tuple[str, ...] = ("muniflow.compute.process", "muniflow.images.colour", "muniflow.store.open")
    """Further modules to import in the fork server."""
    durable_outputs: bool = True
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `muniflow.images.limits.ImageLimits` that are not the default."""
    memory_limit_bytes: int | None = None
    """Address space of a child (with `opencl`: private memory); more raises `MemoryError` in it. `None`: no limit."""
    task_timeout_s: float = 60.0
    """CPU time that one task may take; the parent holds the same limit against the wall clock."""
    group_stop_s: float = inf
    """Seconds after which a child begins no further task of a group, but gives those that are left back."""
    device: Device = CPU
    """Where its steps compute."""
    shared_cores: bool = False
    """Whether all stages share the cores of this machine, and the CPU time of tasks is what counts."""

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Back from `to_json`."""
        values = json.loads(text)
        for name in ("operations", "preload"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)

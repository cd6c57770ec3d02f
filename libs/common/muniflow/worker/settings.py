"""The worker's own settings."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from muniflow.compute.spec import ChildSpec
from muniflow.images.limits import ImageLimits
from muniflow.runtime.settings import DeviceSettings, MachineSettings, StoreSettings

GROUP_STOP = 3.0
"""Times `group_s` after which a child begins no further task of a group: what its tasks take is guessed from those
before them, and the first group of panoramas after thumbnails would keep one child for seconds, and others idle."""


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split), PlainSerializer(",".join, return_type=str)]
"""Names as settings: a comma list in the environment."""


class WorkerSettings(DeviceSettings, MachineSettings):
    """What a step worker needs beside broker, stores, image limits and process settings."""

    operations: Names = ()
    """Operations to carry; consecutive ones run in memory without a hop. Empty: what the service is made for."""
    children: int = Field(1, ge=1, le=256)
    """Compute children; each keeps one core busy."""
    compute_timeout_s: float = Field(60.0, gt=0)
    """Wall clock and CPU time that one task may take before its child is killed and its image fails."""
    memory_limit_mb: int = Field(4096, ge=1024)
    """Address space of a compute child, in MiB; about 600 of it are libraries. With `opencl`: private memory, because
    drivers reserve far more addresses than they use."""
    pixels_in_flight: int = Field(256_000_000, ge=1)
    """Pixels that unacked deliveries of one queue may have together, however fast they are computed."""
    prefetch_min: int = Field(2, ge=1)
    prefetch_max: int = Field(512, ge=1)
    """Deliveries from one queue that may be unacked, whatever their size; a few groups for each child are wanted."""
    group_s: float = Field(0.2, gt=0)
    """Seconds of work that a child gets at a time; after three times as much it gives back what it has not begun."""
    group_tasks: int = Field(64, ge=1, le=10_000)
    """Tasks that a child gets at a time."""
    drain_timeout_s: float = Field(90.0, gt=0)
    """After SIGTERM: how long to wait for what runs and for the broker. The rest comes back by itself."""


def child_spec(
    worker: WorkerSettings, stores: StoreSettings, limits: ImageLimits, operations: tuple[str, ...]
) -> ChildSpec:
    """What the compute children of a worker are told."""
    return ChildSpec(
        source_url=stores.source_url,
        work_url=stores.work_url,
        output_url=stores.output_url,
        operations=operations,
        durable_outputs=stores.durable_outputs,
        limits=limits.model_dump(mode="json"),
        memory_limit_bytes=worker.memory_limit_mb * 2**20,
        task_timeout_s=worker.compute_timeout_s,
        group_stop_s=GROUP_STOP * worker.group_s,
        device=worker.device,
        shared_cores=worker.shared_cores is not None,
    )

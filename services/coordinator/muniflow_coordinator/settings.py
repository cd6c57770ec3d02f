"""The coordinator's own settings."""

from typing import Literal

from pydantic import Field

from muniflow.runtime.settings import Settings


class CoordinatorSettings(Settings):
    """What the coordinator needs beside broker, stores and process settings."""

    database_url: str = "sqlite:///.muniflow/coordinator.sqlite"
    """Where the ledger is kept: `sqlite:///…` on a local volume, or `postgresql+psycopg://…`."""
    leader_election: Literal["database", "lease"] = "database"
    """Which of several coordinators works: a lock in the database (or beside its file), or a Kubernetes Lease."""
    lease_name: str = "muniflow-coordinator"
    lease_namespace: str | None = None
    """The namespace of the pod, where it is left out."""
    pod_name: str | None = None
    """Who asks for the lease; the host name, where it is left out."""
    peer_host: str | None = None
    """The address at which other coordinators reach this one: a standby passes questions on to the one that works.

    Without it, a standby answers with what the ledger knows.
    """
    window_images: int = Field(256, gt=0)
    """Images of one batch in flight: bounds its intermediates. Of small images, up to four times as many."""
    window_total: int = Field(1024, gt=0)
    """Images of all batches that may be in flight."""
    events_prefetch: int = Field(2000, gt=0, le=65535)
    """Unacked messages of events; those that arrive together are recorded in one transaction."""
    events_linger_s: float = Field(0.1, ge=0, le=1)
    """How long the ends of images wait for company at most, in seconds, so that one transaction records many.

    Those that refill a batch's window or may end the batch do not wait for it.
    """
    intake_threads: int = Field(2, gt=0, le=16)
    """Batches that are read at the same time: a small one need not wait for a large one."""
    redispatch_after_s: float = Field(3600.0, ge=0)
    """Images in flight of which nothing was heard for so long, while no queue holds tasks, are dispatched again.

    0: never.
    """
    unfinished_after_s: float = Field(3600.0, ge=0)
    """So long after the end of a batch, files that killed processes left unfinished among its outputs are removed.

    Longer than any task; local volumes only. 0: never.
    """
    rabbitmq_metrics_url: str | None = None
    """`http://host:15692`, RabbitMQ's own metrics; without it the queues are asked over AMQP."""

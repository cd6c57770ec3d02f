"""The life of a worker process: start everything in parallel, serve, drain on a signal."""

import logging
import os
import random
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from muniflow.compute.pool import ComputePool
from muniflow.compute.types import Pool, PoolEvents
from muniflow.errors import Fault, Invalid
from muniflow.images.limits import ImageLimits
from muniflow.model.earlier import instead
from muniflow.model.operation import installed_operations
from muniflow.model.topology import worker_topology
from muniflow.runtime import logs
from muniflow.runtime.clock import SYSTEM_CLOCK, Clock
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.heartbeat import Heartbeat
from muniflow.runtime.http import HttpServer
from muniflow.runtime.loop import Loop, new_loop
from muniflow.runtime.open_tracing import open_tracing
from muniflow.runtime.settings import CPU, BrokerSettings, GrantSettings, ProcessSettings, StoreSettings, read_env
from muniflow.runtime.signals import signals_on
from muniflow.runtime.tracing import Tracing
from muniflow.transport.rabbitmq import RabbitTransport
from muniflow.transport.types import Transport
from muniflow.worker.consumer import Consumer
from muniflow.worker.grants import GrantCheck
from muniflow.worker.metrics import WorkerMetrics
from muniflow.worker.settings import WorkerSettings, child_spec

log = logging.getLogger(__name__)

BEAT_LIMIT_S = 15.0
"""A loop that did not turn for this long is stuck; nothing on it takes more than milliseconds."""
DRAIN_POLL_S = 0.02
FAILED = 1


@dataclass
class Worker:
    """One worker process."""

    loop: Loop
    transport: Transport
    operations: tuple[str, ...]
    settings: WorkerSettings
    pool: Pool
    consumer: Consumer
    metrics: WorkerMetrics
    clock: Clock = SYSTEM_CLOCK
    exit_code: int = 0
    _ready: bool = field(default=False, init=False)
    _refused: str | None = field(default=None, init=False)
    _draining: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)
    _heartbeat: Heartbeat = field(init=False)

    def __post_init__(self) -> None:
        """Make the heartbeat."""
        self._heartbeat = Heartbeat(self.loop, BEAT_LIMIT_S, clock=self.clock)

    def run(self) -> int:
        """Serve until a signal or a failed start; returns the exit code."""
        self._heartbeat.start()
        self.metrics.describe(self.operations, self.settings.children, self.settings.device)
        self.metrics.blocked.set_function(lambda: self.transport.blocked is not None)
        self.pool.start()
        if self.settings.device == CPU:
            self._connect()
        self.loop.start()
        return self.exit_code

    def alive(self) -> bool:
        """Whether the loop turns; called from the HTTP server's thread."""
        return self._heartbeat.alive()

    def not_ready(self) -> str | None:
        """Why tasks are not taken or cannot be run, or `None`; called from the HTTP server's thread."""
        if self._refused is not None:
            return self._refused
        if self._draining:
            return "draining"
        if self.settings.device != CPU and not self._ready:
            return f"the {self.settings.device} device is tried"
        if not self.transport.connected:
            return f"not connected to the broker: {self.transport.disconnect_reason}"
        return None if self._ready else "compute children are starting"

    def stop(self) -> None:
        """Drain, then stop; called again, stop at once. The signal handlers' part, on the loop."""
        if self._draining:
            self._end()
            return
        log.info("draining")
        self._draining = True
        self.consumer.drain()
        self._await_drained(self.clock.monotonic_s() + self.settings.drain_timeout_s)

    def on_pool_ready(self) -> None:
        """A compute child can take work."""
        if self._draining or self._ended:
            return
        self._ready = True
        log.info("computing on %s", self.settings.device, extra={"device_name": self.pool.device})
        if self.settings.device != CPU:
            self._connect()
        self.consumer.wake()

    def on_pool_failed(self, reason: str) -> None:
        """The step packages cannot be used, or there is no device: nothing can ever be done here."""
        log.error("compute children cannot start: %s", reason)
        self._refused = f"compute children cannot start: {reason}"
        self.exit_code = FAILED
        self._end()

    def on_death(self, cause: str) -> None:
        """A compute child died at work."""
        log.warning("a compute child died: %s", cause)
        self.metrics.child_deaths.inc()

    def _connect(self) -> None:
        """Take work: while the children start, or after it where they may find no device.

        Without one, a worker that is started again and again would take tasks and hand them back each time, until the
        broker gives them up.
        """
        self.consumer.start()
        needed = worker_topology(self.operations, instead(self.operations))
        self.transport.start(needed, self._on_connected, self._on_lost)

    def _on_connected(self) -> None:
        self.metrics.connected.set(1)
        log.info("serving %s", ", ".join(self.operations))

    def _on_lost(self, reason: str) -> None:
        self.metrics.connected.set(0)
        log.warning("connection lost: %s", reason)
        self.consumer.lost()

    def _await_drained(self, until_s: float) -> None:
        if self.consumer.drained:
            self._end()
        elif self.clock.monotonic_s() > until_s:
            log.warning("not drained in time; the rest is delivered again elsewhere")
            self._end()
        else:
            self.loop.call_later(DRAIN_POLL_S, lambda: self._await_drained(until_s))

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.transport.stop(lambda: self.pool.stop(self.loop.stop))


def new_worker(
    loop: Loop,
    transport: Transport,
    pool: Pool,
    *,
    operations: tuple[str, ...],
    settings: WorkerSettings,
    metrics: WorkerMetrics,
    failpoints: Failpoints | None = None,
    tracing: Tracing | None = None,
    clock: Clock = SYSTEM_CLOCK,
    chance: Callable[[], float] = random.random,
    grants: GrantCheck | None = None,
) -> Worker:
    """Put a worker together; the pool's events become the worker's."""
    points = failpoints or Failpoints()
    consumer = Consumer(
        loop, transport, pool, operations, settings, metrics, points, tracing or Tracing(), clock, chance,
        grants or GrantCheck(),
    )  # fmt: skip
    worker = Worker(loop, transport, operations, settings, pool, consumer, metrics, clock)
    pool.events = PoolEvents(worker.on_pool_ready, consumer.wake, worker.on_pool_failed, worker.on_death)
    return worker


def serve(default_operations: tuple[str, ...], env: Mapping[str, str]) -> int:
    """Run a worker with the settings of `env`; returns its exit code.

    Raises:
        Invalid: a setting is wrong.
    """
    process = read_env(ProcessSettings, env)
    settings = read_env(WorkerSettings, env)
    logs.configure(
        process.log_format, process.log_level, "+".join(settings.operations or default_operations) or "worker"
    )
    operations = known_operations(settings.operations or default_operations)
    spec = child_spec(settings, read_env(StoreSettings, env), read_env(ImageLimits, env), operations)
    loop = new_loop()
    name = f"worker {'+'.join(operations)} {socket.gethostname()} {os.getpid()}"
    transport = RabbitTransport(read_env(BrokerSettings, env), loop, name)
    registry, tracing = CollectorRegistry(), open_tracing(env, "+".join(operations))
    pool = ComputePool(loop, spec, settings.children)
    worker = new_worker(
        loop,
        transport,
        pool,
        operations=operations,
        settings=settings,
        metrics=WorkerMetrics(registry),
        failpoints=Failpoints.from_env(env),
        tracing=tracing,
        grants=GrantCheck.of(read_env(GrantSettings, env)),
    )
    server = HttpServer(process.http_bind, registry, {}, live=worker.alive, ready=worker.not_ready)
    with server, signals_on(loop, (signal.SIGTERM, signal.SIGINT), worker.stop):
        code = worker.run()
    tracing.stop()
    loop.close()
    return code


def known_operations(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The operations to carry; all that are installed when none is named.

    Raises:
        Invalid: one is not installed, or none is.
    """
    installed = installed_operations()
    if missing := [name for name in wanted if name not in installed]:
        known = ", ".join(installed) or "none"
        raise Invalid((Fault("MUNIFLOW_OPERATIONS", f"{', '.join(missing)} not installed; installed: {known}"),))
    if not (wanted or installed):
        raise Invalid((Fault("MUNIFLOW_OPERATIONS", "no step package is installed"),))
    return tuple(wanted or installed)

"""The process: settings in, loop on, signals to a clean end."""

import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from muniflow import logs
from muniflow.errors import Fault, Invalid
from muniflow.failpoints import Failpoints
from muniflow.loop import Loop, new_loop
from muniflow.operation import installed_operations
from muniflow.serve import HttpServer
from muniflow.settings import BrokerSettings, ProcessSettings, StoreSettings, read_env
from muniflow.store.open import open_store
from muniflow.transport.rabbitmq import RabbitTransport
from muniflow_coordinator.answers import Answers
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.core import Stores, Surroundings
from muniflow_coordinator.depths import depth_reader
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.stages import Stages
from muniflow_coordinator.state.opening import open_state

log = logging.getLogger(__name__)

BEAT_S = 1.0
BEAT_LIMIT_S = 30.0
"""A loop that did not turn for this long is stuck; the longest piece of work on it is one slice of a transaction."""


class Process:
    """The coordinator's life beside its loop: heartbeat, readiness, end."""

    def __init__(self, loop: Loop, coordinator: Coordinator) -> None:
        """Watch over `coordinator`."""
        self._loop = loop
        self._coordinator = coordinator
        self._beat_s = time.monotonic()
        self._draining = False

    def beat(self) -> None:
        """Turn up once a second."""
        self._beat_s = time.monotonic()
        self._loop.call_later(BEAT_S, self.beat)

    def alive(self) -> bool:
        """Whether the loop turns; called from the HTTP server's thread."""
        return time.monotonic() - self._beat_s < BEAT_LIMIT_S

    def why_not_ready(self) -> str | None:
        """Why it does not work now, or `None`; called from the HTTP server's thread."""
        core = self._coordinator.core
        if self._draining:
            return "draining"
        if not core.transport.connected:
            return "the broker is not connected"
        return core.patience.waiting_for

    def stop(self) -> None:
        """Record and ack what has come, then end; called again, end at once. On the loop."""
        if self._draining:
            self._loop.stop()
            return
        log.info("draining")
        self._draining = True
        self._coordinator.stop(self._loop.stop)


def serve(env: Mapping[str, str]) -> int:
    """Run the coordinator with the settings of `env` until SIGTERM; returns the exit code.

    Raises:
        Invalid: a setting is wrong.
        MuniflowError: the database or the port cannot be had.
    """
    process_settings = read_env(ProcessSettings, env)
    logs.configure(process_settings.log_format, process_settings.log_level, "coordinator")
    settings, broker = read_env(CoordinatorSettings, env), read_env(BrokerSettings, env)
    operations = installed_operations()
    if not operations:
        raise Invalid((Fault("", "no step package is installed: no batch could be accepted"),))
    loop: Any = new_loop()
    registry = CollectorRegistry()
    given = Surroundings(
        loop=loop,
        transport=RabbitTransport(broker, loop, f"coordinator {socket.gethostname()} {os.getpid()}"),
        state=open_state(settings.database_url),
        stores=_open_stores(read_env(StoreSettings, env)),
        metrics=Metrics(registry),
        failpoints=Failpoints.from_env(env),
    )
    coordinator = Coordinator(given, operations, settings)
    process = Process(loop, coordinator)
    stages = Stages(tuple(operations), coordinator.rates, depth_reader(broker, settings.rabbitmq_metrics_url))
    routes = Answers(coordinator.core, operations, stages).routes()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.add_callback_threadsafe(process.stop))
    with HttpServer(process_settings.http_bind, registry, routes, live=process.alive, ready=process.why_not_ready):
        try:
            process.beat()
            coordinator.start()
            stages.start()
            loop.start()
        finally:
            stages.stop()
            coordinator.halt()
    given.state.close()
    loop.close()
    return 0


def _open_stores(settings: StoreSettings) -> Stores:
    return Stores(open_store(settings.source_url), open_store(settings.work_url), open_store(settings.output_url))

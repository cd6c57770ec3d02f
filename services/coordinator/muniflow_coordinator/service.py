"""The process: settings in, loop on, signals to a clean end."""

import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from muniflow.errors import Fault, Invalid
from muniflow.model.operation import installed_operations
from muniflow.runtime import logs
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.http import HttpServer, Route
from muniflow.runtime.loop import Loop, new_loop
from muniflow.runtime.open_tracing import open_tracing
from muniflow.runtime.settings import BrokerSettings, ProcessSettings, StoreSettings, read_env
from muniflow.runtime.signals import signals_on
from muniflow.store.open import open_stores
from muniflow.transport.rabbitmq import RabbitTransport
from muniflow_coordinator.api.queue_depths import depth_reader
from muniflow_coordinator.api.routes import Answers
from muniflow_coordinator.api.stages import Stages
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.core import Stores, Surroundings
from muniflow_coordinator.leadership.choose import lock_of
from muniflow_coordinator.leadership.peers import Peers, own_url
from muniflow_coordinator.lifecycle import Process
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.runs.rates import StepRates
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.state.opening import connect_state

log = logging.getLogger(__name__)


def serve(env: Mapping[str, str]) -> int:
    """Run the coordinator with the settings of `env` until SIGTERM; returns the exit code.

    Raises:
        Invalid: a setting is wrong.
        MuniflowError: the port cannot be had, or the database is one of a newer muniflow.
    """
    process_settings = read_env(ProcessSettings, env)
    logs.configure(process_settings.log_format, process_settings.log_level, "coordinator")
    settings, broker = read_env(CoordinatorSettings, env), read_env(BrokerSettings, env)
    operations = installed_operations()
    if not operations:
        raise Invalid((Fault("", "no step package is installed: no batch could be accepted"),))
    loop: Any = new_loop()
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    state = connect_state(settings.database_url)
    rates = StepRates()
    stages = Stages(tuple(operations), rates, depth_reader(broker, settings.rabbitmq_metrics_url))
    name = f"{socket.gethostname()} {os.getpid()}"
    address = own_url(settings.peer_host, process_settings.http_bind)
    peers = Peers(address, state.holder, lambda: process.core() is not None)
    signed = peers.signature(name)
    failpoints, tracing = Failpoints.from_env(env), open_tracing(env, "coordinator")
    stores = _open_stores(read_env(StoreSettings, env), failpoints)

    def make(give_up: Callable[[str], None]) -> Coordinator:
        transport = RabbitTransport(broker, loop, f"coordinator {name}")
        given = Surroundings(
            loop, transport, state, stores, metrics, failpoints, give_up, rates, stages.no_task_waits, signed, tracing
        )
        return Coordinator(given, operations, settings)

    process = Process(loop, state, lock_of(settings), make)
    metrics.watch(process.live)
    routes = peers.routes(Answers(state, process.core, operations, stages).routes())
    _run(process, loop, stages, _server(process_settings.http_bind, registry, routes, process))
    state.close()
    tracing.stop()
    loop.close()
    if process.error is not None:
        raise process.error
    return 0


def _server(bind: str, registry: CollectorRegistry, routes: Mapping[str, Route], process: Process) -> HttpServer:
    return HttpServer(bind, registry, routes, live=process.alive, ready=process.why_not_ready, status=process.part)


def _run(process: Process, loop: Loop, stages: Stages, server: HttpServer) -> None:
    with server, signals_on(loop, (signal.SIGTERM, signal.SIGINT), process.stop):
        try:
            process.start()
            stages.start()
            process.run()
        finally:
            stages.stop()
            process.end()


def _open_stores(settings: StoreSettings, failpoints: Failpoints) -> Stores:
    return Stores(*open_stores(settings.source_url, settings.work_url, settings.output_url, failpoints))

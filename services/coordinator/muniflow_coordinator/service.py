"""Runs a coordinator process: reads the settings, starts everything, ends cleanly on a signal."""

import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from muniflow.errors import Fault, Invalid
from muniflow.forecast.stage import Stages as Deployments
from muniflow.images.limits import ImageLimits
from muniflow.images.pictures import read_pictures
from muniflow.model.operation import Operations, installed_operations
from muniflow.planning.budgets import Budgets
from muniflow.runtime import logs
from muniflow.runtime.budgets import BudgetSettings
from muniflow.runtime.clock import SYSTEM_CLOCK
from muniflow.runtime.executor import ThreadExecutor, ThreadRepeater
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.http import HttpServer, Route
from muniflow.runtime.loop import Loop, new_loop
from muniflow.runtime.open_tracing import open_tracing
from muniflow.runtime.settings import (
    BrokerSettings,
    GrantSettings,
    OwnerSettings,
    ProcessSettings,
    StoreSettings,
    read_env,
)
from muniflow.runtime.signals import signals_on
from muniflow.store.open import open_stores
from muniflow.transport.connection import user_of
from muniflow.transport.rabbitmq import RabbitTransport
from muniflow_coordinator.api.budgets import BudgetAnswers
from muniflow_coordinator.api.failure_counts import CountedFailures
from muniflow_coordinator.api.failures import FailureAnswers
from muniflow_coordinator.api.history import History
from muniflow_coordinator.api.queue_depths import depth_reader
from muniflow_coordinator.api.routes import Answers
from muniflow_coordinator.api.scaling import ScalingAnswers
from muniflow_coordinator.api.stages import ReadDepths, Stages
from muniflow_coordinator.api.webhooks import WebhookAnswers
from muniflow_coordinator.assembly import assemble
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.farewell import Farewell
from muniflow_coordinator.foresight.fleet import stages_of
from muniflow_coordinator.foresight.service_times import given_profile
from muniflow_coordinator.handlers.senders import Senders
from muniflow_coordinator.handlers.step_users import StepUsers
from muniflow_coordinator.leadership.choose import lock_of
from muniflow_coordinator.leadership.peers import Peers, own_url
from muniflow_coordinator.lifecycle import Process
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.resources import Resources, Stores
from muniflow_coordinator.retry_queue import GiveUp
from muniflow_coordinator.runs.rates import StepRates
from muniflow_coordinator.runs.signer import Signer
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.state.opening import connect_state
from muniflow_coordinator.state.sql import SqlState
from muniflow_coordinator.webhooks.config import read_config
from muniflow_coordinator.webhooks.courier import Webhooks
from muniflow_coordinator.webhooks.sender import WebhookSender, nothing_sent

log = logging.getLogger(__name__)

Poller = Stages | CountedFailures | History | Farewell
"""What looks at something again and again, beside the loop."""


def serve(env: Mapping[str, str]) -> int:
    """Run the coordinator with the settings of `env` until SIGTERM; returns the exit code.

    Raises:
        Invalid: a setting is wrong.
        MuniflowError: the port is in use, or a newer muniflow wrote the database.
    """
    process_settings = _logging(env)
    settings, broker = read_env(CoordinatorSettings, env), read_env(BrokerSettings, env)
    operations, deployments = _installed(settings)
    loop: Any = new_loop()
    clock, registry, http_bind = SYSTEM_CLOCK, CollectorRegistry(), process_settings.http_bind
    failpoints, tracing, budgets = Failpoints.from_env(env), open_tracing(env, "coordinator"), _budgets(env)
    state, rates = connect_state(settings.database_url, clock, failpoints), StepRates(clock)
    counted, stages, history = _counts(state, operations, rates, depth_reader(broker, settings.rabbitmq_metrics_url))
    peers = Peers(own_url(settings.peer_host, http_bind), state.holder, lambda: process.view() is not None, clock)
    given = Resources(
        loop=loop,
        clock=clock,
        new_executor=partial(ThreadExecutor.of, loop),
        state=state,
        stores=_open_stores(read_env(StoreSettings, env), failpoints),
        metrics=Metrics(registry),
        rates=rates,
        no_task_waits=stages.no_task_waits,
        takes_express=stages.takes_express,
        stages=deployments,
        consumers=stages.replicas,
        profile=given_profile(settings.profile_file),
        read_pictures=partial(read_pictures, limits=budgets.limits),
        webhooks=_webhooks(settings, state),
        senders=_senders(settings, broker, owners := read_env(OwnerSettings, env)),
        signer=Signer.of(read_env(GrantSettings, env), owners.source_grants),
        budgets=budgets,
        failpoints=failpoints,
        name=peers.signature(f"{socket.gethostname()} {os.getpid()}"),
        tracing=tracing,
    )
    process = _process(given, operations, settings, broker)
    given.metrics.watch(process.live, lambda: counted.last)
    answers = _answers(given, operations, stages, process)
    routes = peers.routes({**answers.routes(), **_state_routes(given), **history.routes()})
    pollers: tuple[Poller, ...] = (stages, counted, history, *_ending(settings, broker, operations))
    _run(process, loop, pollers, _servers(settings, http_bind, registry, routes, process))
    _close(given, process.error)
    return 0


def _ending(settings: CoordinatorSettings, broker: BrokerSettings, operations: Operations) -> Sequence[Farewell]:
    return () if settings.earlier_build else (Farewell(broker, tuple(operations), ThreadRepeater("farewell")),)


def _logging(env: Mapping[str, str]) -> ProcessSettings:
    """Return the settings of the process, with its log as they say."""
    settings = read_env(ProcessSettings, env)
    logs.configure(settings.log_format, settings.log_level, "coordinator")
    return settings


def _counts(
    state: SqlState, operations: Operations, rates: StepRates, depths: ReadDepths
) -> tuple[CountedFailures, Stages, History]:
    """Return what is counted beside the loop."""
    counted = CountedFailures(state, ThreadRepeater("failures"))
    stages = Stages(tuple(operations), rates, depths, ThreadRepeater("stages"), counted.of)
    return counted, stages, History(stages.answer, SYSTEM_CLOCK, ThreadRepeater("history"))


def _close(given: Resources, error: Exception | None) -> None:
    """Close all; raises what ended the process, if anything did."""
    given.state.close()
    given.tracing.stop()
    given.loop.close()
    if error is not None:
        raise error


def _budgets(env: Mapping[str, str]) -> Budgets:
    return Budgets(read_env(BudgetSettings, env), read_env(ImageLimits, env))


def _answers(given: Resources, operations: Operations, stages: Stages, process: Process) -> Answers:
    scaling = ScalingAnswers(given.stages, process.view)
    return Answers(given.state, process.view, operations, stages, scaling, output=given.stores.output)


def _state_routes(given: Resources) -> dict[str, Route]:
    """Return what is answered from the database alone."""
    budgets = BudgetAnswers(given.state, given.budgets.settings, given.clock)
    return {**FailureAnswers(given.state).routes(), **budgets.routes(), **WebhookAnswers(given.state).routes()}


def _installed(settings: CoordinatorSettings) -> tuple[Operations, Deployments]:
    """Return the operations and the stages that carry them."""
    operations = installed_operations()
    if not operations:
        raise Invalid((Fault("", "no step package is installed: no batch could be accepted"),))
    return operations, stages_of(settings.stages, operations)


def _webhooks(settings: CoordinatorSettings, outbox: SqlState) -> Webhooks:
    config = read_config(settings)
    send = WebhookSender(config.policy).send if config.is_on else nothing_sent
    return Webhooks(outbox, config, send, settings.kept_s)


def _senders(settings: CoordinatorSettings, broker: BrokerSettings, owners: OwnerSettings) -> Senders:
    own = user_of(broker)
    gateway = settings.gateway_user or own
    steps = StepUsers(own, settings.step_users, settings.earlier_build)
    return Senders(gateway, settings.operators, settings.unnamed_senders, owners.source_grants, own, steps)


def _process(
    given: Resources, operations: Operations, settings: CoordinatorSettings, broker: BrokerSettings
) -> Process:
    name = f"coordinator {socket.gethostname()} {os.getpid()}"

    def make(give_up: GiveUp) -> Coordinator:
        return assemble(given, operations, settings, RabbitTransport(broker, given.loop, name), give_up)

    lock, repeater = lock_of(settings, given.clock), ThreadRepeater("leadership")
    return Process(given.loop, given.clock, given.state, lock=lock, repeater=repeater, make=make)


def _servers(
    settings: CoordinatorSettings,
    http_bind: str,
    registry: CollectorRegistry,
    routes: Mapping[str, Route],
    process: Process,
) -> Sequence[HttpServer]:
    """Health, and the API with health."""
    make = partial(HttpServer, live=process.alive, ready=process.why_not_ready, status=process.part)
    return make(settings.health_bind, registry), make(http_bind, registry, routes)


def _run(
    process: Process,
    loop: Loop,
    pollers: Sequence[Poller],
    servers: Sequence[HttpServer],
) -> None:
    with ExitStack() as serving:
        for server in servers:
            serving.enter_context(server)
        serving.enter_context(signals_on(loop, (signal.SIGTERM, signal.SIGINT), process.stop))
        try:
            process.start()
            for poller in pollers:
                poller.start()
            process.run()
        finally:
            for poller in pollers:
                poller.stop()
            process.end()


def _open_stores(settings: StoreSettings, failpoints: Failpoints) -> Stores:
    return Stores(*open_stores(settings.source_url, settings.work_url, settings.output_url, failpoints))

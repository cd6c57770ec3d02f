"""The stack of one machine, from the first process to the last: `muniflow up`."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from muniflow.errors import Unavailable
from muniflow.runtime.settings import BrokerSettings, GatewayAddress, StoreSettings, read_env, to_env
from muniflow.runtime.state_folder import API_KEYS
from muniflow.worker.settings import WorkerSettings
from muniflow_cli.stack.docker_broker import LocalBroker, local_broker
from muniflow_cli.stack.place import PROFILE
from muniflow_cli.stack.plan import (
    ProcessPlan,
    WorkerGroup,
    coordinator_plan,
    gateway_plan,
    replica_count,
    stages_of,
    worker_plans,
)
from muniflow_cli.stack.ports import free_ports
from muniflow_cli.stack.processes import identify
from muniflow_cli.stack.signing import signing_variables
from muniflow_cli.stack.state import StackState, forget_state, write_state
from muniflow_cli.stack.stop import stop_left
from muniflow_cli.stack.supervisor import TICK_S, Signals, Supervisor, can_listen, last_lines

BROKER_STOP_S = 20.0
"""Time for the private broker to stop; then it is killed, without loss of data."""
MAX_FAILED_STARTS = 3
"""After so many exits before the stack was ever ready, `up` gives up."""
IDLE_TICK_S = 1.0


@dataclass(frozen=True)
class StackPlan:
    """What `up` was asked for."""

    state_dir: Path
    groups: Sequence[WorkerGroup]
    stores: StoreSettings
    amqp_url: str | None = None
    """A broker that runs already; `None` starts a private one."""
    rabbitmq_metrics_url: str | None = None
    database_url: str | None = None
    gateway: GatewayAddress | None = None
    """Where the gateway listens, and whether it is open there; `None` starts none."""
    api_keys_file: Path | None = None
    """The gateway's; `None` is the one in `state_dir`."""

    @property
    def keys(self) -> Path:
        """The full path of the gateway's file of keys."""
        return (self.api_keys_file or self.state_dir / API_KEYS).resolve()


@dataclass
class LocalStack:
    """Broker, coordinator and workers, started and ended in order."""

    plan: StackPlan
    environment: Mapping[str, str]
    say: Callable[[str], None]
    signals: Signals
    _broker: LocalBroker | None = None
    _supervisor: Supervisor | None = None
    _state: StackState | None = field(default=None)

    def run(self, on_ready: Callable[[StackState], None]) -> None:
        """Start everything, tell `on_ready`, keep it running until a signal asks to stop, then drain and end all.

        Raises:
            Unavailable: something did not become ready in time; all that was started is ended then.
        """
        try:
            broker, services = self._prepare()
            if self._start(broker) and self._start(services):
                self._write(ready=True)
                on_ready(self._current)
                self._keep()
        finally:
            self._drain()

    def _prepare(self) -> tuple[Sequence[ProcessPlan], Sequence[ProcessPlan]]:
        """Decide what is to run: the broker, if it is ours, and what needs it."""
        folder = self.plan.state_dir
        log_dir = folder / "logs"
        log_dir.mkdir(parents=True, exist_ok=True)
        stop_left(folder)
        broker: Sequence[ProcessPlan] = ()
        if self.plan.amqp_url is None:
            self.say("starting a private RabbitMQ node")
            self._broker = local_broker(folder / "broker")
            broker = self._broker.processes()
        taken = {port for process in broker for port in (process.port, *process.own_ports)}
        http_port, *ports = free_ports(3 + replica_count(self.plan.groups), besides=taken)
        gateway = self._gateway()
        self._state = self._describe(
            f"http://127.0.0.1:{http_port}", f"http://{gateway.gateway_bind}" if gateway else None
        )
        self._supervisor = Supervisor(self._variables(self._state), log_dir, self.say)
        stages = stages_of(self.plan.groups, read_env(WorkerSettings, self.environment))
        signing, verifying = signing_variables(folder, self.environment)
        calibrated = folder / PROFILE
        services = [
            coordinator_plan(http_port, ports[0], stages, signing, calibrated if calibrated.exists() else None),
            *worker_plans(self.plan.groups, ports[2:], verifying),
        ]
        if gateway:
            services.append(gateway_plan(ports[1], gateway, self.plan.keys))
        return broker, services

    def _describe(self, coordinator_url: str, gateway_url: str | None) -> StackState:
        supervisor = identify(os.getpid())
        if supervisor is None:
            raise Unavailable("/proc", "the local stack needs it to know its processes")
        broker, plan = self._broker, self.plan
        return StackState(
            supervisor=supervisor,
            amqp_url=broker.amqp_url if broker else str(plan.amqp_url),
            coordinator_url=coordinator_url,
            gateway_url=gateway_url,
            rabbitmq_metrics_url=broker.metrics_url if broker else plan.rabbitmq_metrics_url,
            rabbitmqctl=broker.rabbitmqctl if broker else None,
            database_url=plan.database_url or f"sqlite:///{plan.state_dir.resolve() / 'ledger.db'}",
            stores=plan.stores,
        )

    def _start(self, processes: Sequence[ProcessPlan]) -> bool:
        """Start processes and wait until they are ready; `False` when a signal came first."""
        for process in processes:
            self._running.add(process)
            self._write(ready=False)
        return self._wait_until_ready(max((process.start_timeout_s for process in processes), default=0))

    def _gateway(self) -> GatewayAddress | None:
        """Where the gateway is to listen: as asked for, or at a free port where that one is taken."""
        asked = self.plan.gateway
        if asked is None or can_listen(asked.gateway_bind):
            return asked
        host = asked.gateway_bind.rpartition(":")[0]
        (port,) = free_ports(1)
        self.say(f"{asked.gateway_bind} is taken; the gateway listens at {host}:{port}")
        return asked.model_copy(update={"gateway_bind": f"{host}:{port}"})

    def _wait_until_ready(self, timeout_s: float) -> bool:
        """Whether all is ready; `False` when a signal came first."""
        supervisor = self._running
        deadline_s = time.monotonic() + timeout_s
        while not supervisor.ready:
            if self.signals.asked_to_stop:
                return False
            hopeless = [child for child in supervisor.children if child.quick_ends >= MAX_FAILED_STARTS]
            late = [child for child in supervisor.children if not child.ready]
            if hopeless or time.monotonic() > deadline_s:
                child = (hopeless or late)[0]
                raise Unavailable(
                    child.plan.name, f"it does not start. The end of {child.log}:\n{last_lines(child.log)}"
                )
            self.signals.wait(TICK_S)
            if supervisor.tick():
                self._write(ready=False)
        return True

    def _keep(self) -> None:
        while not self.signals.asked_to_stop:
            if self._running.tick():
                self._write(ready=self._running.ready)
            # Short while somebody is away, so that a restart is not late.
            self.signals.wait(IDLE_TICK_S if self._running.ready else TICK_S)

    def _drain(self) -> None:
        if self._supervisor is not None:
            if self._supervisor.hangs("broker"):
                # First: the others would wait in vain to hand over what they hold. They end at once without it.
                self._supervisor.end("broker", self.signals, 0.0)
            self._supervisor.end("gateway", self.signals)
            self.say("draining the workers")
            self._supervisor.end("worker", self.signals)
            self.say("ending the coordinator")
            self._supervisor.end("coordinator", self.signals)
            if self._broker is not None:
                self.say("ending the broker")
                hangs = self._supervisor.hangs("broker")
                self._supervisor.end("broker", self.signals, 0.0 if hangs else BROKER_STOP_S)
                self._supervisor.end("epmd", self.signals)
                self._broker.stop()
        forget_state(self.plan.state_dir)

    def _write(self, *, ready: bool) -> None:
        self._state = self._current.model_copy(update={"ready": ready, "processes": self._running.states()})
        write_state(self.plan.state_dir, self._state)

    def _variables(self, state: StackState) -> dict[str, str]:
        settings = to_env(BrokerSettings(amqp_url=state.amqp_url), state.stores)
        variables = {
            **self.environment,
            **settings,
            "MUNIFLOW_DATABASE_URL": state.database_url,
            "MUNIFLOW_COORDINATOR_URL": state.coordinator_url,
        }
        if state.rabbitmq_metrics_url:
            variables["MUNIFLOW_RABBITMQ_METRICS_URL"] = state.rabbitmq_metrics_url
        return variables

    @property
    def _current(self) -> StackState:
        assert self._state is not None, "the stack was not started"  # noqa: S101  # tells mypy
        return self._state

    @property
    def _running(self) -> Supervisor:
        assert self._supervisor is not None, "the stack was not started"  # noqa: S101  # tells mypy
        return self._supervisor

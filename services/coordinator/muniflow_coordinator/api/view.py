"""The parts of a coordinator that the threads of the HTTP server may read."""

from dataclasses import dataclass

from muniflow.runtime.clock import Clock
from muniflow.transport.types import Transport
from muniflow_coordinator.cleanup.cleaner import Cleaner
from muniflow_coordinator.foresight.forecaster import Forecaster
from muniflow_coordinator.foresight.forecasts import Forecasts
from muniflow_coordinator.foresight.service_times import ServiceTimes
from muniflow_coordinator.handlers.list_reader import Intakes
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Runs
from muniflow_coordinator.runs.scheduler import Scheduler


@dataclass(frozen=True)
class View:
    """Read-only. The loop changes these parts meanwhile, so an answer is of about one moment."""

    clock: Clock
    transport: Transport
    retry_queue: RetryQueue
    runs: Runs
    intakes: Intakes
    cleaner: Cleaner
    scheduler: Scheduler
    forecaster: Forecaster
    service_times: ServiceTimes
    forecasts: Forecasts

"""Builds a coordinator: the one place that connects its parts."""

from typing import NamedTuple, Self

from muniflow.forecast.window import BYTES_PER_PIXEL, LEAST_IMAGES
from muniflow.model.earlier import with_earlier
from muniflow.model.operation import Operations
from muniflow.model.topology import Topology, topology
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Every
from muniflow.transport.types import Transport
from muniflow_coordinator.api.view import View
from muniflow_coordinator.cleanup.archiver import Archiver
from muniflow_coordinator.cleanup.cleaner import Cleaner
from muniflow_coordinator.cleanup.eraser import Eraser
from muniflow_coordinator.cleanup.late_outputs import LateOutputs
from muniflow_coordinator.cleanup.orphans import Sweeper
from muniflow_coordinator.cleanup.retention import Retention
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.foresight.forecaster import Forecaster
from muniflow_coordinator.foresight.forecasts import Forecasts
from muniflow_coordinator.foresight.guess import USUAL
from muniflow_coordinator.foresight.sampler import Sampler
from muniflow_coordinator.foresight.service_times import ServiceTimes
from muniflow_coordinator.foresight.windows import Windows
from muniflow_coordinator.handlers.alarm_probe import PROBE_S, Probe
from muniflow_coordinator.handlers.audit import AuditTrail
from muniflow_coordinator.handlers.batches import BatchHandler
from muniflow_coordinator.handlers.commands import CommandHandler
from muniflow_coordinator.handlers.dead_letters import LetterHandler
from muniflow_coordinator.handlers.declarer import LOOK_S, Declarer
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.handlers.events import Actions, EventHandler
from muniflow_coordinator.handlers.finalizer import Finisher
from muniflow_coordinator.handlers.list_reader import Intakes, ListReader
from muniflow_coordinator.handlers.pricer import Pricer
from muniflow_coordinator.handlers.progress import Progress
from muniflow_coordinator.handlers.progress_notices import ProgressNotices
from muniflow_coordinator.handlers.redispatch import Redispatcher
from muniflow_coordinator.handlers.rejecter import Rejecter
from muniflow_coordinator.handlers.restart import Restarter
from muniflow_coordinator.notifier import Notifier
from muniflow_coordinator.recovery import Recovery
from muniflow_coordinator.resources import Resources
from muniflow_coordinator.retry_queue import GiveUp, RetryQueue
from muniflow_coordinator.runs.runs import Runs
from muniflow_coordinator.runs.scheduler import Scheduler
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.webhooks.courier import Courier

FINISH_THREADS = 2
CLEANUP_THREADS = 2


class Executors(NamedTuple):
    """One for each kind of work, in the order in which they stop: a long one must not delay the others."""

    intake: Executor
    finish: Executor
    orphans: Executor
    cleanup: Executor
    sizes: Executor
    erasing: Executor

    @classmethod
    def of(cls, given: Resources, settings: CoordinatorSettings) -> Self:
        """Make all of them."""
        return cls(
            intake=given.new_executor("intake", settings.intake_threads),
            finish=given.new_executor("finish", FINISH_THREADS),
            orphans=given.new_executor("orphans", 1),
            cleanup=given.new_executor("cleanup", CLEANUP_THREADS),
            sizes=given.new_executor("sizes", 1),
            erasing=given.new_executor("erasing", 1),
        )


def assemble(
    given: Resources, operations: Operations, settings: CoordinatorSettings, transport: Transport, give_up: GiveUp
) -> Coordinator:
    """Connect the parts of a coordinator for one term of leadership; its `start` begins the work.

    Args:
        given: what the process has, for all terms.
        operations: operations that batches may name.
        settings: the coordinator's settings.
        transport: not started; the coordinator starts and stops it.
        give_up: called as `RetryQueue.give_up`; `Coordinator.halt` must follow.
    """
    loop, clock, state, stores, whole = given.loop, given.clock, given.state, given.stores, _all(operations, settings)
    metrics, tracing, failpoints, declarer = given.metrics, given.tracing, given.failpoints, Declarer(transport)
    executors, retry = Executors.of(given, settings), RetryQueue(loop, clock, give_up)
    runs, intakes, scheduler, notifier = Runs(), Intakes(), _scheduler(settings), Notifier(loop, clock, transport)
    service_times, audit = ServiceTimes(loop, clock, state, retry, given.profile), _audit(given, transport, retry)
    forecasts, courier = Forecasts(loop, clock, state, retry, metrics), _courier(given, retry)
    looks = Every(loop, PROBE_S, Probe(transport, runs).look), Every(loop, LOOK_S, declarer.look)
    cleaner, sweeper, eraser, retention = _removal(given, settings, executors, retry, runs, forecasts=forecasts)
    # fmt: off
    dispatcher = _dispatcher(given, settings, transport, retry, runs=runs, scheduler=scheduler)
    windows = Windows(settings.window_bytes, settings.window_images, dispatcher.set_windows)
    sampler = Sampler(loop, executors.sizes, state, stores.source, runs, given.read_pictures)
    forecaster = _forecaster(given, settings, retry, runs, operations, sampler=sampler, service_times=service_times,
                             windows=windows, forecasts=forecasts)
    progress = Progress(loop, clock, metrics, tracing, runs, scheduler, cleaner, sweeper, given.rates, service_times,
                        ProgressNotices(loop, clock, notifier, forecaster.deadlines))
    finisher = Finisher(loop, clock, executors.finish, state, stores, retry, notifier, metrics, failpoints,
                        forecaster.entry, courier.record, forecasts.ended, progress.finished)
    actions = Actions(progress.settled, Restarter(clock, state, retry, metrics, dispatcher).restart, cleaner.add,
                      forecaster.deadlines.before(finisher.start), progress.tallied, dispatcher.pump)
    events = EventHandler(loop, clock, transport, state, retry, metrics, failpoints, runs, actions,
                          given.senders.steps, given.signer, settings.events_linger_s)
    batches = BatchHandler(loop, clock, transport, state, stores, retry, notifier, failpoints, runs, intakes,
                           *_readers(given, executors.intake, retry, operations), operations, audit, eraser,
                           forecaster.deadlines, courier.faults,
                           Rejecter(clock, transport, state, retry, notifier, audit),
                           (dispatcher.resume, forecaster.accepted, progress.accepted), actions.completed)
    letters = LetterHandler(loop, clock, transport, state, retry, runs, intakes, whole, given.senders)
    commands = CommandHandler(loop, clock, transport, state, retry, notifier, metrics, runs, intakes, scheduler,
                              cleaner, dispatcher, finisher, letters, audit, eraser)
    redispatcher = _redispatcher(given, settings, retry, dispatcher, events)
    recovery = Recovery(given.name, clock, state, runs, batches, commands, dispatcher, finisher, sweeper, retention)
    view = View(clock, transport, retry, runs, intakes, cleaner, scheduler, forecaster, service_times, forecasts)
    live = (retention, dispatcher, redispatcher, *looks, forecaster, service_times, forecasts, retry)
    return Coordinator(letters.topology, transport, retry, recovery, batches, commands, audit, events, letters,
                       dispatcher, redispatcher, declarer, looks, forecaster, service_times, forecasts, courier,
                       metrics, view, (*live, letters, notifier, courier, *executors), settings.events_prefetch)
    # fmt: on


def _all(operations: Operations, settings: CoordinatorSettings) -> Topology:
    """Return the exchanges and queues to declare."""
    declared = topology(operations)
    return with_earlier(declared, operations) if settings.earlier_build else declared


def _dispatcher(
    given: Resources,
    settings: CoordinatorSettings,
    transport: Transport,
    retry: RetryQueue,
    *,
    runs: Runs,
    scheduler: Scheduler,
) -> Dispatcher:
    """Return what publishes the first tasks of images."""
    # fmt: off
    return Dispatcher(given.loop, given.clock, transport, given.state, retry, given.metrics, given.tracing,
                      given.failpoints, runs, scheduler, given.stages, settings.max_weight, settings.express_images,
                      given.takes_express, given.signer)
    # fmt: on


# fmt: off
def _forecaster(
    given: Resources, settings: CoordinatorSettings, retry: RetryQueue, runs: Runs, operations: Operations,
    *, sampler: Sampler, service_times: ServiceTimes, windows: Windows, forecasts: Forecasts,
) -> Forecaster:
    """Return what knows the work ahead."""
    return Forecaster(given.loop, given.clock, retry, runs, sampler, operations, given.stages, given.consumers,
                      service_times.profile, service_times.own, windows, forecasts, settings.express_images,
                      settings.shared_cores)
# fmt: on


def _readers(
    given: Resources, executor: Executor, retry: RetryQueue, operations: Operations
) -> tuple[ListReader, Pricer]:
    """Return what reads the lists and the sizes of new batches."""
    loop, state, source = given.loop, given.state, given.stores.source
    about = (operations, given.budgets, given.read_pictures)
    pricer = Pricer(loop, given.clock, executor, state, source, retry, *about)
    return ListReader(loop, executor, state, retry, source, given.stores.output, pricer.list_faults), pricer


def _removal(
    given: Resources,
    settings: CoordinatorSettings,
    executors: Executors,
    retry: RetryQueue,
    runs: Runs,
    *,
    forecasts: Forecasts,
) -> tuple[Cleaner, Sweeper, Eraser, Retention]:
    """Return what removes intermediates, outputs and uploads."""
    loop, clock, state, stores = given.loop, given.clock, given.state, given.stores
    cleaner, after_s = Cleaner(stores.work, executors.cleanup, CLEANUP_THREADS), settings.unfinished_after_s
    sweeper = Sweeper(loop, clock, executors.orphans, stores.output, after_s, state, retry, runs, cleaner)
    late = LateOutputs(loop, executors.erasing, after_s)
    runs.strangers.on_events = late.look
    eraser = Eraser(loop, clock, executors.erasing, state, stores, retry, forecasts, sweeper, late)
    archiver = Archiver(loop, clock, executors.erasing, state, stores.output, retry, runs, eraser, settings.archive_s)
    kept = settings.owner_keep_days, settings.kept_s
    retention = Retention(loop, clock, state, retry, runs, eraser, archiver, *kept)
    return cleaner, sweeper, eraser, retention


def _audit(given: Resources, transport: Transport, retry: RetryQueue) -> AuditTrail:
    return AuditTrail(given.loop, given.clock, transport, given.state, retry, given.metrics, given.senders)


def _courier(given: Resources, retry: RetryQueue) -> Courier:
    return Courier(given.loop, given.clock, retry, given.metrics, given.webhooks)


# fmt: off
def _redispatcher(
    given: Resources, settings: CoordinatorSettings, retry: RetryQueue, dispatcher: Dispatcher, events: EventHandler
) -> Redispatcher:
    return Redispatcher(given.loop, given.clock, given.state, retry, given.metrics, dispatcher.runs, dispatcher,
                        events.settle, settings.redispatch_after_s, given.no_task_waits)
# fmt: on


def _scheduler(settings: CoordinatorSettings) -> Scheduler:
    """With windows for batches that nothing is known about yet."""
    least = min(LEAST_IMAGES, settings.window_images)
    image_bytes = USUAL.size.pixels * BYTES_PER_PIXEL
    windows = (least, settings.window_total, settings.window_bytes)
    return Scheduler(*windows, image_bytes=image_bytes, express_extra=settings.express_images)

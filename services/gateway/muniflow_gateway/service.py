"""The process: settings in, uvicorn on, signals to a clean end."""

import asyncio
import logging
import os
import resource
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from muniflow.errors import Fault, Invalid, Unavailable
from muniflow.images.limits import ImageLimits
from muniflow.model.operation import Operations, installed_operations
from muniflow.planning.budgets import Budgets
from muniflow.runtime import logs
from muniflow.runtime.budgets import BudgetSettings
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.http import HttpServer, parse_bind
from muniflow.runtime.settings import BrokerSettings, OwnerSettings, ProcessSettings, StoreSettings, read_env, variable
from muniflow.store.open import open_store
from muniflow_gateway.app import make_app
from muniflow_gateway.auth import rooms
from muniflow_gateway.auth.access import OPEN, Access
from muniflow_gateway.auth.api_keys import KeyRing
from muniflow_gateway.clients.audit import AuditTeller
from muniflow_gateway.clients.backlog import AcceptedImages
from muniflow_gateway.clients.broker import Broker
from muniflow_gateway.clients.coordinator import CoordinatorClient
from muniflow_gateway.clients.follow import Follower
from muniflow_gateway.clients.notices import NoticeHub
from muniflow_gateway.dependencies import Dependencies
from muniflow_gateway.metrics import GatewayMetrics
from muniflow_gateway.protocol import BoundedProtocol, ConnectionLimits, Connections
from muniflow_gateway.settings import GatewaySettings
from muniflow_gateway.upload.budgets import BudgetCheck
from muniflow_gateway.upload.service import UploadService

KEEP_ALIVE_S = 75
SPARE_DESCRIPTORS = 256
"""File descriptors that are not for connections: files, stores, the broker, the coordinator."""
DRAIN_S = 60
QUIET = ("httpx", "uvicorn.error")
"""Libraries whose INFO is one line a request, or says what we say."""

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, which tells open streams to end before it waits for them."""

    def __init__(self, config: uvicorn.Config, deps: Dependencies) -> None:
        """Serve, and set `parts.stopping` at the first signal."""
        super().__init__(config)
        self._dependencies = deps

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at the second.

        uvicorn's own handler ends the process by the signal; here an end on request is a success.
        """
        del sig, frame
        self._dependencies.stopping.set()
        self.force_exit = self.should_exit
        self.should_exit = True


def make_dependencies(env: Mapping[str, str], loop: asyncio.AbstractEventLoop) -> Dependencies:
    """The parts by the variables of `env`; connects to nothing yet.

    Raises:
        Invalid: a setting is wrong.
    """
    settings, stores = read_env(GatewaySettings, env), read_env(StoreSettings, env)
    limits, operations = read_env(ImageLimits, env), _installed()
    notices, coordinator = NoticeHub(loop), CoordinatorClient(settings.coordinator_url)
    metrics = GatewayMetrics(CollectorRegistry())
    broker = Broker(read_env(BrokerSettings, env), notices.on_notice, metrics)
    uploads = UploadService(
        settings=settings,
        limits=limits,
        operations=operations,
        grants=read_env(OwnerSettings, env).source_grants,
        source=open_store(stores.source_url),
        broker=broker,
        backlog=AcceptedImages(coordinator, settings.max_backlog_images),
        budgets=BudgetCheck(Budgets(read_env(BudgetSettings, env), limits), operations, coordinator),
        notices=notices,
        failpoints=Failpoints.from_env(env),
        metrics=metrics,
    )
    audit = AuditTeller(loop, broker, settings.publish_timeout_s)
    keys = KeyRing(settings.keys_path(env), audit.key_changed)
    deps = Dependencies(
        settings=settings,
        limits=limits,
        operations=operations,
        source=uploads.source,
        output=open_store(stores.output_url),
        broker=broker,
        coordinator=coordinator,
        follower=Follower(coordinator, notices),
        uploads=uploads,
        access=Access(keys, settings),
        notices=notices,
        metrics=metrics,
        audit=audit,
        grants=uploads.grants,
    )
    metrics.uploads.set_function(lambda: uploads.uploading)
    metrics.streams.set_function(lambda: deps.access.slots.taken(rooms.streams(settings)))
    return deps


def _installed() -> Operations:
    operations = installed_operations()
    if not operations:
        raise Invalid((Fault("", "no step package is installed: no batch could be checked"),))
    return operations


def serve(env: Mapping[str, str]) -> int:
    """Run the gateway with the settings of `env` until SIGTERM; returns the exit code.

    Raises:
        Invalid: a setting is wrong.
        Unavailable: a port cannot be had.
    """
    process = read_env(ProcessSettings, env)
    os.umask(0o077)  # uploads are for muniflow alone
    logs.configure(process.log_format, process.log_level, "gateway")
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    return asyncio.run(_serve(env, process))


async def _serve(env: Mapping[str, str], process: ProcessSettings) -> int:
    deps = make_dependencies(env, asyncio.get_running_loop())
    app = make_app(deps)
    app.router.lifespan_context = _lifespan
    host, port = parse_bind(deps.settings.gateway_bind)
    connections = Connections(_limits(deps.settings), deps.access.addresses.is_proxy)
    config = uvicorn.Config(
        app,
        host=host or "0.0.0.0",  # noqa: S104 - `:8080` asks for every address
        port=port,
        http=partial(BoundedProtocol, connections=connections),  # type: ignore[arg-type]  # any callable will do
        h11_max_incomplete_event_size=deps.settings.max_header_bytes,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    deps.metrics.connections.set_function(lambda: connections.count)
    server = Server(config, deps)
    _say_who_may(deps)
    registry = deps.metrics.registry
    with HttpServer(
        process.http_bind,
        registry,
        {},
        live=lambda: deps.broker.alive,
        ready=deps.why_not_ready,
        status=lambda: deps.access.mode,
    ):
        try:
            await server.serve()
        except SystemExit:  # uvicorn's way to say that the port is taken; the log has said why
            raise Unavailable(f"the address {deps.settings.gateway_bind}", "it cannot be listened on") from None
    return os.EX_OK


def _limits(settings: GatewaySettings) -> ConnectionLimits:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(settings.max_connections, max(descriptors - SPARE_DESCRIPTORS, 1))
    per_address = settings.max_connections_per_address
    return ConnectionLimits(settings.head_timeout_s, settings.send_timeout_s, most, per_address)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    deps: Dependencies = app.state.deps
    deps.broker.start()
    deps.audit.start()
    try:
        yield
    finally:
        await deps.audit.stop()
        deps.uploads.close()
        deps.coordinator.close()
        await asyncio.to_thread(deps.broker.stop)


def _say_who_may(deps: Dependencies) -> None:
    bind, mode = deps.settings.gateway_bind, deps.access.mode
    log.log(logging.INFO if mode == "keys" else logging.WARNING, "listening at http://%s: %s", bind, deps.access.says)
    if deps.settings.megapixels_per_hour:
        old, new = variable("megapixels_per_hour"), variable("day_budget")
        log.warning("%s is deprecated and counts forms of this gateway alone: take %s", old, new)
    if deps.settings.gateway_open and mode != "open":
        log.warning("%s changes nothing, as there is a key file: %s", OPEN, deps.settings.api_keys_file)

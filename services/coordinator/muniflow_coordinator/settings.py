"""The coordinator's own settings."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError

from muniflow.errors import Fault, Invalid
from muniflow.forecast.stage import Stages, read_stages, write_stages
from muniflow.runtime.settings import MachineSettings, variable
from muniflow_coordinator.handlers.senders import Unnamed


def _read_stages(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return read_stages(value)
    except Invalid as invalid:
        place = variable("stages")
        faults = (Fault(place + fault.place.removeprefix("stages"), fault.problem) for fault in invalid.faults)
        raise Invalid(tuple(faults)) from None


StagesSetting = Annotated[Stages, BeforeValidator(_read_stages), PlainSerializer(write_stages, return_type=str)]
"""Stages as a setting: JSON in the environment."""


def _read_days(value: object) -> object:
    return TypeAdapter(dict[str, float]).validate_json(value) if isinstance(value, str) else value


def _read_step_users(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return TypeAdapter(dict[str, frozenset[str]]).validate_json(value)
    except ValidationError:
        raise Invalid((Fault(variable("step_users"), 'write JSON such as {"step-resize": ["resize"]}'),)) from None


StepUsersSetting = Annotated[
    Mapping[str, frozenset[str]],
    BeforeValidator(_read_step_users),
    PlainSerializer(lambda users: json.dumps({name: sorted(users[name]) for name in users}), return_type=str),
]
"""Operations by the user of the broker who serves them, as JSON in the environment."""

DaysSetting = Annotated[
    Mapping[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]],
    BeforeValidator(_read_days),
    PlainSerializer(lambda days: json.dumps(dict(days)), return_type=str),
]
"""Days by owner, as JSON in the environment."""


class CoordinatorSettings(MachineSettings):
    """Settings beside those of broker, stores and process."""

    database_url: str = "sqlite:///.muniflow/coordinator.sqlite"
    """The database: `sqlite:///…` on a local volume, or `postgresql+psycopg://…`."""
    leader_election: Literal["database", "lease"] = "database"
    """The leader lock: in the database (or beside its file), or a Kubernetes Lease."""
    lease_name: str = "muniflow-coordinator"
    lease_namespace: str | None = None
    """Default: the namespace of the pod."""
    pod_name: str | None = None
    """Identity for the lease. Default: the host name."""
    health_bind: str = "127.0.0.1:0"
    """Address of `/metrics`, `/livez` and `/readyz` alone, on a thread of its own: whoever loads the API does not reach
    it. They are at `http_bind`, too. Port 0 takes a free one."""
    peer_host: str | None = None
    """The address at which other coordinators reach this one: a standby forwards requests to the leader.

    Without it, a standby answers from the database.
    """
    window_gib: float = Field(32.0, gt=0, allow_inf_nan=False)
    """GiB of intermediates in flight: the room that the work store has. Within it the fleet is kept busy."""
    window_images: int = Field(100_000, gt=0)
    """Images of one batch in flight at most, for safety."""
    window_total: int = Field(100_000, gt=0)
    """Images of all batches in flight at most, for safety."""
    express_images: int = Field(64, ge=0)
    """A batch of at most so many images takes the express lane: its images go first, and as many of them may be in
    flight beyond `window_total`. 0: no batch does."""
    events_prefetch: int = Field(2000, gt=0, le=65535)
    """Unacked messages of events. Messages that arrive together are recorded in one transaction."""
    events_linger_s: float = Field(0.1, ge=0, le=1)
    """How long events wait for others at most, in seconds, so that one transaction records many.

    Events that refill a batch's window or may end the batch do not wait.
    """
    intake_threads: int = Field(2, gt=0, le=16)
    """Lists of images that are read at the same time."""
    redispatch_after_s: float = Field(3600.0, ge=0)
    """Images in flight without an event for so long, while no queue holds tasks, are dispatched again.

    In seconds; 0: never.
    """
    unfinished_after_s: float = Field(3600.0, ge=0)
    """So long after the end of a batch, unfinished files of killed processes among its outputs are removed (local
    volumes only), and intermediates that were written after its end.

    In seconds, longer than any task. 0: never.
    """
    kept_days: float = Field(30.0, gt=0, allow_inf_nan=False)
    """So many days rejected batches are kept with all their faults, and messages that are no task."""
    owner_keep_days: DaysSetting = Field(default_factory=dict)
    """So many days after their end the batches of an owner are erased, as JSON: `{"utrecht": 90}`. Left out: kept."""
    archive_after_days: float | None = Field(None, gt=0, allow_inf_nan=False)
    """So many days after its end a batch is archived: its `report.json` stands for its images, whose rows leave the
    ledger. Left out: never. What is to be erased is erased all the same."""
    stages: StagesSetting = ()
    """The Deployments of workers, as `muniflow.forecast.stage.read_stages` reads them: what each carries, how it may
    scale. Empty: one for each installed operation, with the defaults of `Stage`."""
    profile_file: str | None = None
    """Service times of classes that were not observed here: a file from `muniflow calibrate`, or from `/v1/profile` of
    another installation. Left out: documented figures, good to a factor of two."""
    rabbitmq_metrics_url: str | None = None
    """`http://host:15692`, RabbitMQ's own metrics. Without it queue depths are read over AMQP."""

    gateway_user: str | None = None
    """The user of the broker as whom the gateways connect: it alone names the owner of what it sends. Left out: the
    coordinator's own, for a broker with one user."""
    operator_users: str = ""
    """Users of the broker, with commas: their batches belong to `default`, and they command those of every owner."""
    client_user: str = ""
    """One more such user, by itself: a file of secrets holds one name."""
    unnamed_senders: Unnamed = "default"
    """What becomes of batches and commands that do not name their sender (`user_id`): they belong to `default`, and
    may do what could be done before there were owners; or `refuse`."""
    step_users: StepUsersSetting = Field(default_factory=dict)
    """Which operations each user of the broker serves, as JSON: `{"step-resize": ["resize"]}`. Events about a step are
    taken from these alone. Left out: from the coordinator's own user only, for a broker with one user."""
    earlier_build: bool = True
    """Whether workers of the build before may still run: they publish to the exchange `muniflow` and name no sender.
    `false`, once there are none: that exchange leads to no task and no event any more, and what names no sender is
    refused."""
    webhook_hosts: str = ""
    """Hosts that webhooks may be sent to, with commas: `hooks.example.org,hooks.example.net:8443`; without a port, 443.
    Empty: there are no webhooks."""
    webhooks_file: str | None = None
    """A JSON file with the secrets of owners, and where they are told the ends of their batches:
    `{"utrecht": {"url": "https://…", "secrets": ["whsec_…"]}}`."""
    webhook_networks: str = ""
    """Networks that are not public and may be sent to all the same, with commas: `10.20.0.0/16`."""
    webhook_max_age_hours: float = Field(24.0, gt=0, allow_inf_nan=False)
    """So many hours a webhook is tried before it is given up."""
    webhook_loopback: bool = False
    """Whether a host of the list may be at a loopback address, by http, too. For tests."""
    max_weight: int = Field(100, ge=1, le=100)
    """A larger weight of a batch counts as this. Weights divide the turns of one owner only."""

    @property
    def operators(self) -> frozenset[str]:
        """Return `operator_users` one by one, and `client_user`."""
        names = (*self.operator_users.split(","), self.client_user)
        return frozenset(name.strip() for name in names if name.strip())

    @property
    def kept_s(self) -> float:
        """Return `kept_days` in seconds."""
        return self.kept_days * 86400

    @property
    def archive_s(self) -> float | None:
        """Return `archive_after_days` in seconds."""
        return None if self.archive_after_days is None else self.archive_after_days * 86400

    @property
    def window_bytes(self) -> int:
        """Return `window_gib` in bytes."""
        return int(self.window_gib * 2**30)

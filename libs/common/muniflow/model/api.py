"""What the coordinator's read-only HTTP interface answers; the command line and the gateway read it with these models.

| path | answer |
| --- | --- |
| `/v1/info` | `Info` |
| `/v1/batches?state=&municipality=&owner=&after=&limit=` | `BatchList`, newest first |
| `/v1/batches/<id>` | `BatchStatus`; 404 when it is not known |
| `/v1/batches/<id>/images?state=&after=&limit=` | `ImageList`, by number |
| `/v1/stages` | `StageList` |
| `/v1/stages/history?limit=` | `StageHistory`, oldest first |
| `/v1/scaling/<stage>` | `Scaling`; 404 for a stage that is not known, 503 with the reason while the answer is not |
| `/v1/forecasts?limit=` | `ForecastList` |
| `/v1/audit?owner=&batch=&after=&limit=` | `AuditList`, newest first |
| `/v1/profile?outputs=` | what `muniflow.forecast.profile.read_profile` reads (`WITH_OUTPUTS`) |
"""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, RootModel

from muniflow.model.audit import AuditEntry
from muniflow.model.batch_document import Priority
from muniflow.model.messages import BatchState, ImageState
from muniflow.model.owners import DEFAULT_OWNER

INFO = "/v1/info"
BATCHES = "/v1/batches"
STAGES = "/v1/stages"
STAGE_HISTORY = f"{STAGES}/history"
SCALING = "/v1/scaling"
"""Below it one path for each stage: a Deployment of workers."""
PROFILE = "/v1/profile"
WITH_OUTPUTS: Mapping[str, str] = {"outputs": "true"}
"""Asks for a profile that counts outputs: gateways and command lines of an earlier build refuse one."""
FLEET = "/v1/fleet"
"""What a batch that may be sent would meet: for plans."""
FORECASTS = "/v1/forecasts"
AUDIT_TRAIL = "/v1/audit"


def batch_path(batch_id: str) -> str:
    """The path of a batch, whatever is in its id."""
    return f"{BATCHES}/{quote(batch_id, safe='')}"


def images_path(batch_id: str) -> str:
    """The path of the images of a batch."""
    return f"{batch_path(batch_id)}/images"


def query_of(**values: str | int | None) -> dict[str, str]:
    """The parameters of a request; those that are `None` are left out."""
    return {name: str(value) for name, value in values.items() if value is not None}


class Answer(BaseModel):
    """Base of all answers. Unknown fields are ignored, so that an older client reads a newer coordinator."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


Document = RootModel[dict[str, Any]]
"""An answer that is passed on as it is."""


class StepProgress(Answer):
    """One step of one batch."""

    op: str
    expected: int
    """Tasks that this step has when every image is done."""
    done: int = 0
    """Advisory: a redelivered task counts again; never above `expected`."""
    failed: int = 0
    pixels: int = 0
    compute_s: float = 0.0


class BatchStatus(Answer):
    """A batch now."""

    batch_id: str
    owner: str = DEFAULT_OWNER
    """Who sent it."""
    name: str = ""
    """What people call it."""
    municipality: str = ""
    state: BatchState
    revision: int = 1
    """Which run of the batch this is; more than 1 where it was run `again`."""
    destination: str
    kept: int = 0
    """Images that had not changed since the last run, and were not run."""
    gone: int = 0
    """Sources of the last run that the batch no longer has; the report names them."""
    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0
    """Files below its `source` that are no images; the report names them."""
    skipped_reasons: dict[str, int] = {}
    """Their number by reason."""
    in_flight: int = 0
    """Images dispatched and not settled."""
    waiting_for: str | None = None
    """What holds it up, if something does: `broker: memory alarm`, `no consumer: blur`."""
    steps: tuple[StepProgress, ...] = ()
    operations: tuple[dict[str, Any], ...] = ()
    """The route, each step in its long form: `{"op": "resize", "width": 200, …}`."""
    output: dict[str, Any] = {}
    """How outputs are encoded: `{"format": "jpg"}`."""
    outputs_per_image: int = 1
    rate_images_per_s: float | None = None
    eta_s: float | None = None
    """Until it ends; `None` when it has ended, or while that is not known."""
    eta_at: float | None = None
    """The same as Unix time."""
    eta_reason: str | None = None
    """Why it is not known: `waits for a worker of blur`."""
    forecast_p50_at: float | None = None
    """When it ends as likely as not, as forecast at its acceptance; Unix time, seconds. `None`: no forecast was made,
    or it was re-opened."""
    forecast_p90_at: float | None = None
    """When it ends nine times in ten."""
    priority: Priority = "normal"
    deadline_at: float | None = None
    """When it should have ended, where its document says so; unix time, seconds."""
    feasible: bool | None = None
    """Whether it can end by then with `max` replicas in every stage. `None`: not known, or it does not run."""
    earliest_at: float | None = None
    """When it could end with these; unix time, seconds."""
    submitted_at: float = 0.0
    reopened_at: float | None = None
    """When failed images of it were run again, after its end; unix time, seconds."""
    finished_at: float | None = None
    archived_at: float | None = None
    """When its report took the place of its images in the ledger: what is asked of these is read from it, and failed
    ones cannot be run again. Unix time, seconds."""
    report: str | None = None


class BatchList(Answer):
    """A page of batches."""

    batches: tuple[BatchStatus, ...]
    next: str | None = None
    """Give it as `after` for the next page."""


class ImageStatus(Answer):
    """An image of a batch."""

    image: int
    source: str
    state: ImageState
    reasons: tuple[str, ...] = ()
    reason_code: str | None = None
    """Why it failed, for programs: one of `muniflow.reason_codes`."""
    outputs: tuple[str, ...] = ()
    """Keys in the output store, when it is done."""


class ImageList(Answer):
    """A page of images."""

    images: tuple[ImageStatus, ...]
    next: int | None = None


class StageStatus(Answer):
    """One operation's stage."""

    op: str
    queue: str
    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None
    dead: int | None = None
    """Failures that are listed and can be replayed."""
    rate_tasks_per_s: float | None = None
    service_s: float | None = None
    """Mean compute time of a task."""
    drain_s: float | None = None
    """Time until the backlog is gone at this rate."""


class Deployment(Answer):
    """One Deployment of workers, as `MUNIFLOW_STAGES` names it. What is `None` is not known."""

    name: str
    operations: tuple[str, ...]
    wanted: int | None = None
    """Replicas with which every batch ends when it is due."""
    running: int | None = None
    """Replicas that consume."""
    remaining_work_s: float | None = None
    """Compute time that all accepted batches still need here, of images that are not dispatched yet, too."""


class StageList(Answer):
    """The stages by operation, and by Deployment."""

    stages: tuple[StageStatus, ...]
    deployments: tuple[Deployment, ...] = ()


class StageTrail(Answer):
    """One operation's stage over time: one value for each time of the history; `None` was not known."""

    op: str
    backlog: tuple[int | None, ...]
    """Tasks ready and with workers."""
    rate_tasks_per_s: tuple[float | None, ...]
    workers: tuple[int | None, ...]


MAX_HISTORY_POINTS = 720
"""Of a `StageHistory`: an hour, one each 5 s."""


class StageHistory(Answer):
    """The stages over the last hour, or since the coordinator began."""

    every_s: float
    """Between two points."""
    at: tuple[float, ...]
    """Unix time of each point, seconds."""
    stages: tuple[StageTrail, ...]


class Scaling(Answer):
    """What an autoscaler asks for: KEDA's `metrics-api` trigger with `valueLocation: wanted`."""

    wanted: int
    """Replicas."""


class GradedForecast(Answer):
    """What was forecast for a batch at its acceptance, and what came. Seconds from its submission to its end."""

    batch_id: str
    submitted_at: float
    p50_s: float | None = None
    p90_s: float | None = None
    finish_s: float | None = None
    """Before any correction by earlier grades."""
    actual_s: float | None = None
    """`None`: it has not ended, or is not graded."""
    ratio: float | None = None
    """Actual over p50."""
    within_p90: bool | None = None


class ForecastList(Answer):
    """The newest forecasts, those of running batches first, and how well the graded ones did."""

    forecasts: tuple[GradedForecast, ...]
    graded: int = 0
    """That count, 50 at most."""
    coverage: float | None = None
    """The part of them that ended within p90."""
    calibrated: bool = False
    """Whether there are enough of them; until then the interval is a wide guess."""
    p50_factor: float = 1.0
    p90_factor: float = 1.0
    """What a forecast is multiplied with now."""


class AuditList(Answer):
    """A page of the audit trail, newest first."""

    entries: tuple[AuditEntry, ...]
    next: str | None = None
    """Give it as `after` for the next page."""


class Info(Answer):
    """The coordinator itself."""

    version: str
    operations: tuple[str, ...]
    connected: bool
    blocked: str | None = None
    leader: bool = True
    unknown_events: int = 0
    """Events since its start of batches that its ledger does not know."""
    unknown_batches: tuple[str, ...] = ()
    """The last of these batches, 20 at most."""

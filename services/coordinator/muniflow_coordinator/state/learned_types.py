"""What the coordinator has learned, as the state store keeps it."""

from typing import NamedTuple

from muniflow.forecast.grade import Forecast


class ServiceTimeRow(NamedTuple):
    """What was observed of one class of tasks."""

    key: str
    """Of the class."""
    task_class: str
    """`muniflow.forecast.task_class.TaskClass` as JSON."""
    sums: str
    """`muniflow.forecast.service_time.ImageSums` as a JSON list."""
    updated_at: float
    """Unix time of the last observation, seconds."""


class ForecastRow(NamedTuple):
    """The forecast of one batch, and what came."""

    batch: str
    """Its id."""
    submitted_at: float
    """Here and below: Unix time, seconds."""
    forecast: Forecast | None = None
    actual_s: float | None = None
    """From submission to its first end; `None`: not graded."""
    ended_at: float | None = None
    """Its last end."""
    reopened_at: float | None = None
    """Since then its horizon counts."""

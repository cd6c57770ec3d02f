"""The last forecasts and their grades, from the database: a standby answers them, too."""

from muniflow.forecast.grade import Grade, coverage, learned
from muniflow.forecast.interval import WINDOW
from muniflow.model.api import ForecastList, GradedForecast
from muniflow_coordinator.foresight.forecasts import grades_of
from muniflow_coordinator.state.learned_types import ForecastRow
from muniflow_coordinator.state.types import State


def forecast_list(state: State, limit: int) -> ForecastList:
    """Return at most `limit` forecasts; the grades are of the newest `WINDOW`, whatever the limit."""
    rows = state.forecasts()
    grades = grades_of(rows)[-WINDOW:]
    interval, covered = learned(grades), coverage(grades)
    return ForecastList(
        forecasts=tuple(_graded(row) for row in [row for row in rows if row.forecast is not None][:limit]),
        graded=len(grades),
        coverage=None if covered is None else round(covered, 4),
        calibrated=interval.calibrated,
        p50_factor=round(interval.p50, 4),
        p90_factor=round(interval.p90, 4),
    )


def _graded(row: ForecastRow) -> GradedForecast:
    known = row.forecast
    grade = None if known is None or row.actual_s is None else Grade(known, row.actual_s)
    return GradedForecast(
        batch_id=row.batch,
        submitted_at=row.submitted_at,
        p50_s=None if known is None else round(known.p50_s, 3),
        p90_s=None if known is None else round(known.p90_s, 3),
        finish_s=None if known is None else round(known.finish_s, 3),
        actual_s=None if row.actual_s is None else round(row.actual_s, 3),
        ratio=None if grade is None or grade.ratio is None else round(grade.ratio, 4),
        within_p90=None if grade is None else grade.within_p90,
    )

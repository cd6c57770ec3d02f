"""The replicas that each stage wants: for autoscalers, and for people. In the threads of the HTTP server."""

from collections.abc import Callable

from muniflow.errors import Unavailable
from muniflow.forecast.stage import Stages
from muniflow.model.api import Deployment, Scaling
from muniflow_coordinator.api.view import View
from muniflow_coordinator.foresight.outlook import Outlook


class ScalingAnswers:
    """Answers from the forecast while this process leads; a standby knows none."""

    def __init__(self, stages: Stages, view: Callable[[], View | None]) -> None:
        """Answer for `stages`, from the `view` of the coordinator while this process leads."""
        self._stages = stages
        self._view = view

    def wanted(self, name: str) -> Scaling | None:
        """Return what a stage wants; `None` if no stage has this name.

        Raises:
            Unavailable: it is not known, which is never answered as a number.
        """
        if all(stage.name != name for stage in self._stages):
            return None
        return Scaling(wanted=self._outlook()[name].wanted)

    def deployments(self) -> tuple[Deployment, ...]:
        """Return all stages, with what is known of them."""
        try:
            outlook = self._outlook()
        except Unavailable:
            return tuple(Deployment(name=stage.name, operations=stage.operations) for stage in self._stages)
        return tuple(
            Deployment(
                name=name,
                operations=stage.operations,
                wanted=stage.wanted,
                running=stage.running,
                remaining_work_s=round(stage.work_s, 1),
            )
            for name, stage in outlook.items()
        )

    def _outlook(self) -> Outlook:
        view = self._view()
        if view is None:
            raise not_leading()
        return view.forecaster.outlook()


def not_leading() -> Unavailable:
    """Return why a standby that cannot ask the leader knows nothing."""
    return Unavailable("the forecast", "this coordinator does not lead, and the leader gives no answer")

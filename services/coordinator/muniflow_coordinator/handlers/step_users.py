"""Whose messages about a step are believed: by the user of the broker, which RabbitMQ holds to the truth. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from muniflow.model.messages import RouteStep, Settled, Tally


@dataclass(frozen=True)
class StepUsers:
    """Who serves which steps."""

    own_user: str | None = None
    """The coordinator's own, who is believed all: with one user for everything, it is that of workers, too. `None`:
    messages name no sender here, and none is asked for."""
    served: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The operations of each user. Empty: not told, so nobody but `own_user` serves any."""
    earlier: bool = False
    """Whether workers of the build before may run, which name no sender: then these are believed, and where `served` is
    not told, everybody is."""

    def trusts(self, user: str | None) -> bool:
        """Return whether all that this user says of any step is believed."""
        if self.own_user is None or user == self.own_user:
            return True
        return self.earlier and (user is None or not self.served)

    def may_tell(
        self, user: str | None, told: Iterable[tuple[Settled | Tally, Sequence[RouteStep]]], *, lost: bool = False
    ) -> bool:
        """Return whether a user may tell all of this.

        Args:
            user: who is not trusted.
            told: events and tallies, each with the route of its batch.
            lost: whether it is made of a task that the broker gave up: such a task was published by the coordinator,
                or by a worker of a step up to its own.
        """
        operations = self.served.get(user or "")
        if operations is None:
            return False
        for event, route in told:
            # What is done has come to the end of its route, and names no step.
            step = len(route) - 1 if isinstance(event, Settled) and event.reason is None else event.step
            if not 0 <= step < len(route):
                return False
            if route[step].op not in operations and not (
                lost and any(earlier.op in operations for earlier in route[:step])
            ):
                return False
        return True

"""What the batches of each owner still need.

The label is bounded: owners are made by operators, with API keys and users of the broker, but nothing limits how many.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

MAX_OWNERS = 50
OTHERS = "(others)"
"""No name of an owner has parentheses."""


@dataclass
class OwnerLive:
    """One owner, or several."""

    batches: int = 0
    """That are not in a terminal state."""
    pending: int = 0
    """Images that are not settled."""
    eta_s: float | None = 0.0
    """Until the last of the batches ends; `None`: not known."""
    work_s: dict[str, float] = field(default_factory=dict)
    """Compute time that they still need, by stage."""

    def add(self, other: "OwnerLive") -> None:
        """Add another owner."""
        self.batches += other.batches
        self.pending += other.pending
        self.eta_s = None if self.eta_s is None or other.eta_s is None else max(self.eta_s, other.eta_s)
        for stage, work_s in other.work_s.items():
            self.work_s[stage] = self.work_s.get(stage, 0.0) + work_s


class OwnerLabels:
    """Values of the label `owner`: never more than `MAX_OWNERS` and one, and one owner always has the same."""

    def __init__(self) -> None:
        """Begin without any."""
        self._known: set[str] = set()

    def of(self, owner: str) -> str:
        """Return the value for an owner. From any thread; two at once may add one too many."""
        if owner not in self._known and len(self._known) < MAX_OWNERS:
            self._known.add(owner)
        return owner if owner in self._known else OTHERS


def folded(owners: Mapping[str, OwnerLive], label: Callable[[str], str]) -> Mapping[str, OwnerLive]:
    """Return them by their labels."""
    found: defaultdict[str, OwnerLive] = defaultdict(OwnerLive)
    for owner, live in owners.items():
        found[label(owner)].add(live)
    return found


def in_flow_order(routes: Iterable[tuple[tuple[str, ...], int]]) -> list[str]:
    """Return operations in the order in which images reach them.

    Args:
        routes: of batches, each with the number of its images that are not settled.
    """
    places: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for route, images in routes:
        for place, operation in enumerate(route):
            places[operation][0] += place * images
            places[operation][1] += images
    means = {operation: total / count for operation, (total, count) in places.items() if count}
    return sorted(means, key=lambda operation: (means[operation], operation))

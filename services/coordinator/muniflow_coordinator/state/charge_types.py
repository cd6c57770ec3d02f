"""The part of the state store about charges: batches are charged in the transaction that accepts them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from muniflow.model.budget import Amounts
from muniflow_coordinator.state.failure_types import FailureState

if TYPE_CHECKING:
    from muniflow_coordinator.state.types import Counts, ImageRow


class Charge(NamedTuple):
    """What a batch is charged."""

    owner: str
    day: int
    """Days of UTC since 1970."""
    amounts: Amounts


class ChargeState(FailureState, Protocol):
    """A writer and a reader, as in `types.State`."""

    def accept_batch(
        self,
        batch: int,
        counts: "Counts",
        rest: Sequence["ImageRow"] = (),
        *,
        spec: str | None = None,
        charge: Charge | None = None,
    ) -> None:
        """Insert the `rest` of the images of a batch, set its state, and delete its document.

        It is `running`, or `finishing` if all images are done already. `spec` replaces that of its insertion: more is
        known once its list is read. Its owner is charged once.
        """
        ...

    def spent(self, owner: str, day: int) -> Amounts:
        """Return what an owner was charged on a day."""
        ...

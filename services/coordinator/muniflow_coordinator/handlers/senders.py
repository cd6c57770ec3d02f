"""Who sent a message: by the user of the broker, which RabbitMQ holds to the truth. Pure."""

from dataclasses import dataclass, field
from typing import Literal

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import Batch, derived_id
from muniflow.model.keys import HIDDEN, is_hidden
from muniflow.model.owners import DEFAULT_OWNER, OWNER_HEADER, Grants, id_fault, owner_problem, source_faults
from muniflow.runtime.settings import variable
from muniflow.transport.types import Delivery
from muniflow_coordinator.handlers.step_users import StepUsers

Unnamed = Literal["default", "refuse"]
"""What becomes of a message that does not say who sent it."""


@dataclass(frozen=True)
class Sender:
    """Who sent a message."""

    owner: str
    """Of the batches that it sends."""
    everything: bool = False
    """Whether it may command the batches of every owner."""
    checked: bool = False
    """Whether what it names was checked before: the gateway does so, and names uploads and ids of its own."""


@dataclass(frozen=True)
class Senders:
    """Whom the coordinator believes what."""

    gateway_user: str | None
    """The user of the gateways: it alone may name an owner."""
    operators: frozenset[str]
    """Users who act for `default`, and may command the batches of every owner."""
    unnamed: Unnamed
    grants: Grants
    own_user: str | None = None
    """The coordinator's own: it sends letters again that an operator replays, as from `default`."""
    steps: StepUsers = field(default_factory=StepUsers)
    """Whose messages about a step are believed."""

    def of(self, delivery: Delivery) -> Sender:
        """Return who sent a message.

        Raises:
            Invalid: nobody who may.
        """
        user = delivery.user_id
        if user is None:
            if self.unnamed == "refuse":
                text = f"the message does not name its sender; set it to your user ({variable('unnamed_senders')})"
                raise Invalid((Fault("user_id", text),))
            # As it was before there were owners, so that a gateway of an earlier build goes on.
            return Sender(DEFAULT_OWNER, checked=True)
        owner = delivery.headers.get(OWNER_HEADER)
        if owner is None and user in {self.gateway_user, self.own_user}:
            return Sender(DEFAULT_OWNER, everything=True, checked=True)
        if owner is not None and user == self.gateway_user:
            return Sender(_require_owner(OWNER_HEADER, str(owner)), checked=True)
        if OWNER_HEADER in delivery.headers:
            text = f"only the gateway's user may name an owner, and {user!r} is not {variable('gateway_user')}"
            raise Invalid((Fault(OWNER_HEADER, text),))
        if user in self.operators:
            return Sender(DEFAULT_OWNER, everything=True)
        return Sender(_require_owner("user_id", user))

    def require(self, batch: Batch, sender: Sender) -> None:
        """Refuse a batch that reads what is not granted to its owner, or takes an id that muniflow makes for others.

        Raises:
            Invalid: with every fault.
        """
        if sender.checked:
            return
        fault = id_fault(batch.batch_id, derived_id(batch.fingerprint, batch.owner))
        faults = [] if fault is None else [fault]
        faults += self.faults(sender, batch.source, batch.images, batch.manifest)
        if faults:
            raise Invalid(tuple(faults))

    def faults(
        self, sender: Sender, source: str, images: tuple[str, ...] | None, manifest: str | None
    ) -> tuple[Fault, ...]:
        """Return what is wrong with where a batch reads; `source` is a prefix."""
        if sender.checked:
            return ()
        if is_hidden(source):
            return (Fault("source", HIDDEN),)
        return source_faults(sender.owner, source, images, self.grants, manifest)


def _require_owner(place: str, owner: str) -> str:
    if problem := owner_problem(owner):
        raise Invalid((Fault(place, problem),))
    return owner

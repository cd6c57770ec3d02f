"""Who is believed what about a step."""

from typing import TYPE_CHECKING

import pytest

from muniflow.model.messages import Events, RouteStep, Settled, Tally
from muniflow.model.topology import EVENTS, dead_queue
from muniflow_coordinator.handlers.senders import Senders
from muniflow_coordinator.handlers.step_users import StepUsers

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

ROUTE = (RouteStep(op="copy"), RouteStep(op="paste"))
SERVED = {"copier": frozenset({"copy"}), "paster": frozenset({"paste"}), "both": frozenset({"copy", "paste"})}
DONE = Settled(batch="b", image=0)
FAILED_FIRST, FAILED_LAST = (
    Settled.failure("b", 0, 0, reason="x", code="lost", step=step) for step in range(2)
)  # fmt: skip
TALLY = Tally(batch="b", step=0)


@pytest.mark.parametrize(("own", "served", "earlier", "trusted"), [
    (None, {}, False, {None, "copier", "coordinator"}),
    ("coordinator", {}, False, {"coordinator"}),
    ("coordinator", {}, True, {None, "copier", "coordinator"}),
    ("coordinator", SERVED, False, {"coordinator"}),
    ("coordinator", SERVED, True, {None, "coordinator"}),
])  # fmt: skip
def test_who_is_believed_everything(own, served, earlier, trusted):
    users = StepUsers(own, served, earlier)
    assert {user for user in (None, "copier", "coordinator") if users.trusts(user)} == trusted


@pytest.mark.parametrize(("user", "event", "lost", "may"), [
    ("paster", DONE, False, True), ("copier", DONE, False, False), ("both", DONE, False, True),
    ("copier", FAILED_FIRST, False, True), ("paster", FAILED_FIRST, False, False),
    ("paster", FAILED_LAST, False, True), ("copier", FAILED_LAST, False, False),
    ("copier", TALLY, False, True), ("paster", TALLY, False, False), ("nobody", TALLY, False, False),
    ("copier", FAILED_LAST, True, True), ("paster", FAILED_FIRST, True, False), (None, DONE, False, False),
    ("both", Tally(batch="b", step=7), False, False), ("both", Tally.model_construct(batch="b", step=-1), False, False),
])  # fmt: skip
def test_what_a_user_may_tell_of_a_route(user, event, lost, may):
    assert StepUsers("coordinator", SERVED).may_tell(user, [(event, ROUTE)], lost=lost) is may


def test_one_foreign_event_refuses_its_message():
    told = [(FAILED_FIRST, ROUTE), (DONE, ROUTE)]
    assert not StepUsers("coordinator", SERVED).may_tell("copier", told)
    assert StepUsers("coordinator", SERVED).may_tell("both", told)


def test_events_that_are_refused_change_nothing_and_are_kept(harness: "CoordinatorHarness") -> None:
    steps = StepUsers("coordinator", SERVED)
    harness.senders = Senders("gateway", frozenset(), "default", {}, own_user="coordinator", steps=steps)
    harness.hold = True
    harness.pictures(1)
    harness.start()
    forged = Events(settled=(DONE,)).to_bytes()
    # Before there is such a batch: it says nothing of one that begins to run later.
    harness.publish(EVENTS, forged, sender={"user_id": "paster"})
    harness.submit()
    harness.until(lambda: harness.held)
    for sender in ({}, {"user_id": "paster"}, {"user_id": "utrecht"}):
        harness.publish(EVENTS, forged, sender=sender)
    state = harness.state
    assert state is not None
    harness.until(lambda: len(state.letters()) == 3)
    assert {letter.queue for letter in state.letters()} == {dead_queue(EVENTS)}
    assert harness.metrics.events_refused._value.get() == 3
    assert not harness.notices or harness.notices[-1].state != "done"
    harness.publish(EVENTS, forged, sender={"user_id": "copier"})
    assert harness.finish().state == "done"

"""G2: completion is exact under duplicates, reordering, failures at any depth, crashes and re-opening."""

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from muniflow.model.ledger import MAX_REASONS, Leaf, Ledger, LedgerUpdate
from muniflow.model.lineage import Lineage, children_of, label
from muniflow.model.messages import RouteStep, Settled

IMAGES = 3


def route_of(fan_outs: Sequence[int]) -> tuple[RouteStep, ...]:
    return tuple(RouteStep(op=f"op{index}", fan_out=fan_out) for index, fan_out in enumerate(fan_outs))


class LedgerMachine(RuleBasedStateMachine):
    """A ledger with its rows, against a model that knows for every leaf whether it is settled.

    The model is a plain list of leaves for each image and run. Each leaf takes the fate of the first event that
    covers it; an image is settled when all of its leaves have a fate.
    """

    @initialize(fan_outs=st.lists(st.integers(1, 4), min_size=1, max_size=3))
    def begin(self, fan_outs: list[int]) -> None:
        self.route = route_of(fan_outs)
        self.fan_outs = [fan_out for fan_out in fan_outs if fan_out > 1]
        self.leaves: list[Lineage] = [
            tuple((child, of) for child, of in zip(children, self.fan_outs, strict=True))
            for children in product(*(range(of) for of in self.fan_outs))
        ]
        self.ledger = Ledger(self.route)
        self.run = dict.fromkeys(range(IMAGES), 0)
        self.dispositions: dict[int, dict[Lineage, bool]] = {image: {} for image in range(IMAGES)}
        self.settled: dict[int, str] = {}
        self.rows: dict[tuple[int, int, Lineage], Leaf] = {}
        self.sent: list[Settled] = []
        for image in range(IMAGES):
            self.ledger.open(image, 0)

    def take(self, events: list[Settled]) -> None:
        """Give events to the ledger and to the model, record as a transaction would, and compare."""
        expected = {}
        late = set()
        for event in events:
            if event.image in self.settled:
                late.add(event.image)
                continue
            if event.run != self.run[event.image]:
                continue
            dispositions = self.dispositions[event.image]
            for leaf in self.leaves:
                if leaf[: len(event.lineage)] == event.lineage and leaf not in dispositions:
                    dispositions[leaf] = event.reason is None
            if len(dispositions) == len(self.leaves):
                expected[event.image] = self.settled[event.image] = "done" if all(dispositions.values()) else "failed"
        update = self.ledger.apply(events)
        assert {image.image: image.state for image in update.settled} == expected
        assert len(update.settled) == len(expected)
        assert update.late == late
        assert update.misfits == 0
        self.record(update)

    def record(self, update: LedgerUpdate) -> None:
        for leaf in update.leaves:
            self.rows.setdefault((leaf.image, leaf.run, leaf.lineage), leaf)
        for image in update.settled:
            had_leaves = any(key[0] == image.image for key in self.rows)
            assert image.had_leaves == had_leaves
            assert (image.state == "failed") == bool(image.reasons)
            self.rows = {key: leaf for key, leaf in self.rows.items() if key[0] != image.image}

    @rule(data=st.data())
    def new_events(self, data: st.DataObject) -> None:
        events = []
        for _ in range(data.draw(st.integers(1, 4))):
            image = data.draw(st.integers(0, IMAGES - 1))
            leaf = data.draw(st.sampled_from(self.leaves))
            depth = data.draw(st.integers(0, len(leaf)))
            failed = depth < len(leaf) or data.draw(st.booleans())
            reason = "broken" if failed else None
            events.append(Settled(batch="b", image=image, run=self.run[image], lineage=leaf[:depth], reason=reason))
        self.sent += events
        self.take(events)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def old_events_again_in_any_order(self, data: st.DataObject) -> None:
        self.take(data.draw(st.lists(st.sampled_from(self.sent), min_size=1, max_size=8)))

    @rule()
    def crash(self) -> None:
        self.ledger = Ledger(self.route)
        self.ledger.recall(sorted(self.rows.values(), key=lambda leaf: label(leaf.lineage)))  # as a database does
        for image in range(IMAGES):
            if image not in self.settled:
                self.ledger.open(image, self.run[image])

    @rule(image=st.integers(0, IMAGES - 1))
    def reopen_a_failed_image(self, image: int) -> None:
        if self.settled.get(image) == "failed":
            del self.settled[image]
            self.dispositions[image] = {}
            self.run[image] += 1
            self.ledger.open(image, self.run[image])

    @rule(data=st.data(), image=st.integers(0, IMAGES - 1))
    def a_part_fails_after_all_its_leaves_are_done(self, data: st.DataObject, image: int) -> None:
        leaf = data.draw(st.sampled_from(self.leaves))
        part = leaf[: data.draw(st.integers(0, len(leaf)))]
        below = [leaf for leaf in self.leaves if leaf[: len(part)] == part]
        events = [Settled(batch="b", image=image, run=self.run[image], lineage=leaf) for leaf in below]
        late = Settled(batch="b", image=image, run=self.run[image], lineage=part, reason="a doubled task failed")
        self.sent += [*events, late]
        self.take(events)
        self.take([late])

    @rule(image=st.integers(0, IMAGES - 1))
    def all_leaves_of_an_image(self, image: int) -> None:
        events = [Settled(batch="b", image=image, run=self.run[image], lineage=leaf) for leaf in self.leaves]
        self.sent += events
        self.take(events)
        assert image in self.settled

    @invariant()
    def only_images_that_are_not_settled_are_open(self) -> None:
        assert {image for image in range(IMAGES) if image in self.ledger} == set(range(IMAGES)) - set(self.settled)

    @invariant()
    def rows_are_kept_of_open_images_only(self) -> None:
        assert not {image for image, _, _ in self.rows} & set(self.settled)


LedgerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
test_completion_is_exact = LedgerMachine.TestCase


def test_a_part_that_is_done_counts_for_all_its_leaves() -> None:
    ledger = Ledger(route_of([2, 1, 3]))
    for image in (0, 1, 2):
        ledger.open(image, 0)

    def apply(image: int, *lineages: Lineage) -> list[str]:
        found = ledger.apply([Settled(batch="b", image=image, lineage=lineage) for lineage in lineages])
        assert found.misfits == 0
        return [settled.state for settled in found.settled]

    assert apply(0, ()) == ["done"]
    assert apply(1, ((0, 2),)) == []
    assert apply(1, ((0, 2), (1, 3)), ((1, 2), (0, 3)), ((1, 2), (2, 3))) == []
    assert apply(1, ((1, 2), (1, 3))) == ["done"]
    assert apply(2, ((0, 2), (1, 3))) == []
    assert apply(2, ()) == ["done"], "after a part of it, by a task that was delivered twice"


def test_an_image_is_direct_only_when_nothing_of_it_was_heard_before() -> None:
    ledger = Ledger(route_of([2]))
    for image in (0, 1, 2):
        ledger.open(image, 0)
    ledger.apply([Settled(batch="b", image=1, lineage=((0, 2),))])
    events = [Settled(batch="b", image=image, direct=image < 2) for image in (0, 1, 2)]
    assert [settled.direct for settled in ledger.apply(events).settled] == [True, False, False]


@pytest.mark.parametrize(
    ("lineage", "reason"),
    [
        (((0, 3),), None),
        (((0, 3),), "broken"),
        (((2, 2),), "broken"),
        (((0, 2), (0, 3), (0, 2)), None),
    ],
)
def test_a_lineage_that_the_route_cannot_make_changes_nothing(lineage: Lineage, reason: str | None) -> None:
    ledger = Ledger(route_of([2, 1, 3]))
    ledger.open(0, 0)
    update = ledger.apply([Settled(batch="b", image=0, lineage=lineage, reason=reason)])
    assert (update.misfits, update.settled, update.leaves) == (1, [], [])


def test_reasons_are_bounded() -> None:
    ledger = Ledger(route_of([64]))
    ledger.open(0, 0)
    events = [Settled(batch="b", image=0, lineage=lineage, reason="broken") for lineage in children_of((), 64)]
    (settled,) = ledger.apply(events).settled
    assert len(settled.reasons) == MAX_REASONS + 1
    assert settled.reasons[0] == "operations[0] (op0), tile 0of64: broken"
    assert settled.reasons[-1] == f"and {64 - MAX_REASONS} more"

"""Both engines settle images by one rule: the same events give the same states and reasons, in any order."""

from collections.abc import Sequence
from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.coordinator.test_ledger import route_of

from muniflow.model.batch import Batch
from muniflow.model.ledger import Leaf, Ledger
from muniflow.model.lineage import Lineage, label
from muniflow.model.messages import Encoding, RouteStep, Settled
from muniflow.store.listing import ImageRef
from muniflow_cli.engine.account import Account, ImageResult

IMAGES = 3
Ends = dict[int, tuple[str, tuple[str, ...]]]
"""State and reasons of each settled image."""
Traffic = tuple[tuple[RouteStep, ...], list[list[Settled]]]
"""A route, and groups of events."""


def leaves_of(route: tuple[RouteStep, ...]) -> list[Lineage]:
    fan_outs = [step.fan_out for step in route if step.fan_out > 1]
    return [tuple(zip(children, fan_outs, strict=True)) for children in product(*map(range, fan_outs))]


def by_the_local_engine(route: tuple[RouteStep, ...], groups: Sequence[Sequence[Settled]]) -> Ends:
    batch = Batch(
        batch_id="b", municipality="", source="", images=None, manifest=None, route=route, weight=1, fingerprint="f",
        encoding=Encoding(format="jpg"), destination="out", decode="exact",
    )  # fmt: skip
    ends: Ends = {}

    def on_image(result: ImageResult) -> None:
        assert result.image not in ends, "told twice"
        ends[result.image] = result.state, result.reasons

    account = Account(batch, [ImageRef(n, f"{n}.jpg", str(n)) for n in range(IMAGES)], on_image)
    for ref in account.refs:
        account.begin(ref)
    for group in groups:
        account.add(group)
    return ends


def by_the_coordinator(route: tuple[RouteStep, ...], groups: Sequence[Sequence[Settled]], crash_at: int = -1) -> Ends:
    """Takes groups as transactions; before the one at `crash_at` it starts again with what is recorded."""
    ends: Ends = {}
    rows: list[Leaf] = []
    ledger = Ledger(route)
    for image in range(IMAGES):
        ledger.open(image, 0)
    for place, group in enumerate(groups):
        if place == crash_at:
            ledger = Ledger(route)
            kept = [leaf for leaf in rows if leaf.image not in ends]
            ledger.recall(sorted(kept, key=lambda leaf: label(leaf.lineage)))  # a database returns them in any order
            for image in set(range(IMAGES)) - ends.keys():
                ledger.open(image, 0)
        update = ledger.apply(group)
        rows += update.leaves
        ends |= {image.image: (image.state, image.reasons) for image in update.settled}
    return ends


@st.composite
def traffic(draw: st.DrawFn) -> Traffic:
    """Events about whole images and tiles, done and failed, repeated, in any order; each image is settled by them."""
    route = route_of(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    leaves = leaves_of(route)

    def event(image: int, leaf: Lineage, depth: int, step: int, reason: str | None) -> Settled:
        return Settled(batch="b", image=image, lineage=leaf[:depth], step=step, reason=reason)

    some = st.builds(
        event,
        st.integers(0, IMAGES - 1),
        st.sampled_from(leaves),
        st.integers(0, 3),
        st.integers(0, len(route) - 1),
        st.sampled_from([None, "took longer than 60 s", "not an image", "x" * 600]),
    )
    all_leaves = [event(image, leaf, 3, 0, None) for image in range(IMAGES) for leaf in leaves]
    events = draw(st.lists(some, max_size=20)) + all_leaves
    draw(st.randoms(use_true_random=False)).shuffle(events)
    length = draw(st.integers(1, len(events)))
    return route, [events[start : start + length] for start in range(0, len(events), length)]


@given(traffic())
def test_the_same_events_give_the_same_ends_on_both_engines(made: Traffic) -> None:
    route, groups = made
    ends = by_the_local_engine(route, groups)
    assert ends.keys() == set(range(IMAGES))
    assert ends == by_the_coordinator(route, groups)


PARTS: list[Lineage] = [(), ((0, 2),), ((1, 2),), *leaves_of(route_of([2, 2]))]


@given(st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from([None, "broken"])), max_size=8), st.data())
def test_a_restart_changes_no_end(parts: list[tuple[Lineage, str | None]], data: st.DataObject) -> None:
    route = route_of([2, 2])
    whole: tuple[Lineage, None] = ((), None)
    groups = [[Settled(batch="b", image=0, lineage=part, reason=reason)] for part, reason in [*parts, whole]]
    crash_at = data.draw(st.integers(0, len(groups) - 1))
    assert by_the_coordinator(route, groups, crash_at) == by_the_coordinator(route, groups)


@given(st.sets(st.integers(0, 15)), st.randoms(use_true_random=False))
def test_reasons_do_not_depend_on_the_order_of_events(failed: set[int], random: Random) -> None:
    route = route_of([4, 1, 4])
    events = [
        Settled(batch="b", image=0, lineage=leaf, step=2, reason="broken" if index in failed else None)
        for index, leaf in enumerate(leaves_of(route))
    ]
    expected = by_the_coordinator(route, [events])
    random.shuffle(events)
    assert by_the_coordinator(route, [events[:8], events[8:]]) == expected


def test_a_reason_says_at_which_operation_of_which_tile() -> None:
    route = route_of([2, 1])
    events = [
        Settled(batch="b", image=0, lineage=((1, 2),), step=1, reason="took longer than 60 s"),
        Settled(batch="b", image=0, lineage=((0, 2),), step=1, reason="took longer than 60 s"),
        Settled(batch="b", image=1, reason="not an image"),
    ]
    ends = by_the_local_engine(route, [events])
    assert ends == {
        0: (
            "failed",
            (
                "operations[1] (op1), tile 0of2: took longer than 60 s",
                "operations[1] (op1), tile 1of2: took longer than 60 s",
            ),
        ),
        1: ("failed", ("operations[0] (op0): not an image",)),
    }

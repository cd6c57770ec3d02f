"""Metrics by owner: the sums are right, and there are never more labels than the limit."""

from prometheus_client import CollectorRegistry

from muniflow_coordinator.api.owner_gauges import MAX_OWNERS, OTHERS, OwnerLive, in_flow_order
from muniflow_coordinator.metrics import Live, Metrics

LIVE = Live({}, pending=0, in_flight=0, oldest_s=0.0, cleanup=0, waiting=False)


def values(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """By the values of all labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_a_thousand_owners_have_no_more_labels_than_fifty_and_one() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    owners = {f"town-{number}": OwnerLive(1, 10, float(number), {"resize": 2.0, "blur": 1.0}) for number in range(1000)}
    live = Live({}, pending=0, in_flight=0, oldest_s=0.0, cleanup=0, waiting=False, owners=owners)
    metrics.watch(lambda: live)
    pending = values(registry, "muniflow_owner_images_pending")
    for owner in reversed(owners):
        metrics.settled(owner, done=2, failed=1)

    assert len(pending) == MAX_OWNERS + 1
    assert sum(pending.values()) == 10_000
    assert pending["town-0",] == 10
    assert pending[OTHERS,] == 10 * (1000 - MAX_OWNERS)
    assert values(registry, "muniflow_owner_eta_seconds")[OTHERS,] == 999.0, "the slowest of them"
    work = values(registry, "muniflow_owner_remaining_work_seconds")
    assert len(work) == 2 * (MAX_OWNERS + 1)
    assert sum(work.values()) == 3000.0
    settled = values(registry, "muniflow_owner_images_settled_total")
    assert sum(settled.values()) == 3000.0
    assert settled["town-0", "failed"] == 1, "an owner has one label, for all metrics"
    assert settled[OTHERS, "done"] == 2 * (1000 - MAX_OWNERS)


def test_an_end_that_is_not_known_of_one_is_not_known_of_all() -> None:
    together = OwnerLive(1, 5, 7.0)
    together.add(OwnerLive(2, 1, None))
    assert together == OwnerLive(3, 6, None)


def test_the_order_of_the_flow_is_that_of_the_images() -> None:
    assert in_flow_order([]) == []
    assert in_flow_order([(("resize", "split", "blur"), 5)]) == ["resize", "split", "blur"]
    assert in_flow_order([(("resize", "blur"), 1000), (("blur", "resize"), 10)]) == ["resize", "blur"]
    assert in_flow_order([(("blur", "resize", "blur"), 10), (("split", "blur"), 0)]) == ["blur", "resize"]

"""What comes in, on a real HPA and on KEDA: very many, large (both with each signal), mixed, and a steady stream.

Real: control plane, chart, coordinator, broker, Prometheus, workers. Stands in: naps for pixels: a thumbnail naps
20 ms and a panorama one of 0.25 s for each task, so two cores carry thirty workers.
"""

from collections.abc import Iterator

import pytest
from tests.cluster.batches import Batch
from tests.cluster.bench import STAGES
from tests.cluster.scaled import HORIZON_S, NAPS_S, SIGNAL_S, Bounds, Scaled, bounds, cost, installed
from tests.cluster.supplies import HPA, KEDA, Supplies
from tests.support.waiting import at_intervals

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.loads,
    pytest.mark.timeout(3600),
    pytest.mark.parametrize("supplies", [HPA, KEDA], indirect=True),
]
MAX_PODS = 10
THUMBNAILS, PANORAMAS = 100_000, 2_000
THUMBNAIL_NAPS_S = {"shrink": 0.02}
PANORAMA_NAPS_S = {"shrink": 0.25, "cut": 0.25, "soften": 0.25}
LIMIT_S = 2400.0
"""For a batch, on a machine that others use: then the test says how late it was."""
MANY = {"thumbnails": (THUMBNAILS, THUMBNAIL_NAPS_S), "panoramas": (PANORAMAS, PANORAMA_NAPS_S)}
BOUNDS = {
    ("forecast", "thumbnails"): Bounds(end_s=900, most=MAX_PODS, turns=1, cost=2.5),
    ("messages", "thumbnails"): Bounds(end_s=900, most=MAX_PODS, turns=3, cost=2.5),
    **{
        (signal, "panoramas"): bounds(signal, PANORAMAS, MAX_PODS, PANORAMA_NAPS_S["soften"])
        for signal in ("forecast", "messages")
    },
}
"""The machine, and no scaler, limits the thumbnails: 100,000 tasks of some milliseconds each, on two cores. One replica
would need 2,222 s at least."""
LARGE = 300
SMALL, SMALLS, EVERY_S = 4, 8, 15.0
SMALL_END_S = 30.0
"""A small batch passes the large one by the express lane: three stages of naps that run, and its own."""
MIXED = Bounds(end_s=HORIZON_S + SIGNAL_S, most=MAX_PODS, turns=3, cost=cost(HORIZON_S) + 0.5)
DROP, DROPS, DROP_EVERY_S = 6, 60, 5.0
"""4.8 s of naps for `shrink` and for `cut`, 9.6 s for `soften`, each 5 s: a load of one, one and two replicas."""
LOAD = {"shrink": 1, "cut": 1, "soften": 2}
STEADY = Bounds(end_s=DROPS * DROP_EVERY_S + HORIZON_S, most=3, turns=1, cost=cost(HORIZON_S))
"""The margin of 1.4 on the load of `soften` is 3 replicas."""


@pytest.fixture(scope="module")
def release(request: pytest.FixtureRequest, supplies: Supplies) -> Iterator[Scaled]:
    with installed(supplies, signal=request.param, most=MAX_PODS) as made:
        made.warm_up()
        yield made


on_forecast = pytest.mark.parametrize("release", ["forecast"], indirect=True)
on_both = pytest.mark.parametrize("release", ["forecast", "messages"], indirect=True)


@on_both
@pytest.mark.parametrize("kind", MANY)
def test_very_many_images_scale_up_and_down_once(kind, release, capsys):
    images, naps_s = MANY[kind]
    release.warm_up(f"few-{kind}", naps_s)
    batch = Batch(release.supplies, kind, images, naps_s)
    with release.recording() as recording:
        batch.send()
        recording.mark("sent")
        release.finish(recording, [batch], LIMIT_S)
    with capsys.disabled():
        told = BOUNDS[release.signal, kind].judge(recording, [batch])
        print(f"\n{kind}, {release.supplies.scaler}, {release.signal}: {told}")  # noqa: T201


@on_forecast
def test_small_batches_are_not_held_up_by_a_large_one(release, capsys):
    large = Batch(release.supplies, "large", LARGE, NAPS_S)
    smalls = [Batch(release.supplies, f"small-{number}", SMALL, NAPS_S) for number in range(SMALLS)]
    with release.recording() as recording:
        large.send()
        recording.mark("sent")
        for small in at_intervals(smalls, EVERY_S):
            small.send()
        release.finish(recording, [*smalls, large], LIMIT_S)
    took_s = [small.took_s for small in smalls]
    with capsys.disabled():
        told = MIXED.judge(recording, [large, *smalls])
        print(f"\nmixed, {release.supplies.scaler}: {told}; small ones {sorted(took_s)} s")  # noqa: T201
    assert max(took_s) <= SMALL_END_S


@on_forecast
def test_a_steady_stream_gets_what_it_needs_and_no_more(release, capsys):
    drops = [Batch(release.supplies, f"drop-{number}", DROP, NAPS_S) for number in range(DROPS)]
    with release.recording() as recording:
        recording.mark("sent")
        for drop in at_intervals(drops, DROP_EVERY_S):
            drop.send()
        recording.mark("last")
        release.finish(recording, drops, LIMIT_S)
    figures = STEADY.judge(recording, drops)
    late_s = max(drop.took_s for drop in drops)
    with capsys.disabled():
        print(f"\nsteady, {release.supplies.scaler}: {figures}; longest batch {late_s:.0f} s")  # noqa: T201
    assert late_s <= HORIZON_S + SIGNAL_S, "each ends at its last second; on a busy machine a delay later"
    for stage in STAGES:  # by then the first batches are due: a backlog that one replica could keep is gone
        asked = recording.asked_between(stage, HORIZON_S, recording.marks["last"])
        assert min(asked) >= LOAD[stage], f"{stage}: {asked}"

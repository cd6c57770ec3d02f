"""KEDA 2.21 on the signals `forecast` (trigger `metrics-api`) and `messages` (trigger `rabbitmq`): 0 to the most to 0.

Real: KEDA's operator and metrics adapter, HPA controller, scheduler, chart, coordinator, broker with its management
API, and a worker process for each pod. Stands in: see `keda`; nodes are objects; naps for pixels.
"""

import statistics
import threading
import time

import pytest
from tests.cluster.batches import Batch
from tests.cluster.bench import STAGES
from tests.cluster.recording import Recording
from tests.cluster.scaled import (
    COOLDOWN_S,
    DOWN_S,
    NAPS_S,
    POLLING_S,
    UP_S,
    Bounds,
    Scaled,
    bounds,
    draw,
    installed,
    until_ended,
)
from tests.cluster.supplies import KEDA
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.parametrize("supplies", [KEDA], indirect=True),
]
MAX_PODS = 6
IMAGES = 500
FIRSTS = 4
"""Batches of one image, each of which wakes three stages."""
OVERHEAD_S = 5.0
"""From the publish to `wanted`, and from KEDA's look to the Deployment that asks for a pod, on a busy machine."""
PHASE_S = 3.7
"""Between the last pod's end and the next batch, more each time: so that batches come at all phases of the polling."""
LOOK_S = 0.2


def test_forecast_wakes_all_stages_at_the_next_look_and_takes_them_to_the_most_and_back_to_zero(
    supplies, capsys, request
):
    with installed(supplies, signal="forecast", most=MAX_PODS) as release:
        release.until_fewest()
        told, slowest_s = first_pods(release)
        say(capsys, told)
        recording = a_batch(release, bounds("forecast", IMAGES, MAX_PODS), capsys, request)
    assert slowest_s <= POLLING_S + OVERHEAD_S, told
    assert recording.most("soften") == MAX_PODS


@pytest.mark.loads
def test_messages_wakes_stage_after_stage_and_takes_them_up_and_back_to_zero(supplies, capsys, request):
    with installed(supplies, signal="messages", most=MAX_PODS) as release:
        release.until_fewest()
        recording = a_batch(release, bounds("messages", IMAGES, MAX_PODS), capsys, request)
    assert recording.most("soften") == MAX_PODS


def a_batch(
    release: Scaled, bounds: Bounds, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Recording:
    """From zero to zero, within bounds."""
    batch = Batch(release.supplies, f"many-{release.signal}", IMAGES, NAPS_S)
    with release.recording() as recording:
        batch.send()
        recording.mark("sent")
        release.finish(recording, [batch], 2 * bounds.end_s, DOWN_S + COOLDOWN_S)
    if request.config.getoption("--cluster-picture", default=False):
        draw(f"KEDA, signal {release.signal}", recording, f"autoscale-keda-{release.signal}")
    say(capsys, f"KEDA, {release.signal}: {bounds.judge(recording, [batch])}")
    return recording


def first_pods(release: Scaled) -> tuple[str, float]:
    """How soon after a publish each stage of a route is asked for a pod: figures for people, and the slowest."""
    asked_s, route_s, keda = [], [], release.supplies.keda
    began_s, used_s = time.monotonic(), keda.cpu_s
    for number in range(FIRSTS):
        threading.Event().wait(PHASE_S * number % POLLING_S)
        batch = Batch(release.supplies, f"first-{number}", 1, NAPS_S)
        with Recording(release.bench.scaled, dict, every_s=LOOK_S) as recording:
            batch.send()
            recording.mark("sent")
            eventually(lambda: at(recording, ready=1), POLLING_S + UP_S, keda.tail)
        until_ended([batch], UP_S)
        release.until_fewest()
        sent_s = recording.marks["sent"]
        asked_s += [asked - sent_s for asked in at(recording, asked=1)]
        route_s.append(max(at(recording, ready=1)) - sent_s)
    cores = (keda.cpu_s - used_s) / (time.monotonic() - began_s)
    figures = f"each stage asked for after {spread(asked_s)} s, the whole route ready after {spread(route_s)} s"
    return f"KEDA looks every {POLLING_S} s: {figures}; its operator takes {cores:.3f} cores", max(asked_s)


def at(recording: Recording, *, ready: int = 0, asked: int = 0) -> list[float]:
    """When each stage first had so many replicas; empty until all had."""
    found = [recording.first(stage, ready=ready, asked=asked) for stage in STAGES]
    return [] if None in found else [at_s for at_s in found if at_s is not None]


def spread(seconds: list[float]) -> str:
    return f"{statistics.mean(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


def say(capsys: pytest.CaptureFixture[str], told: str) -> None:
    with capsys.disabled():
        print(f"\n{told}")  # noqa: T201

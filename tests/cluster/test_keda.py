"""KEDA 2.21 on the signals `forecast` (trigger `metrics-api`) and `messages` (trigger `rabbitmq`): 0 to the most to 0.

Real: KEDA's operator and metrics adapter, HPA controller, scheduler, chart, coordinator, broker with its management
API, and a worker process for each pod. Stands in: see `keda`; nodes are objects; naps for pixels.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.batches import Batch
from tests.cluster.bench import Bench
from tests.cluster.keda import ADAPTER, OPERATOR
from tests.cluster.scaled import DOWN_S, HORIZON_S, NAPS_S, UP_S, Bounds, Scaled, draw, installed, until_ended
from tests.cluster.supplies import Supplies
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
MAX_PODS = 6
IMAGES = 500
POLLING_S = 15
"""The chart's default."""
COOLDOWN_S = 60
BOUNDS = {
    "forecast": Bounds(end_s=1.5 * HORIZON_S, most=MAX_PODS, turns=1, cost=3.0),
    "messages": Bounds(end_s=2 * HORIZON_S, most=MAX_PODS, turns=3, cost=3.0),
}
FIRSTS = 6
"""Batches whose first pod is timed, for each interval of polling."""
QUICK_COOLDOWN_S = 5
QUICK_NAPS_S = {"shrink": 0.2, "cut": 0.2, "soften": 0.2}
OVERHEAD_S = 3.0
"""From KEDA's look to the Deployment that asks for a pod, on a busy machine."""
PHASE_S = 3.7
"""Between the last pod's end and the next batch, more each time: so that batches come at all phases of the polling."""


@pytest.fixture(scope="module")
def supplies(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supplies]:
    programs = bench.plane.programs
    if lacking := [name for name in (OPERATOR, ADAPTER) if not (programs / name).exists()]:
        pytest.skip(f"no {' and no '.join(lacking)}: run tools/control-plane --only keda")
    folder = Path(tmp_path_factory.mktemp("keda"))
    with bench.within("keda-bench"), Supplies(bench, folder, with_keda=True) as made:
        yield made


def scaled_by_keda(supplies: Supplies, signal: str, polling_s: int, cooldown_s: int) -> Iterator[Scaled]:
    keda = {"pollingSeconds": polling_s, "cooldownSeconds": cooldown_s}
    with installed(supplies, signal=signal, most=MAX_PODS, autoscaling={"keda": keda}) as made:
        made.until_fewest()
        yield made


@pytest.fixture(params=["forecast", "messages"])
def release(request: pytest.FixtureRequest, supplies: Supplies) -> Iterator[Scaled]:
    yield from scaled_by_keda(supplies, request.param, POLLING_S, COOLDOWN_S)


@pytest.fixture(params=[POLLING_S, 2])
def polled(request: pytest.FixtureRequest, supplies: Supplies) -> Iterator[tuple[Scaled, int]]:
    """A release, and how often KEDA looks."""
    for made in scaled_by_keda(supplies, "forecast", request.param, QUICK_COOLDOWN_S):
        yield made, request.param


def test_from_zero_to_the_most_and_back_to_zero(release, capsys, request):
    release.warm_up()
    batch = Batch(release.supplies, f"many-{release.signal}", IMAGES, NAPS_S)
    with release.recording() as recording:
        batch.send()
        recording.mark("sent")
        release.finish(recording, [batch], 2 * BOUNDS[release.signal].end_s, DOWN_S + COOLDOWN_S)
    if request.config.getoption("--cluster-picture", default=False):
        draw(f"KEDA, signal {release.signal}", recording, f"autoscale-keda-{release.signal}")
    with capsys.disabled():
        print(f"\nKEDA, {release.signal}: {BOUNDS[release.signal].judge(recording, [batch])}")  # noqa: T201
    if release.signal == "messages":
        assert recording.most("soften") > 1
    else:
        assert recording.most("soften") == MAX_PODS


def test_the_first_pod_is_asked_for_at_the_next_look(polled, capsys):
    release, polling_s = polled
    asked_s, ready_s, cpu_s = [], [], []
    for number in range(FIRSTS):
        threading.Event().wait(PHASE_S * number % polling_s)
        batch = Batch(release.supplies, f"first-{polling_s}-{number}", 1, QUICK_NAPS_S)
        began_s, used_s = time.monotonic(), release.supplies.keda.cpu_s
        batch.send()
        limit_s = polling_s + UP_S
        eventually(lambda: release.bench.scaled()["shrink"][0] > 0, limit_s, release.supplies.keda.tail)
        asked_s.append(time.monotonic() - began_s)
        eventually(lambda: release.bench.scaled()["shrink"][1] > 0, limit_s, release.supplies.keda.tail)
        ready_s.append(time.monotonic() - began_s)
        until_ended([batch], UP_S)
        release.until_fewest()
        cpu_s.append((release.supplies.keda.cpu_s - used_s) / (time.monotonic() - began_s))
    figures = f"asked for after {spread(asked_s)} s, ready after {spread(ready_s)} s"
    with capsys.disabled():
        print(f"\nKEDA looks every {polling_s} s: the first pod {figures}; {statistics.mean(cpu_s):.4f} cores of KEDA")  # noqa: T201
    assert max(asked_s) <= polling_s + OVERHEAD_S


def spread(seconds: list[float]) -> str:
    return f"{statistics.mean(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"

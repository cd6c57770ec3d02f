"""HPA on the signals `forecast` and, at length, `messages`: one batch, from the fewest replicas to the most and back.

Real: the HPA controller, scheduler, chart, coordinator, broker, Prometheus with our rules, and a worker process for
each pod. Stands in: `metrics_api` for prometheus-adapter, the process kubelet for nodes, naps for pixels. The window of
`scaleDown` is shorter than the chart's default, so that a run ends within minutes. `--cluster-picture` draws the
runs into docs/images.
"""

from collections.abc import Iterator

import pytest
from tests.cluster.batches import Batch
from tests.cluster.bench import STAGES
from tests.cluster.recording import Recording
from tests.cluster.scaled import NAPS_S, Scaled, bounds, draw, installed
from tests.cluster.supplies import Supplies

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
MAX_PODS = 6
IMAGES = 500
SYNC_S = 20.0
"""One look of the HPA controller, which is every 15 s, on a busy machine."""
UP_S = {"forecast": 120.0, "messages": 200.0}
"""From the batch to `NEEDED` replicas of the last stage: the signal's delay, a look, starts; with `messages` each stage
waits for those before it."""
NEEDED = 4


@pytest.fixture(params=["forecast", pytest.param("messages", marks=pytest.mark.loads)])
def release(request: pytest.FixtureRequest, supplies: Supplies) -> Iterator[Scaled]:
    with installed(supplies, signal=request.param, most=MAX_PODS) as made:
        made.warm_up()
        yield made


def test_from_the_fewest_to_the_most_and_back(release, capsys, request):
    signal = release.signal
    batch = Batch(release.supplies, f"many-{signal}", IMAGES, NAPS_S)
    with release.recording() as recording:
        batch.send()
        recording.mark("sent")
        release.finish(recording, [batch], 600)
    if request.config.getoption("--cluster-picture", default=False):
        draw(f"Signal {signal}", recording, f"autoscale-{signal}")
    with capsys.disabled():
        print(f"\n{signal}: {bounds(signal, IMAGES, MAX_PODS).judge(recording, [batch])}")  # noqa: T201
    many_s = recording.first("soften", ready=NEEDED)
    assert many_s is not None
    assert many_s - recording.marks["sent"] <= UP_S[signal]
    if signal == "forecast":
        all_stages_grow_at_once(recording)


def all_stages_grow_at_once(recording: Recording) -> None:
    """None waits until the one before it is busy."""
    assert recording.most("soften") == MAX_PODS
    grew_s = [recording.first(stage, asked=2) for stage in STAGES]
    known_s = [at_s for at_s in grew_s if at_s is not None]
    assert len(known_s) == len(STAGES)
    assert max(known_s) - min(known_s) <= SYNC_S
